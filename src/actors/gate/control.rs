//! What the gate knows and decides with every tick.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use actix::Recipient;
use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::budget_member::{FleetState, Taken};
use super::explain::{Explained, FleetNow, GateNow, PartitionExplained, Window};
use super::write_permits::{Admission, WritePermits};
use super::{SetFlow, TICK};
use crate::flow::bottleneck::Backlog;
use crate::flow::budget::Budget;
use crate::flow::limiter::{Decision, Limiter, LimiterSettings, Sample};
use crate::flow::pause::{FlowState, PauseMachine, PauseSettings};
use crate::log::TopicPartition;
use crate::telemetry::histogram::quantiles;
use crate::telemetry::{Quantiles, now_us};

/// How many windows are kept to be looked at.
const NUM_RECENT: usize = 100;
/// A partition's percentiles are of at least this many ticks: of one they would be of a handful of writes.
const TICKS_PER_PARTITION_WINDOW: u32 = 5;

/// What the gate decides by.
#[derive(Debug, Clone, PartialEq)]
pub struct GateSettings {
    /// The limiter of writes in flight.
    pub limiter: LimiterSettings,
    /// When partitions stop being read, and go on.
    pub pause: PauseSettings,
}

/// The state of the gate, shared by its actor and by who looks at it.
pub struct GateControl {
    write_permits: Arc<WritePermits>,
    state: Mutex<State>,
}

struct State {
    settings: GateSettings,
    limiter: Limiter,
    fleet: Option<FleetState>,
    partitions: BTreeMap<TopicPartition, Partition>,
    /// How often each partition that was ever here was paused.
    pauses: BTreeMap<TopicPartition, u64>,
    recent: VecDeque<Window>,
    num_ticks: u32,
    last_tick: Duration,
}

struct Partition {
    admission: Admission,
    consumer: Recipient<SetFlow>,
    machine: PauseMachine,
    reason: &'static str,
    write: Quantiles,
    wait: Quantiles,
}

// === impl GateControl ===

impl GateControl {
    /// A gate that has not seen anything yet.
    pub fn new(settings: &GateSettings) -> Self {
        let limiter = Limiter::new(&settings.limiter);
        let write_permits = WritePermits::new(limiter.decision().limit);
        let state = State {
            settings: settings.clone(),
            limiter,
            fleet: None,
            partitions: BTreeMap::new(),
            pauses: BTreeMap::new(),
            recent: VecDeque::new(),
            num_ticks: 0,
            last_tick: write_permits.now(),
        };
        Self { write_permits, state: Mutex::new(state) }
    }

    /// Decides by other settings from the next tick on, and keeps what has been learnt.
    pub fn set_settings(&self, settings: GateSettings) {
        let mut state = self.state.lock();
        state.limiter = Limiter::resume(&settings.limiter, state.limiter.clone());
        state.settings = settings;
    }

    /// The limiter's part of the settings.
    pub fn limiter_settings(&self) -> LimiterSettings {
        self.state.lock().settings.limiter.clone()
    }

    /// Takes a partition up, to be read; one that has joined before keeps its place.
    pub(super) fn join(&self, partition: TopicPartition, consumer: Recipient<SetFlow>) -> Admission {
        let mut state = self.state.lock();
        let machine = PauseMachine::new(self.write_permits.now());
        let known = state.partitions.remove(&partition);
        let admission = known.map_or_else(|| self.write_permits.join(), |known| known.admission);
        let (write, wait) = (Quantiles::default(), Quantiles::default());
        let joined = Partition { admission: admission.clone(), consumer, machine, reason: "joined", write, wait };
        state.pauses.entry(partition.clone()).or_default();
        state.partitions.insert(partition, joined);
        admission
    }

    /// Forgets a partition. What it has in flight stays counted until it ends.
    pub(super) fn leave(&self, partition: &TopicPartition) {
        let left = self.state.lock().partitions.remove(partition);
        // Dropped outside of the lock: it may be the last holder of its place.
        drop(left);
    }

    /// One look at everything: the limit, and each partition.
    pub(super) fn tick(&self) {
        let mut state = self.state.lock();
        let now = self.write_permits.now();
        let length = now.saturating_sub(state.last_tick).max(TICK / 2);
        state.last_tick = now;
        state.num_ticks = state.num_ticks.wrapping_add(1);
        let (sample, latencies) = self.write_permits.take_sample(length);
        let decision = state.decide(now, &sample, &latencies);
        self.write_permits.set_limit(decision.limit);
        if sample.num_writes() > 0 || sample.num_dropped > 0 || sample.num_waiting > 0 {
            let window = Window::new(now_us() / 1000, &sample, &latencies, state.limiter.explain());
            state.note(window);
        }
        let measure = state.num_ticks.is_multiple_of(TICKS_PER_PARTITION_WINDOW);
        let State { partitions, settings, pauses, .. } = &mut *state;
        for (name, partition) in partitions {
            if measure {
                partition.measure();
            }
            let next = partition.on_tick(name, &settings.pause, now, decision.hold_back);
            if next == Some(FlowState::Paused) {
                *pauses.entry(name.clone()).or_default() += 1;
            }
        }
    }

