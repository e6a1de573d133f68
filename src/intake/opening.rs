//! The time between the first accepted connection of a start and the way into the log.

use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::timeout;

/// For so long after the beginning of a start, senders are not sent away but wait.
const START_GRACE: Duration = Duration::from_millis(500);

/// Says which part a start waits for, for outsiders; `None` once nothing is waited for.
pub type WaitsFor = Box<dyn Fn() -> Option<&'static str> + Send + Sync>;

/// Nothing is taken in yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    /// Why, for outsiders: what a start waits for, and nothing of where that is.
    pub reason: String,
    /// When to come again. A whole fleet may be waiting: the longer the start has taken, the more of the reconnect spread
    /// its devices are spread over.
    pub retry_after: Duration,
}

/// Whether there is a way into the log yet.
pub(super) struct Opening {
    is_open: watch::Sender<bool>,
    began: Instant,
    waits_for: WaitsFor,
}

// === impl Opening ===

impl Opening {
    pub(super) fn new(waits_for: WaitsFor) -> Self {
        Self { is_open: watch::Sender::new(false), began: Instant::now(), waits_for }
    }

    pub(super) fn open(&self) {
        self.is_open.send_replace(true);
    }

    /// Waits until intake is open, but only at the very beginning of a start: one that waits for no server is over before
    /// a client that was sent away could have come back.
    pub(super) async fn wait(&self) {
        let left = START_GRACE.saturating_sub(self.began.elapsed());
        // Open or not: the caller looks again.
        let _ = timeout(left, self.is_open.subscribe().wait_for(|is_open| *is_open)).await;
    }

    /// What a sender is told that comes too early. `delay` makes the time to stay away of what the start has taken so far,
    /// at most `reconnect_spread`.
    pub(super) fn closed(&self, delay: impl FnOnce(Duration) -> Duration, reconnect_spread: Duration) -> Closed {
        let waits_for = (self.waits_for)().map_or_else(String::new, |part| format!(": it waits for {part}"));
        let retry_after = delay(reconnect_spread.min(self.began.elapsed()));
        Closed { reason: format!("the server is starting{waits_for}"), retry_after }
    }
}
