//! How a partition is consumed: what to read next, when what was read becomes a batch, when to wait for a batch slot, and
//! what may be committed.
//!
//! Nagle's rule (RFC 896) for a partition: with nothing in flight, what was read goes out at once; while a batch is in
//! flight, what is read is collected until that one is settled or there is enough for a full one. A partition that keeps up
//! waits for nothing, and one that is behind writes large batches, in which the rows of a device travel together. More than
//! a [`SMALL`] batch is collected only with a batch slot, of which all partitions together have few.
//!
//! A plain state machine: the caller reports events, then carries out what [`Consumption::next`] says until that is
//! nothing. What always holds, whatever the order of events:
//! - the committed offset never passes a record that is not settled, and never goes back;
//! - every record that was read is sent, and sent again after its batch was dropped, until it is settled;
//! - with nothing left to do the caller always waits for something that will come: a read, a slot, a batch in flight, a
//!   pause that ends, or a time ([`Action::LookAgain`]).

use std::time::Duration;

use super::pause::FlowState;
use super::watermark::{BatchId, Watermark};

/// How long records are collected at most: one write that is tried again and again must not hold up the rows of others.
pub const MAX_AGE: Duration = Duration::from_secs(1);

/// How long to wait before asking again for something that is not there right now: the log, memory, a live writer.
pub const RETRY_DELAY: Duration = Duration::from_millis(100);

/// How long a partition with a slot waits for records that the log is known to have. Longer than a broker takes to answer
/// on a busy machine: what it misses travels in a smaller batch.
pub const FILL_WAIT: Duration = Duration::from_millis(500);

/// What every partition may collect at any time. A partition that has more at hand is behind, and needs a slot for more.
pub const SMALL: Size = Size { records: 1024, bytes: 256 << 10 };

/// Most that one read brings: what it brings for a large batch is there twice for a moment.
const MAX_READ: Size = Size { records: 8192, bytes: 1 << 20 };

/// An amount of records, and the bytes of their keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// Records.
    pub records: usize,
    /// Bytes of keys and values.
    pub bytes: usize,
}

/// What the rule goes by.
#[derive(Debug, Clone, Copy)]
pub struct ConsumptionSettings {
    /// Most in one batch.
    pub full: Size,
    /// How many batches may be sent and not settled.
    pub max_batches_in_flight: usize,
}

/// What the rule asks of the world around it, only when it needs to know.
pub trait Surroundings {
    /// Whether there is memory for a further batch. The first one is read all the same, so that every partition moves.
    fn has_room(&self) -> bool;

    /// The offset after the last record of the log; there may be more, but not less. `None` while it is not known.
    fn log_end(&self) -> Option<u64>;
}

/// What to do next. It is taken as done: the caller carries each one out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Read, and report the outcome by one of the `on_read` methods.
    Read {
        /// At most so much.
        at_most: Size,
        /// Give up after so long and report [`Consumption::on_read_timeout`].
        give_up_after: Option<Duration>,
    },
    /// Give the read up: no outcome of it is reported any more, and it brings no record.
    CancelRead,
    /// Tell the reader to fetch no more, or to fetch again; report [`Consumption::on_paused`].
    SetPaused(bool),
    /// Ask for a batch slot; report [`Consumption::on_slot`].
    AskForSlot,
    /// Give the slot back.
    ReleaseSlot,
    /// Make a batch, with the slot if there is one, of what was read, and send it; report how it ended.
    Send {
        /// The batch's name.
        id: BatchId,
        /// The offset that follows its last record.
        next_offset: u64,
    },
    /// Send a batch again; report how it ended.
    SendAgain(BatchId),
    /// Everything below this offset is settled.
    Commit(u64),
    /// Forget what was read and is in no batch, and give the slot back: whoever comes next reads it again.
    Discard,
    /// Nothing is in flight and everything settled is committed: the partition can be given back.
    Leave,
    /// Report [`Consumption::on_time`] after this long.
    LookAgain(Duration),
}

