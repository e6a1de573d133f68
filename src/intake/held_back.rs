//! Requests over HTTP without a valid token: counted, and slowed down when an address has had many.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;

use super::admission::AdmissionControl;
use crate::flow::credit::Credits;

/// The longest time that an answer is held back.
const LONGEST_HOLD: Duration = Duration::from_secs(1);

/// Most answers of one port that are held back at a time.
const MAX_HELD_BACK: u32 = 256;

/// Holds back the answers to requests of one port that have no valid token, when their address has had many within a
/// minute; the others at that address do not notice.
#[derive(Debug)]
pub struct HeldBack {
    admission: Arc<AdmissionControl>,
    /// One for each request that is held back.
    places: Credits,
}

/// So many answers are held back already that this request is to be sent away; nothing of its address is let in that has
/// no valid token before this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooMany(pub Duration);

// === impl HeldBack ===

impl HeldBack {
    /// Nobody is held back yet. Addresses and the count of such requests are those of admission control.
    pub fn new(admission: Arc<AdmissionControl>) -> Self {
        Self { admission, places: Credits::new(MAX_HELD_BACK) }
    }

    /// A request had no valid token: counts it, and waits for as long as its answer is to be held back, at most a second.
    pub async fn hold(&self, peer: Option<IpAddr>) -> Result<(), TooMany> {
        let wait = peer.map_or(Duration::ZERO, |peer| self.admission.request_failed(peer));
        if wait.is_zero() {
            return Ok(());
        }
        let _place = self.places.try_take().ok_or(TooMany(wait))?;
        sleep(wait.min(LONGEST_HOLD)).await;
        Ok(())
    }
}
