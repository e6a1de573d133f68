//! The frames of one connection, each within its time and within the memory that all of them share.
//!
//! While nothing of a frame is there, the connection may be silent for as long as it is allowed to. Once a frame has
//! begun, it has to arrive at a certain pace, and what of it is there is held in a bounded pool.

use std::time::Instant;

use tokio::task::coop::consume_budget;
use tokio::time::timeout_at;

use super::frame_buffer::FrameBuffer;
use super::framed::{Framed, FramedError};
use crate::flow::pace::Pace;
use crate::flow::pool::Held;
use crate::intake::admission::AdmissionControl;
use crate::protocol::frame::{Frame, FrameError};

/// Bytes of an incomplete frame that every connection may have, also when the pool is used up: most packages fit.
const FREE_BYTES: usize = 16 * 1024;

/// Reads the frames of one connection.
pub(super) struct FrameReader {
    frame_buffer: FrameBuffer,
    held: Held,
    pace: Pace,
}

/// Why there is no further frame.
#[derive(Debug, thiserror::Error)]
pub(super) enum ReadError {
    /// Nothing came until the deadline.
    #[error("nothing arrived in time")]
    Silent,
    /// A frame has begun, and does not arrive fast enough.
    #[error("a frame began and arrives too slowly")]
    TooSlow,
    /// The other side does not read what it is sent, and so is not read from either.
    #[error("nothing of what it is sent is read")]
    NotHeard,
    /// There is no room for a large frame at the moment.
    #[error("no room for another large frame")]
    NoRoom,
    /// The connection has ended.
    #[error(transparent)]
    Framed(#[from] FramedError),
    /// The other side does not speak the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
}

// === impl FrameReader ===

impl FrameReader {
    pub(super) fn new(admission: &AdmissionControl) -> Self {
        Self { frame_buffer: FrameBuffer::default(), held: admission.frame_buffer(), pace: admission.pace() }
    }

    /// The next frame. `silent_until` is how long the connection may be silent before it begins, and how long the other side
    /// may take to read what it was sent before.
    pub(super) async fn next_frame(
        &mut self,
        framed: &Framed,
        limit: usize,
        silent_until: Instant,
    ) -> Result<Frame, ReadError> {
        // Whoever sends without a pause takes turns with the others on this thread: what is in the socket's buffer can be
        // several hundred thousand pings.
        consume_budget().await;
        let (mut arrival, mut num_counted) = (None, 0);
        loop {
            timeout_at(silent_until.into(), framed.is_heard()).await.map_err(|_| ReadError::NotHeard)??;
            if let Some(frame) = self.frame_buffer.take_frame(limit)? {
                let _ = self.held.hold(0);
                return Ok(frame);
            }
            self.frame_buffer.tidy();
            let num_bytes = self.frame_buffer.num_bytes();
            if !self.held.hold(self.frame_buffer.num_held().saturating_sub(FREE_BYTES) as u64) {
                return Err(ReadError::NoRoom);
            }
            let (deadline, too_late) = if num_bytes == 0 {
                (silent_until, ReadError::Silent)
            } else {
                let now = Instant::now();
                let arrival = arrival.get_or_insert_with(|| self.pace.begin(now));
                arrival.on_bytes(now, num_bytes - num_counted);
                num_counted = num_bytes;
                (arrival.late_at(), ReadError::TooSlow)
            };
            timeout_at(deadline.into(), framed.read_into(self.frame_buffer.buffer())).await.map_err(|_| too_late)??;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::rc::Rc;
    use std::time::Duration;

    use bytes::BytesMut;
    use tokio::io::AsyncWriteExt;
    use tokio::task::{LocalSet, spawn_local, yield_now};

    use super::super::framed::tests::connected;
    use super::*;
    use crate::intake::admission::tests::admission;

    /// So many that the system keeps all of them before any is read.
    const NUM_PINGS: u64 = 4_000;

    #[tokio::test]
    async fn test_who_sends_without_a_pause_takes_turns_with_others() {
        let (framed, mut device) = connected().await;
        let mut pings = BytesMut::new();
        (0..NUM_PINGS).for_each(|nonce| Frame::Ping { nonce }.encode(&mut pings));
        let num_turns = Rc::new(Cell::new(0));
        LocalSet::new()
            .run_until(async {
                let counter = Rc::clone(&num_turns);
                let other = spawn_local(async move {
                    loop {
                        counter.set(counter.get() + 1);
                        yield_now().await;
                    }
                });
                spawn_local(async move { device.write_all(&pings).await.unwrap() }).await.unwrap();
                num_turns.set(0);
                let reads = spawn_local(async move {
                    let mut reader = FrameReader::new(&admission());
                    let silent_until = Instant::now() + Duration::from_secs(60);
                    for _ in 0..NUM_PINGS {
                        reader.next_frame(&framed, 1024, silent_until).await.unwrap();
                    }
                });
                reads.await.unwrap();
                other.abort();
            })
            .await;
        // The runtime lets a task take about 128 steps at a time.
        assert!(num_turns.get() >= NUM_PINGS / 256, "{} turns of the other", num_turns.get());
    }
}
