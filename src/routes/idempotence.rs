//! Whether a route may write a record twice without changing anything.

use super::compile::RouteTable;
use super::spec::{RouteSpec, TimestampSpec, TombstoneRule, TtlSpec};
use crate::schema::row::Table;

/// What writing a record twice does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotence {
    /// Whether it changes nothing.
    pub same: bool,
    /// What it changes: a sentence for each cause, with what follows after a crash; empty if that is nothing.
    pub reasons: Vec<String>,
}

// === impl Idempotence ===

impl Idempotence {
    /// The same of a route as it is written: all that can be said while nobody knows its table.
    pub fn of(spec: &RouteSpec, table: Option<&Table>) -> Self {
        let mut reasons = Vec::new();
        if spec.timestamp == TimestampSpec::Server {
            reasons.push(
                "timestamp = \"server\": the second write has a later time, so that after a crash older values replace for a \
                 moment what newer records have written, until those are written again; use \"record\" or an expression"
                    .to_owned(),
            );
        }
        for column in table.map_or(&[][..], |table| &table.columns) {
            if column.kind.is_list_of_cells() {
                reasons.push(format!(
                    "column {} is a list that is not frozen: the database keeps the items of both writes, so that after a crash \
                     they are in it twice; make it frozen<list<…>>, or a set",
                    column.name
                ));
            }
        }
        if let Some(TtlSpec::For(_) | TtlSpec::Seconds(_)) = spec.ttl {
            reasons.push(
                "ttl counts from the write: after a crash rows live longer by the time between both writes; use { until = … }"
                    .to_owned(),
            );
        }
        Self { same: reasons.is_empty(), reasons }
    }
}

impl std::fmt::Display for Idempotence {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.same {
            return f.write_str(
                "writing a record twice changes nothing: after a crash the records since the last commit are written again, and \
                 the rows are the same",
            );
        }
        write!(f, "writing a record twice changes something: {}", self.reasons.join("; "))
    }
}

// === impl RouteTable ===

impl RouteTable {
    /// Whether writing a record twice, as happens after a crash with the records since the last commit, changes anything.
    pub fn idempotence(&self) -> Idempotence {
        Idempotence::of(&self.spec, Some(&self.table))
    }

    /// What else an operator should know of the route.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if self.tombstones == TombstoneRule::Skip && self.spec.on_tombstone.is_none() && !self.has_record_key {
            notes.push(
                "records without a value are skipped: the key of the table is not made of key, header.NAME and kafka.NAME alone"
                    .to_owned(),
            );
        }
        notes
    }
}