    /// Time since the gate was made: the clock of what it is told and asked.
    pub fn now(&self) -> Duration {
        self.write_permits.now()
    }

    /// Makes this pod part of a fleet that has so many record partitions in all.
    pub fn join_fleet(&self, pod: &str, num_partitions: u32) {
        self.state.lock().fleet = Some(FleetState::new(pod, num_partitions, self.write_permits.now()));
    }

    /// Whether it is on this pod to ask the servers how they are. A pod outside of any fleet always does.
    pub fn is_observer(&self) -> bool {
        let state = self.state.lock();
        state.fleet.as_ref().is_none_or(|fleet| fleet.is_observer(self.write_permits.now()))
    }

    /// What the pod has seen since the last report; `None` outside of a fleet.
    pub fn take_report(&self) -> Option<Taken> {
        let mut state = self.state.lock();
        let State { fleet, limiter, partitions, .. } = &mut *state;
        fleet.as_mut().map(|fleet| fleet.take_report(self.write_permits.now(), partitions.len() as u32, limiter))
    }

    /// The leader has spoken: from now on this pod keeps to its share.
    pub fn set_share(&self, budget: Budget) {
        let mut state = self.state.lock();
        let State { fleet, limiter, settings, .. } = &mut *state;
        let Some(fleet) = fleet else { unreachable!("who hears a leader has joined its fleet") };
        if let Some(limit) = fleet.on_budget(self.write_permits.now(), budget, limiter, &settings.limiter) {
            // Under the lock, so that the word and the limit are always seen together.
            self.write_permits.set_limit(limit);
        }
    }

    /// What is decided now, in numbers.
    pub fn now_in_numbers(&self) -> GateNow {
        let state = self.state.lock();
        let (num_in_flight, limit) = self.write_permits.in_flight();
        let limiter = state.limiter.explain();
        let fleet = state.fleet.as_ref().map(|fleet| fleet.explain(self.write_permits.now()));
        let waiting = state.partitions.values().map(|partition| partition.admission.lane().usage().num_waiting as u64);
        let partitions = state.partitions.iter().map(|(name, partition)| (name.clone(), partition.machine.state()));
        GateNow {
            limit,
            num_in_flight,
            num_waiting: waiting.sum(),
            latency_us: limiter.latency_us,
            baseline_us: limiter.baseline_us,
            partitions: partitions.collect(),
            fleet: FleetNow::new(limit, fleet.as_ref()),
        }
    }

    /// How often each partition was paused, of all that were ever consumed here.
    pub fn pauses(&self) -> Vec<(TopicPartition, u64)> {
        self.state.lock().pauses.iter().map(|(partition, count)| (partition.clone(), *count)).collect()
    }

    /// What waits here, and why, as far as the gate knows.
    pub fn backlog(&self) -> Backlog {
        let state = self.state.lock();
        let (num_in_flight, limit) = self.write_permits.in_flight();
        let mut partitions = state.partitions.values();
        Backlog {
            has_waiting: partitions.clone().any(|partition| partition.admission.lane().usage().num_waiting > 0),
            is_held_up: partitions.any(|partition| partition.machine.state() != FlowState::Open),
            has_all_batches: false,
            is_limit_reached: num_in_flight >= limit,
            strain: state.limiter.strain(),
        }
    }

    /// Everything that is decided now, and what it is decided by.
    pub fn explain(&self) -> Explained {
        let state = self.state.lock();
        let (num_in_flight, limit) = self.write_permits.in_flight();
        let now = self.write_permits.now();
        let partitions = state.partitions.iter().map(|(name, partition)| (name.to_string(), partition.explain(now)));
        Explained {
            limit,
            num_in_flight,
            limiter: state.limiter.explain(),
            partitions: partitions.collect(),
            fleet: state.fleet.as_ref().map(|fleet| fleet.explain(now)),
            recent: state.recent.iter().rev().cloned().collect(),
        }
    }
}

// === impl State ===

impl State {
    /// The limit for the next window, by the fleet or by this pod's own limiter.
    fn decide(&mut self, now: Duration, sample: &Sample, latencies: &Histogram<u64>) -> Decision {
        let num_held = self.partitions.len() as u32;
        match &mut self.fleet {
            Some(fleet) => fleet.decide(now, num_held, sample, latencies, &mut self.limiter),
            None => self.limiter.on_window(sample),
        }
    }

    fn note(&mut self, window: Window) {
        if self.recent.len() == NUM_RECENT {
            self.recent.pop_front();
        }
        self.recent.push_back(window);
    }
}

// === impl Partition ===

impl Partition {
    fn measure(&mut self) {
        let lane = self.admission.lane();
        self.write = quantiles(&lane.latency.take());
        self.wait = quantiles(&lane.wait.take());
    }

