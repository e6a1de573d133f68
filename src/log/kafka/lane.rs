//! One topic's way into Kafka: what it takes, and the producer whose batches fit.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::acked::Acked;
use super::client::Client;
use super::handover::Handover;
use super::limits::{DEFAULT_BATCH_BYTES, Sizes, TopicLimit};
use crate::flow::health::{Condition, Part};
use crate::log::{AppendBatch, Completion, RecordLimit, TopicPartition};

/// For so long after the last refusal a topic counts as refusing, unless it has confirmed something since.
const REFUSAL_STANDS: Duration = Duration::from_secs(30);

/// A topic that takes no larger records is set up wrongly.
const LEAST_RECORD_BYTES: usize = 1024;

/// One topic's way into Kafka.
pub(super) struct Lane {
    topic: Arc<str>,
    /// For those who take messages in.
    record_limit: RecordLimit,
    limit: Mutex<TopicLimit>,
    handover: Mutex<Handover<Arc<Client>, Pending>>,
    /// Why the brokers refused a record last, for a reason other than its size.
    refusal: Mutex<Option<(String, Instant)>>,
    is_refusing: AtomicBool,
    acked: Arc<Acked>,
}

/// A batch to be sent.
pub(super) struct Pending {
    pub partition: u32,
    pub batch: AppendBatch,
    pub done: Completion,
}

// === impl Lane ===

impl Lane {
    /// A topic of which nothing is known yet; its batches go to `client`.
    pub(super) fn new(topic: Arc<str>, client: Arc<Client>, acked: Arc<Acked>) -> Self {
        let limit = TopicLimit::default();
        Self {
            topic,
            record_limit: RecordLimit::new(limit.record_bytes()),
            limit: Mutex::new(limit),
            handover: Mutex::new(Handover::new(client)),
            refusal: Mutex::new(None),
            is_refusing: AtomicBool::new(false),
            acked,
        }
    }

    /// The topic's name.
    pub(super) fn topic(&self) -> &Arc<str> {
        &self.topic
    }

    /// What a record of the topic may have.
    pub(super) fn record_limit(&self) -> &RecordLimit {
        &self.record_limit
    }

    /// Sends a batch, behind all that were appended before.
    pub(super) fn append(self: &Arc<Self>, pending: Pending) {
        let admitted = self.handover.lock().admit(pending);
        if let Some((client, pending)) = admitted {
            client.append(self, pending);
        }
    }

    /// A batch that was sent has come to an end.
    pub(super) fn ended(self: &Arc<Self>) {
        if !self.handover.lock().ended() {
            return;
        }
        loop {
            let released = self.handover.lock().release();
            let Some((client, pending)) = released else { return };
            client.append(self, pending);
        }
    }

    /// Takes in something about what the topic takes, and lets later batches go to another producer if need be.
    /// `client_for` gets the producer for what the topic takes.
    pub(super) fn learn<T, E>(
        &self,
        learn: impl FnOnce(&mut TopicLimit) -> T,
        client_for: impl FnOnce(Sizes) -> Result<Arc<Client>, E>,
    ) -> Result<T, E> {
        let mut limit = self.limit.lock();
        let learnt = learn(&mut limit);
        self.record_limit.set(limit.record_bytes());
        let (before, now) = (self.newest().sizes(), limit.sizes());
        if before != now {
            let client = client_for(now)?;
            self.handover.lock().switch_to(client);
            let (topic, batch_bytes) = (&self.topic, now.batch);
            if before.single == now.single {
                tracing::debug!(%topic, batch_bytes, "trying batches of another size");
            } else {
                tracing::info!(%topic, before = before.single, now = now.single, "the topic takes batches of another size (bytes)");
            }
        }
        Ok(learnt)
    }

    /// The producer that later batches go to.
    pub(super) fn newest(&self) -> Arc<Client> {
        Arc::clone(self.handover.lock().newest())
    }

    /// Whether nothing is in flight and nothing waits.
    pub(super) fn is_idle(&self) -> bool {
        self.handover.lock().is_idle()
    }

    /// The brokers refuse a record of this topic for another reason than its size.
    pub(super) fn note_refused(&self, reason: &str) {
        *self.refusal.lock() = Some((reason.to_owned(), Instant::now()));
        self.is_refusing.store(true, Ordering::Release);
    }

    /// The brokers have confirmed a record.
    pub(super) fn note_confirmed(&self) {
        if self.is_refusing.load(Ordering::Relaxed) {
            self.is_refusing.store(false, Ordering::Release);
            *self.refusal.lock() = None;
        }
    }

    /// Records of this partition are confirmed up to below `end`.
    pub(super) fn note_end(&self, partition: u32, end: u64) {
        self.acked.note(&TopicPartition { topic: Arc::clone(&self.topic), partition }, end);
    }

    /// What is wrong with appends to this topic.
    pub(super) fn conditions(&self) -> impl Iterator<Item = Condition> + use<> {
        self.refuses().into_iter().chain(self.takes_little()).chain(self.assumes())
    }

    fn assumes(&self) -> Option<Condition> {
        let limit = self.limit.lock();
        let detail = format!(
            "kafka refuses batches for topic {} that its settings allow, as far as they can be read; batches of {} bytes are \
             used. Nothing is lost. Let the engine's login describe the settings of its topics (DescribeConfigs), and look for \
             a proxy or a segment.bytes below max.message.bytes",
            self.topic,
            limit.batch_bytes()
        );
        limit.is_assumed().then(|| Condition::degraded(Part::Log, "topic_limit_assumed", &*self.topic, detail))
    }

    fn takes_little(&self) -> Option<Condition> {
        let max_bytes = self.record_limit.max_bytes();
        let detail = format!(
            "topic {} takes records of {max_bytes} bytes at most: nearly everything for it is refused as too large, and dead \
             letters are cut. Raise its max.message.bytes (Kafka's default is {DEFAULT_BATCH_BYTES})",
            self.topic
        );
        (max_bytes < LEAST_RECORD_BYTES)
            .then(|| Condition::degraded(Part::Log, "topic_takes_little", &*self.topic, detail))
    }

    fn refuses(&self) -> Option<Condition> {
        let mut refusal = self.refusal.lock();
        if refusal.as_ref().is_some_and(|(_, at)| at.elapsed() > REFUSAL_STANDS) {
            *refusal = None;
        }
        let (reason, _) = refusal.as_ref()?;
        let detail = format!(
            "kafka refuses records of topic {}: {reason}. Senders are told to send them again. It is not their size: look at \
             the topic's settings (message.timestamp.*, cleanup.policy) and at the clocks of pods and brokers",
            self.topic
        );
        Some(Condition::failing(Part::Log, "append_refused", &*self.topic, detail).refusing_intake())
    }
}
