//! Admission control: how many connections an address may have, and how much each device, token and address may send.
//! Shared by all sources.
//!
//! The rules are plain types in [`crate::flow`]; this keeps their state behind a lock that is held for nanoseconds, and
//! counts what was refused.

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use serde::Serialize;

use crate::flow::addresses::{AddressLimits, Addresses, Network, TurnedAway};
use crate::flow::pace::Pace;
use crate::flow::pool::{Held, Pool};
use crate::flow::rate::{Allowance, PackageRates};
use crate::protocol::reason::RefusalReason;
use crate::telemetry::counters::add;

/// What one device and one address may ask for.
#[derive(Debug, Clone, Copy)]
pub struct AdmissionLimits {
    /// Of one address.
    pub address: AddressLimits,
    /// Of one device.
    pub device_rates: PackageRates,
    /// Of one token for HTTP: requests, and bytes of their bodies.
    pub http_rates: PackageRates,
    /// How fast a frame has to arrive.
    pub pace: Pace,
    /// Bytes of frames that have begun and are not complete, of all connections together.
    pub frame_buffers: u64,
}

/// See the module.
#[derive(Debug)]
pub struct AdmissionControl {
    limits: ArcSwap<AdmissionLimits>,
    addresses: Mutex<Addresses>,
    /// What is left for each HTTP token, by its name. Names are the operator's, so there are only so many.
    tokens: Mutex<HashMap<String, Allowance>>,
    buffers: Pool,
    refused: [AtomicU64; RefusalReason::ALL.len()],
    over_device_rate: AtomicU64,
    over_address_rate: AtomicU64,
    failed_requests: AtomicU64,
    accept_pauses: AtomicU64,
}

/// A connection that was let in; its drop takes it off the count of its address.
#[derive(Debug)]
pub struct ConnectionGuard {
    admission: Arc<AdmissionControl>,
    network: Network,
    allowance: Allowance,
}

/// Admission control at one moment. Counts are since the start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AdmissionSnapshot {
    /// Addresses with a connection, or with something that they have taken and that has not come back.
    pub addresses: usize,
    /// Bytes of large frames that have begun and are not complete.
    pub frame_buffers_bytes: u64,
    /// Connections that were refused or ended, by reason. Reasons that never happened are left out.
    pub refused: BTreeMap<&'static str, u64>,
    /// Packages and requests sent back because their device or token sent too many.
    pub over_device_rate: u64,
    /// Packages and requests sent back because their address sent too many.
    pub over_address_rate: u64,
    /// Requests over HTTP without a valid token.
    pub failed_requests: u64,
    /// How often nothing was accepted for a moment, because file descriptors or memory had run out.
    pub accept_pauses: u64,
}

// === impl AdmissionControl ===

impl AdmissionControl {
    /// Nobody has come yet.
    pub fn new(limits: AdmissionLimits) -> Self {
        Self {
            limits: ArcSwap::from_pointee(limits),
            addresses: Mutex::new(Addresses::new(limits.address)),
            tokens: Mutex::default(),
            buffers: Pool::new(limits.frame_buffers),
            refused: std::array::from_fn(|_| AtomicU64::new(0)),
            over_device_rate: AtomicU64::new(0),
            over_address_rate: AtomicU64::new(0),
            failed_requests: AtomicU64::new(0),
            accept_pauses: AtomicU64::new(0),
        }
    }

    /// Keeps to other limits from now on. A connection keeps the pace that it began with.
    pub fn set_limits(&self, limits: AdmissionLimits) {
        self.addresses.lock().set_limits(limits.address);
        self.buffers.set_limit(limits.frame_buffers);
        self.limits.store(Arc::new(limits));
    }

    /// Lets a connection in, or says why not.
    pub fn let_in(self: &Arc<Self>, peer: IpAddr) -> Result<ConnectionGuard, TurnedAway> {
        let network = Network::from(peer);
        self.addresses.lock().connect(Instant::now(), network)?;
        Ok(ConnectionGuard { admission: Arc::clone(self), network, allowance: Allowance::default() })
    }

