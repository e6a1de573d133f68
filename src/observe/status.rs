//! What the engine is doing, whether it could take messages right now, and what is wrong with it.

use std::collections::BTreeMap;
use std::time::{Instant, SystemTime};

use parking_lot::{Mutex, RwLock};
use serde::Serialize;
use tracing::{error, info, warn};

use crate::flow::health::{Change, Condition, Gauge, HealthBoard, HealthReport, Part, Verdict};

/// Where the engine is between start and end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "phase")]
pub enum Phase {
    /// Opening what has to be there before the first message, with what it waits for.
    Starting {
        /// The part, for anybody.
        #[serde(skip)]
        part: &'static str,
        /// The same, and why it is not there yet once an attempt has failed, for operators.
        waiting_for: String,
    },
    /// Taking messages.
    Running,
    /// Finishing what is in flight.
    Draining,
}

/// Says what is wrong with a part, from what it remembers, within microseconds: it is asked for each readiness check.
type Probe = Box<dyn Fn() -> Vec<Condition> + Send + Sync>;

/// Numbers about a part, from what it remembers.
type Meter = Box<dyn Fn() -> Vec<Gauge> + Send + Sync>;

/// The engine's state, for health checks.
pub struct Status {
    phase: RwLock<Phase>,
    /// What keeps parts from being opened.
    hindrances: RwLock<BTreeMap<Part, Condition>>,
    probes: RwLock<Vec<Probe>>,
    meters: RwLock<Vec<Meter>>,
    board: Mutex<HealthBoard>,
}

// === impl Phase ===

impl Phase {
    /// A start that turns to a part.
    pub(crate) fn starting(part: &'static str) -> Self {
        Self::Starting { part, waiting_for: part.to_owned() }
    }
}

// === impl Status ===

impl Status {
    /// An engine that is about to start.
    pub(crate) fn new() -> Self {
        Self {
            phase: RwLock::new(Phase::starting("the engine's own threads")),
            hindrances: RwLock::default(),
            probes: RwLock::default(),
            meters: RwLock::default(),
            board: Mutex::new(HealthBoard::awaiting(&[Part::Log, Part::Store, Part::Consume], Instant::now())),
        }
    }

    /// Says what the engine is doing now.
    pub(crate) fn set_phase(&self, phase: Phase) {
        *self.phase.write() = phase;
    }

    /// Says what keeps a part from being opened.
    pub(crate) fn set_hindrance(&self, hindrance: Condition) {
        self.hindrances.write().insert(hindrance.part, hindrance);
    }

    /// Says that nothing keeps a part from being opened any more.
    pub(crate) fn clear_hindrance(&self, part: Part) {
        self.hindrances.write().remove(&part);
    }

    /// A part is open, or works for the first time: until then it is not well.
    pub(crate) fn heard_of(&self, part: Part) {
        self.board.lock().heard_of(part, Instant::now());
    }

    /// From now on a part is asked, too.
    pub(crate) fn watch(&self, probe: impl Fn() -> Vec<Condition> + Send + Sync + 'static) {
        self.probes.write().push(Box::new(probe));
    }

    /// From now on a part's numbers are shown, too.
    pub(crate) fn measure(&self, meter: impl Fn() -> Vec<Gauge> + Send + Sync + 'static) {
        self.meters.write().push(Box::new(meter));
    }

    /// Asks nobody any more: the parts are about to close.
    pub(crate) fn forget_parts(&self) {
        self.probes.write().clear();
        self.meters.write().clear();
    }

    /// What the engine is doing.
    pub fn phase(&self) -> Phase {
        self.phase.read().clone()
    }

    /// The numbers of all parts at this moment.
    pub fn gauges(&self) -> Vec<Gauge> {
        self.meters.read().iter().flat_map(|meter| meter()).collect()
    }

    /// The part that a start waits for; `None` after the start.
    pub(crate) fn starting(&self) -> Option<&'static str> {
        match &*self.phase.read() {
            Phase::Starting { part, .. } => Some(part),
            Phase::Running | Phase::Draining => None,
        }
    }

    /// Everything that is wrong at this moment.
    pub fn conditions(&self) -> Vec<Condition> {
        let hindrances: Vec<Condition> = self.hindrances.read().values().cloned().collect();
        hindrances.into_iter().chain(self.probes.read().iter().flat_map(|probe| probe())).collect()
    }

    /// Why a message that is sent now would not be acknowledged; empty if the engine is ready. What only keeps rows from
    /// the database does not count: messages wait for it in the log.
    pub fn not_ready(&self) -> Vec<String> {
        match self.phase() {
            Phase::Starting { waiting_for, .. } => return vec![format!("starting: waiting for {waiting_for}")],
            Phase::Draining => return vec!["draining".to_owned()],
            Phase::Running => {}
        }
        let refusing = self.conditions().into_iter().filter(|condition| condition.refuses_intake);
        refusing.map(|condition| condition.to_string()).collect()
    }

    /// Looks at everything and logs what has changed. Called about once a second.
    pub(crate) fn look(&self, now: Instant) {
        let changes = self.board.lock().update(self.conditions(), now);
        for change in changes {
            match change {
                Change::Began(Condition { part, verdict: Verdict::Failing, code, detail, .. }) => {
                    error!(part = part.name(), code, "{detail}");
                }
                Change::Began(Condition { part, code, detail, .. }) => warn!(part = part.name(), code, "{detail}"),
                Change::Ended { condition: Condition { part, code, detail, .. }, lasted } => {
                    info!(part = part.name(), code, lasted_s = lasted.as_secs(), "no longer: {detail}");
                }
            }
        }
    }

    /// What is wrong as of the last look, with since when.
    pub fn report(&self) -> HealthReport {
        self.board.lock().report(Instant::now(), SystemTime::now())
    }
}
