//! A steady load, and how long its records take to be rows: some records are looked for in the table until they are
//! there. The same for everybody, seen from outside.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use clap::{Args, ValueEnum};
use hdrhistogram::Histogram;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::statement::Consistency;
use scylla::statement::prepared::PreparedStatement;
use scylla::value::CqlTimestamp;
use serde_json::json;
use surgetank::log::partitioner::partition_for;
use tokio::task::JoinSet;

use crate::kafka::Topic;
use crate::readings::{AvroWriter, Fleet, Reading};

const DAY_MS: i64 = 86_400_000;

/// How many records a second are looked for.
const SAMPLES_PER_S: u64 = 50;

/// The load comes in steps of this length.
const STEP: Duration = Duration::from_millis(5);

/// A row that is not there after this time counts as unseen.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Avro,
    Json,
}

#[derive(Debug, Args)]
pub struct FollowArgs {
    /// Kafka, HOST:PORT
    #[arg(long)]
    broker: String,
    /// The topic
    #[arg(long)]
    topic: String,
    /// What its records are
    #[arg(long)]
    format: Format,
    /// How many partitions it has
    #[arg(long)]
    partitions: u32,
    /// The directory of the message layouts
    #[arg(long)]
    messages: PathBuf,
    /// Cassandra, HOST:PORT
    #[arg(long)]
    node: String,
    /// The keyspace of the table
    #[arg(long)]
    keyspace: String,
    /// How many devices
    #[arg(long)]
    devices: u32,
    /// Readings per second of all devices
    #[arg(long)]
    rate: u64,
    /// Seconds before anything is looked for
    #[arg(long)]
    warm_up: u64,
    /// Seconds in which records are looked for
    #[arg(long)]
    seconds: u64,
}

/// Looks for rows.
struct Observer {
    session: Session,
    point: PreparedStatement,
}

/// A record that is looked for.
struct Sample {
    device_id: String,
    event_time_ms: i64,
    sequence: i64,
    sent: Instant,
}

/// Makes the load. Says `measuring` when the warm-up is over, `made` when the load is, and then what was seen.
pub fn follow(args: &FollowArgs) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let observer = Arc::new(runtime.block_on(Observer::open(args))?);
    let fleet = Fleet::new(args.devices, 1);
    let mut writer = AvroWriter::open(&args.messages)?;
    let topic = Topic::open(&args.broker, &args.topic, if args.format == Format::Avro { "lz4" } else { "none" })?;
    let (warm_up, end) = (args.rate * args.warm_up, args.rate * (args.warm_up + args.seconds));
    let every = (args.rate / SAMPLES_PER_S).max(1);
    let mut looks = JoinSet::new();
    let started = Instant::now();
    let mut number = 0;
    while number < end {
        let due = (started.elapsed().as_secs_f64() * args.rate as f64) as u64;
        let now_ms = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_millis() as u64;
        while number < due.min(end) {
            let reading = fleet.reading_at(number, now_ms);
            send(&topic, args, &mut writer, &reading)?;
            if number == warm_up {
                println!("measuring");
            }
            if number >= warm_up && number % every == 0 {
                let sample = Sample::of(&reading);
                let observer = observer.clone();
                looks.spawn_on(async move { observer.look(&sample).await }, runtime.handle());
            }
            number += 1;
        }
        std::thread::sleep(STEP);
    }
    println!("made");
    topic.finish()?;
    let mut seen_us = Histogram::<u64>::new(3)?;
    let mut num_unseen = 0u64;
    runtime.block_on(async {
        while let Some(latency) = looks.join_next().await {
            match latency?? {
                Some(latency) => seen_us.record(latency.as_micros() as u64)?,
                None => num_unseen += 1,
            }
        }
        anyhow::Ok(())
    })?;
    let ms = |quantile| seen_us.value_at_quantile(quantile) as f64 / 1000.0;
    let (p50_ms, p99_ms, p999_ms) = (ms(0.5), ms(0.99), ms(0.999));
    let samples = seen_us.len() + num_unseen;
    println!(
        "{}",
        json!({"sent": number, "samples": samples, "unseen": num_unseen, "p50_ms": p50_ms, "p99_ms": p99_ms, "p999_ms": p999_ms})
    );
    Ok(())
}

fn send(topic: &Topic, args: &FollowArgs, writer: &mut AvroWriter, reading: &Reading<'_>) -> anyhow::Result<()> {
    let partition = partition_for(reading.device_id.as_bytes(), args.partitions);
    let mut value = Vec::new();
    match args.format {
        Format::Avro => writer.write(reading, &mut value)?,
        Format::Json => {
            let mut json = String::new();
            reading.write_json(&mut json)?;
            value = json.into_bytes();
        }
    }
    topic.send(partition, reading.device_id, &value)
}

// === impl Sample ===

impl Sample {
    fn of(reading: &Reading<'_>) -> Self {
        Self {
            device_id: reading.device_id.to_owned(),
            event_time_ms: reading.event_time_ms as i64,
            sequence: reading.sequence.into(),
            sent: Instant::now(),
        }
    }
}

// === impl Observer ===

impl Observer {
    async fn open(args: &FollowArgs) -> anyhow::Result<Self> {
        let session = SessionBuilder::new().known_node(&args.node).build().await?;
        let keyspace = &args.keyspace;
        let mut point = session
            .prepare(format!(
                "SELECT sequence FROM {keyspace}.reading WHERE device_id = ? AND bucket = ? AND event_time = ? AND sequence = ?"
            ))
            .await?;
        point.set_consistency(Consistency::LocalOne);
        Ok(Self { session, point })
    }

    /// Looks for one row, at first every millisecond, later at a twentieth of its age: a latency is at most 5 % too long.
    /// `None` if it does not come.
    async fn look(&self, sample: &Sample) -> anyhow::Result<Option<Duration>> {
        let bucket = sample.event_time_ms - sample.event_time_ms % DAY_MS;
        let key = (&sample.device_id, CqlTimestamp(bucket), CqlTimestamp(sample.event_time_ms), sample.sequence);
        loop {
            let found = self.session.execute_unpaged(&self.point, &key).await?;
            let age = sample.sent.elapsed();
            if found.into_rows_result().context("looking for a row")?.rows_num() > 0 {
                return Ok(Some(age));
            }
            if age > PATIENCE {
                return Ok(None);
            }
            tokio::time::sleep((age / 20).max(Duration::from_millis(1))).await;
        }
    }
}
