//! What is said on a connection: Hello and Welcome, then packages, each of which gets its receipt.

use std::time::{Duration, Instant};

use actix::Recipient;
use tokio::time::{timeout, timeout_at};
use tracing::debug;

use super::Deliver;
use super::edge::Proof;
use super::frame_reader::{FrameReader, ReadError};
use super::framed::{Framed, FramedError};
use super::packages::{hold_up, send_back, take_in};
use super::{Edge, EdgeLimits, End, LAST_RECEIPTS};
use crate::credentials::TokenHash;
use crate::flow::credit::Credits;
use crate::intake::admission::ConnectionGuard;
use crate::intake::{Closed, Intake, millis};
use crate::protocol::device_id::DeviceId;
use crate::protocol::frame::{Frame, HANDSHAKE_FRAME_LIMIT, PackageFrame};
use crate::protocol::hello::{Hello, Pong};
use crate::protocol::reason::RefusalReason;
use crate::telemetry::now_us;

/// Waits for Hello, and says Welcome.
pub(super) async fn greet(
    framed: &Framed,
    edge: &Edge,
    limits: &EdgeLimits,
    reader: &mut FrameReader,
) -> Result<(DeviceId, Proof), End> {
    let closed = edge.intake.path().await.err();
    // Through TLS nothing is heard before its handshake, which has ended when Hello is there.
    if let Some(closed) = closed.filter(|_| !framed.is_secure()) {
        return Err(not_yet(closed));
    }
    let until = Instant::now() + limits.hello_timeout;
    let hello = match timeout_at(until.into(), reader.next_frame(framed, HANDSHAKE_FRAME_LIMIT, until)).await {
        Err(_) | Ok(Err(ReadError::Silent)) => {
            return Err(later(edge, RefusalReason::HelloTimeout, "no hello in time"));
        }
        Ok(Ok(Frame::Hello(hello))) => hello,
        Ok(Ok(_)) => return Err(violation("the first frame must be a hello")),
        Ok(Err(error)) => return Err(end_of(edge, error)),
    };
    edge.intake.check_open().map_err(not_yet)?;
    let Hello { device_id, credential } = hello;
    // A certificate stands for the token, and for no other device.
    let (is_known, proof) = match framed.has_certificate_of(&device_id) {
        Some(is_known) => (is_known, Proof::Certificate),
        None => {
            let token = TokenHash::of(credential.as_bytes());
            (edge.has_token(&device_id, &token), Proof::Token(token))
        }
    };
    if !is_known {
        return Err(End::Refuse(RefusalReason::BadCredential, 0, "the credential is not valid".to_owned()));
    }
    framed.queue(&Frame::Welcome(limits.welcome()));
    Ok((device_id, proof))
}

/// What a conversation with a device needs.
pub(super) struct Session<'a> {
    pub(super) framed: &'a Framed,
    pub(super) edge: &'a Edge,
    pub(super) intake: &'a Intake,
    /// As the device has been told them.
    pub(super) limits: &'a EdgeLimits,
    pub(super) device_id: &'a DeviceId,
    pub(super) window: &'a Credits,
    pub(super) receipts: &'a Recipient<Deliver>,
}

// === impl Session ===

impl Session<'_> {
    /// Takes frames until either side wants to end it.
    pub(super) async fn converse(&self, guard: &mut ConnectionGuard, reader: &mut FrameReader) -> End {
        let limits = self.limits;
        loop {
            let silent_until = Instant::now() + limits.idle_timeout;
            let frame = match reader.next_frame(self.framed, limits.max_frame as usize, silent_until).await {
                Err(error) => return end_of(self.edge, error),
                Ok(frame) => frame,
            };
            match frame {
                Frame::Package(package) => {
                    if let Some(end) = self.on_package(guard, package).await {
                        return end;
                    }
                }
                Frame::Ping { nonce } => {
                    // Also one over the rate is answered.
                    self.framed.queue(&Frame::Pong(Pong { nonce, server_time_ms: now_us() / 1000 }));
                    count_as_package(guard).await;
                }
                Frame::Pong(_) => count_as_package(guard).await,
                Frame::Goodbye(_) => return End::Left,
                Frame::Hello(_) | Frame::Welcome(_) | Frame::Refused(_) | Frame::Receipt(_) => {
                    return violation("a frame that only opens a connection, or only a server sends");
                }
            }
        }
    }

    async fn on_package(&self, guard: &mut ConnectionGuard, package: PackageFrame) -> Option<End> {
        // The credit of a package returns before its receipt is sent, so that only a device that ignores the
        // announced limit finds none here.
        let Some(credit) = self.window.try_take() else {
            let text = format!("more than {} unacknowledged packages", self.limits.max_unacknowledged_packages);
            // What is within the window gets its receipts first. With a delay, because a client that has counted wrong
            // once, after a reconnect say, still has messages that are to arrive. A log that stands still does not hold
            // the connection: what has no receipt by then is sent again when the device comes back.
            let _ = timeout(LAST_RECEIPTS, self.window.all_returned()).await;
            return Some(later(self.edge, RefusalReason::TooManyUnacknowledged, &text));
        };
        match guard.take_package(package.block.len() as u64) {
            Ok(()) => take_in(self, credit, package).await,
            Err(wait) => {
                drop(credit);
                send_back(self.framed, self.intake, package.package_id, wait).await;
            }
        }
        None
    }
}

/// Holds a device to the rate of packages with what else it may send at any time: a few that do so without a pause would
/// take the cores.
async fn count_as_package(guard: &mut ConnectionGuard) {
    if let Err(wait) = guard.take_package(0) {
        hold_up(wait).await;
    }
}

/// For a device that comes before the engine has started.
fn not_yet(closed: Closed) -> End {
    End::Refuse(RefusalReason::Unavailable, millis(closed.retry_after), closed.reason)
}

fn violation(text: &str) -> End {
    End::Refuse(RefusalReason::ProtocolViolation, 0, text.to_owned())
}

/// For a reason that passes: the device may come back.
pub(super) fn later(edge: &Edge, reason: RefusalReason, text: &str) -> End {
    End::Refuse(reason, millis(edge.intake.come_back_after(Duration::ZERO)), text.to_owned())
}

fn end_of(edge: &Edge, error: ReadError) -> End {
    match error {
        ReadError::Framed(FramedError::Tls(error)) => {
            debug!(%error, "TLS failed");
            End::NotSecure
        }
        ReadError::Framed(_) => End::Gone,
        ReadError::Frame(error) => End::Refuse(error.refusal(), 0, error.to_string()),
        ReadError::Silent => later(edge, RefusalReason::IdleTimeout, &error.to_string()),
        ReadError::TooSlow => later(edge, RefusalReason::TooSlow, &error.to_string()),
        ReadError::NotHeard => later(edge, RefusalReason::NotHeard, &error.to_string()),
        ReadError::NoRoom => later(edge, RefusalReason::Unavailable, &error.to_string()),
    }
}
