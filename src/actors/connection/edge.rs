//! What all connections share: limits, credentials, TLS, the decoders, and which device is connected where.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use actix::Recipient;
use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::watch;
use tokio::time::timeout;

use super::Depart;
use crate::actors::decoder::Decoder;
use crate::actors::doorkeeper::Doorkeeper;
use crate::credentials::{CurrentCredentials, TokenHash};
use crate::flow::memory::{MemoryBudget, Reserved, retry_delay};
use crate::log::partitioner::partition_for;
use crate::observe::Status;
use crate::protocol::device_id::DeviceId;
use crate::protocol::hello::Welcome;
use crate::protocol::package::{self, PackageLimits};
use crate::supervision::{ActorRef, jitter};
use crate::telemetry::counters::add;
use crate::telemetry::{Recorder, Telemetry, now_us};
use crate::tls::ServerTls;

/// For so long after the beginning of a start, who comes is not sent away but waits.
const START_GRACE: Duration = Duration::from_millis(500);

/// Limits of one connection, as announced in Welcome. A connection keeps those that it began with.
#[derive(Debug, Clone)]
pub struct EdgeLimits {
    /// Largest frame, in bytes.
    pub max_frame: u32,
    /// Largest package after decompression, in bytes.
    pub max_package: u32,
    /// Most messages in a package.
    pub max_messages: u16,
    /// Most packages without a receipt. Past it the connection is not read from.
    pub max_unacknowledged_packages: u16,
    /// How long a new connection may take to say Hello.
    pub hello_timeout: Duration,
    /// How long a connection may be silent.
    pub idle_timeout: Duration,
    /// The delay given with "retry later".
    pub retry_delay: Duration,
    /// Within which devices that are sent away together are to come back.
    pub reconnect_spread: Duration,
}

/// Shared by every connection of the process.
pub struct Edge {
    /// Who may come in and how much each may send.
    pub doorkeeper: Arc<Doorkeeper>,
    /// Where packages have to find room.
    pub memory: MemoryBudget,
    /// Counters and stages.
    pub telemetry: Arc<Telemetry>,
    /// From package read to receipt written.
    pub(super) acknowledge: Recorder,
    limits: ArcSwap<EdgeLimits>,
    credentials: CurrentCredentials,
    /// `None`: devices connect without TLS.
    pub(in crate::actors) tls: Option<Arc<ServerTls>>,
    /// Empty until the way behind it is built.
    decoders: OnceLock<Vec<ActorRef<Decoder>>>,
    /// Whether they are there.
    is_open: watch::Sender<bool>,
    began: Instant,
    /// Tells what a start waits for.
    status: Arc<Status>,
    devices: DashMap<DeviceId, (u64, Recipient<Depart>)>,
    num_connections_ever: AtomicU64,
    /// Counts what was withdrawn, so that a connection which begins at that moment is not passed over.
    num_withdrawals: AtomicU64,
    is_draining: watch::Sender<bool>,
}

/// What a device has been let in by.
#[derive(Debug, Clone, Copy)]
pub(super) enum Proof {
    /// A token, also where none is asked for.
    Token(TokenHash),
    /// A certificate, which the connection has.
    Certificate,
}

/// A device's entry among the connected ones; its drop, also by a panic, removes it.
pub(super) struct Presence {
    edge: Arc<Edge>,
    device_id: DeviceId,
    serial: u64,
}

// === impl EdgeLimits ===

impl EdgeLimits {
    /// What one package may be.
    pub(crate) fn of_package(&self) -> PackageLimits {
        PackageLimits { max_bytes: self.max_package as usize, max_messages: self.max_messages }
    }

    pub(super) fn welcome(&self) -> Welcome {
        Welcome {
            max_frame: self.max_frame,
            max_package: self.max_package,
            max_messages: self.max_messages,
            max_unacknowledged: self.max_unacknowledged_packages,
            idle_timeout_ms: self.idle_timeout.as_millis().try_into().unwrap_or(u32::MAX),
            server_time_ms: now_us() / 1000,
        }
    }
}

// === impl Edge ===

impl Edge {
    /// An edge for devices that have these credentials and speak TLS if there is any. Nobody is let in before
    /// [`Edge::open`].
    pub fn new(
        limits: EdgeLimits,
        credentials: CurrentCredentials,
        tls: Option<Arc<ServerTls>>,
        status: Arc<Status>,
        doorkeeper: Arc<Doorkeeper>,
        memory: MemoryBudget,
        telemetry: Arc<Telemetry>,
    ) -> Self {
        let acknowledge = telemetry.acknowledge.recorder();
        let (num_connections_ever, num_withdrawals) = (AtomicU64::new(0), AtomicU64::new(0));
        let (devices, is_draining) = (DashMap::new(), watch::Sender::new(false));
        Self {
            doorkeeper,
            memory,
            telemetry,
            acknowledge,
            limits: ArcSwap::from_pointee(limits),
            credentials,
            tls,
            decoders: OnceLock::new(),
            is_open: watch::Sender::new(false),
            began: Instant::now(),
            status,
            devices,
            num_connections_ever,
            num_withdrawals,
            is_draining,
        }
    }

    /// Lets devices and clients in, whose packages go to these decoders.
    pub fn open(&self, decoders: Vec<ActorRef<Decoder>>) {
        let is_first = self.decoders.set(decoders).is_ok();
        assert!(is_first, "the edge was opened before");
        self.is_open.send_replace(true);
    }

    /// Waits until devices and clients are let in, but only at the very beginning of a start: one that waits for nobody is
    /// over before a client that was sent away could have come back.
    pub(crate) async fn opening(&self) {
        if self.decoders.get().is_none() {
            let left = START_GRACE.saturating_sub(self.began.elapsed());
            // Opened or not: who asks looks again.
            let _ = timeout(left, self.is_open.subscribe().wait_for(|is_open| *is_open)).await;
        }
    }

