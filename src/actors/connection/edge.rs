//! What all connections share: limits, credentials, TLS, and which device is connected where.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use actix::Recipient;
use arc_swap::ArcSwap;
use dashmap::DashMap;
use tokio::sync::watch;

use super::Disconnect;
use crate::credentials::{CurrentCredentials, TokenHash};
use crate::intake::Intake;
use crate::protocol::device_id::DeviceId;
use crate::protocol::hello::Welcome;
use crate::protocol::package::PackageLimits;
use crate::telemetry::{Recorder, now_us};
use crate::tls::ServerTls;

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
}

/// Shared by every connection of the process.
pub struct Edge {
    /// Where packages go.
    pub intake: Arc<Intake>,
    /// From package read to receipt written.
    pub(super) acknowledge: Recorder,
    limits: ArcSwap<EdgeLimits>,
    credentials: CurrentCredentials,
    /// `None`: devices connect without TLS.
    pub(in crate::actors) tls: Option<Arc<ServerTls>>,
    devices: DashMap<DeviceId, (u64, Recipient<Disconnect>)>,
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
    /// An edge for devices that have these credentials and speak TLS if there is any.
    pub fn new(
        limits: EdgeLimits,
        credentials: CurrentCredentials,
        tls: Option<Arc<ServerTls>>,
        intake: Arc<Intake>,
    ) -> Self {
        let acknowledge = intake.telemetry.acknowledge.recorder();
        let (num_connections_ever, num_withdrawals) = (AtomicU64::new(0), AtomicU64::new(0));
        let (devices, is_draining) = (DashMap::new(), watch::Sender::new(false));
        Self {
            intake,
            acknowledge,
            limits: ArcSwap::from_pointee(limits),
            credentials,
            tls,
            devices,
            num_connections_ever,
            num_withdrawals,
            is_draining,
        }
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
            entry.value().1.do_send(Disconnect::Drain);
        }
    }

    /// Makes every connection look whether its device would still be let in: tokens, or the authorities behind
    /// certificates, are others now. Those that would not end.
    pub fn prove_again(&self, by: Disconnect) {
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

    /// Notes where a device is connected, until the returned guard is dropped. An older connection of it, perhaps a dead
    /// one on a lost link, has to leave. `num_withdrawals` is as of before it has proved who it is.
    pub(super) fn arrived(
        self: &Arc<Self>,
        device_id: &DeviceId,
        serial: u64,
        num_withdrawals: u64,
        disconnect: Recipient<Disconnect>,
    ) -> Presence {
        if let Some((_, older)) = self.devices.insert(device_id.clone(), (serial, disconnect.clone())) {
            older.do_send(Disconnect::Replaced);
        }
        if *self.is_draining.borrow() {
            // Just too late to be told with the others.
            disconnect.do_send(Disconnect::Drain);
        }
        // Whoever withdraws something counts it first and tells those among the devices then.
        if self.num_withdrawals() != num_withdrawals {
            disconnect.do_send(Disconnect::UnlessTokenHolds);
            disconnect.do_send(Disconnect::UnlessCertificateHolds);
        }
        Presence { edge: Arc::clone(self), device_id: device_id.clone(), serial }
    }
}

// === impl Presence ===

impl Drop for Presence {
    fn drop(&mut self) {
        self.edge.devices.remove_if(&self.device_id, |_, (holder, _)| *holder == self.serial);
    }
}
