//! Which partitions the group has given us: all that are [`Assigned`] at present, and what the group is to be told of
//! them.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;
use rdkafka::{Offset, TopicPartitionList};

use super::acked::Acked;
use super::assigned::{Assigned, Standing};
use super::brokers::Statistics;
use super::losses::Losses;
use super::selection::Selection;
use super::topic_ids::Told;
use crate::log::{TopicPartition, TopicSpec};

/// All partitions that are ours at present.
#[derive(Default)]
pub(super) struct Assignments {
    current: Mutex<HashMap<TopicPartition, Arc<Assigned>>>,
    /// How far partitions were done that are not ours any more.
    settled: Mutex<HashMap<TopicPartition, u64>>,
    losses: Arc<Mutex<Losses>>,
    acked: Arc<Acked>,
    /// What is subscribed to.
    selection: Mutex<Selection>,
}

// === impl Assignments ===

impl Assignments {
    /// Those of a process that appends too; `acked` tells what it was confirmed.
    pub(super) fn new(acked: Arc<Acked>) -> Self {
        Self { acked, ..Self::default() }
    }

    /// What this process's own appends tell of the ends of partitions.
    pub(super) fn acked(&self) -> &Acked {
        &self.acked
    }

    /// These are subscribed to from now on.
    pub(super) fn select(&self, topics: &[TopicSpec]) {
        *self.selection.lock() = Selection::new(topics);
    }

    /// What is subscribed to.
    pub(super) fn selection(&self) -> &Mutex<Selection> {
        &self.selection
    }

    /// Whether a partition of others was added while this process ran.
    pub(super) fn is_new(&self, id: &TopicPartition) -> bool {
        self.selection.lock().is_new(id)
    }

    /// Takes a partition up. An earlier assignment of it, if any, ends.
    pub(super) fn assign(&self, id: TopicPartition) -> Arc<Assigned> {
        let others = self.selection.lock().others_of(&id.topic);
        let (losses, acked) = (Arc::clone(&self.losses), Arc::clone(&self.acked));
        let assigned = Arc::new(Assigned::new(id.clone(), others, losses, acked));
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
        let lasting = revoked.iter().filter(|assigned| !assigned.has_begun_anew());
        let settled = lasting.filter_map(|assigned| Some((assigned.id.clone(), assigned.settled()?)));
        self.settled.lock().extend(settled);
        // What it was for is not there any more.
        let untold = untold(revoked.iter().filter(|assigned| !assigned.has_begun_anew()));
        revoked.iter().for_each(|assigned| assigned.revoke());
        untold
    }

    /// Ends all.
    pub(super) fn revoke_all(&self) -> TopicPartitionList {
        self.revoke(&self.ids())
    }

    /// How far a partition was done when this process had it last.
    pub(super) fn settled_before(&self, id: &TopicPartition) -> Option<u64> {
        self.settled.lock().get(id).copied()
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
        self.filter(|assigned| assigned.has_begun_anew())
    }

    /// Those that are to end: the next record is gone, and what was read before is settled.
    pub(super) fn at_gaps(&self) -> Vec<TopicPartition> {
        self.filter(Assigned::is_done_at_gap).iter().map(|assigned| assigned.id.clone()).collect()
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

    /// Takes in what was told of all topics that are there. Those of another id than before begin anew.
    pub(super) fn on_topic_ids(&self, ids: &HashMap<String, Told>, now: Instant) {
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
            assigned.on_commit_failed();
        }
    }

    /// The log of a partition began at `low` when that was asked at `now`; it need not be ours.
    pub(super) fn on_start(&self, id: &TopicPartition, low: u64, now: Instant) {
        if let Some(assigned) = self.get(id) {
            assigned.on_start(low, now);
        }
    }

