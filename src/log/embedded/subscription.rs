//! Consumption of the embedded log: all partitions at once and for good, since there is no other process to share with.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::mpsc;

use super::partition::Partition;
use super::reader::EmbeddedReader;
use super::topics::{Topics, failed};
use crate::log::{AssignmentEvent, LogError, PartitionReader, Subscription, TopicSpec};

/// The one subscription of the log; dropping it lets another one start.
pub(super) struct EmbeddedSubscription {
    topics: Arc<Topics>,
    partitions: Vec<Arc<Partition>>,
    is_subscribed: Arc<AtomicBool>,
    /// Kept so that the consumer's channel of events stays open for as long as the subscription lives.
    _events: mpsc::UnboundedSender<AssignmentEvent>,
}

type Started = (Box<dyn Subscription>, mpsc::UnboundedReceiver<AssignmentEvent>);

// === impl EmbeddedSubscription ===

impl EmbeddedSubscription {
    /// Marks the topics as read from now on and assigns all of their partitions.
    pub(super) fn start(
        topics: Arc<Topics>,
        wanted: &[TopicSpec],
        is_subscribed: &Arc<AtomicBool>,
    ) -> Result<Started, LogError> {
        let partitions = topics.partitions_of(wanted)?;
        if is_subscribed.swap(true, Ordering::AcqRel) {
            return Err(LogError::failed("subscribing", "there is a subscription already"));
        }
        let (events, receiver) = mpsc::unbounded_channel();
        let subscription = Self { topics, partitions, is_subscribed: is_subscribed.clone(), _events: events.clone() };
        subscription.partitions.iter().for_each(|partition| partition.set_consumed());
        // A stored commit, be it 0, is what says that a topic is read: after a restart nothing of it is removed before
        // the consumer is back.
        store_commits(&subscription.topics, &subscription.partitions)?;
        for partition in &subscription.partitions {
            partition.update_kept_position().map_err(|failure| failed("subscribing", failure))?;
        }
        let readers = subscription
            .partitions
            .iter()
            .map(|partition| Box::new(EmbeddedReader::new(partition.clone())) as Box<dyn PartitionReader>);
        // The receiver is in our hands: sending cannot fail.
        let _ = events.send(AssignmentEvent::Assigned(readers.collect()));
        Ok((Box::new(subscription), receiver))
    }
}

impl Subscription for EmbeddedSubscription {
    fn close(&self) -> BoxFuture<'_, ()> {
        let (topics, partitions) = (self.topics.clone(), self.partitions.clone());
        let storing = move || {
            if let Err(error) = store_commits(&topics, &partitions) {
                tracing::warn!(%error, "the newest commits are lost: their records will be read again");
            }
        };
        tokio::task::spawn_blocking(storing).map(|_| ()).boxed()
    }
}

impl Drop for EmbeddedSubscription {
    fn drop(&mut self) {
        self.is_subscribed.store(false, Ordering::Release);
    }
}

fn store_commits(topics: &Topics, partitions: &[Arc<Partition>]) -> Result<(), LogError> {
    let commits: Vec<_> = partitions.iter().map(|partition| (partition.clone(), partition.committed())).collect();
    topics.store_commits(&commits).map_err(|failure| failed("storing commits", failure))
}
