//! The routes: which records become rows of which tables, and what each column is made of. Everything that needs no database is
//! checked here; what a table takes is known when the engine asks for it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::checks::{Checker, Section};
use crate::config::entry::Entry;
use crate::config::section::{Written, join, written};
use crate::config::units::{DAY, Span, seconds};
use crate::routes::{ColumnSpec, NullRule, RouteSpec, Source, TimestampSpec, TombstoneRule, TtlSpec, check_texts};
use crate::schema::row::{Consistency, TableName};

const CONSISTENCIES: [(&str, Option<Consistency>); 9] = [
    ("", None),
    ("one", Some(Consistency::One)),
    ("two", Some(Consistency::Two)),
    ("three", Some(Consistency::Three)),
    ("quorum", Some(Consistency::Quorum)),
    ("all", Some(Consistency::All)),
    ("local_one", Some(Consistency::LocalOne)),
    ("local_quorum", Some(Consistency::LocalQuorum)),
    ("each_quorum", Some(Consistency::EachQuorum)),
];
const NULL_RULES: [(&str, NullRule); 2] = [("write", NullRule::Write), ("unset", NullRule::Unset)];
const TOMBSTONE_RULES: [(&str, Option<TombstoneRule>); 3] =
    [("", None), ("delete", Some(TombstoneRule::Delete)), ("skip", Some(TombstoneRule::Skip))];
const ALLOWED_NAMES: &str = "1 to 48 of a-z, A-Z, 0-9, '_' and '-'";
const ALLOWED_TABLES: &str = "keyspace.table or table, each 1 to 48 of a-z, A-Z, 0-9 and '_'";
const ALLOWED_KEYS: &str = "{ partition = [\"…\"], clustering = [\"…\"] } with names of columns";
const ALLOWED_COLUMNS: &str = "an expression as text, or { from = \"…\", type = \"…\" }";
/// Twenty years: Cassandra takes no more.
const MAX_TTL_DAYS: u32 = 7300;

written! {
    /// A route.
    WrittenRoute {
        from = Entry::List(Vec::new());
        types = Entry::List(Vec::new());
        table = "";
        filter = "";
        timestamp = "record";
        ttl = "";
        consistency = "";
        null = "write";
        on_tombstone = "";
        key = "";
    }
    below {
        columns: WrittenColumns;
    }
}

/// The routes by their names, which the operator chooses.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::config) struct WrittenRoutes(pub BTreeMap<String, WrittenRoute>);

/// What columns are made of, by their names, which are those of the table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(in crate::config) struct WrittenColumns(pub BTreeMap<String, Entry>);

impl Written for WrittenRoutes {
    fn list_live(_: &str, _: &mut Vec<String>) {}
}

impl Written for WrittenColumns {
    fn list_live(_: &str, _: &mut Vec<String>) {}
}

/// Checks every route by itself. That there are the topics that it names is for `relations` to say.
pub(super) fn routes(check: &mut Checker<'_>, path: &str, WrittenRoutes(raw): &WrittenRoutes) -> Vec<RouteSpec> {
    raw.iter().map(|(name, route)| read(check, &join(path, name), name, route)).collect()
}

fn read(check: &mut Checker<'_>, path: &str, name: &str, route: &WrittenRoute) -> RouteSpec {
    let num_problems = check.problems.len();
    if !is_name(name, |letter| letter == '-') {
        let text = format!("{path}: {name:?} is not the name of a route; rename it (allowed: {ALLOWED_NAMES})");
        check.problems.push(check.sources.problem_at(path, &text));
    }
    let columns_path = join(path, "columns");
    let mut columns = BTreeMap::new();
    for (column, entry) in &route.columns.0 {
        if let Some(made_of) = check.section(&columns_path).column(column, entry) {
            columns.insert(column.clone(), made_of);
        }
    }
    if route.columns.0.is_empty() {
        let text = format!("{columns_path}: the route has no columns; add one, such as id = \"$.id\"");
        check.problems.push(check.sources.problem_at(&columns_path, &text));
    }
    let mut section = check.section(path);
    let spec = RouteSpec {
        name: name.to_owned(),
        from: section.source(route),
        table: section.table("table", &route.table),
        filter: section.text_or_none("filter", &route.filter, "an expression of CEL, or empty"),
        columns,
        key: section.key_columns("key", &route.key),
        timestamp: section.timestamp("timestamp", &route.timestamp),
        ttl: section.ttl("ttl", &route.ttl),
        consistency: section.choice("consistency", &route.consistency, &CONSISTENCIES, None),
        null: section.choice("null", &route.null, &NULL_RULES, NullRule::Write),
        on_tombstone: section.choice("on_tombstone", &route.on_tombstone, &TOMBSTONE_RULES, None),
    };
    // What was made up in the place of a wrong value would be blamed for what it is not.
    if check.problems.len() == num_problems {
        for (key, what) in check_texts(&spec) {
            check.fault(&join(path, &key), &format!("is not valid: {what}"));
        }
    }
    spec
}

// === impl Section ===

