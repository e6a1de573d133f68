//! A route as the config has it, checked as far as that goes without the database.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::schema::row::{Consistency, TableName};

/// A route.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteSpec {
    /// Its name: the last part of `routes.NAME`.
    pub name: String,
    /// Where its records come from.
    pub from: Source,
    /// Where its rows go.
    pub table: TableName,
    /// Which records it takes, as an expression of CEL; all without one.
    pub filter: Option<String>,
    /// What each column is made of.
    pub columns: BTreeMap<String, ColumnSpec>,
    /// The table's key, if the route may create the table: partition key, then clustering key. Each of its columns has a
    /// type then, as all others.
    pub key: Option<(Vec<String>, Vec<String>)>,
    /// Which of two writes of one row is the newer one.
    pub timestamp: TimestampSpec,
    /// How long each row lives.
    pub ttl: Option<TtlSpec>,
    /// How many replicas have to confirm; `None` for the store's setting.
    pub consistency: Option<Consistency>,
    /// What null does.
    pub null: NullRule,
    /// What a record without a value does.
    pub on_tombstone: Option<TombstoneRule>,
}

/// Where the records of a route come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Topics of others, by the names of their sections in the config.
    Topics(Vec<String>),
    /// Message types, by name: records of our own topics.
    Types(Vec<String>),
}

/// How the records of a topic are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// As this engine writes them: Avro single objects of message types.
    Surgetank,
    /// One JSON value.
    Json,
    /// Avro behind Confluent's five bytes, with the schema in a registry.
    AvroRegistry,
    /// Bytes as they are.
    Raw,
}

/// What a column is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// The expression: a path, a constant, a function of these.
    pub from: String,
    /// The type of CQL that the column gets if the table is created.
    pub type_text: Option<String>,
}

/// Whose time a row has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TimestampSpec {
    /// The record's timestamp in Kafka; of a message type, its event time.
    Record,
    /// The database's, when it takes the row.
    Server,
    /// An expression that makes a time.
    From(String),
}

/// How long rows live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TtlSpec {
    /// So long after they are written.
    For(Duration),
    /// An expression that makes a number of seconds.
    Seconds(String),
    /// Until the time that an expression makes; a row that has passed it already is not written.
    Until(String),
}

/// What null does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NullRule {
    /// It is written: what the column had is deleted.
    Write,
    /// The column stays as it is.
    Unset,
}

/// What a record without a value does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TombstoneRule {
    /// The row of its key is deleted.
    Delete,
    /// Nothing.
    Skip,
}

// === impl RouteSpec ===

impl RouteSpec {
    /// The topics of others that it takes records from, by the names of their sections in the config.
    pub fn topics(&self) -> &[String] {
        match &self.from {
            Source::Topics(topics) => topics,
            Source::Types(_) => &[],
        }
    }

    /// The message types that it takes.
    pub fn types(&self) -> &[String] {
        match &self.from {
            Source::Topics(_) => &[],
            Source::Types(types) => types,
        }
    }
}