    /// Why nobody is let in yet, for outsiders: what a start waits for, and nothing of where that is.
    pub(crate) fn not_open(&self) -> Option<String> {
        if self.decoders.get().is_some() {
            return None;
        }
        let waits_for = self.status.starting().map(|part| format!(": it waits for {part}"));
        Some(format!("the server is starting{}", waits_for.unwrap_or_default()))
    }

    /// What a connection that begins now may do.
    pub fn limits(&self) -> Arc<EdgeLimits> {
        self.limits.load_full()
    }

    /// Gives other limits to the connections that begin from now on.
    pub fn set_limits(&self, limits: EdgeLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// Tells every connected device to leave. Who has not said Hello by now is refused.
    pub fn dismiss_all(&self) {
        self.is_draining.send_replace(true);
        for entry in &self.devices {
            entry.value().1.do_send(Depart::Drain);
        }
    }

    /// Makes every connection look whether its device would still be let in: tokens, or the authorities behind
    /// certificates, are others now. Those that would not end.
    pub fn prove_again(&self, by: Depart) {
        self.num_withdrawals.fetch_add(1, Ordering::Relaxed);
        for entry in &self.devices {
            entry.value().1.do_send(by);
        }
    }

    /// How often something was withdrawn so far. To be asked before a device proves who it is, for [`Edge::arrived`].
    pub(super) fn num_withdrawals(&self) -> u64 {
        self.num_withdrawals.load(Ordering::Relaxed)
    }

    /// Waits until devices are told to leave.
    pub(super) async fn draining(&self) {
        // The sender is ours, so this cannot fail.
        let _ = self.is_draining.subscribe().wait_for(|is_draining| *is_draining).await;
    }

    pub(super) fn next_serial(&self) -> u64 {
        self.num_connections_ever.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether this is a token of the device.
    pub(super) fn has_token(&self, device_id: &DeviceId, token: &TokenHash) -> bool {
        self.credentials.load().device_by_hash(device_id, token).is_ok()
    }

    /// Room in memory for a package until it has its receipt; without room, how long its device is to wait, in
    /// milliseconds.
    pub(crate) fn make_room(&self, block: &[u8], limits: PackageLimits) -> Result<Reserved, u32> {
        self.memory.try_reserve(package::weight(block, limits) as u64).ok_or_else(|| {
            self.count_sent_back();
            millis(retry_delay(self.limits.load().retry_delay, self.memory.pressure(), jitter()))
        })
    }

    /// Counts a package that was answered "retry later" without a look into it.
    pub(super) fn count_sent_back(&self) {
        let counters = &self.telemetry.counters;
        add(&counters.packages, 1);
        // How many messages there are is known only after decompression, which is not worth its while.
        add(&counters.retry_later, 1);
    }

    /// The delay to give with "retry later", in milliseconds.
    pub(crate) fn retry_ms(&self) -> u32 {
        millis(self.limits.load().retry_delay)
    }

    /// How long one is to stay away for whom nothing can be done in this time, in milliseconds; spread, so that those who
    /// were sent away together do not come back together.
    pub fn come_back_ms(&self, wait: Duration) -> u32 {
        millis(wait.saturating_add(retry_delay(self.limits.load().retry_delay, 1.0, jitter())))
    }

    /// When one of many is to come back that are sent away at the same moment, in milliseconds: each draws its own.
    pub(super) fn reconnect_ms(&self) -> u32 {
        millis(self.limits.load().reconnect_spread.mul_f64(jitter()))
    }

    /// How long one is to stay away who came while nobody is let in, in milliseconds. A whole fleet may be waiting: the
    /// longer the start has taken, the more of `reconnect_spread` its devices are spread over.
    pub(crate) fn after_start_ms(&self) -> u32 {
        let spread = self.limits.load().reconnect_spread.min(self.began.elapsed());
        self.come_back_ms(spread.mul_f64(jitter()))
    }

    /// A device always meets the same decoder, so that its packages keep their order.
    pub(crate) fn decoder_of(&self, device_id: &DeviceId) -> &ActorRef<Decoder> {
        let Some(decoders) = self.decoders.get() else { unreachable!("nobody is let in before there are decoders") };
        &decoders[partition_for(device_id.as_bytes(), decoders.len() as u32) as usize]
    }

    /// Notes where a device is connected, until the returned guard is dropped. An older connection of it, perhaps a dead
    /// one on a lost link, has to leave. `num_withdrawals` is as of before it has proved who it is.
    pub(super) fn arrived(
        self: &Arc<Self>,
        device_id: &DeviceId,
        serial: u64,
        num_withdrawals: u64,
        depart: Recipient<Depart>,
    ) -> Presence {
        if let Some((_, older)) = self.devices.insert(device_id.clone(), (serial, depart.clone())) {
            older.do_send(Depart::Replaced);
        }
        if *self.is_draining.borrow() {
            // Just too late to be told with the others.
            depart.do_send(Depart::Drain);
        }
        // Whoever withdraws something counts it first and tells those among the devices then.
        if self.num_withdrawals() != num_withdrawals {
            depart.do_send(Depart::UnlessTokenHolds);
            depart.do_send(Depart::UnlessCertificateHolds);
        }
        Presence { edge: Arc::clone(self), device_id: device_id.clone(), serial }
    }
}

fn millis(delay: Duration) -> u32 {
    delay.as_millis().try_into().unwrap_or(u32::MAX)
}

// === impl Presence ===

impl Drop for Presence {
    fn drop(&mut self) {
        self.edge.devices.remove_if(&self.device_id, |_, (holder, _)| *holder == self.serial);
    }
}
