//! Rules: a topic whose offsets went back. It was deleted and made again, or a leader was elected that lacked its newest
//! records; either way what had been appended and not read is gone.
//!
//! Brokers do not tell us a topic's id, so that a topic that is made again and outgrows its earlier self between two looks
//! is not noticed.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use super::facts::{Extent, Place};
use crate::flow::health::{Condition, Part};

/// What was last seen of each partition.
#[derive(Debug, Default)]
pub(super) struct Memory(HashMap<Place, Extent>);

// === impl Memory ===

impl Memory {
    /// Takes in where partitions begin and end now, and tells which topics' offsets went back since the look before. It is
    /// over as soon as it has happened: the next look does not tell it again. A partition that cannot be seen now is
    /// remembered as it was.
    pub(super) fn update(&mut self, extents: &HashMap<Place, Extent>) -> Vec<Condition> {
        let mut lost: BTreeMap<Arc<str>, u64> = BTreeMap::new();
        for (place, extent) in extents {
            let before = self.0.insert(place.clone(), *extent);
            // The start of a partition never goes back either.
            if let Some(before) = before.filter(|before| extent.end < before.end || extent.start < before.start) {
                *lost.entry(place.0.clone()).or_default() += before.num_unread();
            }
        }
        lost.into_iter().map(|(topic, num_lost)| went_back(&topic, num_lost)).collect()
    }
}

fn went_back(topic: &str, num_lost: u64) -> Condition {
    let detail = format!(
        "the offsets of topic {topic} went back: it was deleted and made again, or a broker that lacked its newest records \
         became the leader. When it was looked at before, {num_lost} of its records were not yet rows: what had not become a \
         row until then is lost, and what came after that look (see records_lost). Look at its settings and replicas: they are those that it was made with"
    );
    Condition::degraded(Part::Log, "topic_recreated", topic, detail)
}

#[cfg(test)]
mod tests {
    use super::super::tests::codes;
    use super::*;

    fn extents(extents: &[(u32, i64, i64, i64)]) -> HashMap<Place, Extent> {
        let extent = |(partition, start, end, committed): &(u32, i64, i64, i64)| {
            (("t".into(), *partition), Extent { start: *start, end: *end, committed: Some(*committed) })
        };
        extents.iter().map(extent).collect()
    }

    #[test]
    fn test_an_end_that_goes_back_is_told_once_with_what_was_unread() {
        let mut memory = Memory::default();
        assert_eq!(memory.update(&extents(&[(0, 0, 100, 90), (1, 0, 50, 30)])), []);
        assert_eq!(memory.update(&extents(&[(0, 0, 120, 110), (1, 0, 60, 40)])), []);
        // It cannot be seen for a while.
        assert_eq!(memory.update(&extents(&[])), []);
        let found = memory.update(&extents(&[(0, 0, 3, 120), (1, 0, 0, 60)]));
        assert_eq!(codes(&found), ["degraded topic_recreated"]);
        assert!(found[0].detail.contains(" 30 of its records"), "{}", found[0].detail);
        assert_eq!(memory.update(&extents(&[(0, 0, 5, 5), (1, 0, 1, 1)])), []);
    }

    #[test]
    fn test_a_start_that_goes_back_is_another_topic_whatever_its_end() {
        let mut memory = Memory::default();
        memory.update(&extents(&[(0, 40, 100, 100)]));
        assert_eq!(codes(&memory.update(&extents(&[(0, 0, 200, 100)]))), ["degraded topic_recreated"]);
    }
}
