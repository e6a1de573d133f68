//! The backlog that everybody drains: each reading in two topics, with the same key, partition and order.

use std::path::PathBuf;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use surgetank::log::partitioner::partition_for;

use crate::kafka::Topic;
use crate::readings::{AvroWriter, Fleet};

#[derive(Debug, Args)]
pub struct GenerateArgs {
    /// Kafka, HOST:PORT
    #[arg(long)]
    broker: String,
    /// The topic for Avro
    #[arg(long)]
    avro_topic: String,
    /// The topic for JSON
    #[arg(long)]
    json_topic: String,
    /// How many partitions each of them has
    #[arg(long)]
    partitions: u32,
    /// The directory of the message layouts
    #[arg(long)]
    messages: PathBuf,
    /// How many readings
    #[arg(long)]
    records: u64,
    /// How many devices
    #[arg(long)]
    devices: u32,
    /// Consecutive readings of one device
    #[arg(long, default_value_t = 1)]
    burst: u32,
}

/// Writes the backlog and says how large the records are.
pub fn generate(args: &GenerateArgs) -> anyhow::Result<()> {
    let fleet = Fleet::new(args.devices, args.burst);
    let mut writer = AvroWriter::open(&args.messages)?;
    // Avro as the engine's producer sends it. JSON without compression, which the Node client could not read.
    let avro_topic = Topic::open(&args.broker, &args.avro_topic, "lz4")?;
    let json_topic = Topic::open(&args.broker, &args.json_topic, "none")?;
    let (mut avro, mut json) = (Vec::new(), String::new());
    let (mut avro_bytes, mut json_bytes) = (0, 0);
    let started = Instant::now();
    for number in 0..args.records {
        let reading = fleet.reading(number);
        let partition = partition_for(reading.device_id.as_bytes(), args.partitions);
        avro.clear();
        writer.write(&reading, &mut avro)?;
        avro_bytes += avro.len() as u64;
        avro_topic.send(partition, reading.device_id, &avro)?;
        json.clear();
        reading.write_json(&mut json)?;
        json_bytes += json.len() as u64;
        json_topic.send(partition, reading.device_id, json.as_bytes())?;
    }
    avro_topic.finish()?;
    json_topic.finish()?;
    let of_one = |bytes: u64| bytes / args.records.max(1);
    let seconds = started.elapsed().as_secs_f64();
    println!("{}", json!({"seconds": seconds, "avro_bytes": of_one(avro_bytes), "json_bytes": of_one(json_bytes)}));
    Ok(())
}
