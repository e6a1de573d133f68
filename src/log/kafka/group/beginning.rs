//! Where reading begins in a partition of others: at the group's commit, or where the config says if there is none, or if
//! what it points to is gone.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaResult;
use rdkafka::{Offset, TopicPartitionList};

use super::{ANEW_TIMEOUT, COMMITTED_TIMEOUT, GroupContext};
use crate::log::kafka::assigned::{Assigned, Held};
use crate::log::kafka::assignment::id_of;
use crate::log::kafka::named::named;
use crate::log::kafka::progress::Gone;
use crate::log::{OnGap, Others, Start, TopicPartition};

/// What is known when a partition is assigned.
#[derive(Debug, Clone, Copy)]
struct Known {
    /// What the group has committed.
    committed: Option<u64>,
    /// This process has had the partition before, so that it was committed.
    was_ours: bool,
    /// It was added while this process ran.
    is_new: bool,
    /// The offset of the first record, and the one after the last.
    low: u64,
    high: u64,
    /// The offset of the first record of the time that was asked for.
    at_time: Option<u64>,
}

/// Where reading begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Beginning {
    /// At the group's commit.
    Committed(u64),
    /// Here, where the client goes by itself only if it is the first record that is there.
    At { offset: u64, lost: Option<Gone> },
    /// Nowhere, until somebody has decided.
    Held(Held),
}

/// A partition of others that is assigned, what the group has committed of it, and the mark of that.
pub(super) struct Found {
    pub assigned: Arc<Assigned>,
    pub committed: Option<u64>,
    pub by: String,
}

fn decide(others: &Others, known: &Known) -> Beginning {
    let Known { low, high, .. } = *known;
    match known.committed {
        // A commit beyond the end is of an earlier topic of this name, which reading finds out.
        Some(committed) if committed >= low => Beginning::Committed(committed),
        Some(committed) => {
            let lost = |to| Some(Gone { from: committed, to });
            match others.on_gap {
                OnGap::Stop => Beginning::Held(Held::Removed(Gone { from: committed, to: low })),
                OnGap::Earliest => Beginning::At { offset: low, lost: lost(low) },
                OnGap::Latest => Beginning::At { offset: high, lost: lost(high) },
            }
        }
        None if known.was_ours => match others.on_gap {
            OnGap::Stop => Beginning::Held(Held::Anew),
            OnGap::Earliest => Beginning::At { offset: low, lost: None },
            OnGap::Latest => Beginning::At { offset: high, lost: Some(Gone { from: low, to: high }) },
        },
        None => {
            let offset = match others.start {
                Start::Earliest => low,
                Start::Latest if known.is_new => low,
                Start::Latest => high,
                Start::TimeMs(_) => known.at_time.map_or(high, |offset| offset.clamp(low, high)),
            };
            Beginning::At { offset, lost: None }
        }
    }
}

// === impl Found ===

impl Found {
    /// The time whose first record is asked for, as the client wants it.
    fn start_time(&self) -> Option<Offset> {
        match self.assigned.others()?.start {
            Start::TimeMs(at) if self.committed.is_none() => {
                Some(Offset::Offset(i64::try_from(at).unwrap_or(i64::MAX)))
            }
            _ => None,
        }
    }
}

// === impl GroupContext ===

impl GroupContext {
    /// Lets reading begin in partitions of others. Those about which the brokers do not answer yet are asked about again.
    pub(super) fn begin_others(&self, consumer: &BaseConsumer<Self>, found: Vec<Found>) {
        if found.is_empty() {
            return;
        }
        let known = match self.ask_known(consumer, &found) {
            Ok(known) => known,
            Err(error) => return tracing::debug!(%error, "cannot ask where partitions begin and end; asking again"),
        };
        let mut taken_over: BTreeMap<String, Vec<TopicPartition>> = BTreeMap::new();
        let mut started: BTreeMap<Arc<str>, Vec<String>> = BTreeMap::new();
        for Found { assigned, by, .. } in found {
            let id = &assigned.id;
            let (Some(others), Some(known)) = (assigned.others(), known.get(id)) else { continue };
            match decide(others, known) {
                Beginning::Committed(offset) => {
                    if by != self.owner {
                        match self.assignments().settled_before(id) {
                            Some(settled) => assigned.note_foreign_commit(Some(settled), offset, &by),
                            None => taken_over.entry(by).or_default().push(id.clone()),
                        }
                    }
                    assigned.begin(offset);
                }
                Beginning::At { offset, lost } => {
                    if offset > known.low && !seek(consumer, id, offset) {
                        continue;
                    }
                    assigned.begin_anywhere(offset, lost);
                    if known.committed.is_none() {
                        started.entry(id.topic.clone()).or_default().push(format!("{}: {offset}", id.partition));
                    } else {
                        tracing::warn!(partition = %id, offset, "what was to be read next is gone; reading goes on here");
                    }
                }
                Beginning::Held(held) => {
                    if let Some(committed) = known.committed {
                        assigned.begin(committed);
                    }
                    assigned.hold(held);
                }
            }
            self.undecided.lock().remove(id);
        }
        for (by, partitions) in taken_over {
            let by = if by.is_empty() { "no mark" } else { &by };
            tracing::info!(partitions = named(&partitions), by, "reading goes on at the commits of another consumer");
        }
        for (topic, offsets) in started {
            tracing::info!(topic = %topic, offsets = offsets.join(", "), "the group has no commit: reading begins here");
        }
    }

