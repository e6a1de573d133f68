//! A consumption as simple as can be.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use surgetank::log::{
    AssignmentEvent, Log, PartitionOffsets, ReadError, ReadLimit, Subscription, TopicPartition, TopicSpec,
};

const LIMIT: ReadLimit = ReadLimit { max_records: 64, max_bytes: 1 << 20 };

/// Reads whatever it is given, and commits it at once.
pub struct Follower {
    subscription: Box<dyn Subscription>,
    pub seen: Arc<Mutex<Vec<(TopicPartition, u64, String)>>>,
    pub offsets: Arc<Mutex<HashMap<TopicPartition, Arc<dyn PartitionOffsets>>>>,
    task: tokio::task::JoinHandle<()>,
}

impl Follower {
    pub fn start(log: &dyn Log, topic: &TopicSpec) -> Self {
        let (subscription, mut events) = log.subscribe(std::slice::from_ref(topic)).unwrap();
        let (seen, offsets): (Arc<Mutex<Vec<_>>>, Arc<Mutex<HashMap<_, _>>>) = Default::default();
        let (all_seen, all_offsets) = (Arc::clone(&seen), Arc::clone(&offsets));
        let task = tokio::spawn(async move {
            let mut tasks = HashMap::new();
            while let Some(event) = events.recv().await {
                match event {
                    AssignmentEvent::Assigned(readers) => {
                        for mut reader in readers {
                            let (id, seen) = (reader.partition().clone(), Arc::clone(&all_seen));
                            let of_partition = reader.offsets();
                            all_offsets.lock().insert(id.clone(), Arc::clone(&of_partition));
                            let reading = tokio::spawn(async move {
                                loop {
                                    let batch = match reader.read(LIMIT).await {
                                        Ok(batch) => batch,
                                        Err(ReadError::Revoked(_)) => return,
                                        Err(ReadError::Unavailable { .. }) => {
                                            tokio::time::sleep(Duration::from_millis(10)).await;
                                            continue;
                                        }
                                    };
                                    let values = batch.records.iter().map(|record| {
                                        let value = String::from_utf8(record.value(&batch.data).to_vec()).unwrap();
                                        (reader.partition().clone(), record.offset, value)
                                    });
                                    seen.lock().extend(values);
                                    of_partition.commit(batch.next_offset);
                                }
                            });
                            tasks.insert(id, reading);
                        }
                    }
                    AssignmentEvent::Revoked { partitions, done } => {
                        for id in &partitions {
                            all_offsets.lock().remove(id);
                            if let Some(reading) = tasks.remove(id) {
                                reading.abort();
                                let _ = reading.await;
                            }
                        }
                        drop(done);
                    }
                }
            }
            for reading in tasks.into_values() {
                reading.abort();
                let _ = reading.await;
            }
        });
        Self { subscription, seen, offsets, task }
    }

    pub fn lag(&self, id: &TopicPartition) -> Option<u64> {
        self.offsets.lock().get(id)?.lag()
    }

    pub fn num_seen(&self) -> usize {
        self.seen.lock().len()
    }

    pub async fn close(self) {
        self.task.abort();
        let _ = self.task.await;
        drop(self.offsets);
        self.subscription.close().await;
    }
}