    /// Takes one HTTP request from what its address and its token (by name, if there is one) may send, or says how long
    /// none may come. The bytes of its body are told by [`AdmissionControl::note_body`] as they come.
    pub fn take_request(&self, peer: IpAddr, token: Option<&str>) -> Result<(), Duration> {
        let limits = self.limits.load();
        let (now, rates) = (Instant::now(), &limits.http_rates);
        let mut tokens = self.tokens.lock();
        let wait = token.and_then(|name| tokens.get(name)).map_or(Duration::ZERO, |left| left.wait(now, rates));
        if !wait.is_zero() {
            add(&self.over_device_rate, 1);
            return Err(wait);
        }
        self.take_of_address(now, peer.into(), 0)?;
        match token {
            Some(name) => tokens.entry(name.to_owned()).or_default().take(now, rates, 0),
            None => Ok(()),
        }
    }

    /// Takes bytes that were read of the body of a request that was let in; what is too much, the next one waits for.
    pub fn note_body(&self, peer: IpAddr, token: Option<&str>, num_bytes: u64) {
        let now = Instant::now();
        self.addresses.lock().charge_bytes(now, peer.into(), num_bytes);
        // A long body outlasts what was remembered of its head.
        if let Some(name) = token {
            let limits = self.limits.load();
            self.tokens.lock().entry(name.to_owned()).or_default().charge_bytes(now, &limits.http_rates, num_bytes);
        }
    }

    /// A request from this address had no valid token: counts it, and says how long its answer is to be held back.
    pub fn request_failed(&self, peer: IpAddr) -> Duration {
        add(&self.failed_requests, 1);
        self.addresses.lock().request_failed(Instant::now(), peer.into())
    }

    /// How fast a frame has to arrive.
    pub fn pace(&self) -> Pace {
        self.limits.load().pace
    }

    /// A place for a frame that is too large to be held for nothing.
    pub fn frame_buffer(&self) -> Held {
        self.buffers.place()
    }

    /// Counts a connection that was refused, or ended for a reason that its device was told.
    pub fn note_refusal(&self, reason: RefusalReason) {
        if let Some(index) = RefusalReason::ALL.iter().position(|known| *known == reason) {
            add(&self.refused[index], 1);
        }
    }

    /// Counts a moment without accepting.
    pub fn note_accept_pause(&self) {
        add(&self.accept_pauses, 1);
    }

    /// Forgets addresses and tokens about which nothing is left to know. To be called every few seconds.
    pub fn sweep(&self) {
        let now = Instant::now();
        self.addresses.lock().sweep(now);
        self.tokens.lock().retain(|_, left| !left.is_full(now));
    }

    /// How many connections were refused or ended so far, for every reason that there is.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let counts = self.refused.iter().map(|count| count.load(Ordering::Relaxed));
        RefusalReason::ALL.iter().map(|reason| reason.name()).zip(counts)
    }

    /// What was admitted and refused so far.
    pub fn snapshot(&self) -> AdmissionSnapshot {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        AdmissionSnapshot {
            addresses: self.addresses.lock().num_known(),
            frame_buffers_bytes: self.buffers.held_bytes(),
            refused: self.refusals().filter(|(_, count)| *count > 0).collect(),
            over_device_rate: get(&self.over_device_rate),
            over_address_rate: get(&self.over_address_rate),
            failed_requests: get(&self.failed_requests),
            accept_pauses: get(&self.accept_pauses),
        }
    }

    fn take_of_address(&self, now: Instant, network: Network, num_bytes: u64) -> Result<(), Duration> {
        let taken = self.addresses.lock().take_package(now, network, num_bytes);
        if taken.is_err() {
            add(&self.over_address_rate, 1);
        }
        taken
    }
}

// === impl ConnectionGuard ===

impl ConnectionGuard {
    /// Takes one package, or another frame that counts as one, of so many bytes from what the device and its address may send, or says how long none may come.
    pub fn take_package(&mut self, num_bytes: u64) -> Result<(), Duration> {
        let limits = self.admission.limits.load();
        let (now, rates) = (Instant::now(), &limits.device_rates);
        let wait = self.allowance.wait(now, rates);
        if !wait.is_zero() {
            add(&self.admission.over_device_rate, 1);
            return Err(wait);
        }
        self.admission.take_of_address(now, self.network, num_bytes)?;
        self.allowance.take(now, rates, num_bytes)
    }

    /// The connection ends, and nobody knows whose it was.
    pub fn attempt_failed(&self) {
        self.admission.addresses.lock().attempt_failed(Instant::now(), self.network);
    }
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.admission.addresses.lock().disconnect(Instant::now(), self.network);
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::flow::rate::Rate;

