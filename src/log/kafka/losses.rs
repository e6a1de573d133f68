//! Records that were gone from the log before they were read.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Write;
use std::time::{Duration, Instant};

use super::named::named;
use super::progress::Gone;
use super::ranges::Ranges;
use super::topic_ids::TopicId;
use crate::flow::health::{Condition, Part};
use crate::log::TopicPartition;

/// A loss is part of the health for this long after the last one; the counter and the log keep it.
const SHOWN: Duration = Duration::from_secs(600);
/// How many ranges are named.
const MAX_RANGES: usize = 20;

/// The ranges that were lost, the latest last.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// Offsets that others have committed and that were no rows here.
    num_foreign: u64,
    /// What of each partition was counted, over all of its assignments.
    counted: HashMap<TopicPartition, Counted>,
    /// Records that we acknowledged.
    ranges: Lost,
    /// Records of topics of others.
    of_others: Lost,
    /// Partitions that the group has no commit for, though their logs do not begin at 0, with where they begin.
    unknown: BTreeMap<TopicPartition, u64>,
    unknown_at: Option<Instant>,
    /// Partitions whose commits others made.
    foreign: BTreeMap<TopicPartition, Foreign>,
    foreign_at: Option<Instant>,
}

/// The latest ranges of one kind, the last ones at the end.
#[derive(Debug, Default)]
struct Lost {
    num_offsets: u64,
    ranges: VecDeque<(TopicPartition, Gone)>,
    last_at: Option<Instant>,
}

/// What was counted of a partition, and of which topic that was.
#[derive(Debug, Default)]
struct Counted {
    topic: Option<TopicId>,
    ranges: Ranges,
}

/// A commit that another client made.
#[derive(Debug)]
struct Foreign {
    /// Everything below was a row here, as far as this process knows.
    from: Option<u64>,
    to: u64,
    by: String,
}

impl Losses {
    /// Takes in a range, and says what is new of it: a loss may be seen more than once.
    pub(super) fn add(&mut self, partition: &TopicPartition, gone: Gone, is_of_others: bool, now: Instant) {
        for Gone { from, to } in self.counted.entry(partition.clone()).or_default().ranges.add(gone) {
            let (topic, partition_number, to_incl) = (&partition.topic, partition.partition, to - 1);
            let count = to - from;
            match is_of_others {
                false => tracing::error!(
                    topic = %topic, partition = partition_number, from, to = to_incl, count,
                    "acknowledged records are lost: the log removed them before they were read"
                ),
                true => tracing::error!(
                    topic = %topic, partition = partition_number, from, to = to_incl, count,
                    "records of a topic of others are missed: they were removed or passed over before they were read"
                ),
            }
            let lost = if is_of_others { &mut self.of_others } else { &mut self.ranges };
            lost.add(partition, Gone { from, to }, now);
        }
    }

    /// The partition is of this topic.
    pub(super) fn note_topic(&mut self, partition: &TopicPartition, id: TopicId) {
        let counted = self.counted.entry(partition.clone()).or_default();
        if counted.topic.replace(id).is_some_and(|known| known != id) {
            counted.ranges = Ranges::default();
        }
    }

    /// The offsets of the partition began anew: what has the same offset as something that was counted is something else.
    pub(super) fn begin_anew(&mut self, partition: &TopicPartition) {
        self.counted.remove(partition);
    }

    /// Reading begins at the start of a log that is not 0, without a commit: whether something was lost, nobody knows.
    pub(super) fn add_unknown(&mut self, partition: &TopicPartition, low: u64, now: Instant) {
        self.unknown.insert(partition.clone(), low);
        self.unknown_at = Some(now);
    }

    /// The group's commit of a partition is somebody else's. `from`: what was done here when this process had it last.
    pub(super) fn add_foreign(
        &mut self,
        partition: &TopicPartition,
        from: Option<u64>,
        to: u64,
        by: &str,
        now: Instant,
    ) {
        tracing::error!(
            topic = %partition.topic,
            partition = partition.partition,
            from,
            to,
            by,
            "another client of the group has committed this offset: what it read is no row here"
        );
        self.num_foreign += from.map_or(0, |from| to.saturating_sub(from));
        self.foreign.insert(partition.clone(), Foreign { from, to, by: by.to_owned() });
        self.foreign_at = Some(now);
    }