/// One partition's consumption. Times are since any fixed moment.
#[derive(Debug)]
pub struct Consumption {
    settings: ConsumptionSettings,
    watermark: Watermark,
    /// Batches that are not settled.
    in_flight: Vec<InFlight>,
    /// What may be committed and is not yet.
    commit: Option<u64>,
    collected: Option<Collected>,
    slot: Slot,
    reader: Reader,
    /// What the reader was told last.
    is_reader_paused: bool,
    flow: FlowState,
    drain: Drain,
    /// The earliest time at which the caller was asked to look again.
    looks_again_at: Option<Duration>,
}

/// A batch that is not settled.
#[derive(Debug)]
struct InFlight {
    id: BatchId,
    /// It was dropped, and is sent again then.
    again_at: Option<Duration>,
}

/// What was read and is in no batch.
#[derive(Debug, Clone, Copy)]
struct Collected {
    size: Size,
    next_offset: u64,
    since: Duration,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    None,
    Asked,
    Held {
        /// The log has no more for this batch right now.
        ran_dry: bool,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reader {
    /// It goes back to the committed offset.
    Preparing,
    Idle {
        /// When it may be asked again.
        not_before: Duration,
    },
    Reading,
    /// It is being told to fetch no more, or to fetch again.
    Switching,
    /// The partition is no longer ours: nothing is read any more.
    Revoked,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Drain {
    No,
    Asked,
    Done,
}

// === impl Size ===

impl Size {
    fn min(self, other: Self) -> Self {
        Self { records: self.records.min(other.records), bytes: self.bytes.min(other.bytes) }
    }

    /// What of this is left beside `taken`; `None` if no record fits any more.
    fn less(self, taken: Self) -> Option<Self> {
        let records = self.records.saturating_sub(taken.records);
        let bytes = self.bytes.saturating_sub(taken.bytes);
        (records > 0 && bytes > 0).then_some(Self { records, bytes })
    }
}

// === impl Consumption ===

/// Events.
impl Consumption {
    /// A partition whose reader is on its way to the committed offset, fetching.
    pub fn new(settings: ConsumptionSettings) -> Self {
        Self {
            settings,
            watermark: Watermark::new(),
            in_flight: Vec::new(),
            commit: None,
            collected: None,
            slot: Slot::None,
            reader: Reader::Preparing,
            is_reader_paused: false,
            flow: FlowState::Open,
            drain: Drain::No,
            looks_again_at: None,
        }
    }

    /// The reader is at the committed offset, and batches may be written.
    pub fn on_ready(&mut self) {
        assert_eq!(self.reader, Reader::Preparing, "a reader is prepared once");
        self.reader = Reader::IDLE;
    }

    /// A read has brought records.
    pub fn on_read(&mut self, now: Duration, brought: Size, next_offset: u64) {
        self.end_read(Reader::IDLE);
        let before = self.collected.map_or(Size::default(), |collected| {
            assert!(next_offset >= collected.next_offset, "reads come in the order of their offsets");
            collected.size
        });
        self.collected = Some(Collected {
            size: Size { records: before.records + brought.records, bytes: before.bytes + brought.bytes },
            next_offset,
            since: self.collected.map_or(now, |collected| collected.since),
        });
    }

    /// A read was given up after its time, without a record.
    pub fn on_read_timeout(&mut self) {
        self.end_read(Reader::IDLE);
        self.run_dry();
    }

    /// A read has failed; the log may answer again.
    pub fn on_read_failed(&mut self, now: Duration) {
        self.end_read(Reader::Idle { not_before: now + RETRY_DELAY });
        self.run_dry();
    }

    /// The partition is being taken away; a drain follows.
    pub fn on_revoked(&mut self) {
        self.end_read(Reader::Revoked);
    }

    /// The reader was told to pause or to go on.
    pub fn on_paused(&mut self) {
        assert_eq!(self.reader, Reader::Switching, "only a switch of the reader can end");
        self.reader = Reader::IDLE;
    }

    /// A slot is there. Returns whether it is kept: what it was asked for may be gone by now.
    pub fn on_slot(&mut self) -> bool {
        assert_eq!(self.slot, Slot::Asked, "a slot comes only when it was asked for");
        self.slot = Slot::None;
        let is_kept = self.needs_slot();
        if is_kept {
            self.slot = Slot::Held { ran_dry: false };
        }
        is_kept
    }

    /// Every record of the batch is in the store or in the dead-letter topic.
    pub fn on_settled(&mut self, id: BatchId) {
        let index = self.index(id);
        self.in_flight.swap_remove(index);
        // A later one replaces an earlier one: the watermark only rises.
        self.commit = self.watermark.settle(id).or(self.commit);
    }

    /// The batch was not delivered: the writer that had it died, or none is alive. It is sent again after a moment.
    pub fn on_dropped(&mut self, now: Duration, id: BatchId) {
        let index = self.index(id);
        self.in_flight[index].again_at = Some(now + RETRY_DELAY);
    }

    /// The gate has decided about the partition.
    pub fn set_flow(&mut self, flow: FlowState) {
        self.flow = flow;
    }

    /// The partition is to be given back.
    pub fn drain(&mut self) {
        assert_ne!(self.drain, Drain::Done, "a partition that was given back is not asked for again");
        self.drain = Drain::Asked;
    }

    /// The time of [`Action::LookAgain`] has come.
    pub fn on_time(&mut self) {
        self.looks_again_at = None;
    }

    /// A late outcome of a read that was cancelled would lose its records, or bring them twice.
    fn end_read(&mut self, next: Reader) {
        assert_eq!(self.reader, Reader::Reading, "only a read that is under way can end");
        self.reader = next;
    }

    /// Others wait for the slot: it is not held for what the log does not give.
    fn run_dry(&mut self) {
        if let Slot::Held { ran_dry } = &mut self.slot {
            *ran_dry = true;
        }
    }

    /// Each batch is reported on once each time that it is sent.
    fn index(&self, id: BatchId) -> usize {
        let index = self.in_flight.iter().position(|batch| batch.id == id && batch.again_at.is_none());
        let Some(index) = index else { panic!("{id:?} is reported on and is not in flight") };
        index
    }
}

/// Decisions.
impl Consumption {
    /// What to do next; `None` if there is nothing to do before the next event.
    pub fn next(&mut self, now: Duration, around: &impl Surroundings) -> Option<Action> {
        let action = self
            .settle_offsets()
            .or_else(|| self.send_again(now))
            .or_else(|| self.give_up())
            .or_else(|| self.switch_reader())
            .or_else(|| self.send(now, around))
            .or_else(|| self.read(now, around));
        action.or_else(|| self.look_again(now))
    }

    /// How large the batch that is being collected may become.
    pub fn target(&self) -> Size {
        match self.slot {
            Slot::Held { .. } => self.settings.full,
            Slot::None | Slot::Asked => self.settings.full.min(SMALL),
        }
    }

    fn settle_offsets(&mut self) -> Option<Action> {
        self.commit.take().map(Action::Commit)
    }

    fn send_again(&mut self, now: Duration) -> Option<Action> {
        let is_due = |batch: &&mut InFlight| batch.again_at.is_some_and(|again_at| again_at <= now);
        let batch = self.in_flight.iter_mut().find(is_due)?;
        batch.again_at = None;
        Some(Action::SendAgain(batch.id))
    }

    /// What a drain, a revocation, or the end of an open flow takes back.
    fn give_up(&mut self) -> Option<Action> {
        let is_ending = self.is_ending();
        let holds_slot = matches!(self.slot, Slot::Held { .. });
        if self.reader == Reader::Reading && (is_ending || self.flow != FlowState::Open) {
            // It holds the reader, and loses no record.
            self.reader = Reader::IDLE;
            return Some(Action::CancelRead);
        }
        if is_ending && (self.collected.is_some() || holds_slot) {
            self.collected = None;
            self.slot = if holds_slot { Slot::None } else { self.slot };
            return Some(Action::Discard);
        }
        if holds_slot && self.flow != FlowState::Open {
            self.slot = Slot::None;
            return Some(Action::ReleaseSlot);
        }
        if self.drain == Drain::Asked && self.in_flight.is_empty() {
            self.drain = Drain::Done;
            return Some(Action::Leave);
        }
        None
    }

    fn switch_reader(&mut self) -> Option<Action> {
        let is_paused = self.flow == FlowState::Paused;
        if self.is_ending() || !matches!(self.reader, Reader::Idle { .. }) || is_paused == self.is_reader_paused {
            return None;
        }
        self.is_reader_paused = is_paused;
        self.reader = Reader::Switching;
        Some(Action::SetPaused(is_paused))
    }

    fn send(&mut self, now: Duration, around: &impl Surroundings) -> Option<Action> {
        let Collected { size, next_offset, since } = self.collected?;
        if !self.may_send() {
            return None;
        }
        let is_full = self.target().less(size).is_none();
        let is_due = match self.slot {
            Slot::Held { ran_dry } => {
                let is_at_end = || around.log_end().is_some_and(|end| next_offset >= end);
                let may_not_read = || self.reader != Reader::Reading && !around.has_room();
                is_full || ran_dry || is_at_end() || may_not_read()
            }
            Slot::None if self.needs_slot() => {
                self.slot = Slot::Asked;
                return Some(Action::AskForSlot);
            }
            Slot::Asked if self.needs_slot() => false,
            Slot::None | Slot::Asked => is_full || self.in_flight.is_empty() || now >= since + MAX_AGE,
        };
        if !is_due {
            return None;
        }
        let id = self.watermark.track(next_offset);
        self.in_flight.push(InFlight { id, again_at: None });
        self.collected = None;
        if let Slot::Held { .. } = self.slot {
            self.slot = Slot::None;
        }
        Some(Action::Send { id, next_offset })
    }

    fn read(&mut self, now: Duration, around: &impl Surroundings) -> Option<Action> {
        let at_most = self.wanted(now)?;
        let has_some = !self.in_flight.is_empty() || self.collected.is_some();
        if has_some && !around.has_room() {
            return None;
        }
        self.reader = Reader::Reading;
        let give_up_after = matches!(self.slot, Slot::Held { .. }).then_some(FILL_WAIT);
        Some(Action::Read { at_most, give_up_after })
    }

    /// Asks to be told of the earliest time at which something changes by itself, unless that was asked already.
    fn look_again(&mut self, now: Duration) -> Option<Action> {
        let again_at = self.in_flight.iter().filter_map(|batch| batch.again_at).min();
        let retry_at = match self.reader {
            Reader::Idle { not_before } if now < not_before && self.flow == FlowState::Open => Some(not_before),
            // A read is wanted and was not begun: there was no room. Its own batches tell when they are settled, those
            // of others are looked for.
            _ => self.wanted(now).map(|_| now + RETRY_DELAY),
        };
        let waits_for_age = self.may_send() && self.target().less(self.collected_size()).is_some();
        let aged_at = self.collected.filter(|_| waits_for_age).map(|collected| collected.since + MAX_AGE);
        let at = [again_at, retry_at, aged_at].into_iter().flatten().filter(|at| *at > now).min()?;
        if self.looks_again_at.is_some_and(|known| known <= at) {
            return None;
        }
        self.looks_again_at = Some(at);
        Some(Action::LookAgain(at - now))
    }

    /// How much a read may bring now, if there is memory for it.
    fn wanted(&self, now: Duration) -> Option<Size> {
        let is_idle = matches!(self.reader, Reader::Idle { not_before } if not_before <= now);
        if self.is_ending() || !is_idle || self.flow != FlowState::Open || !self.may_send() {
            return None;
        }
        self.target().less(self.collected_size()).map(|left| left.min(MAX_READ))
    }

    /// There is more at hand than a small batch, and a slot would let it grow.
    fn needs_slot(&self) -> bool {
        let is_full = self.target().less(self.collected_size()).is_none();
        let may_grow = self.settings.full.less(self.collected_size()).is_some();
        is_full && may_grow && self.flow == FlowState::Open && self.may_send() && !self.is_ending()
    }

    fn may_send(&self) -> bool {
        self.in_flight.len() < self.settings.max_batches_in_flight
    }

    fn is_ending(&self) -> bool {
        self.drain != Drain::No || self.reader == Reader::Revoked
    }

    fn collected_size(&self) -> Size {
        self.collected.map_or(Size::default(), |collected| collected.size)
    }
}

// === impl Reader ===

impl Reader {
    const IDLE: Self = Self::Idle { not_before: Duration::ZERO };
}

#[cfg(test)]
mod tests;
