//! Whether any broker can be reached, where partitions end, and what waits in queues, told by librdkafka's once-a-second
//! statistics, so that nobody has to ask a server.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::RwLock;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use serde::Deserialize;

use super::acked::Acked;
use super::own_log::OwnLog;

/// What a fetched message takes beside its key and value. The producer's messages take as much, but of those the senders
/// know.
const FETCHED_MESSAGE_OVERHEAD: u64 = 512;

/// What is known of the brokers.
#[derive(Default)]
pub(super) struct Brokers {
    /// A broker answered since the last time that all were down.
    is_up: AtomicBool,
    /// The last confirmation that was due did not come.
    is_failing: AtomicBool,
    last_error: RwLock<String>,
    broken: OnceLock<String>,
    /// Bytes in the producers' queues.
    queued_bytes: AtomicU64,
    /// Bytes in the consumer's queues.
    fetched_bytes: AtomicU64,
    /// What a record takes in a topic, in bytes as it is stored, by what was last appended.
    record_bytes: RwLock<HashMap<String, f64>>,
    /// Where partitions end, by what was confirmed.
    pub(super) acked: Arc<Acked>,
    /// What all clients of the log say by themselves.
    pub(super) own_log: OwnLog,
}

/// The part of the statistics that we read.
#[derive(Deserialize)]
pub(super) struct Statistics {
    #[serde(default)]
    brokers: HashMap<String, BrokerStatistics>,
    /// Bytes of messages that a producer has not had confirmed.
    #[serde(default)]
    msg_size: u64,
    /// By topic name.
    #[serde(default)]
    pub topics: HashMap<String, TopicStatistics>,
    /// The membership; only of a client that is a member of a group.
    pub cgrp: Option<GroupStatistics>,
}

/// A membership's part.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub(super) struct GroupStatistics {
    /// `up` if there is a coordinator that answers.
    pub state: String,
    /// `steady` if the group is of one mind.
    pub join_state: String,
    /// Why the group last gave its partitions out anew.
    #[serde(default)]
    pub rebalance_reason: String,
    /// How often it did.
    #[serde(default)]
    pub rebalance_cnt: u64,
}

fn unknown() -> i64 {
    -1
}

#[derive(Deserialize)]
struct BrokerStatistics {
    state: String,
    source: String,
}

/// A topic's part.
#[derive(Deserialize)]
pub(super) struct TopicStatistics {
    /// By partition number; "-1" is librdkafka's own.
    pub partitions: HashMap<String, PartitionStatistics>,
    /// Bytes of the batches sent since the report before, compressed.
    #[serde(default)]
    batchsize: Summed,
    /// Records of those.
    #[serde(default)]
    batchcnt: Summed,
}

/// What was counted between two reports.
#[derive(Default, Deserialize)]
struct Summed {
    sum: u64,
}

/// A partition's part. Negative: not known.
#[derive(Deserialize)]
pub(super) struct PartitionStatistics {
    /// The offset of the first record that is still there.
    #[serde(default = "unknown")]
    pub lo_offset: i64,
    /// The offset after the last record.
    #[serde(default = "unknown")]
    pub hi_offset: i64,
    /// Where the first open transaction begins, or the end.
    #[serde(default = "unknown")]
    pub ls_offset: i64,
    /// Where the client goes on to fetch: it holds what is below and not read.
    #[serde(default = "unknown")]
    pub next_offset: i64,
    /// The broker that has it.
    #[serde(default)]
    pub leader: i32,
    /// What the client does for it, in its own word.
    #[serde(default)]
    pub fetch_state: String,
    /// Messages fetched and not read.
    #[serde(default)]
    fetchq_cnt: u64,
    /// Bytes of those.
    #[serde(default)]
    fetchq_size: u64,
}

// === impl Brokers ===