    /// One with limits so low that each can be reached.
    pub(crate) fn admission() -> Arc<AdmissionControl> {
        Arc::new(AdmissionControl::new(AdmissionLimits {
            address: AddressLimits {
                connections: 2,
                rates: PackageRates { packages: Rate::per_minute(3), bytes: Rate::per_second(1 << 20) },
                failed_attempts: Rate::per_minute(1),
                remembered: 10,
            },
            device_rates: PackageRates { packages: Rate::per_minute(2), bytes: Rate::per_second(1 << 20) },
            http_rates: PackageRates { packages: Rate::per_minute(2), bytes: Rate::per_minute(1 << 20) },
            pace: Pace { grace: Duration::from_secs(1), bytes_per_second: 1 },
            frame_buffers: 10,
        }))
    }

    #[test]
    fn test_a_connection_ends_with_its_guard_and_failures_outlive_it() {
        let (control, peer) = (admission(), IpAddr::from([10, 0, 0, 1]));
        let (first, _second) = (control.let_in(peer).unwrap(), control.let_in(peer).unwrap());
        assert_eq!(control.let_in(peer).unwrap_err(), TurnedAway::Connections);
        drop(first);
        let third = control.let_in(peer).unwrap();
        third.attempt_failed();
        drop(third);
        assert!(matches!(control.let_in(peer), Err(TurnedAway::Attempts(_))));
    }

    #[test]
    fn test_requests_without_a_token_do_not_keep_devices_out() {
        let (control, peer) = (admission(), IpAddr::from([10, 0, 0, 1]));
        assert!(control.request_failed(peer).is_zero());
        for _ in 0..10 {
            assert!(!control.request_failed(peer).is_zero());
        }
        assert!(control.let_in(peer).is_ok());
        assert!(control.take_request(peer, Some("app")).is_ok());
        assert_eq!(control.snapshot().failed_requests, 11);
    }

    #[test]
    fn test_packages_are_taken_from_the_device_and_from_its_address() {
        let (control, peer) = (admission(), IpAddr::from([10, 0, 0, 1]));
        let (mut first, mut second) = (control.let_in(peer).unwrap(), control.let_in(peer).unwrap());
        assert!(first.take_package(1).is_ok() && first.take_package(1).is_ok());
        assert!(first.take_package(1).is_err());
        assert!(second.take_package(1).is_ok());
        assert!(second.take_package(1).is_err());
        assert!(control.take_request(peer, None).is_err());
        let seen = control.snapshot();
        assert_eq!((seen.over_device_rate, seen.over_address_rate, seen.addresses), (1, 2, 1));
    }

    #[test]
    fn test_other_limits_hold_for_who_is_there_already() {
        let (control, peer) = (admission(), IpAddr::from([10, 0, 0, 1]));
        let (mut first, _second) = (control.let_in(peer).unwrap(), control.let_in(peer).unwrap());
        let mut frame = control.frame_buffer();
        assert!(!frame.hold(11));
        let mut limits = **control.limits.load();
        limits.address.connections = 3;
        limits.device_rates.packages = Rate::per_minute(1);
        limits.frame_buffers = 11;
        control.set_limits(limits);
        assert!(control.let_in(peer).is_ok());
        assert!(first.take_package(1).is_ok() && first.take_package(1).is_err());
        assert!(frame.hold(11));
    }

    #[test]
    fn test_a_token_has_one_rate_wherever_it_is_used() {
        let (control, peer) = (admission(), |last| IpAddr::from([10, 0, 0, last]));
        assert!(control.take_request(peer(1), Some("app")).is_ok());
        assert!(control.take_request(peer(2), Some("app")).is_ok());
        assert!(control.take_request(peer(3), Some("app")).is_err());
        assert!(control.take_request(peer(3), Some("other")).is_ok());
        assert_eq!((control.snapshot().over_device_rate, control.tokens.lock().len()), (1, 2));
    }

    #[test]
    fn test_bodies_are_taken_from_the_token_and_from_its_address() {
        let (control, peer) = (admission(), |last| IpAddr::from([10, 0, 0, last]));
        assert!(control.take_request(peer(1), Some("app")).is_ok());
        control.note_body(peer(1), Some("app"), 10 << 20);
        assert!(control.take_request(peer(2), Some("app")).is_err(), "the token has no bytes left for a minute");
        assert!(control.take_request(peer(1), None).is_err(), "nor has the address for some seconds");
        assert!(control.take_request(peer(2), None).is_ok());
    }
}
