//! States of a real Kafka in which acknowledged records are not consumed, or were lost before they were read: each is a
//! reason in the log's health, and is over when it is over.
//!
//! Runs only if `SURGETANK_TEST_KAFKA` says where a broker is (`host:port`); every test then uses names of its own.

pub mod follower;
use crate::log_contract;
mod membership;
mod offsets;
pub mod others;
mod servers;

use std::time::{Duration, Instant};

use log_contract::{append, batch, outcome, until};
use surgetank::flow::health::{Condition, Part};
use surgetank::log::{Log, TopicPartition};

/// A state has to be seen within this time, and its end, too.
const SEEN_WITHIN: Duration = Duration::from_secs(30);

async fn fill(log: &dyn Log, id: &TopicPartition, count: usize) {
    let values: Vec<String> = (0..count).map(|number| format!("value-{number}")).collect();
    outcome(append(log, id, batch("device", &values))).await.unwrap();
}

fn condition(log: &dyn Log, code: &str) -> Option<Condition> {
    log.conditions().into_iter().find(|condition| condition.code == code)
}

/// Waits until the log's health has this condition, and no longer than is promised.
pub async fn seen(log: &dyn Log, code: &str) -> Condition {
    let started = Instant::now();
    until(code, || condition(log, code).is_some()).await;
    println!("{code} was seen after {:?}", started.elapsed());
    assert!(started.elapsed() < SEEN_WITHIN);
    let condition = condition(log, code).unwrap();
    assert_eq!(condition.part, Part::Consume);
    assert!(!condition.refuses_intake, "the log takes records all the same");
    println!("  {}", condition.detail);
    condition
}

async fn over(log: &dyn Log, code: &str) {
    let started = Instant::now();
    until(&format!("{code} to be over"), || condition(log, code).is_none()).await;
    println!("{code} was over after {:?}", started.elapsed());
    assert!(started.elapsed() < SEEN_WITHIN);
}
