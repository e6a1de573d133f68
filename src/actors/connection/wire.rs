//! The socket of one connection: bytes in, frames out, nothing of their meaning.
//!
//! Shared by the connection's reading and writing futures, which run on one thread. An idle connection holds no
//! buffers, and one in the middle of a frame holds what of it is there.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::Shutdown;
use std::time::Duration;

use bytes::BytesMut;
use socket2::SockRef;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::protocol::frame::Frame;

/// Bytes asked of the socket at once.
const READ_CHUNK: usize = 64 * 1024;

/// A device that does not read what is sent to it is not read from either, past this many bytes beside what the system
/// keeps for it. Receipts in all are bounded by the unacknowledged packages; this bounds the answers to pings.
const MAX_UNSENT: usize = 4 * 1024;

/// How long the last words of a connection may take to arrive.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// Bytes that are still taken off a connection after the last words.
const FAREWELL_BYTES: usize = 1024 * 1024;

thread_local! {
    /// Where the connections of a thread read to, in turn, so that each keeps no more than what is there for it.
    static ARRIVING: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_CHUNK].into_boxed_slice());
}

/// A socket with its unsent frames.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    unsent: RefCell<BytesMut>,
    to_send: Notify,
    sent: Notify,
    broken: Cell<bool>,
}

/// Why nothing more can be read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side closed the connection.
    #[error("closed by the device")]
    Closed,
    /// The network failed.
    #[error("connection lost: {0}")]
    Io(#[from] io::Error),
}

// === impl Wire ===

impl Wire {
    /// Wraps a connected socket.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            unsent: RefCell::new(BytesMut::new()),
            to_send: Notify::new(),
            sent: Notify::new(),
            broken: Cell::new(false),
        }
    }

    /// Queues a frame; [`Wire::send_queued`] sends it, together with others queued at the same moment.
    pub fn queue(&self, frame: &Frame) {
        frame.encode(&mut self.unsent.borrow_mut());
        self.to_send.notify_one();
    }

    /// Waits for bytes and appends them to `buffer`. Nothing is read while too much is unsent.
    pub async fn read_into(&self, buffer: &mut BytesMut) -> Result<(), WireError> {
        while self.unsent.borrow().len() > MAX_UNSENT && !self.broken.get() {
            self.sent.notified().await;
        }
        if buffer.is_empty() {
            // Gives the memory back before a wait that may be long.
            *buffer = BytesMut::new();
        }
        loop {
            self.stream.readable().await?;
            match self.try_read(|bytes| buffer.extend_from_slice(bytes)) {
                Ok(0) => return Err(WireError::Closed),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn try_read(&self, keep: impl FnOnce(&[u8])) -> io::Result<usize> {
        ARRIVING.with_borrow_mut(|arriving| {
            let count = self.stream.try_read(arriving)?;
            keep(&arriving[..count]);
            Ok(count)
        })
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

    /// Sends what is still queued and waits until the other side has closed, for at most a moment.
    pub async fn farewell(&self) {
        let _ = timeout(FAREWELL_TIMEOUT, async {
            self.flush().await?;
            SockRef::from(&self.stream).shutdown(Shutdown::Write)?;
            self.discard_rest().await
        })
        .await;
    }

    /// Closing with bytes unread would reset the connection, and the last words might be lost on their way.
    async fn discard_rest(&self) -> io::Result<()> {
        let mut left = FAREWELL_BYTES;
        while left > 0 {
            self.stream.readable().await?;
            match self.try_read(|_| {}) {
                Ok(0) => break,
                Ok(count) => left = left.saturating_sub(count),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    async fn flush(&self) -> io::Result<()> {
        while !self.unsent.borrow().is_empty() {
            let mut sending = self.unsent.take();
            let outcome = self.write_all(&mut sending).await;
            self.sent.notify_one();
            outcome?;
        }
        Ok(())
    }

    async fn write_all(&self, sending: &mut BytesMut) -> io::Result<()> {
        while !sending.is_empty() {
            match self.stream.try_write(sending) {
                Ok(count) => {
                    let _ = sending.split_to(count);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.stream.writable().await?,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}
