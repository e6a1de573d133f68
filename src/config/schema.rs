//! Which keys there are, as the sections declare them, and which one a misspelt key was meant to be.

use super::sections::{WrittenConfig, WrittenTopic};

/// The keys and their defaults.
#[derive(Debug)]
pub(super) struct Schema {
    root: serde_json::Value,
    topic: serde_json::Value,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has keys below it.
    Section,
    /// It has a value.
    Key,
}

/// The section whose keys are names that the operator chooses.
const TOPICS: &str = "topics";

impl Schema {
    /// Derived from the declared sections, so that a new field is known here at once.
    pub(super) fn new() -> Result<Self, serde_json::Error> {
        let root = serde_json::to_value(WrittenConfig::default())?;
        Ok(Self { root, topic: serde_json::to_value(WrittenTopic::default())? })
    }

    /// The defaults, section by section.
    pub(super) fn defaults(&self) -> &serde_json::Value {
        &self.root
    }

    /// What `name` is in the section at `path`, or `None` if there is no such key.
    pub(super) fn kind(&self, path: &str, name: &str) -> Option<Kind> {
        if path == TOPICS {
            return Some(Kind::Section);
        }
        self.section(path)?.get(name).map(|value| if value.is_object() { Kind::Section } else { Kind::Key })
    }

    /// What to do about an unknown name: the closest known one, or all of them.
    pub(super) fn remedy(&self, path: &str, name: &str) -> String {
        let names = self.names(path);
        let closest = names.iter().map(|known| (distance(name, known), *known)).min();
        match closest {
            // A third of the letters may be wrong; beyond that a guess would mislead.
            Some((distance, known)) if distance * 3 <= name.chars().count().max(3) => {
                format!("did you mean {known:?}?")
            }
            _ => match self.home_of(name, "", &self.root) {
                Some(home) => format!("it belongs to {home}"),
                None => format!("remove it (known here: {})", names.join(", ")),
            },
        }
    }

    /// The names in the section at `path`.
    fn names(&self, path: &str) -> Vec<&str> {
        self.section(path)
            .and_then(serde_json::Value::as_object)
            .map(|table| table.keys().map(String::as_str).collect())
            .unwrap_or_default()
    }

    /// The section below `table` that has a key of this name.
    fn home_of(&self, name: &str, path: &str, table: &serde_json::Value) -> Option<String> {
        let table = table.as_object()?;
        if table.get(name).is_some_and(|value| !value.is_object()) {
            return Some(if path.is_empty() { "the top of the file".to_owned() } else { format!("[{path}]") });
        }
        table.iter().find_map(|(section, value)| {
            let path = if path.is_empty() { section.clone() } else { format!("{path}.{section}") };
            self.home_of(name, &path, value)
        })
    }

    fn section(&self, path: &str) -> Option<&serde_json::Value> {
        if path.is_empty() {
            return Some(&self.root);
        }
        if path.strip_prefix(TOPICS).is_some_and(|rest| rest.starts_with('.')) {
            return Some(&self.topic);
        }
        path.split('.').try_fold(&self.root, |table, name| table.get(name))
    }
}

/// How many letters have to be inserted, removed or replaced to make one word of the other (Levenshtein).
fn distance(left: &str, right: &str) -> usize {
    let right: Vec<char> = right.chars().collect();
    let mut row: Vec<usize> = (0..=right.len()).collect();
    for (index, letter) in left.chars().enumerate() {
        let mut diagonal = index;
        let mut before = index + 1;
        for (cell, other) in row.iter_mut().skip(1).zip(&right) {
            let replaced = diagonal + usize::from(letter != *other);
            diagonal = *cell;
            before = replaced.min(*cell + 1).min(before + 1);
            *cell = before;
        }
        if let Some(first) = row.first_mut() {
            *first = index + 1;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distance_counts_single_letters() {
        let cases = [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("lisen", "listen", 1), ("kitten", "sitting", 3)];
        for (left, right, expected) in cases {
            assert_eq!(distance(left, right), expected, "{left} {right}");
        }
    }
}
