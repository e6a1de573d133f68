//! How far one assignment of a partition has been read and settled: the rules, without a client and without a clock.
//!
//! Offsets are not dense: markers of transactions, records of aborted ones and what compaction removed take offsets that
//! hold no record. And what retention removed before it was read is lost. The two look alike from the outside: the next
//! record has a higher offset than was expected. They are told apart by the start of the log (its low watermark) at that
//! moment: what lies below it is gone, what lies above it never was a record for us.
//!
//! What the log removes while nothing below its new start is held by the client is lost at once, though reading has not
//! passed it yet. Where reading goes on is moved by what is read alone, so that a record which was fetched before it was
//! removed is never taken for one of another log.
//!
//! The commit is where everything that was handed out below is settled. It moves over offsets without a record once every
//! record before them is settled, and never over one that is not.

use std::time::{Duration, Instant};

/// An answer that was under way when the start of the log was asked for has arrived by then, and is in the statistics.
const SURE_AFTER: Duration = Duration::from_secs(4);

/// Offsets that were expected and are gone from the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone {
    /// The first of them.
    pub from: u64,
    /// The offset after the last.
    pub to: u64,
}

/// What the next record is, by its offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The one that was expected, or the first of all.
    Expected,
    /// Offsets before it hold no record, or none any more.
    Ahead,
    /// Offsets began anew: the topic was made again, or its log was cut off. The record does not belong to this
    /// assignment.
    Anew,
}

/// The progress of one assignment.
#[derive(Debug, Default)]
pub(super) struct Progress {
    /// Where reading goes on; everything below was handed out, or holds no record, or is lost. `None`: not known yet.
    position: Option<u64>,
    /// The offset after the last record that was handed out.
    handed: u64,
    /// Whether any record was handed out since reading began here.
    has_read: bool,
    /// Everything handed out below is settled.
    done: u64,
    /// What of it the group has been told.
    told: Option<u64>,
    /// What lies between `position` and this is lost.
    lost_to: u64,
    /// Where the log begins as the broker has said, and when it first said so.
    start: Option<(u64, Instant)>,
    /// The start of the log, and the offset after its last record, as far as is known.
    low: Option<u64>,
    high: Option<u64>,
    /// How many reports in a row had a lower end than is known.
    num_lower: u8,
    /// The offset at which the first open transaction begins; the end if there is none.
    stable: Option<u64>,
}

/// An end that is lower than the one before counts when it is reported this many times: a report may be older than what
/// was asked of the broker.
const LOWER_REPORTS: u8 = 3;

impl Progress {
    /// Reading begins at this offset, which the group has committed.
    pub(super) fn begin(&mut self, offset: u64) {
        self.position = Some(offset);
        self.handed = offset;
        self.done = offset;
        self.told = Some(offset);
        self.has_read = false;
        self.lost_to = 0;
    }

    /// What a record with this offset is.
    pub(super) fn look_at(&self, offset: u64) -> Next {
        match self.position {
            Some(position) if offset < position => Next::Anew,
            Some(position) if offset > position => Next::Ahead,
            _ => Next::Expected,
        }
    }

    /// Records up to below `next` are handed out, the first of which has the offset `first`.
    pub(super) fn on_records(&mut self, first: u64, next: u64) {
        if self.position.is_none() {
            self.begin(first);
        }
        self.position = Some(next);
        self.handed = next;
        self.has_read = true;
    }

    /// Reading has passed `to` without a record since the last one, and the log begins at `low`. Returns what is lost.
    pub(super) fn on_gap(&mut self, to: u64, low: Option<u64>) -> Option<Gone> {
        let Some(position) = self.position else {
            // Nothing was expected, so nothing is missed.
            self.begin(to);
            return None;
        };
        let gone = self.gone_before(to, low);
        self.position = Some(position.max(to));
        gone
    }

    /// What would be lost if reading went on at `to`, and the log begins at `low`.
    pub(super) fn gone_before(&self, to: u64, low: Option<u64>) -> Option<Gone> {
        let position = self.position?;
        low.map(|low| low.min(to)).filter(|to| *to > position).map(|to| Gone { from: position, to })
    }

    /// The log begins at `low`, and the client holds nothing that is not read. Returns what is lost, each time.
    pub(super) fn on_low(&mut self, low: u64) -> Option<Gone> {
        let from = self.position.filter(|position| *position < low)?;
        self.lost_to = self.lost_to.max(low);
        Some(Gone { from, to: low })
    }

