//! Where a partition's log begins and ends, as its client was told by the last answer of a broker: asks nobody.

use std::ffi::CString;

use rdkafka::bindings::rd_kafka_get_watermark_offsets;
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::RDKafkaRespErr;

use crate::log::TopicPartition;

/// Offsets of the first record and after the last one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watermarks {
    /// Everything below was removed.
    pub low: u64,
    /// The offset after the last record.
    pub high: u64,
}

/// What the client knows of this partition; `None` if no broker has told it yet.
pub(super) fn known<C: ClientContext>(client: &Client<C>, id: &TopicPartition) -> Option<Watermarks> {
    let topic = CString::new(&*id.topic).ok()?;
    let (low, high) = cached(client, &topic, id.partition as i32)?;
    // Negative offsets say that something is not known.
    Some(Watermarks { low: u64::try_from(low).ok()?, high: u64::try_from(high).ok()? })
}

/// rdkafka has no call for this one.
#[expect(unsafe_code)]
fn cached<C: ClientContext>(client: &Client<C>, topic: &CString, partition: i32) -> Option<(i64, i64)> {
    let (mut low, mut high) = (-1, -1);
    // SAFETY: the handle lives as long as `client`, librdkafka's calls are thread-safe, it copies the name, and it writes
    // to the two numbers before it returns.
    let code = unsafe {
        rd_kafka_get_watermark_offsets(client.native_ptr(), topic.as_ptr(), partition, &raw mut low, &raw mut high)
    };
    (code == RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR).then_some((low, high))
}
