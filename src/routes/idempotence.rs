//! Whether a route may write a record twice without changing anything.

use super::compile::RouteTable;
use super::spec::{TimestampSpec, TombstoneRule, TtlSpec};
use crate::schema::row::{ColumnKind, Items};

/// What writing a record twice does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotence {
    /// Whether it changes nothing.
    pub same: bool,
    /// What it changes: a sentence for each cause, with what follows after a crash; empty if that is nothing.
    pub reasons: Vec<String>,
}

// === impl RouteTable ===

impl RouteTable {
    /// Whether writing a record twice, as happens after a crash with the records since the last commit, changes anything.
    pub fn idempotence(&self) -> Idempotence {
        let mut reasons = Vec::new();
        if self.spec.timestamp == TimestampSpec::Server {
            reasons.push(
                "timestamp = \"server\": the second write has a later time, so that after a crash older values replace for a \
                 moment what newer records have written, until those are written again; use \"record\" or an expression"
                    .to_owned(),
            );
        }
        for column in &self.table.columns {
            if let ColumnKind::Collection(collection) = column.kind
                && matches!(collection.items, Items::List(_))
                && !collection.is_frozen
            {
                reasons.push(format!(
                    "column {} is a list that is not frozen: the database keeps the items of both writes, so that after a crash \
                     they are in it twice; make it frozen<list<…>>, or a set",
                    column.name
                ));
            }
        }
        if let Some(TtlSpec::For(_) | TtlSpec::Seconds(_)) = self.spec.ttl {
            reasons.push(
                "ttl counts from the write: after a crash rows live longer by the time between both writes; use { until = … }"
                    .to_owned(),
            );
        }
        Idempotence { same: reasons.is_empty(), reasons }
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
