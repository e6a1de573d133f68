//! Topics that the group has committed something of and that the config does not name any more.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use super::facts::{Asker, Extent, Place};
use crate::flow::health::Condition;
use crate::log::{LogError, abandoned};

/// The topics beside `ours` of which the group has committed anything. Looks at all topics of the cluster, so that it is
/// asked once: what the config names does not change while a process runs.
pub(super) fn find(asker: &Asker, ours: &[&str]) -> Result<Vec<Arc<str>>, LogError> {
    let mut places = asker.all_partitions()?;
    // Those of the cluster itself are nobody's records.
    places.retain(|(topic, _)| !ours.contains(&&**topic) && !topic.starts_with("__"));
    // Who may not read the group's commits is told so for our own topics.
    let commits = asker.committed(&places)?.unwrap_or_default();
    let topics: HashSet<Arc<str>> = commits.into_keys().map(|(topic, _)| topic).collect();
    Ok(topics.into_iter().collect())
}

/// What is wrong with these topics, given where their partitions begin and end and what is done.
pub(super) fn judge(extents: &HashMap<Place, Extent>) -> Vec<Condition> {
    let mut num_unread: BTreeMap<&str, u64> = BTreeMap::new();
    for ((topic, _), extent) in extents {
        *num_unread.entry(topic).or_default() += extent.num_unread();
    }
    let left = num_unread.into_iter().filter(|(_, num_unread)| *num_unread > 0);
    left.map(|(topic, num_unread)| abandoned::condition(topic, num_unread, "its retention removes them")).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::codes;
    use super::*;

    #[test]
    fn test_only_what_is_unread_makes_a_topic_abandoned() {
        let extent = |topic: &str, partition, end| {
            ((topic.into(), partition), Extent { start: 0, end, committed: (partition == 0).then_some(5) })
        };
        let extents = HashMap::from([extent("done", 0, 5), extent("left", 0, 8), extent("left", 1, 4)]);
        let found = judge(&extents);
        assert_eq!(codes(&found), ["degraded topic_abandoned"]);
        assert!(
            found[0].detail.starts_with("topic left is not in the config any more, but 7 records"),
            "{}",
            found[0].detail
        );
    }
}
