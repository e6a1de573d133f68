//! Routes of one source, compiled against the tables that they fill.

use std::sync::Arc;

use bytes::Bytes;

use super::spec::{Format, RouteSpec};
use crate::codec::value::{Extract, Path};
use crate::schema::row::{Cell, RowOp, Span, Table, TableDescription};

/// A record, as routes see it. Spans point into `data`.
#[derive(Debug, Clone, Copy)]
pub struct RecordView<'a> {
    /// What all records of the batch share.
    pub data: &'a Bytes,
    /// The key; `None` if it has none.
    pub key: Option<Span>,
    /// The value; `None` if it has none, which is a tombstone.
    pub value: Option<Span>,
    /// Its headers.
    pub headers: crate::log::Headers<'a>,
    /// When it was written, in milliseconds since the Unix epoch.
    pub timestamp_ms: Option<i64>,
    /// Its topic.
    pub topic: &'a str,
    /// Its partition.
    pub partition: u32,
    /// Its offset.
    pub offset: u64,
}

/// Why a route cannot be used: to be said at start and by `check --online`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("route {route}: {reason}")]
pub struct RouteProblem {
    /// The route.
    pub route: String,
    /// What is wrong, with column, type and remedy.
    pub reason: String,
}

/// Why a record is no row: it becomes a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteReject {
    /// One word, from a fixed list.
    pub code: &'static str,
    /// What is wrong: column and value.
    pub detail: String,
}

/// What a route made of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A row: its cells were appended, [`Table::row_len`] of them.
    Row(RowOp),
    /// Nothing: its filter says so, or its rule for tombstones.
    Nothing,
    /// No row can be made.
    Rejected(RouteReject),
}

/// One route and its table.
#[derive(Debug)]
pub struct RouteTable {
    /// What it was compiled from.
    pub spec: RouteSpec,
    /// Where its rows go.
    pub table: Arc<Table>,
}

/// All routes of one source of records. For one thread at a time; each writer has its own.
pub struct TopicRoutes {
    routes: Vec<Arc<RouteTable>>,
}

// === impl TopicRoutes ===

impl TopicRoutes {
    /// Compiles the routes of a source. `describe` tells what the database has; `None` for a table that is not there.
    /// `extractor` makes what reads the values at these paths.
    ///
    /// # Errors
    /// Every problem of every route.
    pub fn compile(
        _format: Format,
        _specs: &[RouteSpec],
        _describe: impl Fn(&RouteSpec) -> Option<TableDescription>,
        _extractor: impl FnOnce(&[Path]) -> Box<dyn Extract>,
    ) -> Result<Self, Vec<RouteProblem>> {
        Ok(Self { routes: Vec::new() })
    }

    /// The routes, in the order in which [`TopicRoutes::apply`] tells of them.
    pub fn routes(&self) -> &[Arc<RouteTable>] {
        &self.routes
    }

    /// Says of each route what it makes of a record. The cells of a row are in the vector, which is empty otherwise, and is
    /// emptied after each call.
    pub fn apply(&mut self, _record: &RecordView<'_>, _each: impl FnMut(usize, Made, &mut Vec<Cell>)) {}
}
