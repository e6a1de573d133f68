//! Keeps the memory budget's accounts: what the log holds, and who was refused.

use std::sync::Arc;
use std::time::Duration;

use tracing::{info, warn};

use crate::flow::memory::{FullWatch, MemoryBudget, Turn};
use crate::log::Log;

/// How often the log is asked what it holds; it answers from memory.
const INTERVAL: Duration = Duration::from_secs(1);

/// Never returns.
pub(super) async fn keep_accounts(memory: MemoryBudget, log: Arc<dyn Log>) {
    let mut look = tokio::time::interval(INTERVAL);
    let mut watch = FullWatch::default();
    loop {
        look.tick().await;
        memory.set_outside(log.buffered_bytes());
        let seen = memory.snapshot();
        let (budget, in_use) = (seen.budget_bytes, seen.in_use_bytes);
        match watch.on_look(&seen) {
            Some(Turn::Full) => warn!(budget, in_use, "the memory budget is full; devices are told to retry later"),
            Some(Turn::Room) => {
                info!(budget, in_use, refused_packages = seen.refused_packages, "there is room in memory again");
            }
            None => {}
        }
        memory.relax();
    }
}