impl Brokers {
    /// Takes in an error that concerns no single record.
    pub(super) fn on_error(&self, error: &KafkaError, reason: &str) {
        *self.last_error.write() = reason.to_owned();
        let is_last = error.rdkafka_error_code() == Some(RDKafkaErrorCode::AllBrokersDown);
        if is_last && self.is_up.swap(false, Ordering::AcqRel) {
            tracing::warn!(reason, "no kafka broker can be reached");
        }
        if !is_of_a_connection(error) {
            self.own_log.error("producer", error, reason);
        }
    }

    /// Takes in a report.
    pub(super) fn on_statistics(&self, statistics: &Statistics) {
        // Idle connections are closed by brokers in the normal course, so only an error says that all are down.
        if statistics.brokers.values().any(|broker| broker.state == "UP" && broker.source != "logical") {
            self.on_up();
        }
    }

    /// A broker has answered.
    pub(super) fn on_up(&self) {
        if !self.is_up.swap(true, Ordering::AcqRel) {
            tracing::info!("kafka can be reached");
        }
    }

    /// Takes in what a producer has sent.
    pub(super) fn note_sent(&self, statistics: &Statistics) {
        let sent = statistics.topics.iter().filter(|(_, topic)| topic.batchcnt.sum > 0);
        let mut record_bytes = self.record_bytes.write();
        record_bytes
            .extend(sent.map(|(name, topic)| (name.clone(), topic.batchsize.sum as f64 / topic.batchcnt.sum as f64)));
    }

    /// Takes in what waits in the queue of one of the producers, and what it had there as of its last report.
    pub(super) fn note_queued(&self, before: u64, now: u64) {
        // Wraps where it shrinks, and comes out right: the sum is never below the parts.
        self.queued_bytes.fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// Takes in what waits in the consumer's queues; `None` when there is no consumer any more.
    pub(super) fn note_fetched(&self, statistics: Option<&Statistics>) {
        self.fetched_bytes.store(statistics.map_or(0, Statistics::fetched_bytes), Ordering::Relaxed);
    }

    /// How many bytes a record of this topic takes where it is stored, about. `None`: nothing was appended to it yet.
    pub(super) fn record_bytes(&self, topic: &str) -> Option<f64> {
        self.record_bytes.read().get(topic).copied()
    }

    /// Bytes of messages in all queues, as of the last reports.
    pub(super) fn buffered_bytes(&self) -> u64 {
        self.queued_bytes.load(Ordering::Relaxed) + self.fetched_bytes.load(Ordering::Relaxed)
    }

    /// Takes in whether a record was confirmed.
    pub(super) fn on_delivery(&self, is_confirmed: bool) {
        if self.is_failing.load(Ordering::Relaxed) == is_confirmed {
            self.is_failing.store(!is_confirmed, Ordering::Release);
        }
        if is_confirmed && !self.is_up.load(Ordering::Relaxed) {
            self.on_up();
        }
    }

    /// Forgets a missing confirmation: it is long past and nothing has been tried since.
    pub(super) fn forgive(&self) {
        self.is_failing.store(false, Ordering::Release);
    }

    /// Something has ended that only a restart brings back.
    pub(super) fn break_down(&self, reason: &str) {
        if self.broken.set(reason.to_owned()).is_ok() {
            tracing::error!(reason, "the kafka client needs a restart");
        }
    }

    /// What only a restart brings back, if anything.
    pub(super) fn broken(&self) -> Option<String> {
        self.broken.get().cloned()
    }

    /// `Ok` while appends can be expected to be confirmed.
    pub(super) fn check(&self) -> Result<(), String> {
        if let Some(reason) = self.broken.get() {
            return Err(reason.clone());
        }
        if !self.is_up.load(Ordering::Acquire) {
            return Err(format!("no kafka broker can be reached: {}", self.last_error.read()));
        }
        if self.is_failing.load(Ordering::Acquire) {
            return Err("kafka does not confirm appends in time".to_owned());
        }
        Ok(())
    }
}

// === impl Statistics ===

impl Statistics {
    /// Reads a report; one that cannot be read is skipped, the next comes in a second.
    pub(super) fn parse(json: &[u8]) -> Option<Self> {
        serde_json::from_slice(json).inspect_err(|error| tracing::debug!(%error, "unreadable kafka statistics")).ok()
    }

