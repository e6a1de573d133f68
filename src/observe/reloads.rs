//! What came of the reloads, for who looks at `/health/reload`.

use parking_lot::RwLock;
use serde::Serialize;

/// The record of reloads.
#[derive(Debug, Default)]
pub struct Reloads {
    record: RwLock<ReloadRecord>,
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
    /// The record as it is now.
    pub fn read(&self) -> ReloadRecord {
        self.record.read().clone()
    }

    /// Notes a config that was taken over; returns its generation.
    pub fn taken(&self, at_ms: u64, changes: &[String], needs_restart: &[String]) -> u64 {
        let mut record = self.record.write();
        record.generation += u64::from(!changes.is_empty());
        record.last = Some(Attempt { at_ms, outcome: Outcome::Ok { changes: changes.to_vec() } });
        record.needs_restart = needs_restart.to_vec();
        record.generation
    }

    /// Notes one that was not.
    pub fn refused(&self, at_ms: u64, reason: String) {
        self.record.write().last = Some(Attempt { at_ms, outcome: Outcome::Error { reason } });
    }
}

impl Default for ReloadRecord {
    fn default() -> Self {
        Self { generation: 1, last: None, needs_restart: Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_refused_reload_leaves_generation_and_restarts_as_they_are() {
        let reloads = Reloads::default();
        let started = r#"{"generation":1,"last":null,"needs_restart":[]}"#;
        assert_eq!(serde_json::to_string(&reloads.read()).unwrap(), started);
        assert_eq!(reloads.taken(5, &["a.b".to_owned()], &["c.d".to_owned()]), 2);
        assert_eq!(reloads.taken(6, &[], &["c.d".to_owned()]), 2);
        reloads.refused(7, "x.toml:1: no".to_owned());
        let expected =
            r#"{"generation":2,"last":{"at_ms":7,"outcome":"error","reason":"x.toml:1: no"},"needs_restart":["c.d"]}"#;
        assert_eq!(serde_json::to_string(&reloads.read()).unwrap(), expected);
    }
}
