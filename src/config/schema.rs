//! Which keys there are, as the sections declare them, and which one a misspelt key was meant to be.

use super::sections::{WrittenConfig, WrittenRoute, WrittenTopic};

/// The keys and their defaults.
#[derive(Debug)]
pub(super) struct Schema {
    root: serde_json::Value,
    topic: serde_json::Value,
    route: serde_json::Value,
}

/// What a name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// It has keys below it.
    Section,
    /// It has a value.
    Key,
    /// It has a value, which may be a table.
    KeyOrTable,
}

/// The sections whose keys are names that the operator chooses.
const TOPICS: &str = "topics";
const ROUTES: &str = "routes";
/// The keys of a route that may be tables.
const TABLES_OF_ROUTES: [&str; 2] = ["key", "ttl"];

impl Schema {
    /// Derived from the declared sections, so that a new field is known here at once.
    pub(super) fn new() -> Result<Self, serde_json::Error> {
        let root = serde_json::to_value(WrittenConfig::default())?;
        let topic = serde_json::to_value(WrittenTopic::default())?;
        Ok(Self { root, topic, route: serde_json::to_value(WrittenRoute::default())? })
    }

    /// The defaults, section by section.
    pub(super) fn defaults(&self) -> &serde_json::Value {
        &self.root
    }

    /// What `name` is in the section at `path`, or `None` if there is no such key.
    pub(super) fn kind(&self, path: &str, name: &str) -> Option<Kind> {
        if path == TOPICS || path == ROUTES {
            return Some(Kind::Section);
        }
        if let Some(route) = below(path, ROUTES) {
            // Names of columns are those of the table.
            if route.ends_with(".columns") || (self.route.get(name).is_some() && TABLES_OF_ROUTES.contains(&name)) {
                return Some(Kind::KeyOrTable);
            }
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
        if below(path, TOPICS).is_some() {
            return Some(&self.topic);
        }
        if below(path, ROUTES).is_some() {
            return Some(&self.route);
        }
        path.split('.').try_fold(&self.root, |table, name| table.get(name))
    }
}

/// What follows the name of a section in the path of one below it.
fn below<'a>(path: &'a str, section: &str) -> Option<&'a str> {
    path.strip_prefix(section)?.strip_prefix('.')
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
