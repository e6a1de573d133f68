//! Gives a client its bootstrap servers back once it has forgotten every broker.
//!
//! librdkafka drops the brokers that a metadata answer does not name. A cluster that comes back from an outage answers
//! for a moment with its topics and no broker at all, and a client that hears this has nobody left to ask, for ever
//! (<https://github.com/confluentinc/librdkafka/issues/5301>).

use std::ffi::CString;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::bindings::rd_kafka_brokers_add;
use rdkafka::client::{Client, ClientContext};
use rdkafka::producer::{BaseProducer, Producer, ProducerContext};

use super::brokers::Statistics;
use super::settings::KafkaLogSettings;
use crate::scheduling;

/// How long one poll of a producer waits when nothing happens. It spins through the last millisecond, since librdkafka
/// counts in whole ones: at 50 ms that was a seventh of the CPU of a pod that drains a backlog.
const POLL: Duration = Duration::from_secs(1);

/// The bootstrap servers of one client, and whether it needs them.
pub(super) struct Bootstrap {
    servers: CString,
    is_stranded: AtomicBool,
}

// === impl Bootstrap ===

impl Bootstrap {
    /// The servers that the client was started with.
    pub(super) fn new(settings: &KafkaLogSettings) -> Self {
        // An address with a zero byte in it has failed before, when the client was created.
        let servers = CString::new(settings.brokers.join(",")).unwrap_or_default();
        Self { servers, is_stranded: AtomicBool::new(false) }
    }

    /// Takes in a report of this client.
    pub(super) fn on_statistics(&self, statistics: &Statistics) {
        self.is_stranded.store(!statistics.knows_a_broker(), Ordering::Release);
    }

    /// Lets a client that knows no broker begin again. Called from the thread that polls it.
    pub(super) fn mend<C: ClientContext>(&self, client: &Client<C>) {
        if self.is_stranded.swap(false, Ordering::AcqRel) {
            tracing::warn!("kafka named no broker; beginning again with the bootstrap servers");
            add_brokers(client, &self.servers);
        }
    }
}

/// A client's context that keeps its bootstrap servers.
pub(super) trait Bootstrapped: ClientContext {
    /// This client's.
    fn bootstrap(&self) -> &Bootstrap;
}

/// Serves a producer's callbacks, on a thread of its own that ends with the producer.
pub(super) fn serve_producer<C>(thread_name: &str, producer: &Arc<BaseProducer<C>>) -> std::io::Result<()>
where
    C: Bootstrapped + ProducerContext + 'static,
{
    let polled = Arc::downgrade(producer);
    let serve = move || {
        scheduling::wait_for_a_turn();
        while let Some(producer) = polled.upgrade() {
            producer.poll(POLL);
            producer.context().bootstrap().mend(producer.client());
        }
    };
    std::thread::Builder::new().name(thread_name.to_owned()).spawn(serve).map(drop)
}

/// rdkafka has no call for this one.
#[expect(unsafe_code)]
fn add_brokers<C: ClientContext>(client: &Client<C>, servers: &CString) {
    // SAFETY: the handle lives as long as `client`, librdkafka's calls are thread-safe, and it copies the text.
    let num_added = unsafe { rd_kafka_brokers_add(client.native_ptr(), servers.as_ptr()) };
    tracing::debug!(num_added, "bootstrap servers added");
}
