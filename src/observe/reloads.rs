//! What came of the reloads, for who looks at `/health/reload`.

use parking_lot::RwLock;
use serde::Serialize;

/// What may come of a reload, in the order of [`ReloadNumbers::counts`].
pub const OUTCOMES: [&str; 2] = ["ok", "error"];

/// The record of reloads.
#[derive(Debug)]
pub struct Reloads {
    state: RwLock<State>,
}

#[derive(Debug)]
struct State {
    record: ReloadRecord,
    numbers: ReloadNumbers,
}

/// The reloads in numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReloadNumbers {
    /// How many there were since the start, by outcome.
    pub counts: [u64; OUTCOMES.len()],
    /// When the config in force was taken over, in milliseconds since the Unix epoch: at the last reload that went well, or
    /// at the start.
    pub in_force_since_ms: u64,
    /// Whether the files, as they were last looked at, are in force: the last reload went well, or there was none.
    pub last_went_well: bool,
}

/// What is in force, and how the last reload went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ReloadRecord {
    /// How many configs have been in force since the start, the first one included.
    pub generation: u64,
    /// The last reload, if there was one.
    pub last: Option<Attempt>,
    /// Keys that have been changed in the files and need a restart, by the last files that were right.
    pub needs_restart: Vec<String>,
}

/// One reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Attempt {
    /// When it ended, in milliseconds since the Unix epoch.
    pub at_ms: u64,
    /// What came of it.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What came of a reload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
pub enum Outcome {
    /// Everything that can change is as the files say.
    Ok {
        /// What is new: keys, message types and versions. Empty if nothing is.
        changes: Vec<String>,
    },
    /// Everything is as it was before.
    Error {
        /// Why.
        reason: String,
    },
}

// === impl Reloads ===

impl Reloads {
    /// A start at this time, in milliseconds since the Unix epoch.
    pub fn new(at_ms: u64) -> Self {
        let record = ReloadRecord { generation: 1, last: None, needs_restart: Vec::new() };
        let numbers = ReloadNumbers { counts: [0; OUTCOMES.len()], in_force_since_ms: at_ms, last_went_well: true };
        Self { state: RwLock::new(State { record, numbers }) }
    }

    /// The record as it is now.
    pub fn read(&self) -> ReloadRecord {
        self.state.read().record.clone()
    }

    /// The numbers as they are now.
    pub fn numbers(&self) -> ReloadNumbers {
        self.state.read().numbers
    }

    /// Notes a config that was taken over; returns its generation.
    pub fn taken(&self, at_ms: u64, changes: &[String], needs_restart: &[String]) -> u64 {
        let State { record, numbers } = &mut *self.state.write();
        numbers.counts[0] += 1;
        numbers.in_force_since_ms = at_ms;
        numbers.last_went_well = true;
        record.generation += u64::from(!changes.is_empty());
        record.last = Some(Attempt { at_ms, outcome: Outcome::Ok { changes: changes.to_vec() } });
        record.needs_restart = needs_restart.to_vec();
        record.generation
    }

    /// Notes one that was not.
    pub fn refused(&self, at_ms: u64, reason: String) {
        let State { record, numbers } = &mut *self.state.write();
        numbers.counts[1] += 1;
        numbers.last_went_well = false;
        record.last = Some(Attempt { at_ms, outcome: Outcome::Error { reason } });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_refused_reload_leaves_generation_and_restarts_as_they_are() {
        let reloads = Reloads::new(1);
        let started = r#"{"generation":1,"last":null,"needs_restart":[]}"#;
        assert_eq!(serde_json::to_string(&reloads.read()).unwrap(), started);
        assert_eq!(reloads.taken(5, &["a.b".to_owned()], &["c.d".to_owned()]), 2);
        assert_eq!(reloads.taken(6, &[], &["c.d".to_owned()]), 2);
        assert!(reloads.numbers().last_went_well);
        reloads.refused(7, "x.toml:1: no".to_owned());
        let expected =
            r#"{"generation":2,"last":{"at_ms":7,"outcome":"error","reason":"x.toml:1: no"},"needs_restart":["c.d"]}"#;
        assert_eq!(serde_json::to_string(&reloads.read()).unwrap(), expected);
        let expected = ReloadNumbers { counts: [2, 1], in_force_since_ms: 6, last_went_well: false };
        assert_eq!(reloads.numbers(), expected);
        reloads.taken(8, &[], &[]);
        assert!(reloads.numbers().last_went_well, "the files are as they were");
    }
}
