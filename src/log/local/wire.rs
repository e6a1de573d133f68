//! What goes over the socket: a question, then answers until the last one. Each is its length in four bytes, little-endian,
//! and JSON; behind a batch's come the bytes of its keys and values.

use std::io;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::log::{RangeEnd, RangeError, RangeStart, RecordBatch, RecordRef, TopicPartition};

/// The most bytes of a question, or of an answer without the data: about 30 for each record of a batch.
const MAX_WORD_BYTES: u32 = 4 << 20;
/// The most bytes of the data of a batch: the largest record that the embedded log takes, and a little.
const MAX_DATA_BYTES: u32 = 64 << 20;

/// Which range somebody wants to read.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Question {
    pub topic: String,
    pub partition: u32,
    pub from: RangeStart,
    pub to: RangeEnd,
    /// How much a batch may have.
    pub max_records: usize,
    pub max_bytes: usize,
}

/// What the engine says.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    /// Which offsets the range has. The first answer if there is one.
    Range { start: u64, end: u64 },
    /// Records; for each of them offset, start of the key, start of the value, end.
    Batch { next_offset: u64, data_bytes: u32, records: Vec<(u64, u32, u32, u32)> },
    /// All has been read.
    End,
    /// The range cannot be read, or not further.
    Refused(Refusal),
}

/// [`RangeError`] without the partition, which is known.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Refusal {
    NoSuchPartition,
    Gone { from: u64, first: u64 },
    Beyond { from: u64, end: u64 },
    Unavailable(String),
}

// === impl Answer ===

impl Answer {
    /// What is said before the batch's data.
    pub(super) fn batch(batch: &RecordBatch) -> Self {
        let place = |record: &RecordRef| (record.offset, record.key_start, record.value_start, record.value_end);
        Self::Batch {
            next_offset: batch.next_offset,
            data_bytes: batch.data.len() as u32,
            records: batch.records.iter().map(place).collect(),
        }
    }
}

impl From<RangeError> for Refusal {
    fn from(error: RangeError) -> Self {
        match error {
            RangeError::NoSuchPartition(_) => Self::NoSuchPartition,
            RangeError::Gone { from, first, .. } => Self::Gone { from, first },
            RangeError::Beyond { from, end, .. } => Self::Beyond { from, end },
            RangeError::Unavailable { source, .. } => Self::Unavailable(source.to_string()),
        }
    }
}

// === impl Refusal ===

impl Refusal {
    /// The error that it was.
    pub(super) fn of(self, partition: &TopicPartition) -> RangeError {
        match self {
            Self::NoSuchPartition => RangeError::NoSuchPartition(partition.clone()),
            Self::Gone { from, first } => RangeError::Gone { partition: partition.clone(), from, first },
            Self::Beyond { from, end } => RangeError::Beyond { partition: partition.clone(), from, end },
            Self::Unavailable(reason) => RangeError::unavailable(partition, reason),
        }
    }
}

/// Sends a question or an answer.
pub(super) async fn send(to: &mut (impl AsyncWrite + Unpin), word: &impl Serialize) -> io::Result<()> {
    let text = serde_json::to_vec(word)?;
    to.write_u32_le(text.len() as u32).await?;
    to.write_all(&text).await
}

/// Receives a question or an answer.
pub(super) async fn receive<T: DeserializeOwned>(from: &mut (impl AsyncRead + Unpin)) -> io::Result<T> {
    let num_bytes = from.read_u32_le().await?;
    Ok(serde_json::from_slice(&exactly(from, num_bytes, MAX_WORD_BYTES).await?)?)
}

/// Receives the data of a batch.
pub(super) async fn receive_data(from: &mut (impl AsyncRead + Unpin), num_bytes: u32) -> io::Result<Vec<u8>> {
    exactly(from, num_bytes, MAX_DATA_BYTES).await
}

async fn exactly(from: &mut (impl AsyncRead + Unpin), num_bytes: u32, max_bytes: u32) -> io::Result<Vec<u8>> {
    if num_bytes > max_bytes {
        let reason = format!("{num_bytes} bytes in one piece, allowed are {max_bytes}");
        return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
    }
    let mut bytes = vec![0; num_bytes as usize];
    from.read_exact(&mut bytes).await?;
    Ok(bytes)
}
