//! Routes of one source, compiled against the tables that they fill.

use std::sync::Arc;

use bytes::Bytes;

use super::plan::{Origin, Plan, plan};
use super::spec::{Format, RouteSpec, TombstoneRule};
use crate::codec::value::{Extract, Path, Value};
use crate::log::{RecordBatch, TopicPartition};
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
    /// The time now, in milliseconds since the Unix epoch: rows that live until a time are given what is left of it.
    pub now_ms: i64,
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

/// Why a record is no row of a route, and no fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Because {
    /// The filter does not take it.
    Filter,
    /// It has no value, and the route skips those.
    Tombstone,
    /// The time until which its row lives has passed.
    Expired,
}

/// What a route made of a record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Made {
    /// A row: its cells were appended, [`Table::row_len`] of them.
    Row(RowOp),
    /// Nothing.
    Nothing(Because),
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
    /// What a record without a value does.
    pub tombstones: TombstoneRule,
    /// Whether the key of its rows is made without the record's value.
    pub(super) has_record_key: bool,
}

/// All routes of one source of records. For one thread at a time; each writer has its own.
pub struct TopicRoutes {
    pub(super) plans: Vec<Plan>,
    routes: Vec<Arc<RouteTable>>,
    /// What reads the values of records of others, if any route needs one.
    pub(super) extractor: Option<Box<dyn Extract>>,
    /// The memory of the values from one record to the next; empty in between.
    pub(super) values: Vec<Value<'static>>,
    /// The same of cells.
    pub(super) cells: Vec<Cell>,
}

// === impl RecordView ===

impl<'a> RecordView<'a> {
    /// A record of a batch that was read from a partition.
    pub fn of(from: &'a TopicPartition, batch: &'a RecordBatch, index: usize, now_ms: i64) -> Self {
        let record = &batch.records[index];
        let meta = batch.meta.get(index);
        let key = Span { start: record.key_start, end: record.value_start };
        let value = Span { start: record.value_start, end: record.value_end };
        Self {
            data: &batch.data,
            key: meta.is_none_or(|meta| meta.has_key).then_some(key),
            value: meta.is_none_or(|meta| meta.has_value).then_some(value),
            headers: batch.headers(index),
            timestamp_ms: meta.and_then(|meta| meta.timestamp_ms),
            topic: &from.topic,
            partition: from.partition,
            offset: record.offset,
            now_ms,
        }
    }

    /// A record of which nothing is known, for constants.
    pub(super) fn empty(data: &'a Bytes) -> Self {
        let headers = crate::log::Headers::none();
        Self {
            data,
            key: None,
            value: None,
            headers,
            timestamp_ms: None,
            topic: "",
            partition: 0,
            offset: 0,
            now_ms: 0,
        }
    }
}

// === impl TopicRoutes ===

impl TopicRoutes {
    /// Compiles the routes of a topic of others. `describe` tells what the database has; `None` for a table that is not
    /// there. `extractor` makes what reads the values at these paths.
    ///
    /// # Errors
    /// Every problem of every route.
    pub fn compile(
        format: Format,
        specs: &[RouteSpec],
        describe: impl Fn(&RouteSpec) -> Option<TableDescription>,
        extractor: impl FnOnce(&[Path]) -> Box<dyn Extract>,
    ) -> Result<Self, Vec<RouteProblem>> {
        let mut paths = Vec::new();
        let plans = plans(specs, describe, &mut Origin::Paths(&mut paths))?;
        if let Some(path) = paths.iter().find(|path| format == Format::Raw && !path.steps.is_empty()) {
            let route = specs.iter().map(|spec| spec.name.as_str()).collect::<Vec<_>>().join(", ");
            let reason =
                format!("raw records have no {path}: $ is all of their bytes; is the topic's format \"json\"?");
            return Err(vec![RouteProblem { route, reason }]);
        }
        // Without a path the value is not looked at: it may be of any form.
        let extractor = (!paths.is_empty()).then(|| extractor(&paths));
        Ok(Self::new(plans, extractor))
    }

    /// Compiles the routes of a message type, whose own table this is.
    ///
    /// # Errors
    /// Every problem of every route.
    pub fn compile_type(
        own: &Table,
        specs: &[RouteSpec],
        describe: impl Fn(&RouteSpec) -> Option<TableDescription>,
    ) -> Result<Self, Vec<RouteProblem>> {
        assert!(own.routed.is_none(), "{} is not the table of a message type", own.full_name());
        Ok(Self::new(plans(specs, describe, &mut Origin::Own(own))?, None))
    }

    fn new(plans: Vec<Plan>, extractor: Option<Box<dyn Extract>>) -> Self {
        let routes = plans.iter().map(|plan| Arc::clone(&plan.route)).collect();
        Self { plans, routes, extractor, values: Vec::new(), cells: Vec::new() }
    }

    /// The routes, in the order in which [`TopicRoutes::apply`] tells of them.
    pub fn routes(&self) -> &[Arc<RouteTable>] {
        &self.routes
    }
}

fn plans(
    specs: &[RouteSpec],
    describe: impl Fn(&RouteSpec) -> Option<TableDescription>,
    origin: &mut Origin<'_>,
) -> Result<Vec<Plan>, Vec<RouteProblem>> {
    let mut found = Vec::with_capacity(specs.len());
    let mut problems = Vec::new();
    for spec in specs {
        match plan(spec, describe(spec).as_ref(), origin) {
            Ok(plan) => found.push(plan),
            Err(reasons) => {
                let problem = |reason| RouteProblem { route: spec.name.clone(), reason };
                problems.extend(reasons.into_iter().map(problem));
            }
        }
    }
    if problems.is_empty() { Ok(found) } else { Err(problems) }
}
