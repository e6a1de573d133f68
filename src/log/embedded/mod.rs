//! The log without a broker: an on-disk log in the data directory, for one process.
//!
//! Appends of all partitions become durable together in one flush to disk ([`committer`]); readers follow from memory
//! ([`reader`]); a housekeeper stores commits and removes what retention lets go ([`housekeeper`]). What lies on disk is
//! kept by fjall: its journal is the write-ahead log, its tables hold the entries once they have left memory.

mod committer;
mod entry;
mod failure;
mod housekeeper;
mod journal;
mod log_time;
mod partition;
mod place;
mod range;
mod reader;
mod subscription;
mod topics;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use fjall::Database;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::mpsc as tokio_mpsc;

use self::committer::{Committer, Order};
use self::failure::{Failure, LogState};
use self::housekeeper::{Housekeeper, Retention};
use self::log_time::{LogTime, Start};
use self::partition::Partition;
use self::place::LogPlace;
use self::range::EmbeddedRange;
use self::subscription::EmbeddedSubscription;
use self::topics::{Topics, failed};
use super::{
    AppendBatch, AppendError, AssignmentEvent, Completion, Log, LogError, RangeEnd, RangeError, RangeReader,
    RangeStart, Ranges, RecordLimit, Subscription, TopicPartition, TopicSpec, WriterSchema, abandoned,
};
use crate::flow::health::{Condition, Gauge};
use crate::telemetry::now_us;

/// A batch above this is cut, and a record refused: one entry must stay readable in one piece.
const MAX_BATCH_BYTES: usize = 32 << 20;
/// Blocks of tables in memory. Readers that keep up never need it; those that catch up read each block once.
const BLOCK_CACHE_BYTES: u64 = 4 << 20;
/// The least that fjall accepts; journals of at most this size wait for their records to reach tables.
const MAX_JOURNAL_BYTES: u64 = 64 << 20;

/// How the embedded log is set up. Every value is checked by the configuration.
#[derive(Debug, Clone)]
pub struct EmbeddedLogSettings {
    /// Where it lies. Created if missing.
    pub directory: PathBuf,
    /// How long records stay after they are in the database; of a topic that nobody reads, after they were written.
    pub retention: Duration,
    /// How many bytes stay at most beyond what is unread.
    pub retention_bytes: u64,
    /// How many unread bytes there may be before appends are refused as [`AppendError::Full`].
    pub disk_budget: u64,
    /// Memory for records on their way from the journal to tables. Less means more and smaller files.
    pub write_buffer: u64,
    /// Memory for the newest records, over all partitions, from which readers that keep up are served.
    pub tail_cache: u64,
}

/// The log in the data directory.
pub struct EmbeddedLog {
    topics: Arc<Topics>,
    state: Arc<LogState>,
    num_groups: Arc<AtomicU64>,
    /// Records that retention has removed.
    num_removed: Arc<AtomicU64>,
    newest_written_ms: Option<u64>,
    time: Arc<LogTime>,
    orders: mpsc::Sender<Order>,
    record_limit: RecordLimit,
    is_subscribed: Arc<AtomicBool>,
    threads: Mutex<Option<Threads>>,
}

/// The log's own threads; dropping `stop_housekeeper` ends the second.
struct Threads {
    committer: JoinHandle<()>,
    housekeeper: JoinHandle<()>,
    stop_housekeeper: mpsc::Sender<()>,
}

// === impl EmbeddedLog ===

