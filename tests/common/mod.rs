//! What the engine's tests share: a place for an engine to live in, a device that speaks raw frames, a plain HTTP
//! client, and ledgers. Every wait is for a condition and ends in a failure that says which.
//!
//! Each test file uses a part of this.
#![allow(dead_code)]

pub mod certificates;
pub mod device;
pub mod events;
pub mod honest;
pub mod http;
pub mod layouts;
pub mod ledger;
pub mod metrics;
pub mod process;
#[allow(clippy::duplicate_mod)]
pub mod scan;
pub mod servers;
pub mod site;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Longer than any wait that ends well, also on a machine that does other things at the same time.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long to wait before a condition is looked at again.
const GLANCE: Duration = Duration::from_millis(10);

/// Waits until `look` finds something; what was last seen is up to the caller to tell in `what`.
pub async fn until<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        tokio::time::sleep(GLANCE).await;
    }
}

/// [`until`] for a condition.
pub async fn until_true(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    until(what, async || holds().await.then_some(())).await;
}

/// Fails with `what` if the future takes too long.
pub async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("waited in vain: {what}"))
}

/// A name that no other test has, for topics, groups and keyspaces. Tests start at the same microsecond: a clock alone
/// gives two of them the same keyspace now and then.
pub fn unique_name() -> String {
    static NUM_NAMES: AtomicU64 = AtomicU64::new(0);
    let number = NUM_NAMES.fetch_add(1, Ordering::Relaxed);
    format!("itest_{}_{}_{number}", now_ms(), std::process::id())
}

/// Milliseconds since the Unix epoch.
pub fn now_ms() -> u64 {
    surgetank::telemetry::now_us() / 1000
}
