//! Applies the routes of a source to the records of a batch: rows, grouped, and records that are none.
//!
//! Rows of routes are made before the gate, because where a row belongs is known only once it is made. What they take is
//! reserved of the memory budget from then on.

use std::sync::Arc;

use super::grouping::{Grouped, PendingWrite, Reject};
use super::route_groups::{Chain, RouteGrouper};
use super::row_key::size_behind;
use super::work::Work;
use crate::actors::routing::{Compiled, RoutedTopic};
use crate::flow::memory::Reserved;
use crate::log::{RecordBatch, TopicPartition};
use crate::routes::{Made, RecordView, RouteReject};
use crate::schema::row::{Cell, Span};
use crate::telemetry::counters::{Counters, RouteCounts, add};

/// So many records are made rows of in one go; others on the thread have their turn then.
const SLICE: usize = 512;

/// Compiled routes of a writer that are kept; a batch that finds none compiles its own.
const MAX_COMPILED: usize = 16;

/// Rows of a route on their way into the store: groups of which each is written after the one before it is settled.
pub struct RoutedWrite {
    /// The groups; at least one.
    pub(super) chain: Chain,
    /// Counts what becomes of them.
    pub(super) counts: Arc<RouteCounts>,
    /// What they take of the memory budget.
    pub(super) _memory: Reserved,
    /// Whether the records' own timestamps are when they were received.
    pub(super) has_age: bool,
}

/// What routes made of the records of a batch beside rows, counted once the batch is settled.
#[derive(Default)]
pub(super) struct Tally {
    skipped: Vec<(Arc<RouteCounts>, u64)>,
    rejected: Vec<(Arc<RouteCounts>, &'static str)>,
    num_unrouted: u64,
}

/// Collects what routes make of records.
struct Collector<'a> {
    counts: &'a [Arc<RouteCounts>],
    names: Vec<&'a str>,
    groupers: Vec<RouteGrouper>,
    skipped: Vec<u64>,
    rejects: Vec<Reject>,
    rejected: Vec<(Arc<RouteCounts>, &'static str)>,
}

// === impl Work ===

impl Work {
    /// Applies the routes of topics of others to all records of a batch.
    pub(super) async fn group_routed(
        &self,
        source: &Arc<RoutedTopic>,
        from: &TopicPartition,
        batch: &RecordBatch,
    ) -> Grouped {
        let mut compiled = self.compiled(source);
        let Compiled { routes, counts } = &mut compiled;
        let known = routes.routes().to_vec();
        let tables = known.iter().map(|route| &route.table);
        let groupers = tables.map(|table| RouteGrouper::new(table, self.store().grouping())).collect();
        let mut collector = Collector {
            counts,
            names: known.iter().map(|route| route.spec.name.as_str()).collect(),
            groupers,
            skipped: vec![0; known.len()],
            rejects: Vec::new(),
            rejected: Vec::new(),
        };
        let mut memory = self.memory().take(0);
        let num_records = batch.records.len();
        for start in (0..num_records).step_by(SLICE) {
            for index in start..num_records.min(start + SLICE) {
                let view = view(from, batch, index);
                routes.apply(&view, |route, made, cells| collector.take(index as u32, route, made, cells, batch));
            }
            memory.resize(collector.num_bytes() as u64);
            tokio::task::yield_now().await;
        }
        let mut grouped = collector.finish(self, batch, true);
        if known.is_empty() {
            grouped.tally.num_unrouted = num_records as u64;
        }
        self.keep(source, compiled);
        grouped
    }

    /// Routes that nobody else applies until they are [kept](Work::keep) again.
    fn compiled(&self, source: &Arc<RoutedTopic>) -> Compiled {
        let mut kept = self.compiled.borrow_mut();
        if let Some(position) = kept.iter().position(|(of, _)| Arc::ptr_eq(of, source)) {
            return kept.swap_remove(position).1;
        }
        match source.compile(self.counters()) {
            Ok(compiled) => compiled,
            Err(problems) => unreachable!("these routes were compiled against these tables before: {problems:?}"),
        }
    }

