//! Disks that fail, files that disappear, outputs that take no more: what the engine and the commands make of them.

use crate::common;
mod eio;
mod files;
use crate::log_contract;
mod outputs;
mod starts;
mod states;
use crate::store_contract;

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use surgetank::log::TopicSpec;
use surgetank::log::embedded::{EmbeddedLog, EmbeddedLogSettings};
use surgetank::log::{AppendError, Log};
use surgetank::store::embedded::{EmbeddedStore, EmbeddedStoreSettings};

fn topic() -> TopicSpec {
    log_contract::spec("telemetry", 1)
}

fn settings(directory: &Path) -> EmbeddedLogSettings {
    EmbeddedLogSettings {
        directory: directory.to_owned(),
        retention: Duration::from_secs(86_400),
        retention_bytes: 1 << 30,
        disk_budget: 1 << 30,
        write_buffer: 2 << 20,
        tail_cache: 1 << 20,
    }
}

async fn open_log(directory: &Path) -> EmbeddedLog {
    let log = EmbeddedLog::open(settings(directory), &[topic()]).unwrap();
    log.apply(&[topic()]).await.unwrap();
    log
}

async fn append(log: &EmbeddedLog, value: &[u8]) -> Result<(), AppendError> {
    let batch = log_contract::batch("device", &[value]);
    log_contract::outcome(log_contract::append(log, &log_contract::at(&topic(), 0), batch)).await
}

fn open_store(path: &Path) -> EmbeddedStore {
    let (path, page_cache_bytes) = (path.to_owned(), 8 << 20);
    EmbeddedStore::open(EmbeddedStoreSettings { path, transaction_rows: 64, page_cache_bytes, ttl: None }).unwrap()
}

/// Only the superuser may mount file systems and become others; without the right a test says so and is no test.
fn is_superuser() -> bool {
    let id = Command::new("id").arg("-u").output().unwrap();
    let is_superuser = id.stdout.starts_with(b"0\n");
    if !is_superuser {
        eprintln!("skipped: needs the superuser");
    }
    is_superuser
}
