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
        let gone = low.map(|low| low.min(to)).filter(|gone| *gone > position);
        self.position = Some(position.max(to));
        gone.map(|to| Gone { from: position, to })
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
        Some(if self.done >= self.handed { position.max(self.done).max(self.lost_to) } else { self.done })
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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(offset: u64) -> Progress {
        let mut progress = Progress::default();
        progress.begin(offset);
        progress
    }

    #[test]
    fn test_commits_are_told_once_and_never_go_back() {
        let mut progress = at(0);
        assert_eq!(progress.take_untold(), None);
        progress.on_records(0, 10);
        progress.on_commit(7);
        progress.on_commit(5);
        assert_eq!(progress.take_untold(), Some(7));
        assert_eq!(progress.take_untold(), None);
        progress.on_commit_failed();
        assert_eq!(progress.take_untold(), Some(7));
    }

    #[test]
    fn test_the_commit_moves_over_offsets_without_a_record_once_all_before_them_are_settled() {
        let mut progress = at(0);
        progress.on_records(0, 10);
        assert_eq!(progress.on_gap(15, Some(0)), None, "the log still begins at 0: nothing is lost");
        progress.on_report(0, 15, 15);
        progress.on_commit(9);
        assert_eq!((progress.take_untold(), progress.lag()), (Some(9), Some(6)));
        progress.on_commit(10);
        assert_eq!((progress.take_untold(), progress.lag()), (Some(15), Some(0)));
        progress.on_records(15, 16);
        assert_eq!((progress.take_untold(), progress.settled()), (None, Some(10)), "the new one is not settled");
    }

    #[test]
    fn test_a_group_without_a_commit_begins_at_the_first_record_and_misses_nothing() {
        let mut progress = Progress::default();
        assert_eq!((progress.look_at(40), progress.lag()), (Next::Expected, None));
        progress.on_report(40, 50, 50);
        assert_eq!(progress.lag(), Some(10));
        progress.on_records(40, 42);
        assert_eq!((progress.rewind(), progress.lag()), (Some(40), Some(10)));
    }

    #[test]
    fn test_what_the_start_of_the_log_has_passed_is_lost() {
        let mut progress = at(100);
        assert_eq!(progress.look_at(900), Next::Ahead);
        assert_eq!(progress.on_gap(900, Some(880)), Some(Gone { from: 100, to: 880 }), "the rest held no record");
        progress.on_records(900, 1000);
        progress.on_commit(1000);
        assert_eq!(progress.on_low(1200), Some(Gone { from: 1000, to: 1200 }));
        assert_eq!(progress.take_untold(), Some(1200));
        assert_eq!(progress.look_at(1100), Next::Ahead, "it was fetched before it was removed");
        progress.on_records(1100, 1300);
        assert_eq!((progress.settled(), progress.rewind()), (Some(1000), Some(1000)));
        assert_eq!(progress.settled(), Some(1000), "what was handed out is to be read again");
    }

    #[test]
    fn test_what_can_be_fetched_no_more_is_lost_once_that_is_sure() {
        let (mut progress, start) = (at(40), Instant::now());
        assert_eq!(progress.on_fetched(80, start), None);
        progress.on_start(150, start);
        progress.on_start(150, start + SURE_AFTER / 2);
        assert_eq!(progress.on_fetched(80, start + SURE_AFTER / 2), None, "an answer may be under way");
        let sure = start + SURE_AFTER;
        assert_eq!(progress.on_fetched(80, sure), Some(Gone { from: 80, to: 150 }), "the client holds what is below");
        assert_eq!((progress.on_fetched(-1001, sure), progress.on_fetched(150, sure)), (None, None));
        progress.on_records(40, 160);
        assert_eq!(progress.on_fetched(80, sure), None, "a report may be older than what was read");
    }

    #[test]
    fn test_a_log_that_was_emptied_is_lost_up_to_its_end() {
        let mut progress = at(100);
        assert_eq!(progress.on_gap(500, Some(500)), Some(Gone { from: 100, to: 500 }));
        progress.on_report(500, 500, 500);
        assert_eq!((progress.take_untold(), progress.lag()), (Some(500), Some(0)));
    }

    #[test]
    fn test_a_lower_offset_begins_anew() {
        let mut progress = at(100);
        assert_eq!(progress.look_at(0), Next::Anew);
        progress.on_records(100, 110);
        assert_eq!(progress.look_at(109), Next::Anew);
        assert_eq!(progress.rewind(), Some(100));
        assert_eq!(progress.look_at(100), Next::Expected, "going back is no new beginning");
    }

    #[test]
    fn test_rewind_forgets_what_was_passed_over() {
        let mut progress = at(0);
        assert_eq!(progress.rewind(), None, "nothing was read");
        progress.on_records(0, 10);
        progress.on_gap(20, Some(0));
        assert_eq!((progress.rewind(), progress.settled()), (Some(0), Some(0)));
        progress.on_records(0, 10);
        progress.on_commit(10);
        assert_eq!(progress.settled(), Some(10), "the gap is found again");
    }

    #[test]
    fn test_lag_is_unknown_until_the_end_is_reported_and_survives_a_report_without_one() {
        let mut progress = at(4);
        progress.on_report(-1001, -1001, -1001);
        assert_eq!(progress.lag(), None);
        progress.on_report(0, 10, 10);
        progress.on_report(-1, -1, -1);
        assert_eq!(progress.lag(), Some(6));
        progress.on_asked(0, 30);
        progress.on_report(0, 10, 10);
        assert_eq!(progress.lag(), Some(26), "a report may be older than an answer");
    }

    #[test]
    fn test_an_open_transaction_holds_up_what_is_behind_it() {
        let mut progress = at(0);
        progress.on_report(0, 50, 20);
        assert_eq!((progress.behind_open_transaction(), progress.readable_end()), (0, Some(20)));
        progress.on_records(0, 20);
        assert_eq!((progress.behind_open_transaction(), progress.unread()), (30, 30));
        progress.on_report(0, 50, 50);
        assert_eq!((progress.behind_open_transaction(), progress.unread()), (0, 30));
    }

    #[derive(Debug, Clone)]
    enum Step {
        Read { gap: u64, count: u64 },
        Pass(u64),
        Settle(usize),
        Rewind,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            (0u64..4, 1u64..5).prop_map(|(gap, count)| Step::Read { gap, count }),
            (1u64..6).prop_map(Step::Pass),
            (0usize..8).prop_map(Step::Settle),
            Just(Step::Rewind),
        ]
    }

    proptest! {
        /// Whatever comes: the commit never passes a record that is not settled, and in the end nothing is open.
        #[test]
        fn test_the_commit_never_passes_what_is_not_settled(steps in prop::collection::vec(step(), 1..60)) {
            let mut progress = at(0);
            let mut watermark = crate::flow::watermark::Watermark::new();
            // Every record of the log so far, and whether it is settled; offsets that hold none are absent.
            let mut log = std::collections::BTreeMap::<u64, bool>::new();
            let mut open = Vec::new();
            for step in steps {
                let position = progress.position().unwrap();
                match step {
                    // After going back, what was there before is read as it was.
                    Step::Read { .. } | Step::Pass(_) if log.range(position..).next().is_some() => {
                        let first = *log.range(position..).next().unwrap().0;
                        if first > position { progress.on_gap(first, Some(0)); }
                        progress.on_records(first, first + 1);
                        open.push((watermark.track(first + 1), first..first + 1));
                    }
                    Step::Read { gap, count } => {
                        let first = position + gap;
                        if gap > 0 { progress.on_gap(first, Some(0)); }
                        (first..first + count).for_each(|offset| { log.insert(offset, false); });
                        progress.on_records(first, first + count);
                        open.push((watermark.track(first + count), first..first + count));
                    }
                    Step::Pass(count) => { progress.on_gap(position + count, Some(0)); }
                    Step::Settle(index) if !open.is_empty() => {
                        let (id, records) = open.remove(index % open.len());
                        records.for_each(|offset| { log.insert(offset, true); });
                        if let Some(next) = watermark.settle(id) { progress.on_commit(next); }
                    }
                    Step::Settle(_) => {}
                    Step::Rewind => {
                        progress.rewind();
                        open.clear();
                        watermark = crate::flow::watermark::Watermark::new();
                    }
                }
                let settled = progress.settled().unwrap();
                prop_assert!(log.range(..settled).all(|(_, settled)| *settled), "{settled} {log:?}");
            }
        }
    }
}
