//! Overrides from the environment: `SURGETANK__SECTION__KEY`.
//!
//! The two underscores after the name keep clear of what Kubernetes sets for a service called `surgetank`
//! (`SURGETANK_PORT` and the like), so that every variable that starts like an override can be held to be one.

use std::collections::BTreeMap;

use super::problem::Problem;
use super::schema::{Kind, Schema};
use super::sources::Variable;

/// What every override starts with.
pub(super) const PREFIX: &str = "SURGETANK__";

/// The overrides by key, and what was wrong with others. `has_topic` says which topics there are to override: a
/// misspelt name must not make a new topic.
pub(super) fn overrides(
    variables: &BTreeMap<String, String>,
    schema: &Schema,
    has_topic: impl Fn(&str) -> bool,
) -> (BTreeMap<String, Variable>, Vec<Problem>) {
    let mut overrides = BTreeMap::new();
    let mut problems = Vec::new();
    for (name, value) in variables {
        let Some(rest) = name.strip_prefix(PREFIX) else { continue };
        let key = rest.to_ascii_lowercase().replace("__", ".");
        match check_key(&key, schema, &has_topic) {
            Ok(()) => {
                overrides.insert(key, Variable { name: name.clone(), value: value.clone() });
            }
            Err(what) => problems.push(Problem::general(format!("environment variable {name}: {what}"))),
        }
    }
    (overrides, problems)
}

fn check_key(key: &str, schema: &Schema, has_topic: impl Fn(&str) -> bool) -> Result<(), String> {
    if key.split('.').next() == Some("routes") {
        return Err("routes are set in the file alone".to_owned());
    }
    let mut path = String::new();
    let mut kind = Kind::Section;
    for name in key.split('.') {
        if path == "topics" && !has_topic(name) {
            return Err(format!("there is no topic {name:?} to override; add [topics.{name}] to the file"));
        }
        let found = if kind == Kind::Section { schema.kind(&path, name) } else { None };
        kind = found.ok_or_else(|| {
            let place = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
            format!("unknown key {place}; {}", schema.remedy(&path, name))
        })?;
        path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
    }
    match kind {
        Kind::Key | Kind::KeyOrTable => Ok(()),
        Kind::Section => Err(format!("{key} is a section; name one of its keys after two more underscores")),
    }
}
