//! Topics on a real Kafka that others fill: taken over, followed while they change, and read on or not after a gap.
//!
//! Runs only if `SURGETANK_TEST_KAFKA` says where a broker is (`host:port`); every test then uses names of its own.

mod changes;
mod gaps;
mod start;

use std::sync::{Arc, LazyLock};

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use surgetank::flow::health::{Condition, Part};
use surgetank::log::kafka::{KafkaLog, KafkaLogSettings};
use surgetank::log::{Log, OnGap, Others, Start, TopicPartition, TopicPattern, TopicSpec};

use crate::cluster::Cluster;
use crate::kafka_consume::follower::Follower;
use crate::log_contract::{PATIENCE, until};

impl Cluster {
    /// Somebody makes a topic.
    async fn others_make(&self, topic: &str, num_partitions: i32) {
        let topic = NewTopic::new(topic, num_partitions, TopicReplication::Fixed(1));
        for made in self.admin().create_topics([&topic], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
    }

    /// Somebody sends records: their values are their numbers, their times as [`time_ms`] tells.
    fn others_send(&self, topic: &str, partition: i32, numbers: std::ops::Range<i64>, settings: &[(&str, &str)]) {
        let mut client = self.client();
        for (key, value) in settings {
            client.set(*key, *value);
        }
        let producer: BaseProducer = client.create().unwrap();
        for number in numbers {
            let value = number.to_string();
            let record =
                BaseRecord::<str, str>::to(topic).partition(partition).timestamp(time_ms(number)).payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(PATIENCE).unwrap();
    }

    /// A log of this group.
    fn open_as(&self, group: &str) -> Arc<dyn Log> {
        Arc::new(KafkaLog::open(self.settings_as(group)).unwrap())
    }

    fn settings_as(&self, group: &str) -> KafkaLogSettings {
        KafkaLogSettings { group: format!("{}-{group}", self.name), ..self.settings("pod-0") }
    }

    fn of_group(&self, group: &str) -> ClientConfig {
        let mut client = self.client();
        client.set("group.id", format!("{}-{group}", self.name)).set("enable.auto.commit", "false");
        client
    }

    /// Somebody commits for a group.
    fn others_commit(&self, group: &str, id: &TopicPartition, offset: i64) {
        let consumer: BaseConsumer = self.of_group(group).create().unwrap();
        let mut commit = TopicPartitionList::new();
        commit.add_partition_offset(&id.topic, id.partition as i32, Offset::Offset(offset)).unwrap();
        consumer.commit(&commit, CommitMode::Sync).unwrap();
    }

    fn committed_by(&self, group: &str, id: &TopicPartition) -> Option<i64> {
        let consumer: BaseConsumer = self.of_group(group).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&id.topic, id.partition as i32);
        match consumer.committed_offsets(asked, PATIENCE).unwrap().elements()[0].offset() {
            Offset::Offset(offset) => Some(offset),
            _ => None,
        }
    }
}

fn id_of(topic: &str, partition: u32) -> TopicPartition {
    TopicPartition { topic: topic.into(), partition }
}

fn named(topic: &str, start: Start, on_gap: OnGap) -> TopicSpec {
    TopicSpec::of_others(topic, Others { pattern: None, start, on_gap })
}

fn matching(pattern: &str, start: Start) -> TopicSpec {
    let pattern = Some(TopicPattern::new(pattern).unwrap());
    TopicSpec::of_others("section", Others { pattern, start, on_gap: OnGap::Stop })
}

/// What was read of a partition, in order.
fn read_of(follower: &Follower, id: &TopicPartition) -> Vec<i64> {
    let seen = follower.seen.lock();
    seen.iter().filter(|(of, ..)| of == id).map(|(.., value)| value.parse().unwrap()).collect()
}

/// Waits until exactly these were read of a partition.
async fn all_read(follower: &Follower, id: &TopicPartition, numbers: std::ops::Range<i64>) {
    let expected: Vec<i64> = numbers.collect();
    until(&format!("{} records of {id} to be read", expected.len()), || read_of(follower, id).len() >= expected.len())
        .await;
    assert_eq!(read_of(follower, id), expected);
}

/// What is wrong with consumption.
fn codes(conditions: &[Condition]) -> Vec<&str> {
    conditions.iter().filter(|condition| condition.part == Part::Consume).map(|condition| condition.code).collect()
}

/// The time of the record with this number: within the last hour, so that retention leaves it.
fn time_ms(number: i64) -> i64 {
    static FIRST: LazyLock<i64> = LazyLock::new(|| crate::common::now_ms() as i64 - 3_600_000);
    *FIRST + number
}
