//! Which producer takes which record: device to partition by murmur2. Which topic takes a type is in [`super::intake`].

use super::partition_producer::PartitionProducer;
use crate::log::partitioner::partition_for;
use crate::supervision::ActorRef;

/// The producers of one topic.
#[derive(Clone)]
pub struct TopicRoute {
    /// One for each partition, in order.
    pub partitions: Vec<ActorRef<PartitionProducer>>,
}

/// All producers, as decoders and writers need them.
#[derive(Clone)]
pub struct Routes {
    /// The topics that records go to.
    pub topics: Vec<TopicRoute>,
    /// Where records go that can never be written.
    pub dead_letter: TopicRoute,
}

impl TopicRoute {
    /// The producer of the partition that holds a device's records.
    pub fn producer_of(&self, device_id: &[u8]) -> &ActorRef<PartitionProducer> {
        &self.partitions[partition_for(device_id, self.partitions.len() as u32) as usize]
    }
}
