//! Which partitions the group has given us, and how far each of them is done.
//!
//! Every assignment of a partition is a new [`Assigned`]: whoever still holds that of an earlier one can neither read
//! nor commit with it, so that late results never reach a partition that others own by now, or one that began anew.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::brokers::{PartitionStatistics, Statistics};
use super::losses::Losses;
use super::progress::{Gone, Next, Progress};
use super::topic_ids::TopicId;
use super::watermarks::Watermarks;
use crate::log::TopicPartition;

/// A reader looks at its queue about once a second; one that has not for this long does not want records.
const LOOKS_WITHIN: Duration = Duration::from_secs(3);

/// All partitions that are ours at present.
#[derive(Default)]
pub(super) struct Assignments {
    current: Mutex<HashMap<TopicPartition, Arc<Assigned>>>,
    losses: Arc<Mutex<Losses>>,
}

/// One assignment of one partition.
pub(super) struct Assigned {
    /// Which partition.
    pub id: TopicPartition,
    /// Woken when there may be something to read, and when the partition is taken away.
    pub wake: Notify,
    is_revoked: AtomicBool,
    /// Its offsets began anew: nothing is read or committed with this assignment any more.
    is_anew: AtomicBool,
    /// The end of the log may be below what was read: to be asked of the broker.
    is_suspect: AtomicBool,
    is_paused: AtomicBool,
    state: Mutex<State>,
    losses: Arc<Mutex<Losses>>,
}

struct State {
    progress: Progress,
    /// The group has said that it has committed nothing.
    has_no_commit: bool,
    assigned_at: Instant,
    /// The id of the topic that it is of, once that is known.
    topic_id: Option<TopicId>,
    /// Since when the brokers say that there is no such topic any more.
    gone_since: Option<Instant>,
    /// The end before the topic's id was last asked for, and the one that certainly was this topic's.
    end_before: Option<u64>,
    sure_end: Option<u64>,
    /// Since when reading finds nothing, and when it last looked.
    empty_since: Option<Instant>,
    looked_at: Option<Instant>,
    /// What the client said last instead of a record.
    last_error: Option<String>,
    /// What the client does for this partition, in its own word.
    fetch_state: String,
    has_leader: bool,
}

/// An assigned partition at one moment, for the health.
pub(super) struct Standing {
    /// Which partition.
    pub id: TopicPartition,
    /// How long the group has given it to us.
    pub assigned_for: Duration,
    /// How long the brokers have said that its topic is not there any more.
    pub gone_for: Option<Duration>,
    /// How long its reader has asked in vain, while the log has more; `None` while it reads, or does not want to.
    pub starves_for: Option<Duration>,
    /// Where reading goes on.
    pub position: Option<u64>,
    /// How many offsets are not read.
    pub num_unread: u64,
    /// How many offsets are held back by an open transaction.
    pub num_behind_transaction: u64,
    /// Whether it is known how far behind it is.
    pub is_lag_known: bool,
    /// Why, as far as the client says.
    pub reason: String,
}

// === impl Assigned ===

impl Assigned {
    fn new(id: TopicPartition, losses: Arc<Mutex<Losses>>) -> Self {
        Self {
            id,
            wake: Notify::new(),
            is_revoked: AtomicBool::new(false),
            is_anew: AtomicBool::new(false),
            is_suspect: AtomicBool::new(false),
            is_paused: AtomicBool::new(false),
            state: Mutex::new(State {
                progress: Progress::default(),
                has_no_commit: false,
                assigned_at: Instant::now(),
                topic_id: None,
                gone_since: None,
                end_before: None,
                sure_end: None,
                empty_since: None,
                looked_at: None,
                last_error: None,
                fetch_state: String::new(),
                has_leader: true,
            }),
            losses,
        }
    }

