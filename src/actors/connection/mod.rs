//! Connection: one actor per device connection. Frames in, receipts out.
//!
//! A package is sent on only with a credit of the decoder's mailbox in hand. While there is none, nothing is read from
//! the socket: that is TCP backpressure. The unacknowledged packages of one connection are bounded by the limit
//! announced in Welcome; a device that ignores it is refused. A package for which there is no room in memory, or that is
//! over a rate, is answered "retry later" at once, and the connection goes on.
//! Connections are never restarted; a device whose connection dies connects again.

mod edge;
mod inbox;
mod intake;
mod link;
mod reading;
mod talk;
mod wire;

use std::cell::{Cell, OnceCell};
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient};
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::{debug, warn};

use edge::Proof;
pub use edge::{Edge, EdgeLimits};
use link::Link;
use reading::Reading;
use talk::{Talk, greet, later};
use wire::Wire;

use super::doorkeeper::Visit;
use crate::flow::credit::{Credit, Credits};
use crate::intake::ticket::Deliver;
use crate::protocol::device_id::DeviceId;
use crate::protocol::frame::Frame;
use crate::protocol::hello::{Goodbye, Refused};
use crate::protocol::reason::{GoodbyeReason, RefusalReason};
use crate::supervision::CrowdMember;

/// How long a device that was told goodbye is still listened to: what it sent before it heard that gets its receipts.
const LAST_PACKAGES: Duration = Duration::from_secs(1);

/// One device connection.
pub struct Connection {
    wire: Rc<Wire>,
    edge: Arc<Edge>,
    leave: Rc<Leave>,
    /// Who it is and by what it was let in, once that is known.
    known_as: Rc<OnceCell<(DeviceId, Proof)>>,
    serial: u64,
    visit: Option<Visit>,
    stream_credit: Option<(CrowdMember, Credit)>,
}

/// Asks a connection to end in order.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub enum Depart {
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
    pub fn start_on(stream: TcpStream, edge: Arc<Edge>, visit: Visit, member: CrowdMember, credit: Credit) {
        // Receipts are small and waited for.
        let _ = stream.set_nodelay(true);
        let link = match Link::new(stream, edge.tls.as_deref()) {
            Ok(link) => link,
            Err(error) => return warn!(%error, "cannot begin TLS on a connection"),
        };
        let serial = edge.next_serial();
        let connection = Self {
            wire: Rc::new(Wire::new(link)),
            edge,
            leave: Rc::new(Leave::default()),
            known_as: Rc::default(),
            serial,
            visit: Some(visit),
            stream_credit: Some((member, credit)),
        };
        connection.start();
    }

    /// Whether the device would still be let in, by what it was let in by if that is a token, or if it is a certificate.
    fn would_be_let_in(&self, asked_for: Depart) -> bool {
        match (self.known_as.get(), asked_for) {
            (Some((device_id, Proof::Token(token))), Depart::UnlessTokenHolds) => self.edge.has_token(device_id, token),
            (Some((_, Proof::Certificate)), Depart::UnlessCertificateHolds) => {
                self.edge.tls.as_deref().is_some_and(|tls| self.wire.is_still_trusted(tls))
            }
            _ => true,
        }
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let sending = Rc::clone(&self.wire);
        ctx.spawn(wrap_future(async move { sending.send_queued().await }));
        // It is there: an actor starts once.
        let Some(visit) = self.visit.take() else { return ctx.stop() };
        let serving = serve(
            Rc::clone(&self.wire),
            Arc::clone(&self.edge),
            Rc::clone(&self.leave),
            Rc::clone(&self.known_as),
            (self.serial, visit),
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
        self.wire.queue(&Frame::Receipt(deliver.receipt));
        self.edge.acknowledge.record(deliver.received.elapsed().as_micros() as u64);
    }
}

impl Handler<Depart> for Connection {
    type Result = ();

    fn handle(&mut self, depart: Depart, _: &mut Self::Context) {
        match depart {
            Depart::Drain => {
                let reconnect_after_ms = self.edge.reconnect_ms();
                let goodbye = Goodbye { reason: GoodbyeReason::ShuttingDown, reconnect_after_ms };
                self.wire.queue(&Frame::Goodbye(goodbye));
            }
            Depart::Replaced => self.leave.how.set(Leaving::Replaced),
            Depart::UnlessTokenHolds | Depart::UnlessCertificateHolds => {
                let is_replaced = matches!(self.leave.how.get(), Leaving::Replaced);
                if is_replaced || self.would_be_let_in(depart) {
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
    wire: Rc<Wire>,
    edge: Arc<Edge>,
    leave: Rc<Leave>,
    known_as: Rc<OnceCell<(DeviceId, Proof)>>,
    (serial, mut visit): (u64, Visit),
    receipts: Recipient<Deliver>,
    depart: Recipient<Depart>,
) {
    let mut reading = Reading::new(&edge.doorkeeper);
    let (limits, num_withdrawals) = (edge.limits(), edge.num_withdrawals());
    let window = Credits::new(limits.max_unacknowledged_packages.into());
    let greeted = tokio::select! {
        greeted = greet(&wire, &edge, &limits, &mut reading) => {
            match &greeted {
                // Who comes before the engine has started has done nothing wrong.
                Err(End::Refuse(RefusalReason::Unavailable, ..)) => {}
                Err(End::Refuse(..) | End::NotSecure) => visit.attempt_failed(),
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
            let _present = edge.arrived(device_id, serial, num_withdrawals, depart);
            let talk =
                Talk { wire: &wire, edge: &edge, limits: &limits, device_id, window: &window, receipts: &receipts };
            let mut talking = pin!(talk.converse(&mut visit, &mut reading));
            tokio::select! {
                end = &mut talking => end,
                () = leave.asked.notified() => match leave.how.get() {
                    Leaving::Replaced => End::Replaced,
                    Leaving::Withdrawn => End::Withdrawn,
                    Leaving::Later => timeout(LAST_PACKAGES, talking).await.unwrap_or(End::Left),
                },
            }
        }
    };
    if matches!(end, End::Left | End::Replaced | End::Withdrawn) {
        // What is in flight still gets its receipts. A refusal is the last that is said.
        window.all_returned().await;
    }
    let end = match end {
        End::Replaced => End::Refuse(RefusalReason::Replaced, 0, "another connection took over".to_owned()),
        // It may have been given another one by now, which is asked for when it comes back: a delay of 0 would tell it not
        // to. What was withdrawn may have been a whole fleet's.
        End::Withdrawn => {
            let text = "the credential is not valid any more".to_owned();
            End::Refuse(RefusalReason::BadCredential, edge.reconnect_ms().max(1), text)
        }
        end => end,
    };
    match end {
        End::Gone => return,
        End::NotSecure | End::Left | End::Replaced | End::Withdrawn => {}
        End::Refuse(reason, retry_after_ms, text) => {
            debug!(?reason, text, "connection refused");
            edge.doorkeeper.note_refusal(reason);
            wire.queue(&refused(reason, retry_after_ms, &text));
        }
    }
    wire.farewell().await;
}