    /// The broker has said at `now` that the log begins at `low`.
    pub(super) fn on_start(&mut self, low: u64, now: Instant) {
        if self.start.is_none_or(|(known, _)| known < low) {
            self.start = Some((low, now));
        }
    }

    /// The client says that it goes on to fetch at `fetched`; negative is not known. What lies between that and a start
    /// of the log that was known long enough can be fetched no more. Returns it, each time.
    pub(super) fn on_fetched(&self, fetched: i64, now: Instant) -> Option<Gone> {
        let (low, since) = self.start?;
        let from = u64::try_from(fetched).ok()?.max(self.position?);
        let is_sure = now.saturating_duration_since(since) >= SURE_AFTER;
        (is_sure && from < low).then_some(Gone { from, to: low })
    }

    /// Everything handed out below `next` is settled.
    pub(super) fn on_commit(&mut self, next: u64) {
        self.done = self.done.max(next);
    }

    /// Reading goes back to what is not settled. `None`: it is there anyway.
    pub(super) fn rewind(&mut self) -> Option<u64> {
        let back_to = self.settled().filter(|_| self.has_read)?;
        self.position = Some(back_to);
        self.handed = back_to;
        self.lost_to = 0;
        Some(back_to)
    }

    /// Everything below is settled or holds no record.
    pub(super) fn settled(&self) -> Option<u64> {
        let position = self.position?;
        Some(if self.is_settled() { position.max(self.done).max(self.lost_to) } else { self.done })
    }

    /// Whether everything that was handed out is settled.
    pub(super) fn is_settled(&self) -> bool {
        self.done >= self.handed
    }

    /// What the group is to be told, once.
    pub(super) fn take_untold(&mut self) -> Option<u64> {
        let settled = self.settled().filter(|settled| self.told.is_none_or(|told| told < *settled))?;
        // Without anything read there is nothing that a restart would not find again.
        self.told = Some(settled);
        Some(settled)
    }

    /// The group did not take what it was told.
    pub(super) fn on_commit_failed(&mut self) {
        self.told = None;
    }

    /// The client reports the bounds of the log; negative is not known.
    pub(super) fn on_report(&mut self, low: i64, high: i64, stable: i64) {
        let known = |offset: i64| u64::try_from(offset).ok();
        self.low = known(low).or(self.low);
        self.stable = known(stable).or(self.stable);
        let Some(high) = known(high) else { return };
        let is_lower = self.high.is_some_and(|before| high < before);
        self.num_lower = if is_lower { self.num_lower + 1 } else { 0 };
        if !is_lower || self.num_lower >= LOWER_REPORTS {
            self.high = Some(high);
            self.num_lower = 0;
        }
    }

    /// The broker was asked for the bounds of the log.
    pub(super) fn on_asked(&mut self, low: u64, high: u64) {
        self.low = Some(low);
        self.high = self.high.max(Some(high));
        self.num_lower = 0;
    }

    /// Where reading goes on, if that is known.
    pub(super) fn position(&self) -> Option<u64> {
        self.position
    }

    /// The offset after the last record, as far as is known.
    pub(super) fn end(&self) -> Option<u64> {
        self.high
    }

    /// The offset after the last record that may be read now.
    pub(super) fn readable_end(&self) -> Option<u64> {
        self.high.map(|high| self.stable.map_or(high, |stable| stable.min(high)))
    }

    /// Records that are not settled, at most: some of the offsets may hold none.
    pub(super) fn lag(&self) -> Option<u64> {
        let from = self.settled().or(self.low)?;
        Some(self.high?.saturating_sub(from))
    }

    /// How many offsets wait behind an open transaction at which reading has arrived; 0 if none does.
    pub(super) fn behind_open_transaction(&self) -> u64 {
        match (self.position.or(self.low), self.stable, self.high) {
            (Some(position), Some(stable), Some(high)) if position >= stable => high.saturating_sub(stable),
            _ => 0,
        }
    }

    /// How many offsets wait to be read.
    pub(super) fn unread(&self) -> u64 {
        let from = self.position.map(|position| position.max(self.lost_to)).or(self.low);
        from.zip(self.high).map_or(0, |(from, high)| high.saturating_sub(from))
    }
}

#[cfg(test)]
mod tests;