    /// Bytes in a producer's queue.
    pub(super) fn queued_bytes(&self) -> u64 {
        self.msg_size
    }

    fn fetched_bytes(&self) -> u64 {
        let partitions = self.topics.values().flat_map(|topic| topic.partitions.values());
        // What has no bytes is the word that the end is reached.
        let held = partitions.filter(|partition| partition.fetchq_size > 0);
        held.map(|partition| partition.fetchq_size + partition.fetchq_cnt * FETCHED_MESSAGE_OVERHEAD).sum()
    }

    /// Whether any broker answers.
    pub(super) fn has_a_broker_up(&self) -> bool {
        self.brokers
            .values()
            .any(|broker| broker.state == "UP" && matches!(broker.source.as_str(), "configured" | "learned"))
    }

    /// Whether the client has any broker that it could ask, whatever its state.
    pub(super) fn knows_a_broker(&self) -> bool {
        self.brokers.values().any(|broker| matches!(broker.source.as_str(), "configured" | "learned"))
    }
}

/// Whether the error only repeats that some broker cannot be reached: librdkafka says so many times a second, for each
/// connection, and its own log has it too.
pub(super) fn is_of_a_connection(error: &KafkaError) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure};
    matches!(error.rdkafka_error_code(), Some(AllBrokersDown | BrokerTransportFailure))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(state: &str) -> Statistics {
        let json =
            format!(r#"{{"brokers":{{"a":{{"state":"{state}","source":"configured","nodeid":1}}}},"topics":{{}}}}"#);
        Statistics::parse(json.as_bytes()).unwrap()
    }

    #[test]
    fn test_up_needs_a_broker_and_only_an_error_takes_it_back() {
        let brokers = Brokers::default();
        assert!(brokers.check().is_err());
        brokers.on_statistics(&report("UP"));
        assert!(brokers.check().is_ok());
        brokers.on_statistics(&report("DOWN"));
        assert!(brokers.check().is_ok());
        brokers.on_error(&KafkaError::Global(RDKafkaErrorCode::AllBrokersDown), "1/1 brokers are down");
        assert!(brokers.check().unwrap_err().contains("1/1 brokers"));
    }

    #[test]
    fn test_brokers_of_the_client_itself_are_nobody_to_ask() {
        assert!(report("DOWN").knows_a_broker());
        let json = r#"{"brokers":{"GroupCoordinator":{"state":"TRY_CONNECT","source":"logical"},
            ":0/internal":{"state":"UP","source":"internal"}}}"#;
        assert!(!Statistics::parse(json.as_bytes()).unwrap().knows_a_broker());
    }

    #[test]
    fn test_queues_of_both_clients_are_summed() {
        let brokers = Brokers::default();
        let partition = |bytes, messages| format!(r#"{{"hi_offset":9,"fetchq_size":{bytes},"fetchq_cnt":{messages}}}"#);
        let json = format!(
            r#"{{"msg_size":0,"topics":{{"t":{{"partitions":{{"0":{},"1":{}}}}}}}}}"#,
            partition(1000, 2),
            partition(30, 0)
        );
        brokers.note_fetched(Statistics::parse(json.as_bytes()).as_ref());
        let queued = Statistics::parse(br#"{"msg_cnt":3,"msg_size":500}"#).unwrap().queued_bytes();
        brokers.note_queued(0, queued);
        brokers.note_queued(0, 700);
        brokers.note_queued(700, 0);
        assert_eq!(brokers.buffered_bytes(), 500 + 1030 + 2 * FETCHED_MESSAGE_OVERHEAD);
        brokers.note_fetched(None);
        assert_eq!(brokers.buffered_bytes(), 500);
    }

    #[test]
    fn test_missing_confirmation_shows_until_the_next_one_comes() {
        let brokers = Brokers::default();
        brokers.on_delivery(true);
        brokers.on_delivery(false);
        assert!(brokers.check().is_err());
        brokers.on_delivery(true);
        assert!(brokers.check().is_ok());
    }
}