    /// Asks the brokers; partitions about which they do not answer are left out.
    fn ask_known(&self, consumer: &BaseConsumer<Self>, found: &[Found]) -> KafkaResult<HashMap<TopicPartition, Known>> {
        let everywhere = |offset| found.iter().map(move |found| (&found.assigned.id, offset));
        let starts = offsets(consumer, everywhere(Offset::Beginning))?;
        let ends = offsets(consumer, everywhere(Offset::End))?;
        let times = found.iter().filter_map(|found| Some((&found.assigned.id, found.start_time()?)));
        let times = offsets(consumer, times)?;
        let offset = |asked: &HashMap<TopicPartition, Offset>, id: &TopicPartition| match asked.get(id)? {
            Offset::Offset(offset) => u64::try_from(*offset).ok(),
            _ => None,
        };
        let known = found.iter().filter_map(|found| {
            let id = &found.assigned.id;
            let is_time_known = times.contains_key(id) || found.start_time().is_none();
            let (low, high) = (offset(&starts, id)?, offset(&ends, id)?);
            let known = Known {
                committed: found.committed,
                was_ours: self.assignments().settled_before(id).is_some(),
                is_new: self.assignments().is_new(id),
                low,
                high,
                at_time: offset(&times, id),
            };
            is_time_known.then(|| (id.clone(), known))
        });
        Ok(known.collect())
    }
}

/// Whether the client reads on here. Right after an assignment it does not take it: it is told again.
pub(super) fn seek(consumer: &BaseConsumer<GroupContext>, id: &TopicPartition, offset: u64) -> bool {
    let sought = consumer.seek(&id.topic, id.partition as i32, Offset::Offset(offset as i64), ANEW_TIMEOUT);
    sought.inspect_err(|error| tracing::debug!(partition = %id, %error, "cannot go to its start yet")).is_ok()
}

fn offsets<'a>(
    consumer: &BaseConsumer<GroupContext>,
    wanted: impl Iterator<Item = (&'a TopicPartition, Offset)>,
) -> KafkaResult<HashMap<TopicPartition, Offset>> {
    let mut list = TopicPartitionList::new();
    for (id, offset) in wanted {
        list.add_partition_offset(&id.topic, id.partition as i32, offset)?;
    }
    if list.count() == 0 {
        return Ok(HashMap::new());
    }
    let answered = consumer.offsets_for_times(list, COMMITTED_TIMEOUT)?;
    let elements = answered.elements();
    let sound = elements.iter().filter(|element| element.error().is_ok());
    Ok(sound.map(|element| (id_of(element.topic(), element.partition()), element.offset())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(committed: Option<u64>) -> Known {
        Known { committed, was_ours: false, is_new: false, low: 100, high: 200, at_time: None }
    }

    fn others(start: Start, on_gap: OnGap) -> Others {
        Others { pattern: None, start, on_gap }
    }

    fn at(offset: u64, lost: Option<(u64, u64)>) -> Beginning {
        Beginning::At { offset, lost: lost.map(|(from, to)| Gone { from, to }) }
    }

    #[test]
    fn test_a_commit_counts_wherever_reading_would_start() {
        for start in [Start::Earliest, Start::Latest, Start::TimeMs(5)] {
            for committed in [100, 150, 200, 300] {
                let begun = decide(&others(start, OnGap::Stop), &known(Some(committed)));
                assert_eq!(begun, Beginning::Committed(committed));
            }
        }
    }

    #[test]
    fn test_without_a_commit_reading_starts_where_the_config_says() {
        let start = |start, known: Known| decide(&others(start, OnGap::Stop), &known);
        assert_eq!(start(Start::Earliest, known(None)), at(100, None));
        assert_eq!(start(Start::Latest, known(None)), at(200, None));
        assert_eq!(start(Start::Latest, Known { is_new: true, ..known(None) }), at(100, None));
        for (at_time, offset) in [(Some(150), 150), (Some(5), 100), (None, 200)] {
            assert_eq!(start(Start::TimeMs(5), Known { at_time, ..known(None) }), at(offset, None));
        }
    }

    #[test]
    fn test_what_is_gone_is_named_and_the_rule_says_how_it_goes_on() {
        let gap = |on_gap, known| decide(&others(Start::Earliest, on_gap), &known);
        let held = Beginning::Held(Held::Removed(Gone { from: 40, to: 100 }));
        assert_eq!(gap(OnGap::Stop, known(Some(40))), held);
        assert_eq!(gap(OnGap::Earliest, known(Some(40))), at(100, Some((40, 100))));
        assert_eq!(gap(OnGap::Latest, known(Some(40))), at(200, Some((40, 200))));
        let vanished = Known { was_ours: true, ..known(None) };
        assert_eq!(gap(OnGap::Stop, vanished), Beginning::Held(Held::Anew));
        assert_eq!(gap(OnGap::Earliest, vanished), at(100, None));
        assert_eq!(gap(OnGap::Latest, vanished), at(200, Some((100, 200))));
    }
}
