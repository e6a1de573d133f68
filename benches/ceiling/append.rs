//! The ceilings of devices to log: records that are there already, appended as fast as it goes, every one confirmed.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use surgetank::log::partitioner::partition_for;

use crate::kafka::Topic;
use crate::readings::{AvroWriter, Fleet};

/// Different records; they are used again and again.
const NUM_RECORDS: u64 = 10_000;

/// What a journal needs beside a record, at the least: its length and its checksum.
const FRAME_BYTES: usize = 8;

#[derive(Debug, Args)]
pub struct AppendArgs {
    /// The directory of the message layouts
    #[arg(long)]
    messages: PathBuf,
    /// How many records
    #[arg(long)]
    records: u64,
    /// How many devices
    #[arg(long, default_value_t = 200)]
    devices: u32,
    #[command(flatten)]
    to: To,
    /// How many partitions the topic has
    #[arg(long, default_value_t = 16)]
    partitions: u32,
    /// Records in one flush to disk
    #[arg(long, default_value_t = 4096)]
    group: u64,
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct To {
    /// Append to a topic of Kafka: HOST:PORT/TOPIC
    #[arg(long)]
    topic: Option<String>,
    /// Append to this file
    #[arg(long)]
    file: Option<PathBuf>,
}

/// Appends, and says how long it took.
pub fn append(args: &AppendArgs) -> anyhow::Result<()> {
    let fleet = Fleet::new(args.devices, 1);
    let mut writer = AvroWriter::open(&args.messages)?;
    let mut records = Vec::new();
    for number in 0..NUM_RECORDS {
        let reading = fleet.reading(number);
        let mut value = Vec::new();
        writer.write(&reading, &mut value)?;
        let partition = partition_for(reading.device_id.as_bytes(), args.partitions);
        records.push((partition, reading.device_id, value));
    }
    let started = Instant::now();
    let endless = records.iter().cycle();
    match (&args.to.topic, &args.to.file) {
        (Some(topic), _) => {
            let (broker, name) =
                topic.split_once('/').ok_or_else(|| anyhow::anyhow!("{topic} is not HOST:PORT/TOPIC"))?;
            let topic = Topic::open(broker, name, "lz4")?;
            for ((partition, key, value), _) in endless.zip(0..args.records) {
                topic.send(*partition, key, value)?;
            }
            topic.finish()?;
        }
        (None, Some(path)) => {
            let mut file = File::create(path)?;
            let mut group = Vec::new();
            for ((_, _, value), number) in endless.zip(1..=args.records) {
                group.extend_from_slice(&[0; FRAME_BYTES]);
                group.extend_from_slice(value);
                if number % args.group == 0 || number == args.records {
                    file.write_all(&group)?;
                    file.sync_data()?;
                    group.clear();
                }
            }
        }
        (None, None) => {}
    }
    println!("{}", json!({"seconds": started.elapsed().as_secs_f64()}));
    Ok(())
}
