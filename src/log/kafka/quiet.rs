//! The callbacks of clients that live for a few questions, again and again: what they say about connections, the clients
//! of the data path have said before.

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::KafkaError;

/// Says nothing above debug level. What a question comes to is in its answer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quiet;

// === impl Quiet ===

impl ClientContext for Quiet {
    fn log(&self, _: RDKafkaLogLevel, facility: &str, line: &str) {
        tracing::debug!(target: "librdkafka", facility, "{line}");
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "asking kafka");
    }
}

impl ConsumerContext for Quiet {}