    /// How many offsets were lost since the process began.
    pub(super) fn count(&self) -> u64 {
        self.ranges.num_offsets + self.of_others.num_offsets + self.num_foreign
    }

    /// What is recent of it.
    pub(super) fn conditions(&self, now: Instant) -> impl Iterator<Item = Condition> {
        let lost = self.lost(now).into_iter().chain(self.missed(now));
        lost.chain(self.unknown(now)).chain(self.foreign(now))
    }

    fn unknown(&self, now: Instant) -> Option<Condition> {
        self.unknown_at.filter(|at| now.saturating_duration_since(*at) < SHOWN)?;
        let ids: Vec<TopicPartition> = self.unknown.keys().cloned().collect();
        let detail = format!(
            "the group has no committed offset for {}, whose logs begin later than at 0: if it has read them before, it was \
             away for longer than the brokers keep offsets (offsets.retention.minutes), and records that the log has \
             removed meanwhile are lost without a trace; for a new group this is normal",
            named(&ids)
        );
        Some(Condition::degraded(Part::Consume, "start_unknown", "", detail))
    }

    fn foreign(&self, now: Instant) -> Option<Condition> {
        self.foreign_at.filter(|at| now.saturating_duration_since(*at) < SHOWN)?;
        let mut detail = "offsets of the group were committed by a client that does not write where this one does: another \
                          consumer, somebody by hand, or an earlier version of Surgetank. What it read is not written here:"
            .to_owned();
        for (index, (id, Foreign { from, to, by })) in self.foreign.iter().take(MAX_RANGES).enumerate() {
            let separator = if index == 0 { "" } else { "," };
            let by = if by.is_empty() { "no mark" } else { by };
            // Writing into a string cannot fail.
            let _ = match from {
                Some(from) => write!(detail, "{separator} {id} {from} to {} ({by})", to - 1),
                None => write!(detail, "{separator} {id} up to {} ({by})", to.saturating_sub(1)),
            };
        }
        detail.push_str(
            ". Give that client a group of its own. To have the records written, stop all pods and set the group's offsets \
             back (kafka-consumer-groups --reset-offsets): rows that are there already stay as they are",
        );
        Some(Condition::degraded(Part::Consume, "foreign_commits", "", detail))
    }

    fn lost(&self, now: Instant) -> Option<Condition> {
        let Lost { num_offsets, .. } = self.ranges;
        let detail = format!(
            "{num_offsets} acknowledged records were removed from the log before they were read, by retention or by hand; the \
             last offsets were{}. They cannot be brought back from this log; give its topics a retention that is longer than \
             the store may be away",
            self.ranges.recent(now)?
        );
        Some(Condition::degraded(Part::Consume, "records_lost", "", detail))
    }

    fn missed(&self, now: Instant) -> Option<Condition> {
        let Lost { num_offsets, .. } = self.of_others;
        let detail = format!(
            "{num_offsets} records of topics that others fill were removed before they were read, or passed over because of \
             that; the last offsets were{}. Whoever filled those topics may be able to send them again; ask for a retention \
             that is longer than the store may be away",
            self.of_others.recent(now)?
        );
        Some(Condition::degraded(Part::Consume, "records_missed", "", detail))
    }
}

// === impl Lost ===

impl Lost {
    fn add(&mut self, partition: &TopicPartition, gone: Gone, now: Instant) {
        self.num_offsets += gone.to - gone.from;
        self.last_at = Some(now);
        // What is removed bit by bit is one range.
        if let Some((_, range)) = self.ranges.iter_mut().find(|(id, range)| id == partition && range.to == gone.from) {
            range.to = gone.to;
            return;
        }
        if self.ranges.len() == MAX_RANGES {
            self.ranges.pop_front();
        }
        self.ranges.push_back((partition.clone(), gone));
    }

