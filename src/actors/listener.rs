//! Listener: accepts device connections and spreads them over the connection threads.
//!
//! It owns nothing of a connection. When there are as many as allowed, a new one is told so and closed.

use std::net::SocketAddr;
use std::sync::Arc;

use actix::fut::wrap_future;
use actix::{Actor, ActorContext, AsyncContext, Context, Handler, Message};
use actix_rt::ArbiterHandle;
use bytes::BytesMut;
use tokio::net::{TcpListener, TcpStream};
use tracing::warn;

use super::connection::{Connection, Edge};
use crate::flow::credit::Credits;
use crate::protocol::frame::Frame;
use crate::protocol::hello::Refused;
use crate::protocol::reason::RefusalReason;
use crate::supervision::{Crowd, Lifeline};

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
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    fail::fail_point!("listener");
                    if let Some(home) = homes.next() {
                        self.settle(stream, peer, home);
                    }
                }
                Err(error) => {
                    // Out of file descriptors, usually: existing connections matter more than new ones.
                    warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                }
            }
        }
    }

    fn settle(&self, stream: TcpStream, peer: SocketAddr, home: &ArbiterHandle) {
        let Some(credit) = self.room.try_take() else {
            self.turn_away(&stream);
            return;
        };
        // A socket belongs to the event loop that it was made in.
        let stream = match stream.into_std() {
            Ok(stream) => stream,
            Err(error) => return warn!(%error, %peer, "cannot hand a connection over"),
        };
        let (edge, member) = (Arc::clone(&self.edge), self.crowd.join());
        home.spawn_fn(move || match TcpStream::from_std(stream) {
            Ok(stream) => Connection::start_on(stream, edge, member, credit),
            Err(error) => warn!(%error, %peer, "cannot take a connection over"),
        });
    }

    fn turn_away(&self, stream: &TcpStream) {
        let mut words = BytesMut::new();
        let retry_after_ms = self.edge.limits.retry_delay.as_millis().try_into().unwrap_or(u32::MAX);
        let text = "too many connections".to_owned();
        Frame::Refused(Refused { reason: RefusalReason::TooManyConnections, retry_after_ms, text }).encode(&mut words);
        // A fresh socket has room for these few bytes; if not, the closed connection says enough.
        let _ = stream.try_write(&words);
    }
}