    fn keep(&self, source: &Arc<RoutedTopic>, compiled: Compiled) {
        let mut kept = self.compiled.borrow_mut();
        if kept.len() >= MAX_COMPILED {
            kept.remove(0);
        }
        kept.push((Arc::clone(source), compiled));
    }
}

// === impl Collector ===

impl Collector<'_> {
    fn take(&mut self, record: u32, route: usize, made: Made, cells: &mut Vec<Cell>, batch: &RecordBatch) {
        match made {
            Made::Row(op) => self.groupers[route].add(record, op, cells, &batch.data),
            Made::Nothing => self.skipped[route] += 1,
            Made::Rejected(reject) => self.reject(record, route, reject),
        }
    }

    /// One letter for a record, however many of its routes make nothing of it.
    fn reject(&mut self, record: u32, route: usize, RouteReject { code, detail }: RouteReject) {
        self.rejected.push((Arc::clone(&self.counts[route]), code));
        let name = self.names[route];
        match self.rejects.last_mut().filter(|last| last.record == record) {
            Some(last) if last.detail.ends_with(&detail) => {}
            Some(last) => last.detail.push_str(&format!("; route {name}: {detail}")),
            None => self.rejects.push(Reject { record, code, detail: format!("route {name}: {detail}") }),
        }
    }

    fn num_bytes(&self) -> usize {
        self.groupers.iter().map(RouteGrouper::num_bytes).sum()
    }

    fn finish(self, work: &Work, batch: &RecordBatch, has_age: bool) -> Grouped {
        let Self { counts, groupers, skipped, rejects, rejected, .. } = self;
        let mut writes = Vec::new();
        for (counts, grouper) in counts.iter().zip(groupers) {
            writes.extend(grouper.finish(&batch.data).into_iter().map(|chain| {
                let num_bytes: usize = chain.iter().map(|write| num_bytes(&write.group.cells)).sum();
                let memory = work.memory().take(num_bytes as u64);
                PendingWrite::Routed(RoutedWrite { chain, counts: Arc::clone(counts), _memory: memory, has_age })
            }));
        }
        let skipped = counts.iter().cloned().zip(skipped).filter(|(_, number)| *number > 0).collect();
        let tally = Tally { skipped, rejected, num_unrouted: 0 };
        Grouped { writes, rejects, unknown_schemas: Vec::new(), tally }
    }
}

/// What cells take in memory, and the bytes that they point to, which the batch has.
fn num_bytes(cells: &[Cell]) -> usize {
    size_of_val(cells) + cells.iter().map(size_behind).sum::<usize>()
}

fn view<'a>(from: &'a TopicPartition, batch: &'a RecordBatch, index: usize) -> RecordView<'a> {
    let record = &batch.records[index];
    let meta = batch.meta.get(index);
    let key = Span { start: record.key_start, end: record.value_start };
    let value = Span { start: record.value_start, end: record.value_end };
    RecordView {
        data: &batch.data,
        key: meta.is_none_or(|meta| meta.has_key).then_some(key),
        value: meta.is_none_or(|meta| meta.has_value).then_some(value),
        headers: batch.headers(index),
        timestamp_ms: meta.and_then(|meta| meta.timestamp_ms),
        topic: &from.topic,
        partition: from.partition,
        offset: record.offset,
    }
}

// === impl Tally ===

impl Tally {
    /// Counts: the records are settled.
    pub(super) fn count(self, topic: &Arc<str>, counters: &Counters) {
        let Self { skipped, rejected, num_unrouted } = self;
        skipped.iter().for_each(|(route, number)| add(&route.skipped, *number));
        rejected.iter().for_each(|(route, code)| route.rejected.add(code, 1));
        counters.unrouted.add(topic, num_unrouted);
    }

    /// Whether no route had anything to say.
    pub(super) fn is_empty(&self) -> bool {
        self.rejected.is_empty() && self.skipped.is_empty()
    }

    /// A row of a route became a dead letter.
    pub(super) fn rejected(&mut self, route: &Arc<RouteCounts>, code: &'static str) {
        self.rejected.push((Arc::clone(route), code));
    }
}

/// One letter for each record: what came of it to several tables is told together.
pub(super) fn merge(mut rejects: Vec<Reject>) -> Vec<Reject> {
    rejects.sort_by_key(|reject| reject.record);
    let mut merged: Vec<Reject> = Vec::with_capacity(rejects.len());
    for reject in rejects {
        match merged.last_mut().filter(|last| last.record == reject.record) {
            Some(last) => last.detail.push_str(&format!("; {}", reject.detail)),
            None => merged.push(reject),
        }
    }
    merged
}
