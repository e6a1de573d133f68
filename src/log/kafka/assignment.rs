//! Which partitions the group has given us, and how far each of them is done.
//!
//! Every assignment of a partition is a new [`Assigned`]: whoever still holds that of an earlier one can neither read
//! nor commit with it, so that late results never reach a partition that others own by now.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use rdkafka::{Offset, TopicPartitionList};
use tokio::sync::Notify;

use super::brokers::Statistics;
use crate::log::TopicPartition;

const UNKNOWN: i64 = -1;

/// All partitions that are ours at present.
#[derive(Default)]
pub(super) struct Assignments(Mutex<HashMap<TopicPartition, Arc<Assigned>>>);

/// One assignment of one partition.
pub(super) struct Assigned {
    /// Which partition.
    pub id: TopicPartition,
    /// Woken when there may be something to read, and when the partition is taken away.
    pub wake: Notify,
    is_revoked: AtomicBool,
    /// Everything below is done; 0 while nothing is.
    done: AtomicU64,
    /// What of it the group has been told.
    told: AtomicU64,
    /// Where reading began, which is what the group had committed.
    first_read: AtomicI64,
    /// What the group has committed, by librdkafka's report.
    reported: AtomicI64,
    /// The offset after the last record, by librdkafka's report.
    high: AtomicI64,
}

// === impl Assigned ===

impl Assigned {
    fn new(id: TopicPartition) -> Self {
        Self {
            id,
            wake: Notify::new(),
            is_revoked: AtomicBool::new(false),
            done: AtomicU64::new(0),
            told: AtomicU64::new(0),
            first_read: AtomicI64::new(UNKNOWN),
            reported: AtomicI64::new(UNKNOWN),
            high: AtomicI64::new(UNKNOWN),
        }
    }

    /// Whether this assignment has ended.
    pub(super) fn is_revoked(&self) -> bool {
        self.is_revoked.load(Ordering::Acquire)
    }

    fn revoke(&self) {
        self.is_revoked.store(true, Ordering::Release);
        self.wake.notify_waiters();
        self.wake.notify_one();
    }

    /// Everything below is done. Ignored after the partition was taken away.
    pub(super) fn note_commit(&self, next_offset: u64) {
        if !self.is_revoked() {
            self.done.fetch_max(next_offset, Ordering::AcqRel);
        }
    }

    /// Notes where reading begins.
    pub(super) fn note_first_read(&self, offset: i64) {
        let _ = self.first_read.compare_exchange(UNKNOWN, offset, Ordering::AcqRel, Ordering::Acquire);
    }

    /// Where everything that is not done begins; `None` while nothing has been read, so that reading is there anyway.
    pub(super) fn rewind_offset(&self) -> Option<i64> {
        let first_read = self.first_read.load(Ordering::Acquire);
        let done = self.done.load(Ordering::Acquire) as i64;
        (first_read != UNKNOWN).then_some(first_read.max(done))
    }

    /// How many records lie between what is done and the end; `None` until librdkafka has reported the end.
    pub(super) fn num_behind(&self) -> Option<u64> {
        let high = self.known_end()? as i64;
        let done = self.done.load(Ordering::Acquire) as i64;
        let from = done.max(self.first_read.load(Ordering::Acquire)).max(self.reported.load(Ordering::Acquire)).max(0);
        Some((high - from).max(0) as u64)
    }

    /// The offset after the last record; `None` until librdkafka has reported it.
    pub(super) fn known_end(&self) -> Option<u64> {
        u64::try_from(self.high.load(Ordering::Acquire)).ok()
    }
}

// === impl Assignments ===

impl Assignments {
    /// Takes a partition up. An earlier assignment of it, if any, ends.
    pub(super) fn assign(&self, id: TopicPartition) -> Arc<Assigned> {
        let assigned = Arc::new(Assigned::new(id.clone()));
        if let Some(earlier) = self.0.lock().insert(id, assigned.clone()) {
            earlier.revoke();
        }
        assigned
    }

    /// Ends the assignments of these partitions and returns what the group has not been told yet.
    pub(super) fn revoke(&self, ids: &[TopicPartition]) -> TopicPartitionList {
        let mut current = self.0.lock();
        let revoked: Vec<_> = ids.iter().filter_map(|id| current.remove(id)).collect();
        drop(current);
        revoked.iter().for_each(|assigned| assigned.revoke());
        untold(revoked.iter())
    }

