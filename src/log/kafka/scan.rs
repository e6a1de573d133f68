//! Reads whole topics once, outside of the group: for schemas, ledgers and checks.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};

use super::failed;
use super::quiet::Quiet;
use super::settings::KafkaLogSettings;
use crate::log::{LogError, TopicPartition, TopicSpec};

/// How long brokers have to answer, and how long reading may make no progress.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Calls `visit` for every record of a topic from its start to the end it has at the time of the call. Blocks.
pub(super) fn scan(
    settings: &KafkaLogSettings,
    topic: &TopicSpec,
    mut visit: impl FnMut(&TopicPartition, u64, &[u8], &[u8]),
) -> Result<(), LogError> {
    let context = format!("reading topic {}", topic.name);
    let consumer =
        BaseConsumer::from_config_and_context(&settings.scanner(), Quiet).map_err(|error| failed(&context, &error))?;
    let mut unfinished = HashMap::new();
    let mut assignment = TopicPartitionList::new();
    for partition in 0..topic.num_partitions {
        let (start, end) = consumer
            .fetch_watermarks(&topic.name, partition as i32, TIMEOUT)
            .map_err(|error| failed(&context, &error))?;
        if start < end {
            assignment
                .add_partition_offset(&topic.name, partition as i32, Offset::Offset(start))
                .map_err(|error| failed(&context, &error))?;
            unfinished.insert(partition as i32, end);
        }
    }
    if unfinished.is_empty() {
        return Ok(());
    }
    consumer.assign(&assignment).map_err(|error| failed(&context, &error))?;
    let mut progress_at = Instant::now();
    while !unfinished.is_empty() {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                progress_at = Instant::now();
                let Some(end) = unfinished.get(&message.partition()).copied() else { continue };
                if message.offset() < end {
                    let id = TopicPartition { topic: topic.name.clone(), partition: message.partition() as u32 };
                    let (key, value) = (message.key().unwrap_or_default(), message.payload().unwrap_or_default());
                    visit(&id, message.offset() as u64, key, value);
                }
                if message.offset() + 1 >= end {
                    unfinished.remove(&message.partition());
                }
            }
            // The last offsets of a compacted or transactional topic may hold no record.
            Some(Err(KafkaError::PartitionEOF(partition))) => {
                unfinished.remove(&partition);
            }
            Some(Err(error)) => tracing::debug!(%error, topic = %topic.name, "reading a whole topic"),
            None => {}
        }
        if progress_at.elapsed() > TIMEOUT {
            return Err(failed(&context, &format!("no progress for {} s", TIMEOUT.as_secs())));
        }
    }
    Ok(())
}
