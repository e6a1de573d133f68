//! Listener: accepts device connections and spreads them over the connection threads.
//!
//! It owns nothing of a connection. When there are as many as allowed, in all or from one address, a new one is told so
//! and closed.

use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use actix_rt::ArbiterHandle;
use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tracing::{debug, info, warn};

use super::connection::{Connection, Edge};
use crate::flow::addresses::TurnedAway;
use crate::flow::credit::Credits;
use crate::intake::millis;
use crate::protocol::frame::{Frame, HANDSHAKE_FRAME_LIMIT};
use crate::protocol::hello::Refused;
use crate::protocol::reason::RefusalReason;
use crate::supervision::{Crowd, Lifeline};

/// How long nothing is accepted when the system has no file descriptors or no memory for it.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Accepts device connections.
pub struct Listener {
    acceptor: Arc<Acceptor>,
    lifeline: Lifeline,
}

/// What accepting needs; it outlives the actor, so that a restarted listener accepts on the same socket.
pub struct Acceptor {
    /// The listening socket.
    pub socket: std::net::TcpListener,
    /// Where connections run.
    pub homes: Vec<ArbiterHandle>,
    /// What connections share.
    pub edge: Arc<Edge>,
    /// Counts the connections.
    pub crowd: Arc<Crowd>,
    /// One for each connection allowed.
    pub room: Credits,
}

/// Stop accepting; the socket stays open until the acceptor is dropped.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct StopAccepting;

// === impl Listener ===

impl Listener {
    /// A listener on an open socket.
    pub fn new(acceptor: Arc<Acceptor>, lifeline: Lifeline) -> Self {
        Self { acceptor, lifeline }
    }
}

impl Actor for Listener {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        let acceptor = Arc::clone(&self.acceptor);
        ctx.spawn(wrap_future(async move { acceptor.accept_all().await }));
    }
}

impl Handler<StopAccepting> for Listener {
    type Result = ();

    fn handle(&mut self, _: StopAccepting, ctx: &mut Self::Context) {
        self.lifeline.stopping();
        ctx.stop();
    }
}

// === impl Acceptor ===

impl Acceptor {
    async fn accept_all(&self) {
        let listener = match self.socket.try_clone().and_then(TcpListener::from_std) {
            Ok(listener) => listener,
            Err(error) => {
                warn!(%error, "cannot accept connections");
                return std::future::pending().await;
            }
        };
        let mut homes = self.homes.iter().cycle();
        let mut is_exhausted = false;
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    fail::fail_point!("listener");
                    if std::mem::take(&mut is_exhausted) {
                        info!("connections are accepted again");
                    }
                    if let Some(home) = homes.next() {
                        self.settle(stream, peer, home);
                    }
                }
                Err(error) if is_of_one_connection(&error) => debug!(%error, "a connection ended before it began"),
                Err(error) => {
                    // Who waits to be accepted waits on; those who are connected matter more.
                    if !std::mem::replace(&mut is_exhausted, true) {
                        warn!(%error, "cannot accept connections at the moment");
                    }
                    self.edge.intake.admission.note_accept_pause();
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn settle(&self, stream: TcpStream, peer: SocketAddr, home: &ArbiterHandle) {
        // A socket belongs to the event loop that it was made in.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return warn!(%error, %peer, "cannot hand a connection over"),
        };
        let guard = match self.edge.intake.admission.let_in(peer.ip()) {
            Ok(guard) => guard,
            Err(TurnedAway::Connections) => {
                let text = "too many connections from this address";
                return self.turn_away(stream, RefusalReason::TooManyFromAddress, Duration::ZERO, text);
            }
            Err(TurnedAway::Attempts(wait)) => {
                let text = "too many connections from this address without a valid hello";
                return self.turn_away(stream, RefusalReason::TooManyAttempts, wait, text);
            }
        };
        let Some(credit) = self.room.try_take() else {
            return self.turn_away(stream, RefusalReason::TooManyConnections, Duration::ZERO, "too many connections");
        };
        let (edge, member) = (Arc::clone(&self.edge), self.crowd.join());
        home.spawn_fn(move || match TcpStream::from_std(stream) {
            Ok(stream) => Connection::start_on(stream, edge, guard, member, credit),
            Err(error) => warn!(%error, %peer, "cannot take a connection over"),
        });
    }

    fn turn_away(&self, mut stream: std::net::TcpStream, reason: RefusalReason, wait: Duration, text: &str) {
        self.edge.intake.admission.note_refusal(reason);
        if self.edge.tls.is_some() {
            // To be heard we would have to go through the handshake first; its device takes the end for a lost link.
            return;
        }
        let mut words = BytesMut::new();
        let retry_after_ms = millis(self.edge.intake.come_back_after(wait));
        Frame::Refused(Refused { reason, retry_after_ms, text: text.to_owned() }).encode(&mut words);
        // A fresh socket has room for these few bytes; if not, the closed connection says enough.
        let _ = stream.write_all(&words);
        // Closed with a Hello unread, the connection would be reset, and the words might be lost.
        let _ = stream.read(&mut [0; HANDSHAKE_FRAME_LIMIT]);
    }
}

/// Errors that accepting hands on from a connection, as the system's manual says; all others are ours.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::Interrupted
    )
}
