//! The engine's side: one task accepts, one for each question reads and sends.

use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

use super::address;
use super::wire::{self, Answer, Question};
use crate::log::{Log, RangeError, ReadLimit, TopicPartition};

/// Questions that are answered at once; further ones wait. Each holds one batch in memory.
const MAX_QUESTIONS: usize = 4;
/// The most of one batch, whatever is asked for (a larger record comes alone).
const MAX_READ: ReadLimit = ReadLimit { max_records: 4096, max_bytes: 1 << 20 };
/// How long a question may take to come.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(5);
/// How long who asked may take nothing: longer than somebody reads one page of a table.
const SEND_TIMEOUT: Duration = Duration::from_secs(600);

/// Hands out ranges of the log until it is dropped.
pub struct LocalRanges {
    path: PathBuf,
    accepting: JoinHandle<()>,
}

// === impl LocalRanges ===

impl LocalRanges {
    /// Opens the socket in this directory, in the place of one that an earlier process has left: the caller has the log open,
    /// so nobody else answers there.
    pub fn serve(directory: &Path, log: Arc<dyn Log>) -> io::Result<Self> {
        let (path, _directory) = address(directory)?;
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        // The file is ours, so that its owner is the user that we run as.
        let user = std::fs::symlink_metadata(&path)?.uid();
        let accepting = tokio::spawn(accept(listener, user, log));
        Ok(Self { path: directory.join(super::SOCKET_FILE), accepting })
    }
}

impl Drop for LocalRanges {
    fn drop(&mut self) {
        // Those that answer end with it.
        self.accepting.abort();
        // One that stays is replaced by the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

async fn accept(listener: UnixListener, user: u32, log: Arc<dyn Log>) {
    let (permits, mut answering) = (Arc::new(Semaphore::new(MAX_QUESTIONS)), JoinSet::new());
    loop {
        // Never closed.
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else { return };
        while answering.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Out of descriptors, most likely: it would be said at once again.
                tracing::debug!(%error, "a reader of the log cannot be accepted");
                tokio::time::sleep(Duration::from_secs(1)).await;
                continue;
            }
        };
        if !is_permitted(&stream, user) {
            tracing::warn!("another user wants to read the log, and is not answered");
            continue;
        }
        let log = Arc::clone(&log);
        answering.spawn(async move {
            // Who asked has gone, or sends something else.
            if let Err(error) = answer(stream, &*log).await {
                tracing::debug!(%error, "reading a range for another process ended early");
            }
            drop(permit);
        });
    }
}

fn is_permitted(stream: &UnixStream, user: u32) -> bool {
    stream.peer_cred().is_ok_and(|peer| peer.uid() == user || peer.uid() == 0)
}

async fn answer(mut stream: UnixStream, log: &dyn Log) -> io::Result<()> {
    let question: Question = timeout(QUESTION_TIMEOUT, wire::receive(&mut stream)).await??;
    let last = match send_range(&mut stream, log, question).await? {
        Ok(()) => Answer::End,
        Err(error) => Answer::Refused(error.into()),
    };
    timeout(SEND_TIMEOUT, wire::send(&mut stream, &last)).await??;
    stream.shutdown().await
}

async fn send_range(stream: &mut UnixStream, log: &dyn Log, question: Question) -> io::Result<Result<(), RangeError>> {
    let Question { topic, partition, from, to, max_records, max_bytes } = question;
    let limit = ReadLimit {
        max_records: max_records.clamp(1, MAX_READ.max_records),
        max_bytes: max_bytes.clamp(1, MAX_READ.max_bytes),
    };
    let id = TopicPartition { topic: topic.into(), partition };
    let mut range = match log.read_range(&id, from, to).await {
        Ok(range) => range,
        Err(error) => return Ok(Err(error)),
    };
    let offsets = range.offsets();
    wire::send(stream, &Answer::Range { start: offsets.start, end: offsets.end }).await?;
    loop {
        let batch = match range.read(limit).await {
            Ok(Some(batch)) => batch,
            Ok(None) => return Ok(Ok(())),
            Err(error) => return Ok(Err(error)),
        };
        let sending = async {
            wire::send(stream, &Answer::batch(&batch)).await?;
            stream.write_all(&batch.data).await
        };
        timeout(SEND_TIMEOUT, sending).await??;
    }
}