    /// Takes in a report of librdkafka's.
    pub(super) fn on_statistics(&self, statistics: &Statistics, now: Instant) {
        for assigned in self.current.lock().values() {
            let partitions = statistics.topics.get(&*assigned.id.topic).map(|topic| &topic.partitions);
            let number = assigned.id.partition.to_string();
            if let Some(partition) = partitions.and_then(|partitions| partitions.get(&number)) {
                assigned.on_statistics(partition, now);
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
    use crate::log::kafka::watermarks::Watermarks;

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
        assert!(assigned.wants_to_ask(Instant::now()) && !assigned.is_revoked());
        assigned.is_asking(Instant::now());
        assigned.on_asked(Watermarks { low: 0, high: 100 }, Instant::now());
        assert!(
            !assigned.wants_to_ask(Instant::now()) && !assigned.is_revoked(),
            "a new leader may know less for a moment"
        );
        assigned.on_asked(Watermarks { low: 0, high: 5 }, Instant::now());
        assert_eq!(assignments.begun_anew().len(), 1);
    }

    #[test]
    fn test_the_end_of_a_quiet_partition_is_asked_for_and_what_the_client_repeats_does_not_count() {
        let (assignments, start) = (Assignments::default(), Instant::now());
        let assigned = assignments.assign(id_of("t", 0));
        assigned.begin(100);
        assigned.on_end(None, Watermarks { low: 0, high: 100 });
        assigned.on_nothing(start);
        let later = start + std::time::Duration::from_secs(20);
        assert!(!assigned.wants_to_ask(start) && assigned.wants_to_ask(later));
        assigned.is_asking(later);
        assert!(!assigned.wants_to_ask(later));
        assigned.on_asked(Watermarks { low: 0, high: 150 }, Instant::now());
        let repeated = r#"{"brokers":{},"topics":{"t":{"partitions":{"0":{"partition":0,"leader":1,"lo_offset":0,
            "hi_offset":100,"ls_offset":100,"committed_offset":100}}}}}"#;
        let repeated = Statistics::parse(repeated.as_bytes()).unwrap();
        (0..10).for_each(|_| assignments.on_statistics(&repeated, later));
        assert_eq!(assigned.num_behind(), Some(50));
    }

    #[test]
    fn test_a_topic_with_another_id_begins_anew_and_what_was_not_read_of_the_old_one_is_lost() {
        let assignments = Assignments::default();
        let assigned = assignments.assign(id_of("t", 0));
        assigned.begin(0);
        assigned.on_records(0, 70);
        assigned.note_commit(70);
        let ask = |number| {
            assignments.before_asking();
            assignments.on_topic_ids(&[("t".to_owned(), Told::test(number))].into(), Instant::now());
        };
        assigned.on_end(None, Watermarks { low: 0, high: 100 });
        ask(1);
        // This may be of the new topic already.
        assigned.on_end(None, Watermarks { low: 0, high: 5000 });
        ask(2);
        assert_eq!(assignments.begun_anew().len(), 1);
        assigned.give_up_the_rest(None, None);
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
        assigned.on_asked(Watermarks { low: 150, high: 200 }, Instant::now());
        assert_eq!(assignments.losses().lock().count(), 0, "it may have been fetched before it was removed");
        assigned.set_paused(true);
        assigned.on_asked(Watermarks { low: 150, high: 200 }, Instant::now());
        assert_eq!((assignments.losses().lock().count(), assigned.num_behind()), (50, Some(50)));
        assigned.on_asked(Watermarks { low: 150, high: 200 }, Instant::now());
        assert_eq!(assignments.losses().lock().count(), 50, "it is counted once");
        assigned.set_paused(false);
        assigned.on_jump(160, || Some(Watermarks { low: 160, high: 200 }));
        assert_eq!(assignments.losses().lock().count(), 60);
    }

    #[test]
    fn test_a_record_that_was_fetched_before_it_was_removed_is_of_the_same_log() {
        let assignments = Assignments::default();
        let assigned = assignments.assign(id_of("t", 0));
        assigned.begin(100);
        assigned.set_paused(true);
        assigned.on_asked(Watermarks { low: 150, high: 200 }, Instant::now());
        assigned.set_paused(false);
        assert!(assigned.on_jump(140, || Some(Watermarks { low: 150, high: 200 })));
        assigned.on_records(140, 150);
        assert!(assigned.on_jump(150, || Some(Watermarks { low: 150, high: 200 })));
        assert!(!assigned.has_begun_anew());
        assert_eq!(assignments.losses().lock().count(), 50);
    }

    #[test]
    fn test_a_loss_behind_what_the_client_holds_is_told_though_nothing_is_read() {
        let (assignments, start) = (Assignments::default(), Instant::now());
        let assigned = assignments.assign(id_of("t", 0));
        let report = |next: i64, seconds| {
            let json = format!(
                r#"{{"topics":{{"t":{{"partitions":{{"0":{{"lo_offset":0,"hi_offset":90,"next_offset":{next}}}}}}}}}}}"#
            );
            let at = start + std::time::Duration::from_secs(seconds);
            assignments.on_statistics(&Statistics::parse(json.as_bytes()).unwrap(), at);
            assignments.losses().lock().count()
        };
        assigned.begin(40);
        assert_eq!(report(80, 0), 0);
        assignments.on_start(&id_of("t", 0), 150, Instant::now());
        assert_eq!((report(80, 1), report(80, 20), report(80, 21)), (0, 70, 70));
        // Another member gets it, or the same one again.
        assignments.revoke_all();
        let assigned = assignments.assign(id_of("t", 0));
        assigned.begin(40);
        assigned.on_jump(150, || Some(Watermarks { low: 150, high: 200 }));
        assert_eq!(assignments.losses().lock().count(), 110);
    }

    #[test]
    fn test_an_answer_from_before_the_assignment_counts_as_nothing() {
        let (assignments, asked_at) = (Assignments::default(), Instant::now());
        let assigned = assignments.assign(id_of("t", 0));
        assigned.begin(0);
        assigned.set_paused(true);
        assignments.on_start(&id_of("t", 0), 150, asked_at);
        assert_eq!(assignments.losses().lock().count(), 0);
    }

    #[test]
    fn test_what_was_confirmed_and_not_done_is_lost_with_its_topic() {
        let assignments = Assignments::default();
        let id = id_of("t", 0);
        let assigned = assignments.assign(id.clone());
        let ask = |number| {
            assignments.before_asking();
            assignments.on_topic_ids(&[("t".to_owned(), Told::test(number))].into(), Instant::now());
        };
        assigned.begin(0);
        ask(1);
        assigned.on_records(0, 70);
        assigned.note_commit(50);
        assignments.acked().note(&id, 100);
        ask(2);
        // Its writes are awaited before it is given up.
        assigned.note_commit(60);
        assignments.revoke_all();
        assigned.note_commit(65);
        assigned.give_up_the_rest(assignments.acked().take(&id), Some(3));
        assert_eq!(assignments.losses().lock().count(), 40);
    }

    #[test]
    fn test_of_a_log_that_was_cut_off_the_rest_is_read_again() {
        let assignments = Assignments::default();
        let id = id_of("t", 0);
        let assigned = assignments.assign(id.clone());
        assigned.begin(0);
        assigned.on_records(0, 100);
        assigned.note_commit(50);
        let ask = || {
            assignments.before_asking();
            assignments.on_topic_ids(&[("t".to_owned(), Told::test(1))].into(), Instant::now());
        };
        ask();
        assigned.on_asked(Watermarks { low: 0, high: 80 }, Instant::now());
        assert!(assigned.has_begun_anew());
        ask();
        assigned.give_up_the_rest(None, Some(80));
        assert_eq!(assignments.losses().lock().count(), 20);
    }
}