    /// The ranges in words, the last one first, if there was one lately.
    fn recent(&self, now: Instant) -> Option<String> {
        self.last_at.filter(|at| now.saturating_duration_since(*at) < SHOWN)?;
        let mut text = String::new();
        for (index, (id, Gone { from, to })) in self.ranges.iter().rev().enumerate() {
            let separator = if index == 0 { "" } else { "," };
            // Writing into a string cannot fail.
            let _ = write!(text, "{separator} {id} {from} to {} ({} records)", to - 1, to - from);
        }
        Some(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::kafka::assignment::id_of;

    #[test]
    fn test_a_loss_is_shown_for_some_minutes_after_the_last_one_and_counted_for_ever() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        assert_eq!(losses.conditions(start).count(), 0);
        losses.add(&id_of("orders", 3), Gone { from: 100, to: 200 }, false, start);
        losses.add(&id_of("orders", 3), Gone { from: 200, to: 1000 }, false, start);
        losses.add(&id_of("orders", 4), Gone { from: 5, to: 6 }, false, start + SHOWN / 2);
        let condition = losses.conditions(start + SHOWN).next().unwrap();
        assert!(condition.detail.contains("901 acknowledged records"), "{}", condition.detail);
        assert!(condition.detail.contains("orders/4 5 to 5 (1 records), orders/3 100 to 999 (900 records)"));
        assert_eq!(losses.conditions(start + 2 * SHOWN).count(), 0);
        assert_eq!(losses.count(), 901);
    }

    #[test]
    fn test_a_start_without_a_commit_is_shown_for_some_minutes_and_counts_as_nothing() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        losses.add_unknown(&id_of("orders", 3), 1000, start);
        let conditions: Vec<_> = losses.conditions(start).collect();
        assert_eq!((conditions[0].code, losses.count()), ("start_unknown", 0));
        assert!(conditions[0].detail.contains("orders/3"));
        assert_eq!(losses.conditions(start + SHOWN).count(), 0);
    }

    #[test]
    fn test_a_foreign_commit_counts_as_far_as_this_process_knows_what_was_done() {
        let (mut losses, start) = (Losses::default(), Instant::now());
        losses.add_foreign(&id_of("orders", 1), Some(100), 493, "", start);
        losses.add_foreign(&id_of("orders", 2), None, 50, "surgetank cassandra staging", start);
        assert_eq!(losses.count(), 393);
        let condition = losses.conditions(start).next().unwrap();
        assert_eq!(condition.code, "foreign_commits");
        assert!(
            condition.detail.contains("orders/1 100 to 492 (no mark), orders/2 up to 49 (surgetank cassandra staging)")
        );
        assert_eq!(losses.conditions(start + SHOWN).count(), 0);
    }

    #[test]
    fn test_only_the_latest_ranges_are_named() {
        let (mut losses, now) = (Losses::default(), Instant::now());
        for number in 0..100 {
            losses.add(&id_of("t", number), Gone { from: 0, to: 1 }, false, now);
        }
        assert_eq!((losses.ranges.ranges.len(), losses.count()), (MAX_RANGES, 100));
    }

    #[test]
    fn test_records_of_others_are_told_apart_from_those_that_were_acknowledged() {
        let (mut losses, now) = (Losses::default(), Instant::now());
        losses.add(&id_of("orders", 0), Gone { from: 5, to: 8 }, true, now);
        losses.add(&id_of("orders", 0), Gone { from: 5, to: 9 }, true, now);
        let conditions: Vec<_> = losses.conditions(now).collect();
        assert_eq!((conditions.len(), conditions[0].code, losses.count()), (1, "records_missed", 4));
        assert!(conditions[0].detail.contains("orders/0 5 to 8 (4 records)"), "{}", conditions[0].detail);
        assert!(!conditions[0].detail.contains("acknowledged"), "{}", conditions[0].detail);
    }
}
