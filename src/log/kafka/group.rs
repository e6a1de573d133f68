//! What happens when the group gives us partitions or takes them away. All of it runs on the driver's thread, inside
//! its poll.

mod beginning;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::{KafkaError, KafkaResult, RDKafkaErrorCode};
use rdkafka::{ClientContext, Offset, TopicPartitionList};
use tokio::sync::{mpsc, oneshot};

use self::beginning::Found;
use super::assigned::{Assigned, Held};
use super::assignment::{Assignments, id_of};
use super::bootstrap::{Bootstrap, Bootstrapped};
use super::brokers::{Brokers, Statistics, is_of_a_connection};
use super::consumption::Consumption;
use super::ownership::{mark, mark_of};
use super::progress::Gone;
use super::reader::KafkaReader;
use super::settings::REVOKE_DEADLINE;
use crate::log::{AssignmentEvent, OnGap, PartitionReader, TopicPartition};

/// How often a revoke looks whether the consumers have answered.
const ANSWER_INTERVAL: Duration = Duration::from_millis(2);
/// How long the brokers have to say where reading begins, each time that they are asked. The client asks them the same
/// thing in these milliseconds, and reads nothing before it knows.
const COMMITTED_TIMEOUT: Duration = Duration::from_secs(1);
/// After this long, reading begins without knowing: then a loss before its start is not noticed.
const COMMITTED_DEADLINE: Duration = Duration::from_secs(20);
/// Where reading begins in partitions of others is asked for again after this long.
const ASK_AGAIN: Duration = Duration::from_millis(200);
/// How long a seek may take, and an answer about a log that began anew.
const ANEW_TIMEOUT: Duration = Duration::from_secs(5);

/// The callbacks of the group consumer.
pub(super) struct GroupContext {
    consumption: Arc<Consumption>,
    events: mpsc::UnboundedSender<AssignmentEvent>,
    brokers: Arc<Brokers>,
    bootstrap: Bootstrap,
    /// The mark of our commits.
    owner: String,
    /// Set once, right after the consumer exists; before that nothing calls back.
    consumer: OnceLock<Weak<BaseConsumer<GroupContext>>>,
    /// Readers that are split off and wait until the assignment is in force and their committed offsets are known.
    ready: Mutex<Vec<Box<dyn PartitionReader>>>,
    /// Since when such readers wait for their committed offsets.
    asking_since: Mutex<Option<Instant>>,
    /// Partitions of others of which it is not known yet where reading begins.
    undecided: Mutex<HashSet<TopicPartition>>,
    /// When that was last asked.
    asked_at: Mutex<Option<Instant>>,
    /// While closing there is nobody left to ask: readers are gone, and commits were told.
    is_closing: AtomicBool,
}

// === impl GroupContext ===

impl GroupContext {
    /// A context whose consumer is still to come.
    pub(super) fn new(
        consumption: Arc<Consumption>,
        events: mpsc::UnboundedSender<AssignmentEvent>,
        brokers: Arc<Brokers>,
        bootstrap: Bootstrap,
        owner: String,
    ) -> Self {
        Self {
            consumption,
            events,
            brokers,
            bootstrap,
            owner,
            consumer: OnceLock::new(),
            ready: Mutex::default(),
            asking_since: Mutex::default(),
            undecided: Mutex::default(),
            asked_at: Mutex::default(),
            is_closing: AtomicBool::new(false),
        }
    }

    /// Tells the group commits, with our mark.
    pub(super) fn commit(
        &self,
        consumer: &BaseConsumer<Self>,
        commits: &TopicPartitionList,
        mode: CommitMode,
    ) -> KafkaResult<()> {
        mark(commits, &self.owner);
        consumer.commit(commits, mode)
    }

    /// Says which consumer calls back. Only the first call counts.
    pub(super) fn set_consumer(&self, consumer: &Arc<BaseConsumer<Self>>) {
        let _ = self.consumer.set(Arc::downgrade(consumer));
    }

