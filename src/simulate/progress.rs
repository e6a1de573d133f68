//! What a run has done so far, for a progress bar and for the report: atomics that all devices add to.

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

/// Counts of confirmed facts; only `connected` goes down again, and `longest_wait_ms` is a maximum.
#[derive(Debug, Default)]
pub struct Progress {
    /// Messages sent at least once.
    pub sent: Counter,
    /// Messages that the server has taken over, duplicates included.
    pub acked: Counter,
    /// Messages among them that the server already had.
    pub duplicates: Counter,
    /// Messages that the server turned away for good.
    pub rejected: Counter,
    /// Sendings of messages beyond their first.
    pub retried: Counter,
    /// Messages that were due but not made, because a device's memory was full.
    pub held_back: Counter,
    /// Devices that are connected now.
    pub connected: Counter,
    /// Connections that were opened after a device's first.
    pub reconnects: Counter,
    /// Connections that the server refused.
    pub refused: Counter,
    /// Devices that gave up because the server told them not to come back.
    pub gave_up: Counter,
    /// The longest time that a message waited from its making to its acknowledgement, in milliseconds.
    pub longest_wait_ms: Counter,
    /// Why a connection failed, was refused or ended without need.
    pub trouble: LastTrouble,
}

/// The last thing that went wrong with a connection, for people.
#[derive(Debug, Default)]
pub struct LastTrouble(Mutex<Option<String>>);

/// A number that many tasks add to. It orders nothing else.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

// === impl LastTrouble ===

impl LastTrouble {
    /// What it was; `None` if nothing went wrong.
    pub fn get(&self) -> Option<String> {
        self.0.lock().clone()
    }

    pub(super) fn note(&self, what: String) {
        *self.0.lock() = Some(what);
    }
}

// === impl Counter ===

impl Counter {
    /// The value at about this moment.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn at_least(&self, value: u64) {
        self.0.fetch_max(value, Ordering::Relaxed);
    }

    pub(super) fn subtract(&self, count: u64) {
        self.0.fetch_sub(count, Ordering::Relaxed);
    }
}
