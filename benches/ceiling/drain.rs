//! The ceiling of Kafka to Cassandra: a bare loop that reads, groups rows by database partition, and writes. It commits
//! what is confirmed, and has nothing else that an engine needs: no rows that fail, no limits, no metrics, no restart.

use std::borrow::Cow;
use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use scylla::client::PoolSize;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::serialize::row::SerializeRow;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::drain_events::UserEvents;
use crate::drain_readings::Readings;

/// Windows under way: one fills, one waits, these are written.
const MAX_OPEN_WINDOWS: usize = 2;

/// The shapes that there are.
#[derive(Debug, Clone, Copy, clap::ValueEnum)]
#[value(rename_all = "snake_case")]
enum Shapes {
    Reading,
    UserEvents,
}

#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Kafka, HOST:PORT
    #[arg(long)]
    broker: String,
    /// What is read and written
    #[arg(long, default_value = "reading")]
    table: Shapes,
    /// The topic: readings as Avro, events as JSON
    #[arg(long)]
    topic: String,
    /// The consumer group
    #[arg(long)]
    group: String,
    /// Cassandra, HOST:PORT
    #[arg(long)]
    node: String,
    /// The keyspace of the table
    #[arg(long)]
    keyspace: String,
    /// Most rows in one batch
    #[arg(long, default_value_t = 64)]
    batch_rows: usize,
    /// Most writes in flight
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Most records that are grouped at once
    #[arg(long, default_value_t = 32_768)]
    window: usize,
}

/// What is read and what is written.
pub trait Shape: Send + 'static {
    /// A row without its partition key.
    type Row: Send + Sync + 'static;

    /// The statement that writes a row.
    fn insert(keyspace: &str) -> String;

    /// The partition key of a record's row, text and time in milliseconds, and the rest of it.
    fn read<'a>(&mut self, record: &'a [u8]) -> anyhow::Result<(Cow<'a, str>, i64, Self::Row)>;

    /// What the statement takes, in its order.
    fn bound<'a>(group: &'a Group<Self::Row>, row: &'a Self::Row) -> impl SerializeRow + Send + Sync + 'a;
}

/// Rows of one database partition.
#[derive(Debug)]
pub struct Group<R> {
    /// Whose rows.
    pub key: String,
    /// Of which time.
    pub bucket: i64,
    rows: Vec<R>,
}

/// What was read in one go: groups that are full or not, and where reading goes on for each partition.
#[derive(Debug)]
struct Window<R> {
    full: Vec<Group<R>>,
    open: HashMap<String, Group<R>>,
    num_rows: usize,
    next_offsets: HashMap<i32, i64>,
}

/// The session with the statement, and batches of it for each number of rows.
struct Table {
    session: Session,
    insert: PreparedStatement,
    batches: Vec<Batch>,
}

/// Drains the topic until it is killed.
pub fn drain(args: DrainArgs) -> anyhow::Result<()> {
    match args.table {
        Shapes::Reading => drain_into(args, Readings),
        Shapes::UserEvents => drain_into(args, UserEvents::new()),
    }
}

fn drain_into<S: Shape>(args: DrainArgs, shape: S) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let table = Arc::new(Table::open(&args, &S::insert(&args.keyspace)).await?);
        let consumer: Arc<BaseConsumer> = Arc::new(
            ClientConfig::new()
                .set("bootstrap.servers", &args.broker)
                .set("group.id", &args.group)
                .set("enable.auto.commit", "false")
                .set("auto.offset.reset", "earliest")
                .set("queued.max.messages.kbytes", "32768")
                .create()?,
        );
        consumer.subscribe(&[&args.topic])?;
        let (sender, windows) = mpsc::channel(1);
        let (reader, batch_rows, window) = (consumer.clone(), args.batch_rows, args.window);
        let reading = std::thread::spawn(move || read(&reader, shape, batch_rows, window, &sender));
        write::<S>(windows, &table, &consumer, &args).await?;
        reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    })
}

/// Fills windows: a window goes on when it is full, or when there is nothing more to read and the writers have room.
fn read<S: Shape>(
    consumer: &BaseConsumer,
    mut shape: S,
    batch_rows: usize,
    window_rows: usize,
    windows: &mpsc::Sender<Window<S::Row>>,
) -> anyhow::Result<()> {
    let mut window = Window::default();
    loop {
        match consumer.poll(Duration::from_millis(1)) {
            Some(message) => window.add(&mut shape, &message?, batch_rows)?,
            None if window.num_rows > 0 => match windows.try_send(std::mem::take(&mut window)) {
                Ok(()) => {}
                Err(TrySendError::Full(back)) => window = back,
                Err(TrySendError::Closed(_)) => return Ok(()),
            },
            None => {}
        }
        if window.num_rows >= window_rows && windows.blocking_send(std::mem::take(&mut window)).is_err() {
            return Ok(());
        }
    }
}

