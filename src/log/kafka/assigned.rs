//! One assignment of one partition: where it is read, how far it is done, and how it stands.
//!
//! Every assignment of a partition is a new [`Assigned`]: whoever still holds that of an earlier one can neither read
//! nor commit with it, so that late results never reach a partition that others own by now, or one that began anew. All
//! that are ours at present are in [`super::assignment`].

mod gap;
mod standing;
mod topic;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

pub(super) use self::gap::Held;
pub(super) use self::standing::Standing;
use super::acked::{Acked, End};
use super::brokers::PartitionStatistics;
use super::losses::Losses;
use super::progress::{Gone, Next, Progress};
use super::topic_ids::{Told, TopicId};
use super::watermarks::Watermarks;
use crate::log::{Others, TopicPartition};

/// The client reports what it has done within this time.
const REPORTS_WITHIN: Duration = Duration::from_secs(3);

/// A reader looks at its queue about once a second; one that has not for this long does not want records.
const LOOKS_WITHIN: Duration = Duration::from_secs(3);

/// What the client reports of a partition comes with what it fetches. When nothing has come for this long, the broker is
/// asked instead, and again after as long: it may hold answers back, by a quota for one.
const QUIET: Duration = Duration::from_secs(15);

/// One assignment of one partition.
pub(super) struct Assigned {
    /// Which partition.
    pub id: TopicPartition,
    /// Woken when there may be something to read, and when the partition is taken away.
    pub wake: Notify,
    is_revoked: AtomicBool,
    /// Its offsets began anew: nothing is read or committed with this assignment any more.
    is_anew: AtomicBool,
    /// Its topic has another id than before.
    is_recreated: AtomicBool,
    /// The end of the log may be below what was read: to be asked of the broker.
    is_suspect: AtomicBool,
    is_paused: AtomicBool,
    /// How its topic is read, if it is one of others.
    others: Option<Arc<Others>>,
    /// The next record is gone: nothing more is read with this assignment.
    is_at_gap: AtomicBool,
    /// Nothing is read until somebody has decided.
    is_held: AtomicBool,
    state: Mutex<State>,
    losses: Arc<Mutex<Losses>>,
    acked: Arc<Acked>,
}

struct State {
    progress: Progress,
    /// The group has said that it has committed nothing.
    has_no_commit: bool,
    /// Why nothing is read.
    held: Option<Held>,
    assigned_at: Instant,
    /// The id of the topic that it is of, once that is known.
    topic_id: Option<TopicId>,
    /// Since when the brokers say that there is no such topic any more.
    gone_since: Option<Instant>,
    /// Since when the brokers do not let us look at the topic.
    refused_since: Option<Instant>,
    /// The end before the topic's id was last asked for, and the one that certainly was this topic's.
    end_before: Option<u64>,
    sure_end: Option<u64>,
    /// Since when reading finds nothing, and when it last looked.
    empty_since: Option<Instant>,
    looked_at: Option<Instant>,
    /// When the broker was last asked for the end of the log.
    asked_at: Option<Instant>,
    /// What the client said last instead of a record, and when; until fetching is seen to work again.
    last_error: Option<(String, Instant)>,
    /// The highest end that came with what the client fetched.
    fetched_high: i64,
    /// What the client does for this partition, in its own word.
    fetch_state: String,
    has_leader: bool,
}

// === impl Assigned ===

impl Assigned {
    /// The group gives us this partition now.
    pub(super) fn new(
        id: TopicPartition,
        others: Option<Arc<Others>>,
        losses: Arc<Mutex<Losses>>,
        acked: Arc<Acked>,
    ) -> Self {
        Self {
            id,
            wake: Notify::new(),
            is_revoked: AtomicBool::new(false),
            is_anew: AtomicBool::new(false),
            is_recreated: AtomicBool::new(false),
            is_suspect: AtomicBool::new(false),
            is_paused: AtomicBool::new(false),
            others,
            is_at_gap: AtomicBool::new(false),
            is_held: AtomicBool::new(false),
            state: Mutex::new(State {
                progress: Progress::default(),
                has_no_commit: false,
                held: None,
                assigned_at: Instant::now(),
                topic_id: None,
                gone_since: None,
                refused_since: None,
                end_before: None,
                sure_end: None,
                empty_since: None,
                looked_at: None,
                asked_at: None,
                last_error: None,
                fetched_high: -1,
                fetch_state: String::new(),
                has_leader: true,
            }),
            losses,
            acked,
        }
    }

