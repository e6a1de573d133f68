//! A command's side: ranges of the log that a running engine has open.

use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::net::UnixStream;
use tokio::sync::mpsc;

use super::wire::{self, Answer, Question};
use super::{SOCKET_FILE, address};
use crate::log::{
    RangeEnd, RangeError, RangeReader, RangeStart, Ranges, ReadLimit, RecordBatch, RecordRef, TopicPartition,
};

/// How much the engine reads for us at once.
const READ: ReadLimit = ReadLimit { max_records: 4096, max_bytes: 1 << 20 };

/// The log of the engine that runs in a data directory.
pub struct RunningLog {
    directory: PathBuf,
}

/// The engine cannot be asked.
#[derive(Debug, thiserror::Error)]
#[error(
    "{path} is in use by another process, and that does not hand its log out: {source} (an engine of this user that is running \
     does; run this as its user, or stop it first)",
    path = directory.display()
)]
pub struct NotReached {
    directory: PathBuf,
    source: io::Error,
}

/// A range that the engine sends.
struct SentRange {
    id: TopicPartition,
    offsets: Range<u64>,
    /// What was received and is not handed out; the task ends when this is dropped.
    batches: mpsc::Receiver<Result<Option<RecordBatch>, RangeError>>,
    at_hand: Option<RecordBatch>,
    is_done: bool,
}

// === impl RunningLog ===

impl RunningLog {
    /// Finds out whether the engine can be asked.
    pub async fn reach(directory: &Path) -> Result<Self, NotReached> {
        let found = Self { directory: directory.to_owned() };
        match found.connect().await {
            Ok(_) => Ok(found),
            Err(source) => Err(NotReached { directory: found.directory, source }),
        }
    }

    async fn connect(&self) -> io::Result<UnixStream> {
        let (path, _directory) = address(&self.directory)?;
        UnixStream::connect(&path).await.map_err(|error| {
            let place = self.directory.join(SOCKET_FILE);
            io::Error::new(error.kind(), format!("{}: {error}", place.display()))
        })
    }

    async fn open(&self, id: TopicPartition, from: RangeStart, to: RangeEnd) -> Result<SentRange, RangeError> {
        let failed = |error: io::Error| RangeError::unavailable(&id, error);
        let mut stream = self.connect().await.map_err(failed)?;
        let question = Question {
            topic: id.topic.to_string(),
            partition: id.partition,
            from,
            to,
            max_records: READ.max_records,
            max_bytes: READ.max_bytes,
        };
        wire::send(&mut stream, &question).await.map_err(failed)?;
        let offsets = match wire::receive(&mut stream).await.map_err(failed)? {
            Answer::Range { start, end } => start..end,
            Answer::Refused(refusal) => return Err(refusal.of(&id)),
            Answer::Batch { .. } | Answer::End => return Err(failed(unexpected())),
        };
        // One batch ahead: beyond it the engine waits in the socket.
        let (sender, batches) = mpsc::channel(1);
        let asked = id.clone();
        tokio::spawn(async move {
            loop {
                let received = receive(&mut stream, &asked).await;
                let is_last = !matches!(received, Ok(Some(_)));
                if sender.send(received).await.is_err() || is_last {
                    return;
                }
            }
        });
        Ok(SentRange { id, offsets, batches, at_hand: None, is_done: false })
    }
}

impl Ranges for RunningLog {
    fn read_range(
        &self,
        partition: &TopicPartition,
        from: RangeStart,
        to: RangeEnd,
    ) -> BoxFuture<'_, Result<Box<dyn RangeReader>, RangeError>> {
        let id = partition.clone();
        async move { Ok(Box::new(self.open(id, from, to).await?) as Box<dyn RangeReader>) }.boxed()
    }
}

// === impl SentRange ===

impl SentRange {
    async fn read_next(&mut self, limit: ReadLimit) -> Result<Option<RecordBatch>, RangeError> {
        if self.at_hand.is_none() && !self.is_done {
            // The end is a word of its own: a task that ended without it has panicked, or has failed before.
            let received = self.batches.recv().await;
            let ended = || RangeError::unavailable(&self.id, "the connection to the engine has ended");
            self.at_hand = received.ok_or_else(ended)??;
            self.is_done = self.at_hand.is_none();
        }
        Ok(self.at_hand.take().map(|mut batch| {
            self.at_hand = batch.split_beyond(limit);
            batch
        }))
    }
}

impl RangeReader for SentRange {
    fn offsets(&self) -> Range<u64> {
        self.offsets.clone()
    }

    fn read(&mut self, limit: ReadLimit) -> BoxFuture<'_, Result<Option<RecordBatch>, RangeError>> {
        self.read_next(limit).boxed()
    }
}

/// The next batch; `None` at the end.
async fn receive(stream: &mut UnixStream, id: &TopicPartition) -> Result<Option<RecordBatch>, RangeError> {
    let failed = |error: io::Error| RangeError::unavailable(id, error);
    match wire::receive(stream).await.map_err(failed)? {
        Answer::End => Ok(None),
        Answer::Refused(refusal) => Err(refusal.of(id)),
        Answer::Range { .. } => Err(failed(unexpected())),
        Answer::Batch { next_offset, data_bytes, records } => {
            let data = wire::receive_data(stream, data_bytes).await.map_err(failed)?;
            let record = |(offset, key_start, value_start, value_end)| {
                let is_within = key_start <= value_start && value_start <= value_end && value_end <= data_bytes;
                is_within.then_some(RecordRef { offset, key_start, value_start, value_end })
            };
            let records: Option<Vec<RecordRef>> = records.into_iter().map(record).collect();
            let records = records.filter(|records| !records.is_empty()).ok_or_else(|| failed(unexpected()))?;
            Ok(Some(RecordBatch { data: data.into(), records, next_offset, first_written_ms: None, meta: Vec::new() }))
        }
    }
}

fn unexpected() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the engine's answer is not one of this version")
}