impl EmbeddedLog {
    /// Opens the log, or creates an empty one, and takes up where the last process ended, however it ended. Blocks on
    /// I/O. `topics` are the topics that will be used (they share the tail cache); [`Log::apply`] creates them.
    pub fn open(settings: EmbeddedLogSettings, topics: &[TopicSpec]) -> Result<Self, LogError> {
        let path = settings.directory.display().to_string();
        let context = format!("opening the log in {path}");
        let database = open_database(&settings).map_err(|failure| match failure {
            Failure::Engine(fjall::Error::Locked) => LogError::Locked { path: path.clone() },
            other => failed(&context, other),
        })?;
        let num_partitions = topics.iter().map(|topic| u64::from(topic.num_partitions)).sum::<u64>().max(1);
        let tail_cache = (settings.tail_cache / num_partitions) as usize;
        let recovered = Topics::recover(database.clone(), tail_cache).map_err(|failure| failed(&context, failure))?;
        let topics = Arc::new(recovered);

        let state = Arc::new(LogState::new(&settings.directory, settings.disk_budget, settings.write_buffer));
        state.set_unread_bytes(topics.num_unread_bytes());
        let newest_written_ms = topics.newest_written_ms().map_err(|failure| failed(&context, failure))?;
        let time = Arc::new(start_time(&topics, settings.retention).map_err(|failure| failed(&context, failure))?);
        let (num_groups, num_removed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let (orders, incoming) = mpsc::channel();
        let place = LogPlace::of(&settings.directory).map_err(|error| failed(&context, fjall::Error::from(error)))?;
        let committer = Committer::new(
            database,
            topics.clone(),
            place,
            state.clone(),
            time.clone(),
            num_groups.clone(),
            settings.write_buffer,
        );
        let retention = Retention { age: settings.retention, num_bytes: settings.retention_bytes };
        let housekeeper = Housekeeper::new(topics.clone(), state.clone(), time.clone(), retention, num_removed.clone());
        let (stop_housekeeper, stopped) = mpsc::channel();
        let threads = Threads {
            committer: spawn("log-committer", &context, move || committer.run(&incoming))?,
            housekeeper: spawn("log-housekeeper", &context, move || housekeeper.run(&stopped))?,
            stop_housekeeper,
        };
        let is_subscribed = Arc::new(AtomicBool::new(false));
        let (record_limit, threads) = (RecordLimit::new(MAX_BATCH_BYTES), Mutex::new(Some(threads)));
        Ok(Self {
            topics,
            state,
            num_groups,
            num_removed,
            newest_written_ms,
            time,
            orders,
            record_limit,
            is_subscribed,
            threads,
        })
    }

    /// How many groups were committed, each with one flush to disk.
    pub fn num_groups(&self) -> u64 {
        self.num_groups.load(Ordering::Relaxed)
    }

    /// How many bytes nobody has read yet; appends are refused at the disk budget.
    pub fn num_unread_bytes(&self) -> u64 {
        self.state.num_unread_bytes()
    }

    fn refusal(&self, batch: &AppendBatch) -> Result<(), AppendError> {
        self.state.check()?;
        // Ends that do not ascend inside the buffer would be written as other records than the sender means.
        let is_consistent =
            batch.ends.is_sorted() && batch.ends.last().is_none_or(|end| *end as usize <= batch.values.len());
        if !is_consistent {
            let reason = "the ends of the values do not fit their buffer";
            tracing::error!(reason, "a batch that cannot be appended: a defect");
            return Err(AppendError::refused(reason));
        }
        if batch.num_bytes() > MAX_BATCH_BYTES {
            let num_bytes = batch.largest_record();
            if num_bytes > MAX_BATCH_BYTES {
                return Err(AppendError::too_large(format!("{num_bytes} bytes, allowed are {MAX_BATCH_BYTES}")));
            }
        }
        Ok(())
    }

    fn order(&self, partition: Arc<Partition>, batch: AppendBatch, done: Completion) {
        if let Err(mpsc::SendError(Order::Append { done, .. })) =
            self.orders.send(Order::Append { partition, batch, done })
        {
            done.complete(Err(AppendError::unavailable("the log is closed")));
        }
    }

    /// Stops both threads and waits for them. A second call finds nothing to do.
    fn stop(threads: Option<Threads>, orders: &mpsc::Sender<Order>) {
        let Some(Threads { committer, housekeeper, stop_housekeeper }) = threads else { return };
        // Whatever was appended before is written first; if the committer is gone, there is nothing to stop.
        let _ = orders.send(Order::Stop);
        let _ = committer.join();
        drop(stop_housekeeper);
        let _ = housekeeper.join();
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        Self::stop(self.threads.lock().take(), &self.orders);
    }
}

impl Log for EmbeddedLog {
    fn append(&self, to: &TopicPartition, batch: AppendBatch, done: Completion) {
        if let Err(error) = self.refusal(&batch) {
            return done.complete(Err(error));
        }
        let Some(partition) = self.topics.partition(to) else {
            return done.complete(Err(AppendError::unavailable(format!("{to} does not exist"))));
        };
        if batch.ends.is_empty() {
            return done.complete(Ok(()));
        }
        if batch.num_bytes() <= MAX_BATCH_BYTES {
            return self.order(partition, batch, done);
        }
        let cuts = batch.cut(MAX_BATCH_BYTES);
        let done = done.split(cuts.len());
        cuts.into_iter().zip(done).for_each(|(cut, done)| self.order(Arc::clone(&partition), cut, done));
    }

    fn record_limit(&self, _topic: &Arc<str>) -> RecordLimit {
        self.record_limit.clone()
    }

    fn subscribe(
        &self,
        topics: &[TopicSpec],
    ) -> Result<(Box<dyn Subscription>, tokio_mpsc::UnboundedReceiver<AssignmentEvent>), LogError> {
        self.topics.check(topics)?;
        EmbeddedSubscription::start(self.topics.clone(), topics, &self.is_subscribed)
    }

    fn apply(&self, topics: &[TopicSpec]) -> BoxFuture<'_, Result<Vec<String>, LogError>> {
        let (own, wanted) = (self.topics.clone(), topics.to_vec());
        blocking("creating topics", move || own.apply(&wanted))
    }

