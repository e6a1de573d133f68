//! What users do, as others write it into a topic: nested JSON. The same number gives the same event.

use std::fmt::Write;
use std::time::Instant;

use clap::Args;
use serde_json::json;
use surgetank::log::partitioner::partition_for;

use crate::kafka::Topic;
use crate::readings::mix;

/// What users do.
const TYPES: [&str; 5] = ["Click", "View", "Purchase", "Search", "SignIn"];

/// 2026-01-01, in milliseconds since the Unix epoch.
const FIRST_EVENT_MS: u64 = 1_767_225_600_000;

#[derive(Debug, Args)]
pub struct EventsArgs {
    /// Kafka, HOST:PORT
    #[arg(long)]
    broker: String,
    /// The topic
    #[arg(long)]
    topic: String,
    /// How many partitions it has
    #[arg(long)]
    partitions: u32,
    /// How many events
    #[arg(long)]
    records: u64,
    /// How many users
    #[arg(long)]
    users: u64,
    /// Consecutive events of one user
    #[arg(long, default_value_t = 1)]
    burst: u64,
}

/// Writes events into the topic and says how large they are.
pub fn events(args: &EventsArgs) -> anyhow::Result<()> {
    // Without compression, of which the Node client reads only gzip.
    let topic = Topic::open(&args.broker, &args.topic, "none")?;
    let (mut user, mut json, mut bytes) = (String::new(), String::new(), 0);
    let started = Instant::now();
    for number in 0..args.records {
        user.clear();
        json.clear();
        write!(user, "user-{:06}", number / args.burst.max(1) % args.users.max(1))?;
        write_json(number, &user, &mut json)?;
        bytes += json.len() as u64;
        topic.send(partition_for(user.as_bytes(), args.partitions), &user, json.as_bytes())?;
    }
    topic.finish()?;
    let seconds = started.elapsed().as_secs_f64();
    println!("{}", json!({"seconds": seconds, "json_bytes": bytes / args.records.max(1)}));
    Ok(())
}

fn write_json(number: u64, user: &str, out: &mut String) -> std::fmt::Result {
    let (noise, more) = (mix(number), mix(!number));
    let of = |shift: u32, limit: u64| (noise >> shift) % limit;
    let kind = TYPES.get(of(0, 5) as usize).unwrap_or(&"");
    write!(
        out,
        r#"{{"id":"{:08x}-{:04x}-4{:03x}-a{:03x}-{:012x}","type":"{kind}","user":{{"id":"{user}","name":"Größe {}"}},"payload":{{"page":"/p/{}","items":[{{"sku":{},"count":{}}}],"price":{:.2},"note":"a \"quoted\" word","coupon":null}},"ts":{}}}"#,
        noise >> 32,
        noise >> 16 & 0xffff,
        noise >> 4 & 0xfff,
        more >> 52,
        more & 0xffff_ffff_ffff,
        of(8, 100),
        of(12, 10_000),
        of(20, 1_000_000),
        1 + of(40, 5),
        of(24, 100_000) as f64 / 100.0,
        FIRST_EVENT_MS + number,
    )
}
