//! The rules of topics: names that Kafka takes, every message type in one topic at most, and how topics of others are read.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use crate::config::checks::{Checker, Section};
use crate::config::entry::Entry;
use crate::config::section::{Written, join, written};
use crate::log::{OnGap, Start, TopicPattern};
use crate::routes::Format;

/// The names that Kafka takes.
const ALLOWED_NAMES: &str = "1 to 249 of a-z, A-Z, 0-9, '.', '_' and '-', but not \".\" or \"..\"";

/// All topics that records are read from. There is one at least, and sections have names of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Those that records are appended to.
    pub own: Vec<Topic>,
    /// Those that others fill.
    pub others: Vec<OthersTopic>,
}

/// A topic that others fill, or all topics that match a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OthersTopic {
    /// The section's name. Without a pattern it is the topic's.
    pub name: String,
    /// Which topics it stands for.
    pub pattern: Option<TopicPattern>,
    /// How their records are written.
    pub format: Format,
    /// Where reading begins in a partition without a commit.
    pub start: Start,
    /// What happens if the records where reading was to go on are gone.
    pub on_gap: OnGap,
}

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
        owned = true;
        partitions = 8;
        types = ["*"];
        pattern = "";
        format = "";
        start = "";
        on_gap = "";
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
pub(super) fn topics(check: &mut Checker<'_>, path: &str, WrittenTopics(raw): &WrittenTopics) -> Topics {
    if raw.is_empty() {
        let text = "topics: there is no topic; add one, such as [topics.telemetry]";
        check.problems.push(check.sources.problem_at(path, text));
    }
    let mut topics = Topics { own: Vec::new(), others: Vec::new() };
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
        // What is neither true nor false has been told, and leaves it a topic of ours.
        let is_own = check.section(&path).boolean("owned", &topic.owned) || topic.owned.boolean().is_none();
        if !is_own {
            topics.others.push(others(check, &path, name, topic));
            continue;
        }
        let mut section = check.section(&path);
        let for_others = [
            ("pattern", &topic.pattern),
            ("format", &topic.format),
            ("start", &topic.start),
            ("on_gap", &topic.on_gap),
        ];
        for (key, entry) in for_others {
            if !section.text(key, entry, |_| true, "a text").is_empty() {
                section.fault(key, "is for topics that others fill; remove it, or set owned = false");
            }
        }
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
        topics.own.push(Topic { name: name.clone(), partitions, types });
    }
    topics
}

/// A topic of others.
fn others(check: &mut Checker<'_>, path: &str, name: &str, topic: &WrittenTopic) -> OthersTopic {
    for key in ["partitions", "types"] {
        if check.sources.is_set(&join(path, key)) {
            check.fault(&join(path, key), "is for topics of ours; remove it, or set owned = true");
        }
    }
    let has_format = topic.format.text() != Some("");
    if !has_format {
        let what = "format is missing; tell how its records are written (allowed: surgetank, json, avro-registry, raw)";
        check.problems.push(check.sources.problem_at(&join(path, "format"), &format!("{path}: {what}")));
    }
    let mut section = check.section(path);
    let formats = [
        ("surgetank", Format::Surgetank),
        ("json", Format::Json),
        ("avro-registry", Format::AvroRegistry),
        ("raw", Format::Raw),
    ];
    let rules = [("", OnGap::Stop), ("stop", OnGap::Stop), ("earliest", OnGap::Earliest), ("latest", OnGap::Latest)];
    OthersTopic {
        name: name.to_owned(),
        pattern: section.pattern("pattern", &topic.pattern),
        format: if has_format { section.choice("format", &topic.format, &formats, Format::Raw) } else { Format::Raw },
        start: section.start("start", &topic.start),
        on_gap: section.choice("on_gap", &topic.on_gap, &rules, OnGap::Stop),
    }
}

// === impl Topics ===

impl Topics {
    /// The section of others that a topic in Kafka belongs to: the one of its name, or else the first whose pattern it
    /// matches. `None` for our own.
    pub fn of_others(&self, topic: &str) -> Option<&OthersTopic> {
        if self.own.iter().any(|own| own.name == topic) {
            return None;
        }
        let named = self.others.iter().find(|others| others.pattern.is_none() && others.name == topic);
        let matches = |others: &&OthersTopic| others.pattern.as_ref().is_some_and(|pattern| pattern.matches(topic));
        named.or_else(|| self.others.iter().find(matches))
    }
}

// === impl Section ===

impl Section<'_, '_> {
    /// A topic's name.
    pub(super) fn topic_name(&mut self, name: &str, entry: &Entry) -> String {
        self.text(name, entry, is_topic_name, ALLOWED_NAMES)
    }

    /// A pattern of topic names, or none.
    fn pattern(&mut self, name: &str, entry: &Entry) -> Option<TopicPattern> {
        let text = self.text(name, entry, |_| true, "a regular expression that begins with ^, or empty");
        if text.is_empty() {
            return None;
        }
        let fault =
            |reason| format!("is no pattern: {reason}; change it (allowed: a regular expression that begins with ^)");
        TopicPattern::new(&text).map_err(|reason| self.fault(name, &fault(reason))).ok()
    }

    /// Where reading begins without a commit.
    fn start(&mut self, name: &str, entry: &Entry) -> Start {
        let time = |text: &str| {
            let time = humantime::parse_rfc3339(text).ok()?.duration_since(UNIX_EPOCH).ok()?;
            u64::try_from(time.as_millis()).ok()
        };
        let start = match entry.text() {
            Some("" | "earliest") => Some(Start::Earliest),
            Some("latest") => Some(Start::Latest),
            Some(text) => time(text).map(Start::TimeMs),
            None => None,
        };
        if start.is_none() {
            let allowed = "earliest, latest, or a time in UTC such as \"2026-01-31T00:00:00Z\"";
            self.fault(name, &format!("says nothing about where to begin; change it (allowed: {allowed})"));
        }
        start.unwrap_or(Start::Earliest)
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