/// Writes windows side by side and commits them in order.
async fn write<S: Shape>(
    mut windows: mpsc::Receiver<Window<S::Row>>,
    table: &Arc<Table>,
    consumer: &BaseConsumer,
    args: &DrainArgs,
) -> anyhow::Result<()> {
    let places = Arc::new(Semaphore::new(args.in_flight));
    let mut open: VecDeque<(JoinSet<()>, HashMap<i32, i64>)> = VecDeque::new();
    loop {
        while open.len() > MAX_OPEN_WINDOWS || (windows.is_empty() && !open.is_empty()) {
            let Some((mut writes, next_offsets)) = open.pop_front() else { break };
            while let Some(written) = writes.join_next().await {
                written?;
            }
            let mut offsets = TopicPartitionList::new();
            for (partition, offset) in next_offsets {
                offsets.add_partition_offset(&args.topic, partition, Offset::Offset(offset))?;
            }
            consumer.commit(&offsets, CommitMode::Async)?;
        }
        let Some(window) = windows.recv().await else { return Ok(()) };
        let mut writes = JoinSet::new();
        for group in window.full.into_iter().chain(window.open.into_values()) {
            let place = places.clone().acquire_owned().await?;
            let table = table.clone();
            writes.spawn(async move {
                table.write::<S>(&group).await;
                drop(place);
            });
        }
        open.push_back((writes, window.next_offsets));
    }
}

// === impl Window ===

impl<R> Default for Window<R> {
    fn default() -> Self {
        Self { full: Vec::new(), open: HashMap::new(), num_rows: 0, next_offsets: HashMap::new() }
    }
}

impl<R> Window<R> {
    fn add(
        &mut self,
        shape: &mut impl Shape<Row = R>,
        message: &BorrowedMessage<'_>,
        batch_rows: usize,
    ) -> anyhow::Result<()> {
        let (key, bucket, row) = shape.read(message.payload().context("a record without a value")?)?;
        self.next_offsets.insert(message.partition(), message.offset() + 1);
        self.num_rows += 1;
        if !self.open.contains_key(&*key) {
            self.open.insert(key.clone().into_owned(), Group::new(&key, bucket));
        }
        let group = self.open.get_mut(&*key).context("it was just put there")?;
        if group.rows.len() >= batch_rows || group.bucket != bucket {
            self.full.push(std::mem::replace(group, Group::new(&key, bucket)));
        }
        group.rows.push(row);
        Ok(())
    }
}

// === impl Group ===

impl<R> Group<R> {
    fn new(key: &str, bucket: i64) -> Self {
        Self { key: key.to_owned(), bucket, rows: Vec::new() }
    }
}

// === impl Table ===

impl Table {
    async fn open(args: &DrainArgs, cql: &str) -> anyhow::Result<Self> {
        let session = SessionBuilder::new()
            .known_node(&args.node)
            .pool_size(PoolSize::PerHost(const { NonZeroUsize::new(2).unwrap() }))
            .build()
            .await?;
        let mut insert = session.prepare(cql).await?;
        insert.set_consistency(Consistency::LocalQuorum);
        insert.set_is_idempotent(true);
        let batches = (0..=args.batch_rows)
            .map(|num_rows| {
                let mut batch = Batch::new(BatchType::Unlogged);
                batch.set_consistency(Consistency::LocalQuorum);
                batch.set_is_idempotent(true);
                (0..num_rows).for_each(|_| batch.append_statement(insert.clone()));
                batch
            })
            .collect();
        Ok(Self { session, insert, batches })
    }

    /// Writes a group, again and again until it is written.
    async fn write<S: Shape>(&self, group: &Group<S::Row>) {
        let rows: Vec<_> = group.rows.iter().map(|row| S::bound(group, row)).collect();
        loop {
            let written = match (rows.as_slice(), self.batches.get(rows.len())) {
                ([row], _) => self.session.execute_unpaged(&self.insert, row).await.map(drop),
                (rows, Some(batch)) => self.session.batch(batch, rows).await.map(drop),
                (_, None) => return,
            };
            match written {
                Ok(()) => return,
                Err(error) => eprintln!("writing {} rows: {error}", rows.len()),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}
