//! One run: pods with the engine's own limiter against the model of a store, event by event under a virtual clock.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};

use super::pod::{Pod, p99};
use super::scenario::{Change, Scenario};
use super::store::{Micros, Store, Write};
use super::trace::{Point, Segment, Trace};
use crate::flow::budget::shares;
use crate::flow::limiter::{Limiter, LimiterSettings, Sample};

/// The length of a window, as in the gate.
pub(super) const WINDOW_US: Micros = 200_000;

/// Plays a scenario with this limiter. The same scenario gives the same trace every time.
pub fn play(scenario: &Scenario, limiter: &LimiterSettings) -> Trace {
    let mut run = Run::new(scenario, limiter);
    run.play();
    run.trace
}

struct Run<'a> {
    scenario: &'a Scenario,
    limiter: &'a LimiterSettings,
    /// Where one limiter decides for all pods.
    fleet: Option<Limiter>,
    store: Store,
    pods: Vec<Pod>,
    num_pods: usize,
    /// Writes that wait in the log; none where there is always work.
    waiting: Option<u64>,
    /// Writes per second that come in.
    write_rate: f64,
    arrivals: SmallRng,
    next_arrival: Micros,
    writes: Vec<Write>,
    free: Vec<usize>,
    next_id: u64,
    done: BinaryHeap<Reverse<(Micros, u64, usize)>>,
    /// Writes in the order of their deadlines.
    deadlines: VecDeque<(Micros, u64, usize)>,
    /// Service that goes on when the stall is over, with the time that it still takes.
    frozen: Vec<(Micros, usize)>,
    stalled_since: Micros,
    now: Micros,
    trace: Trace,
}

// === impl Run ===

impl<'a> Run<'a> {
    fn new(scenario: &'a Scenario, limiter: &'a LimiterSettings) -> Self {
        let mut run = Self {
            scenario,
            limiter,
            fleet: scenario.fleet.then(|| Limiter::new(limiter)),
            store: Store::new(&scenario.store, scenario.seed),
            pods: Vec::new(),
            num_pods: 0,
            waiting: None,
            write_rate: 0.0,
            arrivals: SmallRng::seed_from_u64(scenario.seed.wrapping_add(1)),
            next_arrival: Micros::MAX,
            writes: Vec::new(),
            free: Vec::new(),
            next_id: 0,
            done: BinaryHeap::new(),
            deadlines: VecDeque::new(),
            frozen: Vec::new(),
            stalled_since: 0,
            now: 0,
            trace: Trace::default(),
        };
        run.set_pods(scenario.pods);
        run.set_rate(scenario.rows_per_s);
        run.begin_segment();
        run
    }

    fn play(&mut self) {
        let mut changes = self.scenario.changes.iter().peekable();
        let mut window_end = WINDOW_US;
        loop {
            self.pump();
            let change_at = changes.peek().map_or(Micros::MAX, |change| change.at_us);
            let done_at = self.done.peek().map_or(Micros::MAX, |Reverse(done)| done.0);
            let deadline = self.deadlines.front().map_or(Micros::MAX, |deadline| deadline.0);
            self.now = change_at.min(done_at).min(deadline).min(window_end).min(self.next_arrival);
            if self.now == window_end {
                self.end_window();
                if self.now >= self.scenario.duration_us {
                    break;
                }
                window_end += WINDOW_US;
            } else if self.now == change_at {
                if let Some(change) = changes.next() {
                    self.change(change);
                }
            } else if self.now == done_at {
                self.complete();
            } else if self.now == deadline {
                self.give_up();
            } else {
                self.arrive();
            }
        }
        let held = self.pods[..self.num_pods].iter().filter(|pod| pod.is_left_paused());
        self.trace.left_paused = held.map(|pod| pod.partitions).sum();
    }

