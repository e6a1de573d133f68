//! What others do with a topic and its group: an operator, retention, and other applications.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use surgetank::log::{Log, TopicPartition, TopicSpec};

use crate::cluster::Cluster;
use crate::log_contract::{PATIENCE, spec, until};

impl Cluster {
    pub async fn topic(&self, log: &dyn Log, num_partitions: u32) -> TopicSpec {
        let topic = spec(&self.name, num_partitions);
        log.apply(std::slice::from_ref(&topic)).await.unwrap();
        topic
    }

    /// As retention does it.
    pub async fn delete_records_before(&self, id: &TopicPartition, offset: i64) {
        let mut before = TopicPartitionList::new();
        before.add_partition_offset(&id.topic, id.partition as i32, Offset::Offset(offset)).unwrap();
        let deleted = self.admin().delete_records(&before, &AdminOptions::new()).await.unwrap();
        deleted.elements()[0].error().unwrap();
    }

    pub async fn delete_topic(&self, topic: &TopicSpec) {
        for deleted in self.admin().delete_topics(&[&topic.name], &AdminOptions::new()).await.unwrap() {
            deleted.unwrap();
        }
    }

    /// Waits until the brokers do not know the topic any more.
    pub async fn is_gone(&self, topic: &TopicSpec) {
        until("the topic to be gone", || {
            let known = self.admin().inner().fetch_metadata(None, PATIENCE).unwrap();
            known.topics().iter().all(|known| known.name() != &*topic.name)
        })
        .await;
    }

    /// Another application in our group.
    pub fn foreign_member(&self, assignor: &str) -> Foreign {
        let mut client = self.client();
        let client = client
            .set("group.id", &self.name)
            .set("client.id", "report-job")
            .set("session.timeout.ms", "6000")
            .set("partition.assignment.strategy", assignor);
        let consumer: BaseConsumer = client.create().unwrap();
        consumer.subscribe(&[&self.name]).unwrap();
        let stop = Arc::new(Mutex::new(false));
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            while !*stopped.lock() {
                let _ = consumer.poll(Duration::from_millis(50));
            }
        });
        Foreign { stop, thread: Some(thread) }
    }

    /// What the group has committed.
    pub fn committed(&self, id: &TopicPartition) -> Offset {
        let mut client = self.client();
        let consumer: BaseConsumer = client.set("group.id", &self.name).create().unwrap();
        let mut asked = TopicPartitionList::new();
        asked.add_partition(&id.topic, id.partition as i32);
        consumer.committed_offsets(asked, PATIENCE).unwrap().elements()[0].offset()
    }

    pub fn transactional(&self, id: &str) -> BaseProducer {
        let mut client = self.client();
        let client = client.set("transactional.id", format!("{}-{id}", self.name));
        let producer: BaseProducer = client.set("transaction.timeout.ms", "60000").create().unwrap();
        producer.init_transactions(PATIENCE).unwrap();
        producer
    }

    pub fn group_is_stable(&self) -> bool {
        let groups = self.admin().inner().fetch_group_list(Some(&self.name), PATIENCE).unwrap();
        groups.groups().iter().any(|group| group.name() == self.name && group.state() == "Stable")
    }
}

/// Another application in our group, until it is dropped.
pub struct Foreign {
    stop: Arc<Mutex<bool>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Foreign {
    fn drop(&mut self) {
        *self.stop.lock() = true;
        let _ = self.thread.take().unwrap().join();
    }
}

/// Sends records of another application.
pub fn send(producer: &BaseProducer, topic: &TopicSpec, count: usize) {
    for number in 0..count {
        let value = format!("foreign-{number}");
        producer.send(BaseRecord::to(&topic.name).partition(0).key("device").payload(&value)).map_err(|e| e.0).unwrap();
    }
    producer.flush(PATIENCE).unwrap();
}
