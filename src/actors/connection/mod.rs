//! Connection: one actor per device connection. Frames in, receipts out.
//!
//! A package is sent on only with a credit of the decoder's mailbox in hand. While there is none, nothing is read from
//! the socket: that is TCP backpressure. The unacknowledged packages of one connection are bounded by the limit
//! announced in Welcome; a device that ignores it is refused. A package for which there is no room in memory, or that is
//! over a rate, is answered "retry later" at once, and the connection goes on.
//! Connections are never restarted; a device whose connection dies connects again.

mod edge;
mod frame_buffer;
mod frame_reader;
mod framed;
mod packages;
mod session;
mod transport;

use std::cell::{Cell, OnceCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, warn};

use edge::Proof;
pub use edge::{Edge, EdgeLimits};
use frame_reader::FrameReader;
use framed::Framed;
use session::{Session, greet, later};
use transport::Transport;

use crate::flow::credit::{Credit, Credits};
use crate::intake::admission::ConnectionGuard;
use crate::intake::millis;
use crate::protocol::device_id::DeviceId;
use crate::protocol::frame::Frame;
use crate::protocol::hello::{Goodbye, Refused};
use crate::protocol::reason::{GoodbyeReason, RefusalReason};
use crate::protocol::receipt::Receipt;
use crate::supervision::CrowdMember;

/// How long a device that was told goodbye is still listened to: what it sent before it heard that gets its receipts.
const LAST_PACKAGES: Duration = Duration::from_secs(1);

/// How long the packages of a device whose connection ends are waited for, so that they get their receipts first: as long
/// as a log that is alive takes at most, about. What has no receipt by then is sent again, and makes the same rows.
const LAST_RECEIPTS: Duration = Duration::from_secs(5);

/// One device connection.
pub struct Connection {
    framed: Rc<Framed>,
    edge: Arc<Edge>,
    leave: Rc<Leave>,
    /// Who it is and by what it was let in, once that is known.
    known_as: Rc<OnceCell<(DeviceId, Proof)>>,
    serial: u64,
    guard: Option<ConnectionGuard>,
    stream_credit: Option<(CrowdMember, Credit)>,
}

/// Tells a connection what became of one of its packages.
#[derive(Debug, Message)]
#[rtype(result = "()")]
struct Deliver {
    /// For the device.
    receipt: Receipt,
    /// When the package was read off the socket.
    received: Instant,
    /// The connection's credit for this package, returned when the receipt is on its way.
    #[allow(dead_code)]
    window: Credit,
}

/// Asks a connection to end in order.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub enum Disconnect {
    /// The engine stops: the device is told to connect again, at a moment of its own.
    Drain,
    /// The same device opened another connection.
    Replaced,
    /// Tokens have changed: only a device whose token is still valid stays.
    UnlessTokenHolds,
    /// The authorities of certificates have changed: only a device whose certificate is still trusted stays.
    UnlessCertificateHolds,
}

/// How a connection ends.
enum End {
    /// The device left, or its network did.
    Gone,
    /// TLS ends it, with an alert that says why.
    NotSecure,
    /// We end it, with these last words.
    Refuse(RefusalReason, u32, String),
    /// An orderly end that was asked for.
    Left,
    /// Likewise; the engine stops.
    Drained,
    /// Likewise; the device opened another connection.
    Replaced,
    /// Likewise; what the device was let in by is not valid any more.
    Withdrawn,
}

/// Tells the serving future that the connection is to leave.
#[derive(Default)]
struct Leave {
    asked: Notify,
    how: Cell<Leaving>,
}

/// What a connection does before it leaves.
#[derive(Debug, Clone, Copy, Default)]
enum Leaving {
    /// It takes what the device has sent before it heard of that.
    #[default]
    Later,
    /// It reads nothing more, and the device is refused once it has its receipts: it opened another connection.
    Replaced,
    /// Likewise: what it was let in by is not valid any more.
    Withdrawn,
}

// === impl Connection ===

impl Connection {
    /// Serves a socket on the current thread until either side ends it.
    pub fn start_on(stream: TcpStream, edge: Arc<Edge>, guard: ConnectionGuard, member: CrowdMember, credit: Credit) {
        // Receipts are small and waited for.
        let _ = stream.set_nodelay(true);
        let transport = match Transport::new(stream, edge.tls.as_deref()) {
            Ok(transport) => transport,
            Err(error) => return warn!(%error, "cannot begin TLS on a connection"),
        };
        let serial = edge.next_serial();
        let connection = Self {
            framed: Rc::new(Framed::new(transport)),
            edge,
            leave: Rc::new(Leave::default()),
            known_as: Rc::default(),
            serial,
            guard: Some(guard),
            stream_credit: Some((member, credit)),
        };
        connection.start();
    }

    /// Whether the device would still be let in, by what it was let in by if that is a token, or if it is a certificate.
    fn would_be_let_in(&self, asked_for: Disconnect) -> bool {
        match (self.known_as.get(), asked_for) {
            (Some((device_id, Proof::Token(token))), Disconnect::UnlessTokenHolds) => {
                self.edge.has_token(device_id, token)
            }
            (Some((_, Proof::Certificate)), Disconnect::UnlessCertificateHolds) => {
                self.edge.tls.as_deref().is_some_and(|tls| self.framed.is_still_trusted(tls))
            }
            _ => true,
        }
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let sending = Rc::clone(&self.framed);
        ctx.spawn(wrap_future(async move { sending.send_queued().await }));
        let Some(guard) = self.guard.take() else { unreachable!("an actor starts once") };
        let serving = serve(
            Rc::clone(&self.framed),
            Arc::clone(&self.edge),
            Rc::clone(&self.leave),
            Rc::clone(&self.known_as),
            (self.serial, guard),
            ctx.address().recipient(),
            ctx.address().recipient(),
        );
        ctx.spawn(wrap_future(serving).map(|(), _: &mut Self, ctx| ctx.stop()));
    }