    /// Ends all.
    pub(super) fn revoke_all(&self) -> TopicPartitionList {
        self.revoke(&self.ids())
    }

    /// The partitions that are assigned now.
    pub(super) fn ids(&self) -> Vec<TopicPartition> {
        self.0.lock().keys().cloned().collect()
    }

    /// What the group has not been told yet. It counts as told from now on.
    pub(super) fn take_untold(&self) -> TopicPartitionList {
        untold(self.0.lock().values())
    }

    /// The group did not take these commits: they are to be told again.
    pub(super) fn on_commit_failed(&self, commits: &TopicPartitionList) {
        let current = self.0.lock();
        for element in commits.elements() {
            if let Some(assigned) = current.get(&id_of(element.topic(), element.partition())) {
                assigned.told.store(0, Ordering::Release);
            }
        }
    }

    /// Takes in a report of librdkafka's.
    pub(super) fn on_statistics(&self, statistics: &Statistics) {
        for assigned in self.0.lock().values() {
            let partitions = statistics.topics.get(&*assigned.id.topic).map(|topic| &topic.partitions);
            let number = assigned.id.partition.to_string();
            if let Some(partition) = partitions.and_then(|partitions| partitions.get(&number)) {
                assigned.high.fetch_max(partition.hi_offset, Ordering::AcqRel);
                assigned.reported.fetch_max(partition.committed_offset, Ordering::AcqRel);
            }
        }
    }
}

/// A partition's name from librdkafka's.
pub(super) fn id_of(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition: partition as u32 }
}

fn untold<'a>(assigned: impl Iterator<Item = &'a Arc<Assigned>>) -> TopicPartitionList {
    let mut list = TopicPartitionList::new();
    for assigned in assigned {
        let done = assigned.done.load(Ordering::Acquire);
        if assigned.told.swap(done, Ordering::AcqRel) < done {
            let Assigned { id, .. } = &**assigned;
            // Only a negative offset is refused, and this one was unsigned.
            let _ = list.add_partition_offset(&id.topic, id.partition as i32, Offset::Offset(done as i64));
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_commits_are_told_once_and_never_go_back() {
        let assignments = Assignments::default();
        let assigned = assignments.assign(id_of("t", 0));
        assert_eq!(assignments.take_untold().count(), 0);
        assigned.note_commit(7);
        assigned.note_commit(5);
        let told = assignments.take_untold();
        assert_eq!(told.find_partition("t", 0).unwrap().offset(), Offset::Offset(7));
        assert_eq!(assignments.take_untold().count(), 0);
        assignments.on_commit_failed(&told);
        assert_eq!(assignments.take_untold().count(), 1);
    }

    #[test]
    fn test_late_commit_of_an_earlier_assignment_is_ignored() {
        let assignments = Assignments::default();
        let first = assignments.assign(id_of("t", 0));
        first.note_commit(3);
        assert_eq!(assignments.revoke(&[id_of("t", 0)]).count(), 1);
        assert!(first.is_revoked());
        let second = assignments.assign(id_of("t", 0));
        first.note_commit(9);
        assert_eq!(assignments.take_untold().count(), 0);
        second.note_commit(4);
        assert_eq!(assignments.take_untold().count(), 1);
    }

    #[test]
    fn test_lag_is_unknown_until_the_end_is_reported() {
        let assignments = Assignments::default();
        let assigned = assignments.assign(id_of("t", 0));
        let report = |high: i64| {
            let partitions = format!(r#"{{"0":{{"hi_offset":{high},"committed_offset":-1001}}}}"#);
            Statistics::parse(format!(r#"{{"topics":{{"t":{{"partitions":{partitions}}}}}}}"#).as_bytes()).unwrap()
        };
        assert_eq!(assigned.num_behind(), None);
        assignments.on_statistics(&report(-1001));
        assert_eq!(assigned.num_behind(), None);
        assignments.on_statistics(&report(10));
        assigned.note_commit(4);
        assert_eq!(assigned.num_behind(), Some(6));
    }

    #[test]
    fn test_rewind_goes_to_what_is_done_or_to_where_reading_began() {
        let assigned = Assigned::new(id_of("t", 0));
        assert_eq!(assigned.rewind_offset(), None);
        assigned.note_first_read(10);
        assigned.note_first_read(20);
        assert_eq!(assigned.rewind_offset(), Some(10));
        assigned.note_commit(15);
        assert_eq!(assigned.rewind_offset(), Some(15));
    }
}
