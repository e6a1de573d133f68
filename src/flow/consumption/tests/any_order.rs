//! Plays a partition through any order of events, with the log, the writers and the slots beside it, and holds the rule to
//! what must never happen.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;
use proptest::test_runner::TestCaseResult;

use super::*;

const MAX_IN_FLIGHT: usize = 3;
const RECORD_BYTES: usize = 100;

#[derive(Debug, Clone)]
enum Step {
    Append(u64),
    /// A read returns with up to this many records, or after its time.
    ReadEnds(usize),
    ReadFails,
    Settle(usize),
    Drop(usize),
    SlotComes,
    ReaderSwitched,
    Flow(FlowState),
    Room(bool),
    /// Whether the log's end is known.
    KnowsEnd(bool),
    Time(u64),
    /// The actor dies: all that it knew is gone.
    Restart,
}

/// The world around the rule.
struct World {
    rule: Consumption,
    now: Duration,
    around: Around,
    end: u64,
    /// Where the reader is.
    position: u64,
    /// Records that were read and are in no batch.
    collected: Range<u64>,
    reading: Option<(Size, Option<Duration>)>,
    is_switching: bool,
    asked_for_slot: bool,
    has_slot: bool,
    looks_again_at: Option<Duration>,
    /// Batches that a writer has.
    written: BTreeMap<BatchId, Range<u64>>,
    /// Batches that were dropped.
    dropped: BTreeMap<BatchId, Range<u64>>,
    is_settled: Vec<bool>,
    committed: u64,
    sent_up_to: u64,
    has_left: bool,
}

// === impl World ===

impl World {
    fn new() -> Self {
        let mut world = Self {
            rule: Self::rule(),
            now: ms(0),
            around: Around { has_room: true, log_end: Some(0) },
            end: 0,
            position: 0,
            collected: 0..0,
            reading: None,
            is_switching: false,
            asked_for_slot: false,
            has_slot: false,
            looks_again_at: None,
            written: BTreeMap::new(),
            dropped: BTreeMap::new(),
            is_settled: Vec::new(),
            committed: 0,
            sent_up_to: 0,
            has_left: false,
        };
        world.rule.on_ready();
        world
    }

    fn rule() -> Consumption {
        Consumption::new(ConsumptionSettings { full: FULL, max_batches_in_flight: MAX_IN_FLIGHT })
    }

    fn restart(&mut self) {
        let Self { now, end, committed, is_settled, .. } = self;
        let (now, end, committed, is_settled) = (*now, *end, *committed, std::mem::take(is_settled));
        let log_end = self.around.log_end;
        *self = Self { now, end, committed, is_settled, ..Self::new() };
        (self.position, self.sent_up_to, self.collected) = (committed, committed, committed..committed);
        self.around.log_end = log_end;
    }

    fn num_in_flight(&self) -> usize {
        self.written.len() + self.dropped.len()
    }

    fn step(&mut self, step: &Step) -> TestCaseResult {
        match *step {
            Step::Append(num) => {
                self.end += num;
                self.is_settled.resize(self.end as usize, false);
                self.around.log_end = self.around.log_end.map(|_| self.end);
            }
            Step::ReadEnds(num) => self.end_read(num),
            Step::ReadFails => {
                if self.reading.take().is_some() {
                    self.rule.on_read_failed(self.now);
                }
            }
            Step::Settle(index) => {
                let ids: Vec<_> = self.written.keys().copied().collect();
                if let Some(id) = ids.get(index % ids.len().max(1)) {
                    let range = self.written.remove(id).unwrap();
                    self.is_settled[range.start as usize..range.end as usize].fill(true);
                    self.rule.on_settled(*id);
                }
            }
            Step::Drop(index) => {
                let ids: Vec<_> = self.written.keys().copied().collect();
                if let Some(id) = ids.get(index % ids.len().max(1)) {
                    let range = self.written.remove(id).unwrap();
                    self.dropped.insert(*id, range);
                    self.rule.on_dropped(self.now, *id);
                }
            }
            Step::SlotComes => {
                if std::mem::take(&mut self.asked_for_slot) {
                    self.has_slot = self.rule.on_slot();
                }
            }
            Step::ReaderSwitched => {
                if std::mem::take(&mut self.is_switching) {
                    self.rule.on_paused();
                }
            }
            Step::Flow(flow) => self.rule.set_flow(flow),
            Step::Room(has_room) => self.around.has_room = has_room,
            Step::KnowsEnd(knows) => self.around.log_end = knows.then_some(self.end),
            Step::Time(passed) => self.pass(ms(passed)),
            Step::Restart => {
                self.restart();
            }
        }
        self.carry_out()
    }