    /// Issues writes while pods have leave, one each in turn so that none is preferred.
    fn pump(&mut self) {
        let mut progress = true;
        while progress && self.waiting != Some(0) {
            progress = false;
            for pod in 0..self.num_pods {
                if self.pods[pod].may_issue() && self.waiting != Some(0) {
                    self.issue(pod);
                    progress = true;
                }
            }
        }
    }

    fn issue(&mut self, pod: usize) {
        let (node, rows) = self.store.draw();
        let write = Write { id: self.next_id, pod, rows, issued: self.now, node, wanted: true };
        self.next_id += 1;
        self.waiting = self.waiting.map(|waiting| waiting - 1);
        let slot = self.free.pop().unwrap_or(self.writes.len());
        if slot == self.writes.len() {
            self.writes.push(write);
        } else {
            self.writes[slot] = write;
        }
        self.pods[pod].began();
        self.deadlines.push_back((self.now + self.scenario.store.timeout_us, write.id, slot));
        if let Some(service) = self.store.arrive(slot, &write) {
            self.done.push(Reverse((self.now + service, write.id, slot)));
        }
    }

    fn complete(&mut self) {
        let Some(Reverse((at, _, slot))) = self.done.pop() else { return };
        if self.store.condition.stalled {
            self.frozen.push((at - self.stalled_since, slot));
            return;
        }
        let write = self.writes[slot];
        self.free.push(slot);
        self.store.finish(write.node);
        if write.wanted {
            let latency = self.now - write.issued;
            self.writes[slot].wanted = false;
            self.pods[write.pod].confirmed(write.rows, latency);
            self.trace.confirm(self.now, write.rows, latency);
        }
        self.serve(write.node);
    }

    /// Gives work to the free servers of a node.
    fn serve(&mut self, node: usize) {
        while let Some((slot, service)) = self.store.begin_next(node, &self.writes) {
            match service {
                Some(service) => self.done.push(Reverse((self.now + service, self.writes[slot].id, slot))),
                None => self.free.push(slot),
            }
        }
    }

    /// A deadline has come; the write may be long done, and its slot in other use.
    fn give_up(&mut self) {
        let Some((_, id, slot)) = self.deadlines.pop_front() else { return };
        let write = &mut self.writes[slot];
        if write.id == id && write.wanted {
            write.wanted = false;
            let pod = write.pod;
            self.pods[pod].gave_up();
            // It goes back to the log.
            self.waiting = self.waiting.map(|waiting| waiting + 1);
            self.trace.give_up(self.now, self.scenario.store.timeout_us);
        }
    }

    fn arrive(&mut self) {
        self.waiting = self.waiting.map(|waiting| waiting + 1);
        self.schedule_arrival();
    }

    fn schedule_arrival(&mut self) {
        let gap = -(1.0 - self.arrivals.random::<f64>()).ln() / self.write_rate * 1e6;
        self.next_arrival = self.now + (gap as Micros).max(1);
    }

    fn set_rate(&mut self, rows_per_s: Option<f64>) {
        let Some(rows_per_s) = rows_per_s else {
            (self.waiting, self.next_arrival) = (None, Micros::MAX);
            return;
        };
        self.waiting = Some(self.waiting.unwrap_or(0));
        self.write_rate = rows_per_s / self.scenario.store.mean_rows();
        self.schedule_arrival();
    }

    fn set_pods(&mut self, num_pods: usize) {
        while self.pods.len() < num_pods {
            self.pods.push(Pod::new(self.limiter));
        }
        // One that comes back has forgotten what it knew; what an earlier one had in flight is still in flight.
        for pod in &mut self.pods[self.num_pods.min(num_pods)..num_pods] {
            pod.restart(self.limiter);
        }
        self.num_pods = num_pods;
        let partitions = shares(self.scenario.partitions, &vec![1; num_pods]);
        for (pod, partitions) in self.pods.iter_mut().zip(partitions) {
            pod.partitions = partitions;
        }
        self.share_budget();
    }

