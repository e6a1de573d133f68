//! Connection: one actor per device connection. Frames in, receipts out.
//!
//! A package is sent on only with a credit of the decoder's mailbox in hand. While there is none, nothing is read from
//! the socket: that is TCP backpressure. The unacknowledged packages of one connection are bounded by the limit
//! announced in Welcome; a device that ignores it is refused. A package for which there is no room in memory is answered
//! "retry later" at once, and the connection goes on.
//! Connections are never restarted; a device whose connection dies connects again.

mod edge;
mod intake;
mod wire;

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, Recipient};
use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;
use tracing::debug;

pub use edge::{Edge, EdgeLimits};
use intake::take_in;
use wire::{Wire, WireError};

use super::ticket::Deliver;
use crate::flow::credit::{Credit, Credits};
use crate::protocol::device_id::DeviceId;
use crate::protocol::frame::{Frame, HANDSHAKE_FRAME_LIMIT};
use crate::protocol::hello::{Goodbye, Hello, Pong, Refused};
use crate::protocol::reason::{GoodbyeReason, RefusalReason};
use crate::supervision::CrowdMember;
use crate::telemetry::now_us;

/// One device connection.
pub struct Connection {
    wire: Rc<Wire>,
    edge: Arc<Edge>,
    leave: Rc<Leave>,
    serial: u64,
    stream_credit: Option<(CrowdMember, Credit)>,
}

/// Asks a connection to end in order.
#[derive(Debug, Clone, Copy, Message)]
#[rtype(result = "()")]
pub enum Depart {
    /// The engine stops: the device is told to connect again after this many milliseconds.
    Drain {
        /// See the variant.
        reconnect_after_ms: u32,
    },
    /// The same device opened another connection.
    Replaced,
}

/// How a connection ends.
enum End {
    /// The device left, or its network did.
    Gone,
    /// We end it, with these last words.
    Refuse(RefusalReason, u32, String),
    /// An orderly end that was asked for.
    Left,
}

/// Tells the serving future that the connection is to leave.
#[derive(Default)]
struct Leave {
    asked: Notify,
}

// === impl Connection ===

impl Connection {
    /// Serves a socket on the current thread until either side ends it.
    pub fn start_on(stream: TcpStream, edge: Arc<Edge>, member: CrowdMember, credit: Credit) {
        // Receipts are small and waited for.
        let _ = stream.set_nodelay(true);
        let serial = edge.next_serial();
        let connection = Self {
            wire: Rc::new(Wire::new(stream)),
            edge,
            leave: Rc::new(Leave::default()),
            serial,
            stream_credit: Some((member, credit)),
        };
        connection.start();
    }
}

impl Actor for Connection {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let sending = Rc::clone(&self.wire);
        ctx.spawn(wrap_future(async move { sending.send_queued().await }));
        let serving = serve(
            Rc::clone(&self.wire),
            Arc::clone(&self.edge),
            Rc::clone(&self.leave),
            self.serial,
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
            Depart::Drain { reconnect_after_ms } => {
                let goodbye = Goodbye { reason: GoodbyeReason::ShuttingDown, reconnect_after_ms };
                self.wire.queue(&Frame::Goodbye(goodbye));
            }
            Depart::Replaced => self.wire.queue(&refused(RefusalReason::Replaced, 0, "another connection took over")),
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
    serial: u64,
    receipts: Recipient<Deliver>,
    depart: Recipient<Depart>,
) {
    let mut buffer = BytesMut::new();
    let window = Credits::new(edge.limits.max_unacknowledged_packages.into());
    let greeted = tokio::select! {
        greeted = greet(&wire, &edge, &mut buffer) => greeted,
        () = edge.draining() => {
            let retry_ms = retry_ms(edge.limits.retry_delay);
            Err(End::Refuse(RefusalReason::ShuttingDown, retry_ms, "the server is stopping".to_owned()))
        }
    };
    let end = match greeted {
        Err(end) => end,
        Ok(device_id) => {
            let _present = edge.arrived(&device_id, serial, depart);
            tokio::select! {
                end = converse(&wire, &edge, &device_id, &window, &receipts, &mut buffer) => end,
                () = leave.asked.notified() => End::Left,
            }
        }
    };
    match end {
        End::Gone => return,
        End::Refuse(reason, retry_after_ms, text) => {
            debug!(?reason, text, "connection refused");
            wire.queue(&refused(reason, retry_after_ms, &text));
        }
        // What is in flight still gets its receipts.
        End::Left => window.all_returned().await,
    }
    wire.farewell().await;
}

async fn greet(wire: &Wire, edge: &Edge, buffer: &mut BytesMut) -> Result<DeviceId, End> {
    let limits = &edge.limits;
    let hello = match timeout(limits.hello_timeout, wire.next_frame(buffer, HANDSHAKE_FRAME_LIMIT)).await {
        Err(_) => {
            return Err(End::Refuse(
                RefusalReason::HelloTimeout,
                retry_ms(limits.retry_delay),
                "no hello in time".to_owned(),
            ));
        }
        Ok(Ok(Frame::Hello(hello))) => hello,
        Ok(Ok(_)) => return Err(violation("the first frame must be a hello")),
        Ok(Err(error)) => return Err(end_of(error)),
    };
    let Hello { device_id, credential } = hello;
    if !edge.admits(credential.as_bytes()) {
        return Err(End::Refuse(RefusalReason::BadCredential, 0, "the credential is not valid".to_owned()));
    }
    wire.queue(&Frame::Welcome(limits.welcome()));
    Ok(device_id)
}

async fn converse(
    wire: &Wire,
    edge: &Arc<Edge>,
    device_id: &DeviceId,
    window: &Credits,
    receipts: &Recipient<Deliver>,
    buffer: &mut BytesMut,
) -> End {
    let limits = &edge.limits;
    loop {
        let frame = match timeout(limits.idle_timeout, wire.next_frame(buffer, limits.max_frame as usize)).await {
            Err(_) => {
                let text = format!("nothing arrived for {:?}", limits.idle_timeout);
                return End::Refuse(RefusalReason::IdleTimeout, retry_ms(limits.retry_delay), text);
            }
            Ok(Err(error)) => return end_of(error),
            Ok(Ok(frame)) => frame,
        };
        match frame {
            Frame::Package(package) => {
                // The credit of a package returns before its receipt is sent, so that only a device that ignores the
                // announced limit finds none here.
                let Some(credit) = window.try_take() else {
                    let text = format!("more than {} unacknowledged packages", limits.max_unacknowledged_packages);
                    return End::Refuse(RefusalReason::TooManyUnacknowledged, 0, text);
                };
                take_in(wire, edge, device_id, credit, receipts, package).await;
            }
            Frame::Ping { nonce } => {
                wire.queue(&Frame::Pong(Pong { nonce, server_time_ms: now_us() / 1000 }));
            }
            Frame::Pong(_) => {}
            Frame::Goodbye(_) => return End::Left,
            Frame::Hello(_) | Frame::Welcome(_) | Frame::Refused(_) | Frame::Receipt(_) => {
                return violation("a frame that only opens a connection, or only a server sends");
            }
        }
    }
}

fn violation(text: &str) -> End {
    End::Refuse(RefusalReason::ProtocolViolation, 0, text.to_owned())
}

fn end_of(error: WireError) -> End {
    match error {
        WireError::Closed | WireError::Io(_) => End::Gone,
        WireError::Frame(error) => End::Refuse(error.refusal(), 0, error.to_string()),
    }
}

fn retry_ms(delay: Duration) -> u32 {
    delay.as_millis().try_into().unwrap_or(u32::MAX)
}