    fn stopped(&mut self, _: &mut Self::Context) {
        self.stream_credit.take();
    }
}

impl Handler<Deliver> for Connection {
    type Result = ();

    fn handle(&mut self, deliver: Deliver, _: &mut Self::Context) {
        fail::fail_point!("connection");
        self.framed.queue(&Frame::Receipt(deliver.receipt));
        self.edge.acknowledge.record(deliver.received.elapsed().as_micros() as u64);
    }
}

impl Handler<Disconnect> for Connection {
    type Result = ();

    fn handle(&mut self, disconnect: Disconnect, _: &mut Self::Context) {
        match disconnect {
            Disconnect::Drain => {
                let reconnect_after_ms = millis(self.edge.intake.reconnect_delay());
                let goodbye = Goodbye { reason: GoodbyeReason::ShuttingDown, reconnect_after_ms };
                self.framed.queue(&Frame::Goodbye(goodbye));
            }
            Disconnect::Replaced => self.leave.how.set(Leaving::Replaced),
            Disconnect::UnlessTokenHolds | Disconnect::UnlessCertificateHolds => {
                let is_replaced = matches!(self.leave.how.get(), Leaving::Replaced);
                if is_replaced || self.would_be_let_in(disconnect) {
                    return;
                }
                self.leave.how.set(Leaving::Withdrawn);
            }
        }
        self.leave.asked.notify_one();
    }
}

fn refused(reason: RefusalReason, retry_after_ms: u32, text: &str) -> Frame {
    Frame::Refused(Refused { reason, retry_after_ms, text: text.to_owned() })
}

async fn serve(
    framed: Rc<Framed>,
    edge: Arc<Edge>,
    leave: Rc<Leave>,
    known_as: Rc<OnceCell<(DeviceId, Proof)>>,
    (serial, mut guard): (u64, ConnectionGuard),
    receipts: Recipient<Deliver>,
    disconnect: Recipient<Disconnect>,
) {
    let mut reader = FrameReader::new(&edge.intake.admission);
    let (limits, num_withdrawals) = (edge.limits(), edge.num_withdrawals());
    let window = Credits::new(limits.max_unacknowledged_packages.into());
    let greeted = tokio::select! {
        greeted = greet(&framed, &edge, &limits, &mut reader) => {
            match &greeted {
                // Who comes before the engine has started has done nothing wrong.
                Err(End::Refuse(RefusalReason::Unavailable, ..)) => {}
                Err(End::Refuse(..) | End::NotSecure) => guard.attempt_failed(),
                // Greeted, or gone without having been refused.
                _ => {}
            }
            greeted
        }
        () = edge.draining() => Err(later(&edge, RefusalReason::ShuttingDown, "the server is stopping")),
    };
    let end = match greeted {
        Err(end) => end,
        Ok(known) => {
            let (device_id, _) = known_as.get_or_init(|| known);
            let _present = edge.arrived(device_id, serial, num_withdrawals, disconnect);
            let session = Session {
                framed: &framed,
                edge: &edge,
                intake: &edge.intake,
                limits: &limits,
                device_id,
                window: &window,
                receipts: &receipts,
            };
            let mut talking = pin!(session.converse(&mut guard, &mut reader));
            tokio::select! {
                end = &mut talking => end,
                () = leave.asked.notified() => match leave.how.get() {
                    Leaving::Replaced => End::Replaced,
                    Leaving::Withdrawn => End::Withdrawn,
                    Leaving::Later => match timeout(LAST_PACKAGES, talking).await {
                        Ok(End::Left) | Err(_) => End::Drained,
                        Ok(end) => end,
                    },
                },
            }
        }
    };
    // What is in flight still gets its receipts. A refusal is the last that is said.
    match end {
        // A log that stands still does not hold the connection.
        End::Left | End::Replaced | End::Withdrawn => drop(timeout(LAST_RECEIPTS, window.all_returned()).await),
        // The stop has a time of its own for all that is under way.
        End::Drained => window.all_returned().await,
        End::Gone | End::NotSecure | End::Refuse(..) => {}
    }
    let end = match end {
        End::Replaced => End::Refuse(RefusalReason::Replaced, 0, "another connection took over".to_owned()),
        // It may have been given another one by now, which is asked for when it comes back: a delay of 0 would tell it not
        // to. What was withdrawn may have been a whole fleet's.
        End::Withdrawn => {
            let text = "the credential is not valid any more".to_owned();
            End::Refuse(RefusalReason::BadCredential, millis(edge.intake.reconnect_delay()).max(1), text)
        }
        end => end,
    };
    match end {
        End::Gone => return,
        End::NotSecure | End::Left | End::Drained | End::Replaced | End::Withdrawn => {}
        End::Refuse(reason, retry_after_ms, text) => {
            debug!(?reason, text, "connection refused");
            edge.intake.admission.note_refusal(reason);
            framed.queue(&refused(reason, retry_after_ms, &text));
        }
    }
    framed.farewell().await;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of what such a function returns.
    fn size_of_output<A, B, C, D, E, F, G, Output>(_: impl Fn(A, B, C, D, E, F, G) -> Output) -> usize {
        size_of::<Output>()
    }

    /// Tens of thousands of these are there at the same time, most of them waiting for a frame: what is kept across an
    /// await that few ever reach counts for all.
    #[test]
    fn test_a_connection_keeps_little() {
        let num_bytes = size_of_output(serve);
        assert!(num_bytes <= 2_240, "{num_bytes} bytes");
    }
}