    /// Whether this assignment has ended.
    pub(super) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire) || self.has_begun_anew()
    }

    /// Whether its offsets began anew, so that what it was for is not there any more.
    pub(super) fn has_begun_anew(&self) -> bool {
        self.is_anew.load(Ordering::Acquire)
    }

    /// The partition is taken away: wakes whoever waits for a record of it.
    pub(super) fn revoke(&self) {
        self.is_revoked.store(true, Ordering::Release);
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// The group has committed this offset: reading begins there.
    pub(super) fn begin(&self, offset: u64) {
        self.state.lock().progress.begin(offset);
    }

    /// The group has no committed offset: reading begins at the start of the log.
    pub(super) fn begin_without_commit(&self) {
        self.state.lock().has_no_commit = true;
    }

    /// Everything below is done. Ignored after the partition was taken away. Where offsets began anew the group is not told,
    /// but it tells what was not lost.
    pub(super) fn note_commit(&self, next_offset: u64) {
        if !self.is_revoked.load(Ordering::Acquire) {
            self.state.lock().progress.on_commit(next_offset);
        }
    }

    /// Where reading goes on, if that is known.
    pub(super) fn position(&self) -> Option<u64> {
        self.state.lock().progress.position()
    }

    /// Records with offsets from `first` to below `next` are handed out.
    pub(super) fn on_records(&self, first: u64, next: u64) {
        let mut state = self.state.lock();
        state.progress.on_records(first, next);
        state.empty_since = None;
        state.last_error = None;
    }

    /// The queue was empty.
    pub(super) fn on_nothing(&self, now: Instant) {
        let mut state = self.state.lock();
        state.empty_since.get_or_insert(now);
        state.looked_at = Some(now);
    }

    /// The client has an error instead of a record. Whether it is another one than the last: it may say one over and over.
    pub(super) fn on_error(&self, error: &str) -> bool {
        let said = (error.to_owned(), Instant::now());
        self.state.lock().last_error.replace(said).is_none_or(|(last, _)| last != error)
    }

    /// The next record has an offset that was not expected. Whether it belongs to this assignment.
    pub(super) fn on_jump(&self, offset: u64, watermarks: impl FnOnce() -> Option<Watermarks>) -> bool {
        let mut state = self.state.lock();
        match state.progress.look_at(offset) {
            Next::Expected => {
                let is_start_unknown = std::mem::take(&mut state.has_no_commit);
                drop(state);
                if is_start_unknown {
                    self.note_unknown_start(watermarks().map(|known| known.low));
                }
                true
            }
            Next::Ahead => {
                let low = watermarks().map(|known| known.low);
                let gone = state.progress.gone_before(offset, low);
                if gone.is_some() && self.stops_at_gaps() {
                    drop(state);
                    self.note_loss(gone);
                    self.end_at_gap();
                    return false;
                }
                let gone = state.progress.on_gap(offset, low);
                drop(state);
                self.note_loss(gone);
                true
            }
            Next::Anew => {
                self.is_anew.store(true, Ordering::Release);
                false
            }
        }
    }

    /// The queue is empty behind the end of the log, and the client has read up to `passed`, be it without a record. The
    /// watermarks are older than the moment when it was found empty, so that nothing below them is still to come.
    pub(super) fn on_end(&self, passed: Option<u64>, Watermarks { low, high }: Watermarks) {
        let mut state = self.state.lock();
        if state.progress.position().is_some_and(|position| high < position) {
            self.is_suspect.store(true, Ordering::Release);
            return;
        }
        state.progress.on_report(low as i64, high as i64, -1);
        let is_start_unknown = std::mem::take(&mut state.has_no_commit);
        let is_behind = state.progress.position().is_some_and(|position| position < low);
        if is_behind && self.stops_at_gaps() {
            return self.end_at_gap();
        }
        let gone = if is_behind { state.progress.on_gap(low, Some(low)) } else { None };
        if let Some(passed) = passed.filter(|passed| state.progress.position().is_none_or(|known| known < *passed)) {
            state.progress.on_gap(passed, None);
        }
        drop(state);
        self.note_loss(gone);
        if is_start_unknown {
            self.note_unknown_start(Some(low));
        }
    }

    /// The broker was asked where the log begins and ends. While its reader is paused the client holds nothing: then what
    /// is below its beginning and not read is lost. Otherwise the next reports tell what the client holds.
    pub(super) fn on_asked(&self, Watermarks { low, high }: Watermarks, now: Instant) {
        let mut state = self.state.lock();
        if state.progress.position().is_some_and(|position| high < position) {
            self.is_anew.store(true, Ordering::Release);
            return;
        }
        state.progress.on_asked(low, high);
        drop(state);
        self.on_start(low, now);
    }

    /// The log began at `low` when that was asked at `now`.
    pub(super) fn on_start(&self, low: u64, now: Instant) {
        let mut state = self.state.lock();
        if now < state.assigned_at {
            // The answer may be of the topic before this one.
            return;
        }
        state.progress.on_start(low, now);
        let gone = match self.is_paused() {
            // Where reading does not go on by itself, it is not passed over.
            true if self.stops_at_gaps() => state.progress.gone_before(low, Some(low)),
            true => state.progress.on_low(low),
            false => None,
        };
        drop(state);
        self.note_loss(gone);
    }

    /// Reading has begun without a commit, at the start of the log.
    fn note_unknown_start(&self, low: Option<u64>) {
        if let Some(low) = low.filter(|low| *low > 0) {
            self.losses.lock().add_unknown(&self.id, low, Instant::now());
        }
    }

    fn note_loss(&self, gone: Option<Gone>) {
        if let Some(gone) = gone {
            self.losses.lock().add(&self.id, gone, self.others.is_some(), Instant::now());
        }
    }

    /// Says whether its reader wants nothing fetched.
    pub(super) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Release);
    }

    /// Whether its reader wants nothing fetched.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Acquire)
    }

    /// Whether the broker is to be asked where the log ends: nobody else tells.
    pub(super) fn wants_to_ask(&self, now: Instant) -> bool {
        let is_due = || {
            let state = self.state.lock();
            let was_asked = state.asked_at.is_some_and(|at| now.saturating_duration_since(at) < QUIET);
            state.is_quiet(now) && !was_asked
        };
        self.is_paused() || self.is_held() || self.is_suspect.load(Ordering::Acquire) || is_due()
    }

    /// The broker is asked now.
    pub(super) fn is_asking(&self, now: Instant) {
        self.is_suspect.store(false, Ordering::Release);
        self.state.lock().asked_at = Some(now);
    }

    /// Where everything that is not done begins; `None` while nothing has been read, so that reading is there anyway.
    pub(super) fn rewind(&self) -> Option<i64> {
        // What was read before is read again, or found to be gone, too.
        self.is_at_gap.store(false, Ordering::Release);
        self.state.lock().progress.rewind().map(|offset| offset as i64)
    }

    /// How many records lie between what is done and the end; `None` until both are known.
    pub(super) fn num_behind(&self) -> Option<u64> {
        let state = self.state.lock();
        // A topic that is not there has no end, and that of one that we may not look at is not known any more.
        state.progress.lag().filter(|_| state.gone_since.is_none() && state.refused_since.is_none())
    }

    /// The offset after the last record that may be read; `None` until librdkafka has reported it.
    pub(super) fn known_end(&self) -> Option<u64> {
        self.state.lock().progress.readable_end()
    }

    /// Everything below is done, as far as that is known.
    pub(super) fn settled(&self) -> Option<u64> {
        self.state.lock().progress.settled()
    }

    /// The group's commit of this partition was made by somebody else, who is named as far as the commit tells.
    pub(super) fn note_foreign_commit(&self, settled_before: Option<u64>, committed: u64, by: &str) {
        // Set back, it only has records read again.
        if settled_before.is_none_or(|settled| settled < committed) {
            self.losses.lock().add_foreign(&self.id, settled_before, committed, by, Instant::now());
        }
    }

    /// The offset that the group has not been told yet. It counts as told from now on.
    pub(super) fn take_untold(&self) -> Option<u64> {
        self.state.lock().progress.take_untold()
    }

    /// The group did not take the last commit: it is to be told again.
    pub(super) fn on_commit_failed(&self) {
        self.state.lock().progress.on_commit_failed();
    }

    /// Takes in what librdkafka reports of the partition.
    pub(super) fn on_statistics(&self, partition: &PartitionStatistics, now: Instant) {
        let mut state = self.state.lock();
        // While nothing is fetched the client repeats what it heard last.
        if !self.is_paused() && !state.is_quiet(now) {
            state.progress.on_report(partition.lo_offset, partition.hi_offset, partition.ls_offset);
        } else if !self.is_paused() {
            state.progress.on_report(partition.lo_offset, -1, partition.ls_offset);
        }
        if partition.hi_offset > state.fetched_high {
            state.fetched_high = partition.hi_offset;
            // What was fetched just before the error may come in a report after it.
            state.last_error.take_if(|(_, at)| now.saturating_duration_since(*at) >= REPORTS_WITHIN);
        }
        state.fetch_state.clone_from(&partition.fetch_state);
        state.has_leader = partition.leader >= 0;
        let gone = state.progress.on_fetched(partition.next_offset, now);
        drop(state);
        self.note_loss(gone);
    }
}

// === impl State ===

impl State {
    /// Whether nothing has come for long.
    fn is_quiet(&self, now: Instant) -> bool {
        self.empty_since.is_some_and(|since| now.saturating_duration_since(since) >= QUIET)
    }
}
