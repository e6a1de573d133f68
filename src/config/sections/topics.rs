//! The rules of topics: names that Kafka takes, and every message type in one topic at most.

use std::collections::BTreeMap;
use std::num::NonZeroU32;

use serde::{Deserialize, Serialize};

use crate::config::checks::{Checker, Section};
use crate::config::entry::Entry;
use crate::config::section::{Written, join, written};

/// The names that Kafka takes.
const ALLOWED_NAMES: &str = "1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', but not \".\" or \"..\"";

/// A topic of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topic {
    /// Its name; valid for Kafka.
    pub name: String,
    /// How many partitions it has.
    pub partitions: NonZeroU32,
    /// Which message types go into it.
    pub types: TypeSelection,
}

/// Which message types a topic takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TypeSelection {
    /// Every type that no other topic names. At most one topic has this.
    Rest,
    /// These types. A type is named by one topic only; that it exists is for the layouts to say.
    Named(Vec<String>),
}

written! {
    /// A topic.
    WrittenTopic {
        partitions = 8;
        types = ["*"];
    }
}

/// The topics by their names, which the operator chooses. A file that names topics replaces the default one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::config) struct WrittenTopics(pub BTreeMap<String, WrittenTopic>);

impl Default for WrittenTopics {
    fn default() -> Self {
        Self(BTreeMap::from([("telemetry".to_owned(), WrittenTopic::default())]))
    }
}

impl Written for WrittenTopics {
    /// Which types a topic takes is live, and compared by its own rule.
    fn list_live(_: &str, _: &mut Vec<String>) {}
}

/// Checks every topic by itself and the types across them. That names differ from those of the other sections is for
/// `relations` to say.
pub(super) fn topics(check: &mut Checker<'_>, path: &str, WrittenTopics(raw): &WrittenTopics) -> Vec<Topic> {
    if raw.is_empty() {
        let text = "topics: there is no topic; add one, such as [topics.telemetry]";
        check.problems.push(check.sources.problem_at(path, text));
    }
    let mut topics = Vec::with_capacity(raw.len());
    // Which topic named a type first; `*` stands for the rest.
    let mut owners: BTreeMap<String, &str> = BTreeMap::new();
    for (name, topic) in raw {
        let path = join(path, name);
        if !is_topic_name(name) {
            check.problems.push(check.sources.problem_at(
                &path,
                &format!("{path}: {name:?} is not a topic name; rename it (allowed: {ALLOWED_NAMES})"),
            ));
        }
        let mut section = check.section(&path);
        let partitions = section.partitions("partitions", &topic.partitions);
        let types = types(&mut section, &topic.types);
        for type_name in &types {
            if let Some(owner) = owners.get(type_name) {
                let shown = if section.may_show("types") { format!("{type_name:?}") } else { "a type".to_owned() };
                let what = format!("names {shown}, which topics.{owner} has already; leave it to one of them");
                section.fault("types", &what);
            } else {
                owners.insert(type_name.clone(), name);
            }
        }
        let is_rest = types.first().is_some_and(|only| only == "*");
        let types = if is_rest { TypeSelection::Rest } else { TypeSelection::Named(types) };
        topics.push(Topic { name: name.clone(), partitions, types });
    }
    topics
}

// === impl Section ===

impl Section<'_, '_> {
    /// A topic's name.
    pub(super) fn topic_name(&mut self, name: &str, entry: &Entry) -> String {
        self.text(name, entry, is_topic_name, ALLOWED_NAMES)
    }

    /// A topic's number of partitions.
    pub(super) fn partitions(&mut self, name: &str, entry: &Entry) -> NonZeroU32 {
        self.non_zero(name, entry, 1024)
    }
}

/// The types of one topic; empty if there was a problem.
fn types(section: &mut Section<'_, '_>, entry: &Entry) -> Vec<String> {
    let types = entry.texts().unwrap_or_default();
    let has_rest = types.iter().any(|name| name == "*");
    let are_names = types.iter().all(|name| !name.is_empty() && !name.contains(char::is_whitespace));
    if types.is_empty() || !are_names || has_rest && types.len() > 1 {
        let allowed = "[\"*\"] for every type that no other topic names, or a list of type names";
        section.fault("types", &format!("does not select message types; change it (allowed: {allowed})"));
        return Vec::new();
    }
    types
}

fn is_topic_name(name: &str) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || "._-".contains(letter);
    (1..=249).contains(&name.len()) && name.chars().all(is_letter) && name != "." && name != ".."
}