    /// From now on revokes are not announced.
    pub(super) fn set_closing(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    fn assignments(&self) -> &Assignments {
        &self.consumption.assignments
    }

    /// Takes partitions up, with a reader each that nobody is told of yet.
    fn split(&self, partitions: Vec<TopicPartition>) {
        let Some(consumer) = self.consumer.get().and_then(Weak::upgrade) else { return };
        let mut ready = self.ready.lock();
        for id in partitions {
            let assigned = self.assignments().assign(id.clone());
            let is_of_others = assigned.others().is_some();
            if is_of_others {
                self.undecided.lock().insert(id.clone());
            }
            match KafkaReader::split(&consumer, assigned, is_of_others) {
                Some(reader) => ready.push(Box::new(reader)),
                None => tracing::error!(partition = %id, "kafka assigned a partition that has no queue"),
            }
        }
    }

    /// Announces readers that wait for their committed offsets, once those are known. Called again and again: while the
    /// brokers do not answer, there is nothing to read either.
    pub(super) fn announce_known(&self, consumer: &BaseConsumer<Self>) {
        let mut asked = TopicPartitionList::new();
        let (ready, undecided) = (self.ready.lock(), self.undecided.lock());
        for reader in &*ready {
            let TopicPartition { topic, partition } = reader.partition();
            asked.add_partition(topic, *partition as i32);
        }
        let are_all_undecided = ready.len() == undecided.len();
        drop((ready, undecided));
        let mut asked_at = self.asked_at.lock();
        let was_asked = are_all_undecided && asked_at.is_some_and(|at| at.elapsed() < ASK_AGAIN);
        if asked.count() == 0 || was_asked {
            return;
        }
        *asked_at = Some(Instant::now());
        drop(asked_at);
        match consumer.committed_offsets(asked, COMMITTED_TIMEOUT) {
            Ok(committed) => self.begin(consumer, &committed),
            Err(error) => {
                let since = *self.asking_since.lock().get_or_insert_with(Instant::now);
                if since.elapsed() < COMMITTED_DEADLINE {
                    return tracing::debug!(%error, "cannot ask for committed offsets; asking again");
                }
                tracing::warn!(%error, "cannot ask for committed offsets; reading begins where the client finds them");
            }
        }
        *self.asking_since.lock() = None;
        self.announce();
    }

    fn begin(&self, consumer: &BaseConsumer<Self>, committed: &TopicPartitionList) {
        let mut of_others = Vec::new();
        for element in committed.elements() {
            let Some(assigned) = self.assignments().get(&id_of(element.topic(), element.partition())) else { continue };
            let offset = element.offset().to_raw().and_then(|offset| u64::try_from(offset).ok());
            if assigned.others().is_some() {
                match element.error() {
                    Ok(()) => of_others.push(Found { assigned, committed: offset, by: mark_of(&element) }),
                    Err(error) => {
                        tracing::debug!(partition = %assigned.id, %error, "its committed offset cannot be told")
                    }
                }
                continue;
            }
            match (element.error(), offset) {
                (Ok(()), Some(offset)) => {
                    let by = mark_of(&element);
                    if by != self.owner {
                        assigned.note_foreign_commit(self.assignments().settled_before(&assigned.id), offset, &by);
                    }
                    assigned.begin(offset);
                }
                (Ok(()), None) => assigned.begin_without_commit(),
                (Err(error), _) => {
                    tracing::warn!(partition = %assigned.id, %error, "its committed offset cannot be told");
                }
            }
        }
        self.begin_others(consumer, of_others);
    }

    /// The next records of these partitions are gone: whoever reads has to end, and where reading goes on is decided anew.
    pub(super) fn begin_after_gap(&self, consumer: &BaseConsumer<Self>, partitions: Vec<TopicPartition>) {
        let commits = self.take_back(partitions.clone());
        if commits.count() > 0
            && let Err(error) = self.commit(consumer, &commits, CommitMode::Sync)
        {
            tracing::warn!(%error, "the newest commits before a gap are lost: more of the records before it count as gone");
        }
        self.split(partitions);
        self.announce_known(consumer);
    }

    /// The offsets of these partitions began anew: whoever reads has to end, and reading begins at the start.
    pub(super) fn begin_anew(&self, consumer: &BaseConsumer<Self>, anew: &[Arc<Assigned>]) {
        let partitions: Vec<TopicPartition> = anew.iter().map(|assigned| assigned.id.clone()).collect();
        // What was not told of them concerns records that are not there any more.
        drop(self.take_back(partitions.clone()));
        self.split(partitions);
        let mut commits = TopicPartitionList::new();
        for earlier in anew {
            let id = &earlier.id;
            let number = id.partition as i32;
            // If it fails, the next record shows it again.
            if let Err(error) = consumer.seek(&id.topic, number, Offset::Beginning, ANEW_TIMEOUT) {
                tracing::warn!(partition = %id, %error, "cannot go to the start yet");
            }
            // In this order: what was confirmed before the new log is asked for its end, and lies beyond it, is not in it.
            let acked = self.assignments().acked().take(id);
            let bounds = consumer.fetch_watermarks(&id.topic, number, ANEW_TIMEOUT).ok();
            let bounds = bounds.and_then(|(low, high)| Some((u64::try_from(low).ok()?, u64::try_from(high).ok()?)));
            earlier.give_up_the_rest(acked, bounds.map(|(_, high)| high));
            self.undecided.lock().remove(id);
            let Some(assigned) = self.assignments().get(id) else { continue };
            if assigned.on_gap() == OnGap::Stop {
                assigned.hold(Held::Anew);
                continue;
            }
            let Some((low, high)) = bounds else { continue };
            let at = match assigned.on_gap() {
                OnGap::Latest if beginning::seek(consumer, id, high) => {
                    assigned.begin_anywhere(high, (low < high).then_some(Gone { from: low, to: high }));
                    high
                }
                _ => {
                    assigned.begin(low);
                    low
                }
            };
            // The group may still have an offset of the log before, or even get one told in these moments.
            let _ = commits.add_partition_offset(&id.topic, number, Offset::Offset(at as i64));
        }
        if commits.count() > 0
            && let Err(error) = self.commit(consumer, &commits, CommitMode::Async)
        {
            tracing::debug!(%error, "cannot tell the group where reading began anew");
        }
        self.announce();
    }

    fn announce(&self) {
        let mut waiting = self.ready.lock();
        let undecided = self.undecided.lock();
        let (undecided, ready) = std::mem::take(&mut *waiting)
            .into_iter()
            .partition::<Vec<_>, _>(|reader| undecided.contains(reader.partition()));
        *waiting = undecided;
        drop(waiting);
        // If nobody listens any more, the readers are dropped with the event.
        if !ready.is_empty() && !self.is_closing.load(Ordering::Acquire) {
            let _ = self.events.send(AssignmentEvent::Assigned(ready));
        }
    }

    fn revoke(&self, consumer: &BaseConsumer<Self>, partitions: &TopicPartitionList) {
        let revoked = ids(partitions);
        if revoked.is_empty() || self.is_closing.load(Ordering::Acquire) {
            return;
        }
        let commits = self.take_back(revoked);
        // When the group has already given them away, it would only refuse.
        if commits.count() > 0
            && !consumer.assignment_lost()
            && let Err(error) = self.commit(consumer, &commits, CommitMode::Sync)
        {
            tracing::warn!(%error, "the newest commits of revoked partitions are lost: records will be read again");
        }
    }
}

impl GroupContext {
    /// Everything is lost with the membership: whoever reads has to end, and what the group was not told is read again.
    pub(super) fn lose_all(&self) {
        drop(self.take_back(self.assignments().ids()));
        self.ready.lock().clear();
        self.undecided.lock().clear();
    }

