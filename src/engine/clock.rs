//! Watches this machine's clock: beside the monotonic one, and beside those of the database and of the broker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tracing::{debug, info};

use super::awaited_store::StoreSlot;
use crate::config::{Config, StoreKind};
use crate::flow::clock::{Doubt, Evidence, Reading, Trust, Witness};
use crate::intake::rules::LiveEvidence;
use crate::log::Log;
use crate::observe::Status;
use crate::telemetry::{Telemetry, now_us};

/// The commit's time: no clock that shows an earlier one is right.
const BUILT_AT_SECONDS: u64 = number(env!("SURGETANK_COMMIT_TIME"));

/// How often our own clock is looked at.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// How often others are asked while all is well.
const ASK_INTERVAL: Duration = Duration::from_secs(10);

/// What is known at the start, with a probe of the engine's health.
pub(super) fn begin(config: &Config, status: &Status) -> LiveEvidence {
    let awaited: &[Witness] = match config.store.kind {
        StoreKind::Cassandra(_) => &[Witness::Database],
        StoreKind::Embedded(_) => &[],
    };
    let evidence = Arc::new(ArcSwap::from_pointee(Evidence::new(BUILT_AT_SECONDS * 1000, own(), awaited)));
    let asked = Arc::clone(&evidence);
    status.watch(move || {
        let own = own();
        asked.load().doubt(own.unix_ms, own.at).and_then(Doubt::condition).into_iter().collect()
    });
    evidence
}

/// Keeps looking until it is aborted, also at what the log and the store have removed because of the time. The store is
/// asked once it is there.
pub(super) async fn watch(evidence: LiveEvidence, log: Arc<dyn Log>, slot: StoreSlot, telemetry: Arc<Telemetry>) {
    change(&evidence, |known| known.with_newest_logged(log.newest_written_ms()));
    let mut ticks = tokio::time::interval(LOOK_INTERVAL);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut asked_at: Option<Instant> = None;
    loop {
        ticks.tick().await;
        let (store, counters) = (slot.borrow().clone(), &telemetry.counters);
        counters.rows_expired.store(store.as_ref().map_or(0, |store| store.num_expired()), Ordering::Relaxed);
        counters.log_removed.store(log.num_removed(), Ordering::Relaxed);
        let (known, jump) = Evidence::clone(&evidence.load()).with_own(own());
        if let Some(offset) = jump {
            info!("this machine's clock was set: it is {offset} what it would have shown");
        }
        let known = match log.clock() {
            Some(reading) => known.with_testimony(Witness::Broker, Some(reading)),
            None => known,
        };
        let now = own();
        let is_sound = jump.is_none() && known.trust(now.unix_ms, now.at) == Trust::Sound;
        evidence.store(Arc::new(known));
        let is_due = asked_at.is_none_or(|at| now.at.saturating_duration_since(at) >= ASK_INTERVAL);
        if (is_due || !is_sound)
            && let Some(store) = store
        {
            asked_at = Some(now.at);
            match store.clock().await {
                Ok(reading) => change(&evidence, |known| known.with_testimony(Witness::Database, reading)),
                // What it said last goes on with the monotonic clock.
                Err(error) => debug!(%error, "the database does not tell the time"),
            }
        }
    }
}

/// Only [`watch`] changes it, so nothing is lost between.
fn change(evidence: &ArcSwap<Evidence>, renew: impl FnOnce(Evidence) -> Evidence) {
    let renewed = renew(Evidence::clone(&evidence.load()));
    evidence.store(Arc::new(renewed));
}

fn own() -> Reading {
    Reading { unix_ms: now_us() / 1000, at: Instant::now() }
}

const fn number(digits: &str) -> u64 {
    let (digits, mut index, mut number) = (digits.as_bytes(), 0, 0);
    while index < digits.len() {
        assert!(digits[index].is_ascii_digit(), "the commit's time is in seconds since 1970");
        number = number * 10 + (digits[index] - b'0') as u64;
        index += 1;
    }
    number
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_this_build_is_older_than_its_test() {
        const { assert!(BUILT_AT_SECONDS > 1_700_000_000) };
        assert!(BUILT_AT_SECONDS * 1000 < own().unix_ms + 3_600_000);
    }
}
