//! The ceiling of Kafka to Cassandra: a bare loop that reads, groups rows by database partition, and writes. It commits
//! what is confirmed, and has nothing else that an engine needs: no rows that fail, no limits, no metrics, no restart.

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::message::BorrowedMessage;
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};
use scylla::SerializeRow;
use scylla::client::PoolSize;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::batch::{Batch, BatchType};
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use crate::datum::Datum;

const DAY_MS: i64 = 86_400_000;

/// Windows under way: one fills, one waits, these are written.
const MAX_OPEN_WINDOWS: usize = 2;

#[derive(Debug, Args)]
pub struct DrainArgs {
    /// Kafka, HOST:PORT
    #[arg(long)]
    broker: String,
    /// The topic, with readings as Avro
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

/// Rows of one database partition.
#[derive(Debug)]
struct Group {
    device_id: String,
    bucket: i64,
    rows: Vec<Row>,
}

/// A row without its partition key.
#[derive(Debug)]
struct Row {
    event_time: CqlTimestamp,
    sequence: i64,
    received_at: CqlTimestamp,
    version: i32,
    numbers: [f64; 6],
    status: &'static str,
    fw: String,
    sat: i32,
}

/// What the statement takes, in the order of its columns.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
struct Bound<'a> {
    device_id: &'a str,
    bucket: CqlTimestamp,
    event_time: CqlTimestamp,
    sequence: i64,
    received_at: CqlTimestamp,
    version: i32,
    speed: f64,
    heading: f64,
    lat: f64,
    lon: f64,
    fuel: f64,
    odometer: f64,
    status: &'static str,
    fw: &'a str,
    sat: i32,
}

/// What was read in one go: groups that are full or not, and where reading goes on for each partition.
#[derive(Debug, Default)]
struct Window {
    full: Vec<Group>,
    open: HashMap<String, Group>,
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
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let table = Arc::new(Table::open(&args).await?);
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
        let reading = std::thread::spawn(move || read(&reader, batch_rows, window, &sender));
        write(windows, &table, &consumer, &args).await?;
        reading.join().map_err(|_| anyhow::anyhow!("the reader panicked"))?
    })
}

/// Fills windows: a window goes on when it is full, or when there is nothing more to read and the writers have room.
fn read(
    consumer: &BaseConsumer,
    batch_rows: usize,
    window_rows: usize,
    windows: &mpsc::Sender<Window>,
) -> anyhow::Result<()> {
    let mut window = Window::default();
    loop {
        match consumer.poll(Duration::from_millis(1)) {
            Some(message) => window.add(&message?, batch_rows)?,
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
async fn write(
    mut windows: mpsc::Receiver<Window>,
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
                table.write(&group).await;
                drop(place);
            });
        }
        open.push_back((writes, window.next_offsets));
    }
}

// === impl Window ===

impl Window {
    fn add(&mut self, message: &BorrowedMessage<'_>, batch_rows: usize) -> anyhow::Result<()> {
        let datum = Datum::read(message.payload().context("a record without a value")?)?;
        self.next_offsets.insert(message.partition(), message.offset() + 1);
        self.num_rows += 1;
        let bucket = datum.event_time_ms - datum.event_time_ms % DAY_MS;
        if !self.open.contains_key(datum.device_id) {
            self.open.insert(datum.device_id.to_owned(), Group::new(datum.device_id, bucket));
        }
        let group = self.open.get_mut(datum.device_id).context("it was just put there")?;
        if group.rows.len() >= batch_rows || group.bucket != bucket {
            self.full.push(std::mem::replace(group, Group::new(datum.device_id, bucket)));
        }
        group.rows.push(Row {
            event_time: CqlTimestamp(datum.event_time_ms),
            sequence: datum.sequence,
            received_at: CqlTimestamp(datum.received_at_us / 1000),
            version: datum.version,
            numbers: [datum.speed, datum.heading, datum.lat, datum.lon, datum.fuel, datum.odometer],
            status: datum.status,
            fw: datum.fw.to_owned(),
            sat: datum.sat,
        });
        Ok(())
    }
}

// === impl Group ===

impl Group {
    fn new(device_id: &str, bucket: i64) -> Self {
        Self { device_id: device_id.to_owned(), bucket, rows: Vec::new() }
    }

    fn bound<'a>(&'a self, row: &'a Row) -> Bound<'a> {
        let [speed, heading, lat, lon, fuel, odometer] = row.numbers;
        Bound {
            device_id: &self.device_id,
            bucket: CqlTimestamp(self.bucket),
            event_time: row.event_time,
            sequence: row.sequence,
            received_at: row.received_at,
            version: row.version,
            speed,
            heading,
            lat,
            lon,
            fuel,
            odometer,
            status: row.status,
            fw: &row.fw,
            sat: row.sat,
        }
    }
}

// === impl Table ===

impl Table {
    async fn open(args: &DrainArgs) -> anyhow::Result<Self> {
        let session = SessionBuilder::new()
            .known_node(&args.node)
            .pool_size(PoolSize::PerHost(const { NonZeroUsize::new(2).unwrap() }))
            .build()
            .await?;
        let cql = format!(
            "INSERT INTO {}.reading (device_id, bucket, event_time, sequence, received_at, version, speed, heading, lat, lon, \
             fuel, odometer, status, fw, sat) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            args.keyspace
        );
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
    async fn write(&self, group: &Group) {
        let rows: Vec<_> = group.rows.iter().map(|row| group.bound(row)).collect();
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