    fn end_read(&mut self, num: usize) {
        let Some((at_most, give_up_after)) = self.reading else { return };
        // The log gives one record at least, whatever its size.
        let num = num.min(at_most.records).min((at_most.bytes / RECORD_BYTES).max(1));
        let num = num.min((self.end - self.position) as usize);
        if num > 0 {
            self.reading = None;
            self.position += num as u64;
            self.collected.end = self.position;
            self.rule.on_read(self.now, Size { records: num, bytes: num * RECORD_BYTES }, self.position);
        } else if let Some(after) = give_up_after {
            self.reading = None;
            self.pass(after);
            self.rule.on_read_timeout();
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.looks_again_at.is_some_and(|at| at <= self.now) {
            self.looks_again_at = None;
            self.rule.on_time();
        }
    }

    fn carry_out(&mut self) -> TestCaseResult {
        for num_actions in 0.. {
            prop_assert!(num_actions < 100, "it never comes to rest");
            let Some(action) = self.rule.next(self.now, &self.around) else { break };
            prop_assert!(!self.has_left, "{action:?} after it has left");
            self.act(action)?;
        }
        self.assert_waits_for_something()
    }

    fn act(&mut self, action: Action) -> TestCaseResult {
        match action {
            Action::Read { at_most, give_up_after } => {
                prop_assert!(self.reading.is_none() && !self.is_switching && self.rule.drain == Drain::No);
                prop_assert!(at_most.records > 0 && at_most.bytes > 0 && self.rule.flow == FlowState::Open);
                prop_assert!(self.num_in_flight() < MAX_IN_FLIGHT);
                let has_some = self.num_in_flight() > 0 || !self.collected.is_empty();
                prop_assert!(self.around.has_room || !has_some, "no further batch without memory");
                prop_assert_eq!(give_up_after.is_some(), self.has_slot);
                self.reading = Some((at_most, give_up_after));
            }
            Action::CancelRead => prop_assert!(self.reading.take().is_some()),
            Action::SetPaused(_) => {
                prop_assert!(self.reading.is_none() && !std::mem::replace(&mut self.is_switching, true));
            }
            Action::AskForSlot => {
                prop_assert!(!self.has_slot && !std::mem::replace(&mut self.asked_for_slot, true));
            }
            Action::ReleaseSlot => prop_assert!(std::mem::take(&mut self.has_slot)),
            Action::Send { id, next_offset } => {
                let batch = self.collected.clone();
                prop_assert!(!batch.is_empty() && batch.end == next_offset);
                prop_assert_eq!(batch.start, self.sent_up_to, "records are sent in order, each once");
                prop_assert!(self.num_in_flight() < MAX_IN_FLIGHT);
                self.has_slot = false;
                self.sent_up_to = batch.end;
                self.collected = batch.end..batch.end;
                prop_assert!(self.written.insert(id, batch).is_none());
            }
            Action::SendAgain(id) => {
                let batch = self.dropped.remove(&id);
                prop_assert!(batch.is_some(), "only what was dropped is sent again");
                self.written.extend(batch.map(|batch| (id, batch)));
            }
            Action::Commit(next_offset) => {
                prop_assert!(next_offset > self.committed, "the committed offset never goes back");
                let below = &self.is_settled[..next_offset as usize];
                prop_assert!(below.iter().all(|settled| *settled), "committed past a record that is not settled");
                self.committed = next_offset;
            }
            Action::Discard => {
                prop_assert!(self.rule.is_ending());
                self.collected = self.sent_up_to..self.sent_up_to;
                self.has_slot = false;
            }
            Action::Leave => {
                prop_assert_eq!(self.num_in_flight(), 0);
                prop_assert!(self.reading.is_none());
                prop_assert_eq!(self.committed, self.sent_up_to, "everything settled is committed");
                self.has_left = true;
            }
            Action::LookAgain(after) => {
                prop_assert!(after > Duration::ZERO);
                let at = self.now + after;
                self.looks_again_at = Some(self.looks_again_at.map_or(at, |known| known.min(at)));
            }
        }
        // What may be committed is committed at once.
        if self.rule.commit.is_none() {
            let from = self.committed as usize..self.sent_up_to as usize;
            let first_open = self.written.values().chain(self.dropped.values()).map(|range| range.start).min();
            prop_assert_eq!(self.committed, first_open.unwrap_or(self.sent_up_to), "{:?}", from);
        }
        Ok(())
    }

    /// Nothing is left to be done now: something must be on its way that goes on by itself.
    fn assert_waits_for_something(&self) -> TestCaseResult {
        let is_open = self.rule.flow == FlowState::Open && self.rule.drain == Drain::No;
        let is_moving = self.reading.is_some() || self.is_switching || self.asked_for_slot;
        let is_timed = self.looks_again_at.is_some();
        prop_assert!(!is_open || is_moving || is_timed || !self.written.is_empty(), "stuck: {:?}", self.rule);
        prop_assert!(self.dropped.is_empty() || is_timed, "a dropped batch is not sent again: {:?}", self.rule);
        prop_assert!(self.collected.is_empty() || is_moving || is_timed || self.num_in_flight() > 0);
        Ok(())
    }

    /// Whatever was: from now on nothing fails any more, the partition is read, and all that waits comes.
    fn recover(&mut self) -> TestCaseResult {
        self.step(&Step::Room(true))?;
        self.step(&Step::KnowsEnd(true))?;
        if self.rule.drain == Drain::No {
            self.step(&Step::Flow(FlowState::Open))?;
        }
        let kinds = [Step::ReaderSwitched, Step::SlotComes, Step::Settle(0), Step::ReadEnds(usize::MAX)];
        let num_rounds = 20 + 2 * self.end;
        for _ in 0..num_rounds {
            for step in &kinds {
                self.step(step)?;
            }
            // Long enough for what is sent again, and not for what has become old.
            self.step(&Step::Time(RETRY_DELAY.as_millis() as u64))?;
            if self.has_left || self.committed == self.end {
                break;
            }
        }
        Ok(())
    }
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let flow = prop_oneof![Just(FlowState::Open), Just(FlowState::Throttled), Just(FlowState::Paused)];
    let step = prop_oneof![
        4 => prop_oneof![1u64..40, 500u64..6000].prop_map(Step::Append),
        8 => prop_oneof![1usize..30, 500usize..9000].prop_map(Step::ReadEnds),
        1 => Just(Step::ReadFails),
        5 => (0usize..4).prop_map(Step::Settle),
        2 => (0usize..4).prop_map(Step::Drop),
        3 => Just(Step::SlotComes),
        3 => Just(Step::ReaderSwitched),
        2 => flow.prop_map(Step::Flow),
        1 => any::<bool>().prop_map(Step::Room),
        1 => any::<bool>().prop_map(Step::KnowsEnd),
        4 => (1u64..1500).prop_map(Step::Time),
        1 => Just(Step::Restart),
    ];
    proptest::collection::vec(step, 0..120)
}

fn play(steps: &[Step]) -> Result<World, TestCaseError> {
    let mut world = World::new();
    world.carry_out()?;
    for step in steps {
        world.step(step)?;
    }
    Ok(world)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// The committed offset never passes a record that is not settled, every record is sent until it is settled, and no
    /// order of events leaves the partition standing still.
    #[test]
    fn test_every_record_is_settled_and_committed_after_any_order_of_events(steps in steps()) {
        let mut world = play(&steps)?;
        world.recover()?;
        prop_assert_eq!(world.committed, world.end);
        prop_assert!(world.is_settled.iter().all(|settled| *settled));
    }

    /// A drain, at any moment and with any order of events after it, ends with everything settled committed.
    #[test]
    fn test_a_drain_commits_everything_settled_after_any_order_of_events(before in steps(), after in steps()) {
        let mut world = play(&before)?;
        world.rule.drain();
        world.carry_out()?;
        // A restart would begin without the drain.
        for step in after.iter().filter(|step| !matches!(step, Step::Restart)) {
            world.step(step)?;
        }
        world.recover()?;
        prop_assert!(world.has_left);
        prop_assert_eq!(world.committed, world.sent_up_to);
        prop_assert!(world.is_settled[..world.committed as usize].iter().all(|settled| *settled));
    }

    /// A partition that is taken away while it is read finishes what is in flight and reads nothing more.
    #[test]
    fn test_a_revoked_partition_finishes_what_is_in_flight(before in steps()) {
        let mut world = play(&before)?;
        if world.reading.take().is_some() {
            world.rule.on_revoked();
            for _ in 0..=2 * MAX_IN_FLIGHT {
                while world.rule.next(world.now, &world.around).map(|action| world.act(action)).transpose()?.is_some() {}
                prop_assert!(world.reading.is_none() && !world.has_slot && world.collected.is_empty());
                world.step_revoked();
            }
            prop_assert_eq!(world.num_in_flight(), 0);
            world.rule.drain();
            world.carry_out()?;
            prop_assert!(world.has_left);
        }
    }
}

impl World {
    /// Time passes and the writers go on; the reader does not.
    fn step_revoked(&mut self) {
        self.pass(RETRY_DELAY);
        if let Some((id, range)) = self.written.pop_first() {
            self.is_settled[range.start as usize..range.end as usize].fill(true);
            self.rule.on_settled(id);
        }
    }
}
