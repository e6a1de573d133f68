//! Where each value came from, for error messages: a line of the file, a variable, or the built-in defaults.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::problem::Problem;

/// Where the values of one load came from.
#[derive(Debug, Default)]
pub(super) struct Sources {
    /// The name of the file, as errors show it.
    pub file: String,
    /// The keys that the file has.
    pub places: BTreeMap<String, Place>,
    /// The keys that the environment overrides.
    pub variables: BTreeMap<String, Variable>,
    /// The files that values of the file name as `${file:PATH}`.
    pub files: Vec<PathBuf>,
    /// The default of every key.
    pub defaults: serde_json::Value,
}

/// Where a value stands in the file.
#[derive(Debug)]
pub(super) struct Place {
    /// Its line, from 1.
    pub line: usize,
    /// The value as it is written there. A `${NAME}` is not replaced here, so that no secret can be printed.
    pub shown: String,
}

/// An override from the environment.
#[derive(Debug, Clone)]
pub(super) struct Variable {
    /// The variable's name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// Keys whose values are never shown.
const SECRETS: [&str; 3] = ["registry.password", "log.kafka.sasl.password", "store.cassandra.password"];

impl Sources {
    /// A problem of the value of one key: `<where>: <key>: <value> <what>`.
    pub(super) fn problem(&self, key: &str, what: &str) -> Problem {
        let shown = self.shown(key);
        self.problem_at(key, &format!("{key}: {shown} {what}"))
    }

    /// A problem that tells itself what is wrong; the key says only where.
    pub(super) fn problem_at(&self, key: &str, text: &str) -> Problem {
        let section = key.rsplit_once('.').map_or("", |(section, _)| section);
        let place = self.places.get(key).or_else(|| self.places.get(section));
        let line = place.map_or(usize::MAX, |place| place.line);
        let origin = match (self.variables.get(key), place) {
            (Some(variable), _) => format!("environment variable {}", variable.name),
            (None, Some(place)) => format!("{}:{}", self.file, place.line),
            (None, None) => "built-in default".to_owned(),
        };
        Problem { line, key: key.to_owned(), text: printable(&format!("{origin}: {text}")) }
    }

    /// The value of a key as an error may show it.
    pub(super) fn shown(&self, key: &str) -> String {
        if SECRETS.contains(&key) {
            return "(not shown)".to_owned();
        }
        let shown = match (self.variables.get(key), self.places.get(key)) {
            (Some(variable), _) => format!("{:?}", variable.value),
            (None, Some(place)) => place.shown.clone(),
            (None, None) => self.default_of(key),
        };
        shorten(&shown)
    }

    /// Whether somebody has set this key.
    pub(super) fn is_set(&self, key: &str) -> bool {
        self.variables.contains_key(key) || self.places.contains_key(key)
    }

    /// Whether the value of this key came from a `${NAME}` in part, so that it may be a secret whatever the key.
    pub(super) fn is_substituted(&self, key: &str) -> bool {
        !self.variables.contains_key(key) && self.places.get(key).is_some_and(|place| place.shown.contains("${"))
    }

    fn default_of(&self, key: &str) -> String {
        let value = key.split('.').try_fold(&self.defaults, |table, name| table.get(name));
        value.map_or_else(|| "(nothing)".to_owned(), ToString::to_string)
    }
}

/// The text without control characters: a key may hold them, and a terminal would obey them.
fn printable(text: &str) -> String {
    let escape = |letter: char| if letter.is_control() { letter.escape_unicode().to_string() } else { letter.into() };
    text.chars().map(escape).collect()
}

/// One line of at most 80 characters: a message stays readable whatever the value was.
fn shorten(text: &str) -> String {
    const MAX_CHARS: usize = 80;
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(MAX_CHARS) {
        Some((end, _)) => format!("{}…", &line[..end]),
        None => line,
    }
}
