//! Which topics are read: ours, those of others by name, and those that match a pattern, as far as the brokers have told
//! of them. Without a client and without a clock.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use crate::log::{Others, TopicPartition, TopicSpec, spec_of};

/// A topic that matched a pattern and is not told any more this many times in a row is read no longer: a broker that has
/// just started may not know all of them.
const MAX_MISSED: u8 = 2;

/// What is subscribed to.
#[derive(Debug, Default)]
pub(super) struct Selection {
    specs: Vec<TopicSpec>,
    /// The topics of others that are there; `None` until that is known.
    others: Option<BTreeMap<Arc<str>, Known>>,
}

/// A topic of others that is there.
#[derive(Debug)]
struct Known {
    num_partitions: u32,
    /// How many of its partitions were there when this process began to look.
    num_at_start: u32,
    num_missed: u8,
}

// === impl Selection ===

impl Selection {
    /// These are to be read.
    pub(super) fn new(specs: &[TopicSpec]) -> Self {
        Self { specs: specs.to_vec(), others: None }
    }

    /// Whether topics of others are among them.
    pub(super) fn has_others(&self) -> bool {
        self.specs.iter().any(|spec| spec.others.is_some())
    }

    /// The topics of others to ask the brokers about; `None` if a pattern needs the names of all.
    pub(super) fn asked(&self) -> Option<Vec<Arc<str>>> {
        if self.specs.iter().any(|spec| spec.pattern().is_some()) {
            return None;
        }
        Some(self.specs.iter().filter(|spec| spec.others.is_some()).map(|spec| spec.name.clone()).collect())
    }

    /// The names to subscribe to, in order.
    pub(super) fn names(&self) -> Vec<Arc<str>> {
        let named = self.specs.iter().filter(|spec| spec.pattern().is_none()).map(|spec| spec.name.clone());
        let mut names: Vec<_> = named.chain(self.others.iter().flat_map(BTreeMap::keys).cloned()).collect();
        names.sort_unstable();
        names.dedup();
        names
    }

    /// Takes in the topics that are there, with their numbers of partitions. Whether the names to subscribe to are others
    /// now.
    pub(super) fn on_topics(&mut self, told: &HashMap<String, u32>) -> bool {
        let before = self.names();
        let is_first = self.others.is_none();
        let mut others = self.others.take().unwrap_or_default();
        for (name, known) in &mut others {
            match told.get(&**name) {
                Some(num_partitions) => (known.num_partitions, known.num_missed) = (*num_partitions, 0),
                None => known.num_missed += 1,
            }
        }
        others.retain(|_, known| known.num_missed < MAX_MISSED);
        for (name, num_partitions) in told {
            if !others.contains_key(&**name) && self.others_of(name).is_some() {
                let num_at_start = if is_first { *num_partitions } else { 0 };
                let known = Known { num_partitions: *num_partitions, num_at_start, num_missed: 0 };
                others.insert(name.as_str().into(), known);
            }
        }
        self.others = Some(others);
        self.names() != before
    }

    /// How this topic is read, if it is one of others.
    pub(super) fn others_of(&self, topic: &str) -> Option<Arc<Others>> {
        spec_of(&self.specs, topic)?.others.clone()
    }

    /// Whether a partition of others was added, or its topic made, while this process ran.
    pub(super) fn is_new(&self, id: &TopicPartition) -> bool {
        // Unknown until the brokers have told what there is.
        let Some(others) = &self.others else { return false };
        others.get(&id.topic).is_none_or(|known| known.num_at_start <= id.partition)
    }

    /// The topics of others that are known to be there.
    pub(super) fn known_others(&self) -> Vec<Arc<str>> {
        self.others.iter().flat_map(BTreeMap::keys).cloned().collect()
    }

    /// All partitions that somebody in the group has to have.
    pub(super) fn wanted(&self) -> Vec<TopicPartition> {
        let own = self.specs.iter().filter(|spec| spec.others.is_none());
        let own = own.map(|spec| (spec.name.clone(), spec.num_partitions));
        let others = self.others.iter().flatten().map(|(name, known)| (name.clone(), known.num_partitions));
        own.chain(others)
            .flat_map(|(topic, number)| {
                (0..number).map(move |partition| TopicPartition { topic: topic.clone(), partition })
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::kafka::assignment::id_of;
    use crate::log::{OnGap, Start, TopicPattern};

    fn others(pattern: Option<&str>) -> Others {
        let pattern = pattern.map(|pattern| TopicPattern::new(pattern).unwrap().except(["app-own".into()]));
        Others { pattern, start: Start::Latest, on_gap: OnGap::Stop }
    }

    fn told(topics: &[(&str, u32)]) -> HashMap<String, u32> {
        topics.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
    }

    fn names(selection: &Selection) -> Vec<String> {
        selection.names().iter().map(ToString::to_string).collect()
    }

    #[test]
    fn test_topics_that_match_are_read_while_they_are_there_and_ours_are_none_of_them() {
        let specs = [TopicSpec::own("app-own", 2), TopicSpec::of_others("apps", others(Some("^app-")))];
        let mut selection = Selection::new(&specs);
        assert_eq!((selection.asked(), names(&selection)), (None, vec!["app-own".to_owned()]));
        assert!(selection.on_topics(&told(&[("app-own", 2), ("app-a", 1), ("other", 3)])));
        assert_eq!(names(&selection), ["app-a", "app-own"]);
        assert_eq!(selection.wanted().len(), 3);
        assert!(selection.on_topics(&told(&[("app-own", 2), ("app-a", 2), ("app-b", 1)])));
        assert!(!selection.is_new(&id_of("app-a", 0)), "it was there when reading began");
        assert!(selection.is_new(&id_of("app-a", 1)) && selection.is_new(&id_of("app-b", 0)));
        assert!(!selection.on_topics(&told(&[("app-a", 2)])), "missed once");
        assert!(selection.on_topics(&told(&[("app-a", 2)])));
        assert_eq!(names(&selection), ["app-a", "app-own"]);
    }

    #[test]
    fn test_a_topic_that_is_named_is_subscribed_to_before_it_is_there() {
        let mut selection = Selection::new(&[TopicSpec::of_others("events", others(None))]);
        assert_eq!(selection.asked(), Some(vec!["events".into()]));
        assert_eq!(names(&selection), ["events"]);
        assert!(!selection.on_topics(&told(&[])) && selection.wanted().is_empty());
        assert!(!selection.on_topics(&told(&[("events", 4)])));
        assert_eq!(selection.wanted().len(), 4);
        assert!(selection.is_new(&id_of("events", 0)));
    }
}