impl Section<'_, '_> {
    /// What one column is made of.
    fn column(&mut self, name: &str, entry: &Entry) -> Option<ColumnSpec> {
        let text = |entry: &Entry| entry.text().filter(|text| !text.is_empty()).map(str::to_owned);
        let made_of = match entry {
            Entry::Table(keys) if keys.keys().all(|key| key == "from" || key == "type") => {
                let type_text = keys.get("type").map(text);
                match (keys.get("from").and_then(text), type_text) {
                    (Some(from), Some(Some(type_text))) => Some(ColumnSpec { from, type_text: Some(type_text) }),
                    (Some(from), None) => Some(ColumnSpec { from, type_text: None }),
                    _ => None,
                }
            }
            entry => text(entry).map(|from| ColumnSpec { from, type_text: None }),
        };
        if made_of.is_none() {
            self.fault(
                name,
                &format!("does not say what the column is made of; change it (allowed: {ALLOWED_COLUMNS})"),
            );
        }
        made_of
    }

    /// Topics or message types.
    fn source(&mut self, route: &WrittenRoute) -> Source {
        let names = |entry: &Entry| {
            let names = entry.texts();
            names.filter(|names| names.iter().all(|name| !name.is_empty() && !name.contains(char::is_whitespace)))
        };
        let (topics, types) = (names(&route.from), names(&route.types));
        for (key, names, what) in [("from", &topics, "sections of topics"), ("types", &types, "message types")] {
            if names.is_none() {
                self.fault(key, &format!("does not name {what}; change it (allowed: a name, or a list of names)"));
            }
        }
        let (topics, types) = (topics.unwrap_or_default(), types.unwrap_or_default());
        match (topics.is_empty(), types.is_empty()) {
            (true, true) => {
                self.fault(
                    "from",
                    "says not where records come from; set from to sections of topics, or types to message types",
                );
            }
            (false, false) => self.fault("types", "is set, and from too; leave one of them out"),
            _ => {}
        }
        if types.is_empty() { Source::Topics(topics) } else { Source::Types(types) }
    }

    fn table(&mut self, name: &str, entry: &Entry) -> TableName {
        let is_table = |text: &str| {
            let (keyspace, table) =
                text.split_once('.').map_or((None, text), |(keyspace, table)| (Some(keyspace), table));
            is_name(table, |_| false) && keyspace.is_none_or(|keyspace| is_name(keyspace, |_| false))
        };
        let text = self.text(name, entry, is_table, ALLOWED_TABLES);
        match text.split_once('.') {
            Some((keyspace, table)) => TableName { keyspace: Some(keyspace.to_owned()), name: table.to_owned() },
            None => TableName { keyspace: None, name: text },
        }
    }

    /// The columns of the partition key and of the clustering key, or none.
    fn key_columns(&mut self, name: &str, entry: &Entry) -> Option<(Vec<String>, Vec<String>)> {
        let key = match entry {
            Entry::Table(keys) if keys.keys().all(|key| key == "partition" || key == "clustering") => {
                let names = |key: &str| keys.get(key).map_or(Some(Vec::new()), Entry::texts);
                names("partition").zip(names("clustering")).filter(|(partition, _)| !partition.is_empty())
            }
            entry if entry.text() == Some("") => return None,
            _ => None,
        };
        let is_twice = |key: &(Vec<String>, Vec<String>)| {
            let mut names: Vec<_> = key.0.iter().chain(&key.1).collect();
            let len = names.len();
            names.sort();
            names.dedup();
            names.len() < len
        };
        if key.as_ref().is_none_or(is_twice) {
            self.fault(name, &format!("is not the key of a table; change it (allowed: {ALLOWED_KEYS})"));
        }
        key
    }

    fn timestamp(&mut self, name: &str, entry: &Entry) -> TimestampSpec {
        let text =
            self.text(name, entry, |text| !text.is_empty(), "record, server, or an expression that makes a time");
        match &*text {
            "record" => TimestampSpec::Record,
            "server" => TimestampSpec::Server,
            _ => TimestampSpec::From(text),
        }
    }

    fn ttl(&mut self, name: &str, entry: &Entry) -> Option<TtlSpec> {
        if entry.text() == Some("") {
            return None;
        }
        if let Entry::Table(keys) = entry {
            let made = keys.iter().next().and_then(|(key, entry)| Some((key.as_str(), entry.text()?.to_owned())));
            return match made {
                Some(("seconds", text)) if keys.len() == 1 => Some(TtlSpec::Seconds(text)),
                Some(("until", text)) if keys.len() == 1 => Some(TtlSpec::Until(text)),
                _ => {
                    let allowed = "a duration, { seconds = \"…\" } or { until = \"…\" }";
                    self.fault(name, &format!("does not say how long rows live; change it (allowed: {allowed})"));
                    None
                }
            };
        }
        let time = self.duration(name, entry, seconds(1)..=DAY * MAX_TTL_DAYS);
        if time.subsec_nanos() != 0 {
            self.fault(name, &format!("is not a whole number of seconds, such as {}", Span(seconds(1))));
        }
        Some(TtlSpec::For(time))
    }
}

fn is_name(text: &str, also: fn(char) -> bool) -> bool {
    let is_letter = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || also(letter);
    (1..=48).contains(&text.len()) && text.chars().all(is_letter)
}
