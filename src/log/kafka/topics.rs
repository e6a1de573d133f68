//! Asks the brokers which topics are there, and how many partitions they have.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaResult;
use rdkafka::metadata::Metadata;

/// Asks about these topics, or about all that this login may see. Topics that are not there, or may not be seen, are left
/// out. Blocks for up to `timeout` altogether.
pub(super) fn ask<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topics: Option<&[Arc<str>]>,
    timeout: Duration,
) -> KafkaResult<HashMap<String, u32>> {
    let mut told = HashMap::new();
    let Some(topics) = topics else {
        take(&consumer.fetch_metadata(None, timeout)?, &mut told);
        return Ok(told);
    };
    let deadline = Instant::now() + timeout;
    for topic in topics {
        let left = deadline.saturating_duration_since(Instant::now());
        take(&consumer.fetch_metadata(Some(topic), left)?, &mut told);
    }
    Ok(told)
}

fn take(metadata: &Metadata, told: &mut HashMap<String, u32>) {
    for topic in metadata.topics().iter().filter(|topic| topic.error().is_none()) {
        told.insert(topic.name().to_owned(), topic.partitions().len() as u32);
    }
}
