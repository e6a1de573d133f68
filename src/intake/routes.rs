//! Which producer takes which record: device to partition by murmur2. Which topic takes a type is in [`super::rules`].

use super::append::Producer;
use crate::log::RecordLimit;
use crate::log::partitioner::partition_for;

/// The producers of one topic.
#[derive(Clone)]
pub struct TopicRoute {
    /// One for each partition, in order.
    pub partitions: Vec<Producer>,
    /// What one record may have.
    pub limit: RecordLimit,
}

/// All producers, as intake and writers need them.
#[derive(Clone)]
pub struct Routes {
    /// The topics that records go to.
    pub topics: Vec<TopicRoute>,
    /// Where records go that can never be written.
    pub dead_letter: TopicRoute,
}

/// What records may have, topic by topic.
#[derive(Debug, Clone)]
pub struct RecordLimits {
    /// In the topics that records go to, in the order of the routes.
    pub topics: Vec<RecordLimit>,
    /// In the topic of dead letters.
    pub dead_letter: RecordLimit,
}

// === impl Routes ===

impl Routes {
    /// What records may have in these topics.
    pub fn limits(&self) -> RecordLimits {
        let topics = self.topics.iter().map(|topic| topic.limit.clone()).collect();
        RecordLimits { topics, dead_letter: self.dead_letter.limit.clone() }
    }
}

// === impl TopicRoute ===

impl TopicRoute {
    /// The partition that holds a device's records.
    pub fn partition_of(&self, device_id: &[u8]) -> u32 {
        partition_for(device_id, self.partitions.len() as u32)
    }

    /// The producer of a partition of this topic.
    pub fn producer(&self, partition: u32) -> &Producer {
        &self.partitions[partition as usize]
    }

    /// The producer of the partition that holds a device's records.
    pub fn producer_of(&self, device_id: &[u8]) -> &Producer {
        self.producer(self.partition_of(device_id))
    }
}