    fn on_tick(
        &mut self,
        name: &TopicPartition,
        settings: &PauseSettings,
        now: Duration,
        hold_back: bool,
    ) -> Option<FlowState> {
        let usage = self.admission.lane().usage();
        let was_paused = self.machine.state() == FlowState::Paused;
        let next = self.machine.on_tick(settings, now, usage.oldest_wait, hold_back)?;
        self.reason = match next {
            FlowState::Open => "writes get through again",
            _ if hold_back => "the store is too slow",
            _ => "writes wait too long for a permit",
        };
        let waited_ms = usage.oldest_wait.as_millis() as u64;
        match next {
            FlowState::Paused => warn!(partition = %name, waited_ms, reason = self.reason, "partition paused"),
            FlowState::Open if was_paused => info!(partition = %name, "partition resumed"),
            _ => tracing::debug!(partition = %name, state = ?next, waited_ms, "partition changes its flow"),
        }
        self.consumer.do_send(SetFlow(next));
        Some(next)
    }

    fn explain(&self, now: Duration) -> PartitionExplained {
        let lane = self.admission.lane();
        let usage = lane.usage();
        PartitionExplained {
            state: self.machine.state(),
            for_ms: now.saturating_sub(self.machine.since()).as_millis() as u64,
            reason: self.reason,
            num_in_flight: usage.num_in_flight,
            num_waiting: usage.num_waiting,
            oldest_wait_ms: usage.oldest_wait.as_millis() as u64,
            num_rows: lane.num_rows.load(Ordering::Relaxed),
            num_dropped: lane.num_dropped.load(Ordering::Relaxed),
            write_us: self.write,
            wait_us: self.wait,
        }
    }
}

#[cfg(test)]
mod tests {
    use actix::{Actor, Context, Handler, System};
    use futures_util::FutureExt;

    use super::*;
    use crate::flow::limiter::FixedSettings;

    /// Keeps what it is told.
    struct Consumer(Arc<Mutex<Vec<FlowState>>>);

    impl Actor for Consumer {
        type Context = Context<Self>;
    }

    impl Handler<SetFlow> for Consumer {
        type Result = ();

        fn handle(&mut self, SetFlow(state): SetFlow, _: &mut Self::Context) {
            self.0.lock().push(state);
        }
    }

    fn settings(max_writes: u32) -> GateSettings {
        let pause = PauseSettings {
            high: Duration::from_millis(1),
            low: Duration::from_millis(1),
            pause_after: Duration::ZERO,
            min_dwell: Duration::ZERO,
        };
        let limiter = LimiterSettings::Fixed(FixedSettings { max_writes, ..FixedSettings::default() });
        GateSettings { limiter, pause }
    }

    fn partition(number: u32) -> TopicPartition {
        TopicPartition { topic: "records".into(), partition: number }
    }

    #[test]
    fn test_a_partition_whose_writes_wait_is_stopped_paused_and_goes_on() {
        System::new().block_on(async {
            let control = GateControl::new(&settings(1));
            let told = Arc::new(Mutex::new(Vec::new()));
            let consumer = Consumer(Arc::clone(&told)).start();
            let admission = control.join(partition(0), consumer.clone().recipient());
            control.tick();
            let permit = admission.enter().await;
            let mut waiting = Box::pin(admission.enter());
            assert!(waiting.as_mut().now_or_never().is_none());
            while admission.lane().usage().oldest_wait < Duration::from_millis(1) {
                tokio::task::yield_now().await;
            }
            control.tick();
            control.tick();
            drop(permit);
            drop(waiting.await);
            control.tick();
            control.tick();
            let expected = [FlowState::Throttled, FlowState::Paused, FlowState::Open];
            while told.lock().len() < expected.len() {
                tokio::task::yield_now().await;
            }
            assert_eq!(*told.lock(), expected, "each change once");
        });
    }

    #[test]
    fn test_a_consumer_that_starts_again_keeps_its_place_and_one_that_left_is_forgotten() {
        System::new().block_on(async {
            let control = GateControl::new(&settings(4));
            let consumer = Consumer(Arc::default()).start();
            let first = control.join(partition(0), consumer.clone().recipient());
            let _permit = first.enter().await;
            let again = control.join(partition(0), consumer.clone().recipient());
            assert_eq!(again.lane().usage().num_in_flight, 1);
            control.join(partition(1), consumer.recipient());
            control.leave(&partition(1));
            let explained = control.explain();
            assert_eq!(explained.partitions.keys().collect::<Vec<_>>(), [&partition(0).to_string()]);
            assert_eq!((explained.num_in_flight, explained.limit), (1, 4));
        });
    }

    #[test]
    fn test_other_settings_hold_from_the_next_tick_on() {
        let control = GateControl::new(&settings(4));
        control.set_settings(settings(9));
        assert_eq!(control.limiter_settings(), settings(9).limiter);
        control.tick();
        assert_eq!(control.explain().limit, 9);
    }
}