    fn check(&self, topics: &[TopicSpec]) -> BoxFuture<'_, Result<(), LogError>> {
        let (own, wanted) = (self.topics.clone(), topics.to_vec());
        blocking("checking topics", move || own.check(&wanted))
    }

    fn put_schema(&self, fingerprint: [u8; 8], schema_json: String) -> BoxFuture<'_, Result<(), LogError>> {
        let own = self.topics.clone();
        let context = "keeping a writer schema";
        blocking(context, move || own.put_schema(fingerprint, &schema_json).map_err(|failure| failed(context, failure)))
    }

    fn schemas(&self) -> BoxFuture<'_, Result<Vec<WriterSchema>, LogError>> {
        let own = self.topics.clone();
        let context = "reading the writer schemas";
        blocking(context, move || own.schemas().map_err(|failure| failed(context, failure)))
    }

    fn health(&self) -> Result<(), String> {
        self.state.check().map_err(|error| error.to_string())
    }

    fn conditions(&self) -> Vec<Condition> {
        self.state.conditions()
    }

    fn gauges(&self) -> Vec<Gauge> {
        let unread = Gauge { name: "log_unread_bytes", value: self.num_unread_bytes() };
        let free = self.state.free_bytes().map(|value| Gauge { name: "log_disk_free_bytes", value });
        [Some(unread), free].into_iter().flatten().collect()
    }

    fn now_ms(&self) -> u64 {
        self.time.now_ms(Instant::now())
    }

    fn newest_written_ms(&self) -> Option<u64> {
        self.newest_written_ms
    }

    fn num_removed(&self) -> u64 {
        self.num_removed.load(Ordering::Relaxed)
    }

    /// Settings are this process's own, retention never takes what is not done, and another number of partitions has refused
    /// the start; what is left is a topic that the config no longer names.
    fn inspect(&self, topics: &[TopicSpec]) -> BoxFuture<'_, Result<Vec<Condition>, LogError>> {
        let until = "they take up room of log.embedded.disk_budget for ever";
        let abandoned = self.topics.abandoned(topics).into_iter();
        let conditions = abandoned.map(|(topic, num_unread)| abandoned::condition(&topic, num_unread, until)).collect();
        std::future::ready(Ok(conditions)).boxed()
    }

    fn buffered_bytes(&self) -> u64 {
        self.topics.buffered_bytes()
    }

    fn broken(&self) -> Option<String> {
        self.state.broken()
    }

    fn close(&self) -> BoxFuture<'_, ()> {
        let (threads, orders) = (self.threads.lock().take(), self.orders.clone());
        // A panic of a thread has already broken the log; closing has nothing to add.
        tokio::task::spawn_blocking(move || Self::stop(threads, &orders)).map(|_| ()).boxed()
    }
}

impl Ranges for EmbeddedLog {
    fn read_range(
        &self,
        partition: &TopicPartition,
        from: RangeStart,
        to: RangeEnd,
    ) -> BoxFuture<'_, Result<Box<dyn RangeReader>, RangeError>> {
        let (found, id) = (self.topics.partition(partition), partition.clone());
        async move {
            let Some(partition) = found else { return Err(RangeError::NoSuchPartition(id)) };
            let opening = tokio::task::spawn_blocking(move || EmbeddedRange::open(partition, from, to));
            let opened = opening.await.map_err(|error| RangeError::unavailable(&id, error))?;
            Ok(Box::new(opened?) as Box<dyn RangeReader>)
        }
        .boxed()
    }
}

/// The log's time as this start finds it; where the wall clock says something else, that is told.
fn start_time(topics: &Topics, retention: Duration) -> Result<LogTime, Failure> {
    let (time, start) = LogTime::start(topics.newest_ms()?, now_us() / 1000, retention, Instant::now());
    let told = |apart: Duration| humantime::format_duration(Duration::from_secs(apart.as_secs())).to_string();
    match start {
        Start::Agreed => {}
        Start::Past(apart) => tracing::info!(
            stood_still = told(apart),
            "the log was not open for long, or the clock was set: what is in it grows no older by that time"
        ),
        // Seconds are the doing of whoever keeps the clock right.
        Start::Before(apart) if apart < Duration::from_secs(60) => {}
        Start::Before(apart) => tracing::warn!(
            behind = told(apart),
            "the clock is behind the time at which the log was written: it is wrong now, or was wrong then"
        ),
    }
    Ok(time)
}

fn open_database(settings: &EmbeddedLogSettings) -> Result<Database, Failure> {
    std::fs::create_dir_all(&settings.directory).map_err(fjall::Error::from)?;
    journal::recover(&settings.directory)?;
    // One worker is enough: entries arrive in key order, so that compaction only moves tables and never rewrites them.
    let database = Database::builder(&settings.directory)
        .worker_threads(1)
        .cache_size(BLOCK_CACHE_BYTES)
        .max_journaling_size(MAX_JOURNAL_BYTES)
        .open()?;
    Ok(database)
}

fn spawn(name: &str, context: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    std::thread::Builder::new().name(name.to_owned()).spawn(work).map_err(|error| LogError::failed(context, error))
}

/// Runs `work` where blocking is allowed.
fn blocking<T: Send + 'static>(
    context: &'static str,
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> BoxFuture<'static, Result<T, LogError>> {
    async move {
        let joined = tokio::task::spawn_blocking(work).await;
        joined.unwrap_or_else(|error| Err(LogError::failed(context, error)))
    }
    .boxed()
}
