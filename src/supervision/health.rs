//! What the engine is doing, and whether it could take messages right now.

use parking_lot::RwLock;
use serde::Serialize;

/// Where the engine is between start and end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Opening the log and the store, with what it waits for.
    Starting {
        /// For people.
        waiting_for: String,
    },
    /// Taking messages.
    Running,
    /// Finishing what is in flight.
    Draining,
}

/// Asks a part whether it works; answers within milliseconds.
type Probe = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// The engine's state, for health checks.
pub struct Status {
    phase: RwLock<Phase>,
    log: RwLock<Option<Probe>>,
    store: RwLock<Result<(), String>>,
}

// === impl Status ===

impl Status {
    /// An engine that is about to start.
    pub(crate) fn new() -> Self {
        let phase = Phase::Starting { waiting_for: "the engine's own threads".to_owned() };
        Self { phase: RwLock::new(phase), log: RwLock::new(None), store: RwLock::new(Ok(())) }
    }

    /// Says what the engine is doing now.
    pub(crate) fn set_phase(&self, phase: Phase) {
        *self.phase.write() = phase;
    }

    /// From now on the log is asked, too.
    pub(crate) fn ask_log(&self, probe: impl Fn() -> Result<(), String> + Send + Sync + 'static) {
        *self.log.write() = Some(Box::new(probe));
    }

    /// Forgets the log, which is about to close.
    pub(crate) fn forget_log(&self) {
        *self.log.write() = None;
    }

    /// Notes the store's last answer; returns whether that is news.
    pub(crate) fn set_store(&self, health: Result<(), String>) -> bool {
        let mut store = self.store.write();
        let news = store.is_ok() != health.is_ok();
        *store = health;
        news
    }

    /// What the engine is doing.
    pub fn phase(&self) -> Phase {
        self.phase.read().clone()
    }

    /// Why the engine should get no traffic now; empty if it is ready.
    pub fn not_ready(&self) -> Vec<String> {
        match self.phase() {
            Phase::Starting { waiting_for } => return vec![format!("starting: waiting for {waiting_for}")],
            Phase::Draining => return vec!["draining".to_owned()],
            Phase::Running => {}
        }
        let mut reasons = Vec::new();
        if let Some(Err(reason)) = self.log.read().as_ref().map(|probe| probe()) {
            reasons.push(format!("log: {reason}"));
        }
        if let Err(reason) = &*self.store.read() {
            reasons.push(format!("store: {reason}"));
        }
        reasons
    }
}
