//! Applies the routes of a source to the records of a batch: rows, grouped, and records that are none.
//!
//! Rows of routes are made before the gate, because where a row belongs is known only once it is made. What they take is
//! reserved of the memory budget from then on.

use std::sync::Arc;

use super::grouping::{Grouped, PendingWrite, Reject};
use super::route_groups::{Chain, RouteGrouper};
use super::row_key::size_behind;
use super::work::Work;
use crate::actors::routing::{Compiled, RoutedTopic, RoutedType, Routing};
use crate::actors::schemas::Plans;
use crate::codec::avro::split_single_object;
use crate::flow::memory::Reserved;
use crate::log::{RecordBatch, TopicPartition};
use crate::routes::{Because, Made, RecordView, RouteProblem, RouteReject, RouteTable};
use crate::schema::row::{Cell, Table};
use crate::store::Grouping;
use crate::telemetry::counters::{Counters, RouteCounts};
use crate::telemetry::now_us;

/// Why a route passes a record over, in a word; in the order of [`Because`].
pub const SKIP_REASONS: [&str; 3] = ["filter", "tombstone", "expired"];
const _: () = assert!(Because::Expired as usize == SKIP_REASONS.len() - 1);

/// So many records are made rows of in one go; others on the thread have their turn then.
const SLICE: usize = 512;

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
    skipped: Vec<(Arc<RouteCounts>, &'static str, u64)>,
    rejected: Vec<(Arc<RouteCounts>, &'static str)>,
    num_unrouted: u64,
}

/// Collects what the routes of one source make of records.
struct Collector {
    routes: Vec<Arc<RouteTable>>,
    counts: Vec<Arc<RouteCounts>>,
    groupers: Vec<RouteGrouper>,
    /// By route and reason.
    skipped: Vec<[u64; SKIP_REASONS.len()]>,
    rejects: Vec<Reject>,
    rejected: Vec<(Arc<RouteCounts>, &'static str)>,
    has_age: bool,
}

/// The routes of a message type at work on a batch.
struct TypeAtWork {
    of: Arc<RoutedType>,
    own: Arc<Table>,
    compiled: Compiled,
    collector: Collector,
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
        source.learn(batch).await;
        let mut compiled = self.compiled_topics.take(|of| Arc::ptr_eq(of, source)).unwrap_or_else(|| {
            // They were compiled against these tables when the store was opened.
            usable(source.compile(self.counters()))
        });
        let mut collector = Collector::new(&compiled, self.store().grouping(), true);
        let mut memory = self.memory().take(0);
        let (num_records, now_ms) = (batch.records.len(), (now_us() / 1000) as i64);
        for start in (0..num_records).step_by(SLICE) {
            for index in start..num_records.min(start + SLICE) {
                let view = RecordView::of(from, batch, index, now_ms);
                compiled.routes.apply(&view, |route, made, cells| {
                    collector.take(index as u32, route, made, cells, batch);
                });
            }
            memory.resize(collector.num_bytes() as u64);
            tokio::task::yield_now().await;
        }
        let mut grouped = Grouped::default();
        if compiled.counts.is_empty() {
            grouped.tally.num_unrouted = num_records as u64;
        }
        collector.finish(self, batch, &mut grouped);
        self.compiled_topics.keep(Arc::clone(source), compiled);
        grouped
    }

    /// Applies the routes of message types to the records of a batch of ours, beside their own tables. Records that cannot
    /// be read are rejected with the rows of their own table.
    pub(super) async fn add_routes_of_types(
        &self,
        routing: &Routing,
        plans: &Plans,
        from: &TopicPartition,
        batch: &RecordBatch,
        grouped: &mut Grouped,
    ) {
        let (mut at_work, mut cells) = (Vec::<TypeAtWork>::new(), Vec::new());
        let mut memory = self.memory().take(0);
        let (num_records, now_ms) = (batch.records.len(), (now_us() / 1000) as i64);
        for start in (0..num_records).step_by(SLICE) {
            for index in start..num_records.min(start + SLICE) {
                let record = &batch.records[index];
                let Ok((fingerprint, datum)) = split_single_object(record.value(&batch.data)) else { continue };
                let Some(plan) = plans.get(fingerprint) else { continue };
                let Some(of) = routing.types().iter().find(|of| of.name == plan.table.name) else { continue };
                cells.clear();
                if plan.plan.decode(datum, record.value_end - datum.len() as u32, &mut cells).is_err() {
                    continue;
                }
                let position = at_work.iter().position(|one| Arc::ptr_eq(&one.own, &plan.table));
                let position = position.unwrap_or_else(|| {
                    at_work.push(self.type_at_work(of, &plan.table));
                    at_work.len() - 1
                });
                let TypeAtWork { compiled, collector, .. } = &mut at_work[position];
                let view = RecordView::of(from, batch, index, now_ms);
                compiled.routes.apply_row(&view, &cells, |route, made, cells| {
                    collector.take(index as u32, route, made, cells, batch);
                });
            }
            memory.resize(at_work.iter().map(|one| one.collector.num_bytes() as u64).sum());
            tokio::task::yield_now().await;
        }
        for TypeAtWork { of, own, compiled, collector } in at_work {
            collector.finish(self, batch, grouped);
            self.compiled_types.keep((of, own), compiled);
        }
    }

    fn type_at_work(&self, of: &Arc<RoutedType>, own: &Arc<Table>) -> TypeAtWork {
        let is_it = |(type_, table): &(Arc<RoutedType>, Arc<Table>)| Arc::ptr_eq(type_, of) && Arc::ptr_eq(table, own);
        // A newer table of the type has all columns of the one that they were compiled with at first.
        let compiled = self.compiled_types.take(is_it).unwrap_or_else(|| usable(of.compile(own, self.counters())));
        let collector = Collector::new(&compiled, self.store().grouping(), false);
        TypeAtWork { of: Arc::clone(of), own: Arc::clone(own), compiled, collector }
    }
}

fn usable(compiled: Result<Compiled, Vec<RouteProblem>>) -> Compiled {
    compiled.unwrap_or_else(|problems| unreachable!("these routes were compiled before: {problems:?}"))
}

// === impl Collector ===

impl Collector {
    fn new(compiled: &Compiled, grouping: Grouping, has_age: bool) -> Self {
        let routes = compiled.routes.routes().to_vec();
        let groupers = routes.iter().map(|route| RouteGrouper::new(&route.table, grouping)).collect();
        let skipped = vec![Default::default(); routes.len()];
        let counts = compiled.counts.clone();
        Self { routes, counts, groupers, skipped, rejects: Vec::new(), rejected: Vec::new(), has_age }
    }

    fn take(&mut self, record: u32, route: usize, made: Made, cells: &mut Vec<Cell>, batch: &RecordBatch) {
        match made {
            Made::Row(op) => self.groupers[route].add(record, op, cells, &batch.data),
            Made::Nothing(because) => self.skipped[route][because as usize] += 1,
            Made::Rejected(reject) => self.reject(record, route, reject),
        }
    }

    /// One letter for a record, however many of its routes make nothing of it.
    fn reject(&mut self, record: u32, route: usize, RouteReject { code, detail }: RouteReject) {
        self.rejected.push((Arc::clone(&self.counts[route]), code));
        let name = &self.routes[route].spec.name;
        match self.rejects.last_mut().filter(|last| last.record == record) {
            Some(last) if last.detail.ends_with(&detail) => {}
            Some(last) => last.detail.push_str(&format!("; route {name}: {detail}")),
            None => self.rejects.push(Reject { record, code, detail: format!("route {name}: {detail}") }),
        }
    }

    fn num_bytes(&self) -> usize {
        self.groupers.iter().map(RouteGrouper::num_bytes).sum()
    }

    /// Adds everything to what a batch gives.
    fn finish(self, work: &Work, batch: &RecordBatch, to: &mut Grouped) {
        let Self { counts, groupers, skipped, rejects, rejected, has_age, .. } = self;
        for (counts, grouper) in counts.iter().zip(groupers) {
            to.writes.extend(grouper.finish(&batch.data).into_iter().map(|chain| {
                let num_bytes: usize = chain.iter().map(|write| num_bytes(&write.group.cells)).sum();
                let memory = work.memory().take(num_bytes as u64);
                PendingWrite::Routed(RoutedWrite { chain, counts: Arc::clone(counts), _memory: memory, has_age })
            }));
        }
        for (counts, numbers) in counts.iter().zip(skipped) {
            let reasons = SKIP_REASONS.into_iter().zip(numbers).filter(|(_, number)| *number > 0);
            to.tally.skipped.extend(reasons.map(|(reason, number)| (Arc::clone(counts), reason, number)));
        }
        to.rejects.extend(rejects);
        to.tally.rejected.extend(rejected);
    }
}

/// What cells take in memory, and the bytes that they point to, which the batch has.
fn num_bytes(cells: &[Cell]) -> usize {
    size_of_val(cells) + cells.iter().map(size_behind).sum::<usize>()
}

// === impl Tally ===

impl Tally {
    /// Counts: the records are settled.
    pub(super) fn count(self, topic: &Arc<str>, counters: &Counters) {
        let Self { skipped, rejected, num_unrouted } = self;
        skipped.iter().for_each(|(route, reason, number)| route.skipped.add(reason, *number));
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