    /// Waits until these partitions are read no more; what the group has not been told of them.
    fn take_back(&self, partitions: Vec<TopicPartition>) -> TopicPartitionList {
        let (done, answer) = oneshot::channel();
        let event = AssignmentEvent::Revoked { partitions: partitions.clone(), done };
        if self.events.send(event).is_ok() {
            wait_for(answer);
        }
        self.ready.lock().retain(|reader| !partitions.contains(reader.partition()));
        self.undecided.lock().retain(|id| !partitions.contains(id));
        self.assignments().revoke(&partitions)
    }
}

impl ClientContext for GroupContext {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.brokers.own_log.line(level, facility, line);
    }

    fn stats_raw(&self, statistics: &[u8]) {
        // A client that is being closed says nothing about the one after it.
        if let Some(statistics) = Statistics::parse(statistics).filter(|_| !self.is_closing.load(Ordering::Acquire)) {
            self.consumption.on_statistics(&statistics);
            self.brokers.note_fetched(Some(&statistics));
            self.bootstrap.on_statistics(&statistics);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.on_error(&error, reason);
    }
}

impl GroupContext {
    /// Takes in what the client says instead of a record. It repeats what lasts: that is logged once, and what it leads to
    /// is a part of the health.
    pub(super) fn on_error(&self, error: &KafkaError, reason: &str) {
        // Readers find the end of a partition in their queues.
        if error.rdkafka_error_code() == Some(RDKafkaErrorCode::PartitionEOF) {
            return;
        }
        let code = error.rdkafka_error_code().filter(|_| !is_of_a_connection(error));
        let heard = |code| self.consumption.with_group(|group| group.on_error(code, reason, Instant::now()));
        if code.and_then(heard).unwrap_or(false) {
            tracing::warn!(%error, reason, "kafka consumer error");
        } else {
            tracing::debug!(%error, reason, "kafka consumer error");
        }
    }
}

impl Bootstrapped for GroupContext {
    fn bootstrap(&self) -> &Bootstrap {
        &self.bootstrap
    }
}

impl ConsumerContext for GroupContext {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(partitions) => self.split(ids(partitions)),
            Rebalance::Revoke(partitions) => self.revoke(consumer, partitions),
            Rebalance::Error(error) => self.on_error(error, "a rebalance failed"),
        }
    }

    fn post_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if matches!(rebalance, Rebalance::Assign(_)) && !self.is_closing.load(Ordering::Acquire) {
            self.announce_known(consumer);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        // One partition may be refused while the others are taken.
        let elements = offsets.elements();
        let failures = elements.iter().filter_map(|element| {
            let error = element.error().and_then(|()| result.clone()).err()?;
            self.assignments().on_commit_failed(element.topic(), element.partition());
            Some(format!("{}/{}: {error}", element.topic(), element.partition()))
        });
        let failures: Vec<String> = failures.collect();
        let outcome = failures.first().map_or(Ok(()), |reason| {
            tracing::debug!(reason, "the group did not take a commit; it will be told again");
            Err(reason.clone())
        });
        self.consumption.with_group(|group| group.on_commit(outcome, Instant::now()));
    }
}

fn ids(partitions: &TopicPartitionList) -> Vec<TopicPartition> {
    partitions.elements().iter().map(|element| id_of(element.topic(), element.partition())).collect()
}

/// Waits for the answer, up to the deadline. A dropped sender is an answer too.
fn wait_for(mut answer: oneshot::Receiver<()>) {
    let deadline = Instant::now() + REVOKE_DEADLINE;
    while answer.try_recv() == Err(oneshot::error::TryRecvError::Empty) {
        if Instant::now() >= deadline {
            tracing::warn!("consumers of revoked partitions did not finish in time; their late results are ignored");
            return;
        }
        std::thread::sleep(ANSWER_INTERVAL);
    }
}
