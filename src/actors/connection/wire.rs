//! The socket of one connection: frames in, frames out, nothing of their meaning.
//!
//! Shared by the connection's reading and writing futures, which run on one thread. An idle connection holds no
//! buffers.

use std::cell::{Cell, RefCell};
use std::io;
use std::time::Duration;

use bytes::BytesMut;
use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::protocol::frame::{self, Frame, FrameError};

/// Bytes asked of the socket at once.
const READ_CHUNK: usize = 16 * 1024;

/// A device that does not read what is sent to it is not read from either, past this many bytes. Receipts in all are
/// bounded by the unacknowledged packages; this bounds the answers to pings.
const MAX_UNSENT: usize = 64 * 1024;

/// How long the last words of a connection may take to leave.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(1);

/// A socket with its unsent frames.
#[derive(Debug)]
pub struct Wire {
    stream: TcpStream,
    unsent: RefCell<BytesMut>,
    to_send: Notify,
    sent: Notify,
    broken: Cell<bool>,
}

/// Why no further frame can be read.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    /// The other side closed the connection.
    #[error("closed by the device")]
    Closed,
    /// The other side does not speak the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
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

    /// Reads the next frame. `buffer` keeps what was read beyond it.
    pub async fn next_frame(&self, buffer: &mut BytesMut, limit: usize) -> Result<Frame, WireError> {
        loop {
            if let Some(frame) = frame::decode(buffer, limit)? {
                return Ok(frame);
            }
            while self.unsent.borrow().len() > MAX_UNSENT && !self.broken.get() {
                self.sent.notified().await;
            }
            self.read_some(buffer).await?;
        }
    }

    async fn read_some(&self, buffer: &mut BytesMut) -> Result<(), WireError> {
        if buffer.is_empty() {
            // Gives the memory back before a wait that may be long.
            *buffer = BytesMut::new();
        }
        loop {
            self.stream.readable().await?;
            buffer.reserve(READ_CHUNK);
            match self.stream.try_read_buf(buffer) {
                Ok(0) => return Err(WireError::Closed),
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    if buffer.is_empty() {
                        *buffer = BytesMut::new();
                    }
                }
                Err(error) => return Err(error.into()),
            }
        }
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

    /// Sends what is still queued, for at most a moment.
    pub async fn farewell(&self) {
        let _ = timeout(FAREWELL_TIMEOUT, self.flush()).await;
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
