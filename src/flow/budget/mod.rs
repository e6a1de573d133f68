//! How pods that share one database share one budget of writes in flight.
//!
//! Every pod reports what its writes have shown ([`Report`]). One of them leads: it merges the reports, runs the limiter
//! on what all pods see together, and says what each may have in flight ([`Budget`]). All of them hear everything in the
//! same order, so that whoever leads next knows what the last one knew: the budget's message carries the limiter itself.
//!
//! - [`Leader`]: from reports to a budget and its shares.
//! - [`Member`]: from the leader's word, or its silence, to a limit.
//! - [`Term`]: whose word counts while leaders change.
//! - [`StorePressure`]: what the database says of itself, and when that counts.

mod leader;
mod member;
mod message;
mod pressure;
mod shares;
mod term;
#[cfg(test)]
mod tests;

use std::time::Duration;

pub use leader::{Leader, Round};
pub use member::{Member, Standing};
pub use message::{Budget, Message, PodShare, Report};
pub use pressure::{StorePressure, weigh_backlog};
pub use shares::shares;
pub use term::Term;

/// How often a pod reports and the leader speaks: a round trip through the log is short beside it, and a change of load
/// is answered within a second.
pub const INTERVAL: Duration = Duration::from_millis(500);

/// After this time without a word a pod is taken to be gone, and the leader to be out of reach. Six messages: no single
/// hiccup of the log counts.
pub const STALE_AFTER: Duration = Duration::from_secs(3);
