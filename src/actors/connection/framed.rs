//! The frames of one connection: bytes in, frames out, nothing of their meaning.
//!
//! Shared by the connection's reading and writing futures, which run on one thread. An idle connection holds no
//! buffers, and one in the middle of a frame holds what of it is there.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::transport::Transport;
use crate::protocol::frame::Frame;
use crate::tls::ServerTls;

/// A device that does not read what is sent to it is not read from either, past this many bytes beside what the system
/// keeps for it. Receipts in all are bounded by the unacknowledged packages; this bounds the answers to pings.
const MAX_UNSENT: usize = 4 * 1024;

/// How long the last words of a connection may take to arrive.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes that are still taken off a connection after the last words.
const FAREWELL_BYTES: usize = 1024 * 1024;

/// A transport with its unsent frames.
#[derive(Debug)]
pub struct Framed {
    transport: Transport,
    unsent: RefCell<BytesMut>,
    to_send: Notify,
    sent: Notify,
    broken: Cell<bool>,
}

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub enum FramedError {
    /// The other side closed the connection.
    #[error("closed by the device")]
    Closed,
    /// The other side does not speak TLS as it should, or shows no certificate that is trusted.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// The network failed.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
}

// === impl Framed ===

impl Framed {
    /// Wraps a transport.
    pub fn new(transport: Transport) -> Self {
        Self {
            transport,
            unsent: RefCell::new(BytesMut::new()),
            to_send: Notify::new(),
            sent: Notify::new(),
            broken: Cell::new(false),
        }
    }

    /// Queues a frame; [`Framed::send_queued`] sends it, together with others queued at the same moment.
    pub fn queue(&self, frame: &Frame) {
        frame.encode(&mut self.unsent.borrow_mut());
        self.to_send.notify_one();
    }

    /// Waits until the other side has taken most of what was queued for it. To be waited for before each frame is looked
    /// at, since many that want an answer arrive together. Fails once nothing can be sent any more: megabytes of pings may
    /// still be there of who has gone, and answering them would hold up everybody on this thread.
    pub async fn is_heard(&self) -> Result<(), FramedError> {
        loop {
            if self.broken.get() {
                return Err(FramedError::Closed);
            }
            if self.unsent.borrow().len() <= MAX_UNSENT {
                return Ok(());
            }
            self.sent.notified().await;
        }
    }

    /// Waits for bytes and appends them to `buffer`.
    pub async fn read_into(&self, buffer: &mut BytesMut) -> Result<(), FramedError> {
        self.transport.read(buffer, &self.to_send).await
    }

    /// Whether it is TLS.
    pub fn is_secure(&self) -> bool {
        self.transport.is_secure()
    }

    /// Whether the other side has presented a certificate of this name; `None` if it has presented none.
    pub fn has_certificate_of(&self, name: &str) -> Option<bool> {
        self.transport.has_certificate_of(name)
    }

    /// Whether the certificate that the other side has presented is still one that is trusted.
    pub fn is_still_trusted(&self, tls: &ServerTls) -> bool {
        self.transport.is_still_trusted(tls)
    }

    /// Sends queued frames for as long as the connection works; never returns before it breaks.
    pub async fn send_queued(&self) {
        loop {
            self.to_send.notified().await;
            if self.flush().await.is_err() {
                self.broken.set(true);
                self.sent.notify_one();
                return;
            }
        }
    }

    /// Sends what is still queued and waits until the other side has closed, for at most a moment. Closing with bytes
    /// unread would reset the connection, and the last words might be lost on their way.
    pub async fn farewell(&self) {
        let _ = timeout(FAREWELL_TIMEOUT, async {
            self.flush().await?;
            self.transport.say_end();
            self.flush().await?;
            self.transport.shut_down()?;
            self.transport.discard(FAREWELL_BYTES).await
        })
        .await;
    }

    async fn flush(&self) -> io::Result<()> {
        while !self.unsent.borrow().is_empty() || self.transport.wants_write() {
            let mut sending = self.unsent.take();
            let outcome = self.transport.write_all(&mut sending).await;
            self.sent.notify_one();
            outcome?;
        }
        Ok(())
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tokio::net::{TcpListener, TcpStream};

    use super::*;
    use crate::protocol::hello::Pong;

    /// A framed, and the device at its other end.
    pub(in super::super) async fn connected() -> (Framed, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let device = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (Framed::new(Transport::new(listener.accept().await.unwrap().0, None).unwrap()), device)
    }

    #[tokio::test]
    async fn test_nothing_is_taken_of_who_has_gone_without_listening() {
        let (framed, device) = connected().await;
        framed.is_heard().await.unwrap();
        // More than the system keeps for a socket.
        for nonce in 0..2_000_000 {
            framed.queue(&Frame::Pong(Pong { nonce, server_time_ms: 0 }));
        }
        tokio::join!(framed.send_queued(), async { drop(device) });
        assert!(matches!(framed.is_heard().await, Err(FramedError::Closed)));
    }
}