    /// Whether this assignment has ended.
    pub(super) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire) || self.is_anew.load(Ordering::Acquire)
    }

    fn revoke(&self) {
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

    /// Everything below is done. Ignored after the partition was taken away.
    pub(super) fn note_commit(&self, next_offset: u64) {
        if !self.is_revoked() {
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
        self.state.lock().last_error.replace(error.to_owned()).is_none_or(|last| last != error)
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
                let gone = state.progress.on_gap(offset, watermarks().map(|known| known.low));
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

    /// The queue is at the end of the log, and the client has read up to `passed`, be it without a record.
    pub(super) fn on_end(&self, passed: Option<u64>, Watermarks { low, high }: Watermarks) {
        let mut state = self.state.lock();
        if state.progress.position().is_some_and(|position| high < position) {
            self.is_suspect.store(true, Ordering::Release);
            return;
        }
        state.progress.on_report(low as i64, high as i64, -1);
        let is_start_unknown = std::mem::take(&mut state.has_no_commit);
        let gone = state.progress.on_low(low);
        if let Some(passed) = passed.filter(|passed| state.progress.position().is_none_or(|known| known < *passed)) {
            state.progress.on_gap(passed, None);
        }
        drop(state);
        self.note_loss(gone);
        if is_start_unknown {
            self.note_unknown_start(Some(low));
        }
    }

    /// The broker was asked where the log begins and ends. Only while nothing of it is fetched: then what is below its
    /// beginning and not read is lost.
    pub(super) fn on_asked(&self, Watermarks { low, high }: Watermarks) {
        let mut state = self.state.lock();
        if state.progress.position().is_some_and(|position| high < position) {
            self.is_anew.store(true, Ordering::Release);
            return;
        }
        state.progress.on_asked(low, high);
        let gone = if self.is_paused() { state.progress.on_low(low) } else { None };
        drop(state);
        self.note_loss(gone);
    }

    /// The topic's id is asked for from now on.
    fn before_asking(&self) {
        let mut state = self.state.lock();
        state.end_before = state.progress.end();
    }

    /// The topic has this id, or is not there.
    fn on_topic_id(&self, id: Option<TopicId>, now: Instant) {
        let mut state = self.state.lock();
        let Some(id) = id else {
            // One that never had an id may be one that we may not describe.
            if state.topic_id.is_some() {
                state.gone_since.get_or_insert(now);
            }
            return;
        };
        state.gone_since = None;
        if *state.topic_id.get_or_insert(id) == id {
            state.sure_end = state.end_before;
        } else {
            self.is_anew.store(true, Ordering::Release);
        }
    }

    /// What was not read of a log that began anew is lost with it, as far as its end was known.
    pub(super) fn give_up_the_rest(&self) {
        let (position, end) = {
            let state = self.state.lock();
            (state.progress.position(), state.sure_end)
        };
        let rest = position.zip(end).filter(|(position, end)| position < end);
        self.note_loss(rest.map(|(from, to)| Gone { from, to }));
    }

    /// Reading has begun without a commit, at the start of the log.
    fn note_unknown_start(&self, low: Option<u64>) {
        if let Some(low) = low.filter(|low| *low > 0) {
            self.losses.lock().add_unknown(&self.id, low, Instant::now());
        }
    }

    fn note_loss(&self, gone: Option<Gone>) {
        if let Some(gone) = gone {
            self.losses.lock().add(&self.id, gone, Instant::now());
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
    pub(super) fn wants_to_ask(&self) -> bool {
        self.is_paused() || self.is_suspect.load(Ordering::Acquire)
    }

    /// The broker is asked now.
    pub(super) fn is_asking(&self) {
        self.is_suspect.store(false, Ordering::Release);
    }

    /// Where everything that is not done begins; `None` while nothing has been read, so that reading is there anyway.
    pub(super) fn rewind(&self) -> Option<i64> {
        self.state.lock().progress.rewind().map(|offset| offset as i64)
    }

    /// How many records lie between what is done and the end; `None` until both are known.
    pub(super) fn num_behind(&self) -> Option<u64> {
        let state = self.state.lock();
        // A topic that is not there has no end.
        state.progress.lag().filter(|_| state.gone_since.is_none())
    }

    /// The offset after the last record that may be read; `None` until librdkafka has reported it.
    pub(super) fn known_end(&self) -> Option<u64> {
        self.state.lock().progress.readable_end()
    }

    fn take_untold(&self) -> Option<u64> {
        self.state.lock().progress.take_untold()
    }

    fn on_statistics(&self, partition: &PartitionStatistics) {
        let mut state = self.state.lock();
        // While nothing is fetched the client repeats what it heard last.
        if !self.is_paused() {
            state.progress.on_report(partition.lo_offset, partition.hi_offset, partition.ls_offset);
        }
        state.fetch_state.clone_from(&partition.fetch_state);
        state.has_leader = partition.leader >= 0;
    }

    fn standing(&self, now: Instant) -> Standing {
        let state = self.state.lock();
        let looks = state.looked_at.is_some_and(|at| now.saturating_duration_since(at) < LOOKS_WITHIN);
        let num_unread = state.progress.unread();
        let starves = looks && !self.is_paused() && num_unread > 0;
        let reason = match &state.last_error {
            _ if self.is_paused() => "reading is paused because the store does not keep up".to_owned(),
            Some(error) => error.clone(),
            None if !state.has_leader => "the partition has no leader".to_owned(),
            None => format!("the broker has sent nothing (librdkafka: {})", state.fetch_state),
        };
        Standing {
            id: self.id.clone(),
            assigned_for: now.saturating_duration_since(state.assigned_at),
            gone_for: state.gone_since.map(|since| now.saturating_duration_since(since)),
            starves_for: state.empty_since.filter(|_| starves).map(|since| now.saturating_duration_since(since)),
            position: state.progress.position(),
            num_unread,
            num_behind_transaction: state.progress.behind_open_transaction(),
            is_lag_known: state.progress.lag().is_some(),
            reason,
        }
    }
}

// === impl Assignments ===

impl Assignments {
    /// Takes a partition up. An earlier assignment of it, if any, ends.
    pub(super) fn assign(&self, id: TopicPartition) -> Arc<Assigned> {
        let assigned = Arc::new(Assigned::new(id.clone(), Arc::clone(&self.losses)));
        if let Some(earlier) = self.current.lock().insert(id, assigned.clone()) {
            earlier.revoke();
        }
        assigned
    }

    /// Ends the assignments of these partitions and returns what the group has not been told yet.
    pub(super) fn revoke(&self, ids: &[TopicPartition]) -> TopicPartitionList {
        let mut current = self.current.lock();
        let revoked: Vec<_> = ids.iter().filter_map(|id| current.remove(id)).collect();
        drop(current);
        // What it was for is not there any more.
        let untold = untold(revoked.iter().filter(|assigned| !assigned.is_anew.load(Ordering::Acquire)));
        revoked.iter().for_each(|assigned| assigned.revoke());
        untold
    }

    /// Ends all.
    pub(super) fn revoke_all(&self) -> TopicPartitionList {
        self.revoke(&self.ids())
    }

    /// The partitions that are assigned now.
    pub(super) fn ids(&self) -> Vec<TopicPartition> {
        self.current.lock().keys().cloned().collect()
    }

    /// How many partitions are assigned now.
    pub(super) fn len(&self) -> usize {
        self.current.lock().len()
    }

    /// One of them.
    pub(super) fn get(&self, id: &TopicPartition) -> Option<Arc<Assigned>> {
        self.current.lock().get(id).cloned()
    }

    /// Those for which `filter` holds.
    pub(super) fn filter(&self, filter: impl Fn(&Assigned) -> bool) -> Vec<Arc<Assigned>> {
        self.current.lock().values().filter(|assigned| filter(assigned)).cloned().collect()
    }

    /// Those whose offsets began anew.
    pub(super) fn begun_anew(&self) -> Vec<Arc<Assigned>> {
        self.filter(|assigned| assigned.is_anew.load(Ordering::Acquire))
    }

    /// The topics of those that are assigned now.
    pub(super) fn topics(&self) -> Vec<String> {
        let mut topics: Vec<String> = self.current.lock().keys().map(|id| id.topic.to_string()).collect();
        topics.sort();
        topics.dedup();
        topics
    }

    /// The ids of topics are asked for from now on.
    pub(super) fn before_asking(&self) {
        self.current.lock().values().for_each(|assigned| assigned.before_asking());
    }

    /// Takes in the ids of all topics that are there. Those of another id than before begin anew.
    pub(super) fn on_topic_ids(&self, ids: &HashMap<String, TopicId>, now: Instant) {
        for assigned in self.current.lock().values() {
            assigned.on_topic_id(ids.get(&*assigned.id.topic).copied(), now);
        }
    }

    /// What the group has not been told yet. It counts as told from now on.
    pub(super) fn take_untold(&self) -> TopicPartitionList {
        untold(self.current.lock().values().filter(|assigned| !assigned.is_revoked()))
    }

    /// The group did not take these commits: they are to be told again.
    pub(super) fn on_commit_failed(&self, topic: &str, partition: i32) {
        if let Some(assigned) = self.get(&id_of(topic, partition)) {
            assigned.state.lock().progress.on_commit_failed();
        }
    }

    /// Takes in a report of librdkafka's.
    pub(super) fn on_statistics(&self, statistics: &Statistics) {
        for assigned in self.current.lock().values() {
            let partitions = statistics.topics.get(&*assigned.id.topic).map(|topic| &topic.partitions);
            let number = assigned.id.partition.to_string();
            if let Some(partition) = partitions.and_then(|partitions| partitions.get(&number)) {
                assigned.on_statistics(partition);
            }
        }
    }

    /// All of them, in order.
    pub(super) fn standings(&self, now: Instant) -> Vec<Standing> {
        let mut standings: Vec<_> = self.current.lock().values().map(|assigned| assigned.standing(now)).collect();
        standings.sort_by(|a, b| a.id.cmp(&b.id));
        standings
    }

    /// What was lost.
    pub(super) fn losses(&self) -> &Mutex<Losses> {
        &self.losses
    }
}

/// A partition's name from librdkafka's.
pub(super) fn id_of(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition: partition as u32 }
}

fn untold<'a>(assigned: impl Iterator<Item = &'a Arc<Assigned>>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for assigned in assigned {
        if let Some(settled) = assigned.take_untold() {
            let Assigned { id, .. } = &**assigned;
            // Only a negative offset is refused, and this one was unsigned.
            let _ = list.add_partition_offset(&id.topic, id.partition as i32, Offset::Offset(settled as i64));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_late_commit_of_an_earlier_assignment_is_ignored() {
        let assignments = Assignments::default();
        let first = assignments.assign(id_of("t", 0));
        first.on_records(0, 10);
        first.note_commit(3);
        assert_eq!(assignments.revoke(&[id_of("t", 0)]).count(), 1);
        assert!(first.is_revoked());
        let second = assignments.assign(id_of("t", 0));
        second.on_records(3, 10);
        first.note_commit(9);
        assert_eq!(assignments.take_untold().count(), 0);
        second.note_commit(4);
        let told = assignments.take_untold();
        assert_eq!(told.find_partition("t", 0).unwrap().offset(), Offset::Offset(4));
        assignments.on_commit_failed("t", 0);
        assert_eq!(assignments.take_untold().count(), 1, "it is told again");
    }

    #[test]
    fn test_what_began_anew_is_neither_read_nor_committed_with_the_old_assignment() {
        let assignments = Assignments::default();
        let assigned = assignments.assign(id_of("t", 0));
        assigned.begin(100);
        assigned.on_records(100, 110);
        assert!(assigned.on_jump(112, || Some(Watermarks { low: 0, high: 120 })), "a gap is read on");
        assert!(!assigned.on_jump(0, || None));
        assert!(assigned.is_revoked());
        assigned.note_commit(110);
        assert_eq!(assignments.take_untold().count(), 0);
        assert_eq!(assignments.revoke_all().count(), 0);
    }

    #[test]
    fn test_an_end_below_what_was_read_is_asked_about_before_it_counts() {
        let assignments = Assignments::default();
        let assigned = assignments.assign(id_of("t", 0));
        assigned.begin(100);
        assigned.on_end(Some(0), Watermarks { low: 0, high: 0 });
        assert!(assigned.wants_to_ask() && !assigned.is_revoked());
        assigned.is_asking();
        assigned.on_asked(Watermarks { low: 0, high: 100 });
        assert!(!assigned.wants_to_ask() && !assigned.is_revoked(), "a new leader may know less for a moment");
        assigned.on_asked(Watermarks { low: 0, high: 5 });
        assert_eq!(assignments.begun_anew().len(), 1);
    }

    #[test]
    fn test_a_topic_with_another_id_begins_anew_and_what_was_not_read_of_the_old_one_is_lost() {
        let assignments = Assignments::default();
        let assigned = assignments.assign(id_of("t", 0));
        assigned.begin(0);
        assigned.on_records(0, 70);
        let ask = |number| {
            assignments.before_asking();
            assignments.on_topic_ids(&[("t".to_owned(), TopicId::test(number))].into(), Instant::now());
        };
        assigned.on_end(None, Watermarks { low: 0, high: 100 });
        ask(1);
        // This may be of the new topic already.
        assigned.on_end(None, Watermarks { low: 0, high: 5000 });
        ask(2);
        assert_eq!(assignments.begun_anew().len(), 1);
        assigned.give_up_the_rest();
        assert_eq!(assignments.losses().lock().count(), 30);
        let next = assignments.assign(id_of("t", 0));
        ask(2);
        assert!(!next.is_revoked(), "it never knew another one");
    }

    #[test]
    fn test_a_loss_while_paused_is_told_at_once_and_of_a_busy_partition_when_it_is_read() {
        let assignments = Assignments::default();
        let assigned = assignments.assign(id_of("t", 0));
        assigned.begin(100);
        assigned.on_asked(Watermarks { low: 150, high: 200 });
        assert_eq!(assignments.losses().lock().count(), 0, "it may have been fetched before it was removed");
        assigned.set_paused(true);
        assigned.on_asked(Watermarks { low: 150, high: 200 });
        assert_eq!((assignments.losses().lock().count(), assigned.num_behind()), (50, Some(50)));
        assigned.set_paused(false);
        assigned.on_jump(160, || Some(Watermarks { low: 160, high: 200 }));
        assert_eq!(assignments.losses().lock().count(), 60);
    }
}