    fn share_budget(&mut self) {
        let Some(fleet) = &self.fleet else { return };
        let decision = fleet.decision();
        let held: Vec<u32> = self.pods[..self.num_pods].iter().map(|pod| pod.partitions).collect();
        for (pod, limit) in self.pods.iter_mut().zip(shares(decision.limit, &held)) {
            pod.decision.limit = limit;
            pod.decision.hold_back = decision.hold_back;
        }
    }

    fn change(&mut self, change: &Change) {
        let was_stalled = self.store.condition.stalled;
        let condition = &mut self.store.condition;
        condition.service_factor = change.service_factor.unwrap_or(condition.service_factor);
        condition.parallelism_factor = change.parallelism_factor.unwrap_or(condition.parallelism_factor);
        condition.neighbour_share = change.neighbour_share.unwrap_or(condition.neighbour_share);
        condition.slow_node_factor = change.slow_node_factor.unwrap_or(condition.slow_node_factor);
        condition.stalled = change.stalled.unwrap_or(condition.stalled);
        if condition.stalled && !was_stalled {
            self.stalled_since = self.now;
        } else if was_stalled && !condition.stalled {
            for (remaining, slot) in self.frozen.drain(..) {
                self.done.push(Reverse((self.now + remaining, self.writes[slot].id, slot)));
            }
        }
        if let Some(num_pods) = change.pods {
            self.set_pods(num_pods);
        }
        if change.rows_per_s.is_some() || change.backlog {
            self.set_rate(change.rows_per_s);
        }
        for node in 0..self.store.num_nodes() {
            self.serve(node);
        }
        self.begin_segment();
    }

    fn begin_segment(&mut self) {
        let stalled = self.store.condition.stalled;
        let unloaded_p99_us = self.store.unloaded_p99_us(self.scenario.seed);
        self.trace.segments.push(Segment { start_us: self.now, stalled, unloaded_p99_us, ..Segment::default() });
    }

    fn end_window(&mut self) {
        let oldest = self.oldest();
        let waiting = self.waiting.map_or(u32::MAX, |waiting| waiting as u32);
        let mut whole = Sample::default();
        let mut latencies = Vec::new();
        for (index, pod) in self.pods.iter_mut().enumerate() {
            latencies.extend_from_slice(&pod.latencies);
            let mut sample = pod.end_window(oldest.min(WINDOW_US * 1000));
            sample.num_waiting = waiting / self.num_pods.max(1) as u32;
            sample.length = Duration::from_micros(WINDOW_US);
            if self.fleet.is_none() && index < self.num_pods {
                pod.decision = pod.limiter.on_window(&sample);
            }
            whole.merge(&sample);
        }
        if let Some(fleet) = &mut self.fleet {
            fleet.on_window(&whole);
            self.share_budget();
        }
        let limit = self.pods[..self.num_pods].iter().map(|pod| pod.decision.limit).sum();
        let steered = match &self.fleet {
            Some(fleet) => steered(fleet),
            None => self.pods[..self.num_pods].iter().map(|pod| steered(&pod.limiter)).sum(),
        };
        let (p99_us, in_flight, num_dropped) = (p99(&mut latencies), whole.max_in_flight, whole.num_dropped);
        self.trace.end_window(Point {
            at_us: self.now,
            limit,
            steered,
            in_flight,
            p99_us,
            num_dropped,
            ..Point::default()
        });
    }

    /// How long the longest-running write of all has been in flight.
    fn oldest(&mut self) -> Micros {
        while let Some((deadline, id, slot)) = self.deadlines.front() {
            if self.writes[*slot].id == *id && self.writes[*slot].wanted {
                return self.now + self.scenario.store.timeout_us - deadline;
            }
            self.deadlines.pop_front();
        }
        0
    }
}

/// A check of the baseline is no change of mind: what it costs shows in the goodput.
fn steered(limiter: &Limiter) -> f64 {
    let explanation = limiter.explain();
    let in_check = explanation.last_good.filter(|_| explanation.phase == "check");
    in_check.unwrap_or(f64::from(explanation.limit))
}
