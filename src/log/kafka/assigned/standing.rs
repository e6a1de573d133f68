//! How an assigned partition stands, for the health.

use std::time::{Duration, Instant};

use super::{Assigned, Held, LOOKS_WITHIN};
use crate::log::TopicPartition;

/// An assigned partition at one moment, for the health.
pub(in crate::log::kafka) struct Standing {
    /// Which partition.
    pub id: TopicPartition,
    /// Whether others fill its topic.
    pub is_of_others: bool,
    /// Why nothing is read of it until somebody has decided.
    pub held: Option<Held>,
    /// How long the group has given it to us.
    pub assigned_for: Duration,
    /// How long the brokers have said that its topic is not there any more.
    pub gone_for: Option<Duration>,
    /// How long we have not been allowed to look at it.
    pub refused_for: Option<Duration>,
    /// How long its reader has asked in vain, while the log has more; `None` while it reads, or does not want to.
    pub starves_for: Option<Duration>,
    /// Where reading goes on.
    pub position: Option<u64>,
    /// How many offsets are not read.
    pub num_unread: u64,
    /// How many offsets are held back by an open transaction.
    pub num_behind_transaction: u64,
    /// Whether it is known how far behind it is.
    pub is_lag_known: bool,
    /// Why, as far as the client says.
    pub reason: String,
}

// === impl Assigned ===

impl Assigned {
    /// How it stands now.
    pub(in crate::log::kafka) fn standing(&self, now: Instant) -> Standing {
        let state = self.state.lock();
        let looks = state.looked_at.is_some_and(|at| now.saturating_duration_since(at) < LOOKS_WITHIN);
        let num_unread = state.progress.unread();
        let starves = looks && !self.is_paused() && num_unread > 0;
        let reason = match &state.last_error {
            _ if self.is_paused() => "reading is paused because the store does not keep up".to_owned(),
            Some((error, _)) => error.clone(),
            None if !state.has_leader => "the partition has no leader".to_owned(),
            None => format!("the broker has sent nothing (librdkafka: {})", state.fetch_state),
        };
        Standing {
            id: self.id.clone(),
            is_of_others: self.others.is_some(),
            held: state.held,
            assigned_for: now.saturating_duration_since(state.assigned_at),
            gone_for: state.gone_since.map(|since| now.saturating_duration_since(since)),
            refused_for: state.refused_since.map(|since| now.saturating_duration_since(since)),
            starves_for: state.empty_since.filter(|_| starves).map(|since| now.saturating_duration_since(since)),
            position: state.progress.position(),
            num_unread,
            // Where fetching fails, the end of what may be read is as old as the last fetch.
            num_behind_transaction: match state.last_error {
                Some(_) => 0,
                None => state.progress.behind_open_transaction(),
            },
            is_lag_known: state.progress.lag().is_some(),
            reason,
        }
    }
}
