//! Looks at the engine's journals before the engine does, because two kinds of damage look alike to it.
//!
//! A power failure in the middle of a flush leaves a torn last batch. Nobody was told that it is durable, so it is cut
//! off. Damage below that hits records that were receipted; the engine would drop everything behind it without a word,
//! so opening fails instead and a person decides.
//!
//! The two can be told apart because everything written to the journal is flushed before the next write starts: at
//! most the last batch can be torn, and no whole batch follows it.
//!
//! Journal format 3 of fjall, without compression:
//!
//! ```text
//! batch = 1 | num_items u32 | seqno u64,  items,  3 | checksum u64 | "FJL" 3
//! item  = 2 | type u8 | 0 | keyspace u64 | key_len u16 | value_len u32 | stored_len u32 | key | value
//!       | 4 | keyspace u64
//! ```

use std::fs::{File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

use super::failure::Failure;

/// The storage engine locks this file for as long as it has the directory open.
pub(super) const LOCK_FILE: &str = "lock";

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const TRAILER: &[u8] = b"FJL\x03";

/// Cuts off the torn end of the newest journal, if there is one. Fails on damage that has hit receipted records, and
/// when another process has the directory open.
pub(super) fn recover(directory: &Path) -> Result<(), Failure> {
    // Without the lock a batch that a living process is writing would look torn. Where there is none, there is no log yet; what
    // else is wrong with it the storage engine says when it opens the log.
    let Ok(lock) = OpenOptions::new().read(true).write(true).open(directory.join(LOCK_FILE)) else { return Ok(()) };
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Err(fjall::Error::Locked.into()),
        Err(TryLockError::Error(error)) => return Err(fjall::Error::Io(error).into()),
    }
    let journals = journals(directory).map_err(fjall::Error::Io)?;
    let newest = journals.last().cloned();
    for (number, path) in journals {
        let bytes = std::fs::read(&path).map_err(fjall::Error::Io)?;
        let Some(torn_at) = end_of_sound_part(&bytes) else { continue };
        let is_torn_tail =
            newest.as_ref().is_some_and(|(newest, _)| *newest == number) && !has_batch_after(&bytes, torn_at);
        if !is_torn_tail {
            return Err(Failure::Journal { path: path.display().to_string(), position: torn_at });
        }
        tracing::warn!(path = %path.display(), torn_at, "the last write was torn by a crash; cutting it off");
        cut(&path, torn_at).map_err(fjall::Error::Io)?;
    }
    Ok(())
}

/// All journals with their numbers, oldest first.
pub(super) fn journals(directory: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let mut numbered = Vec::new();
    for file in std::fs::read_dir(directory)? {
        let path = file?.path();
        let number = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<u64>().ok());
        if let Some(number) = number.filter(|_| path.extension().is_some_and(|extension| extension == "jnl")) {
            numbered.push((number, path));
        }
    }
    numbered.sort_unstable();
    Ok(numbered)
}

fn cut(path: &Path, at: usize) -> std::io::Result<()> {
    let file: File = OpenOptions::new().write(true).open(path)?;
    file.set_len(at as u64)?;
    file.sync_all()
}

/// Where the first batch begins that is not whole; `None` if all are. Journals are allocated ahead: zeros up to the end
/// of the file are not damage.
fn end_of_sound_part(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    while !rest.is_empty() {
        match batch_len(rest).and_then(|len| rest.get(len..)) {
            Some(next) => rest = next,
            None if rest.iter().all(|byte| *byte == 0) => return None,
            None => return Some(bytes.len() - rest.len()),
        }
    }
    None
}

/// Whether a whole batch lies anywhere behind the one at `torn_at`. A batch follows the trailer of the one before it.
fn has_batch_after(bytes: &[u8], torn_at: usize) -> bool {
    let torn = &bytes[torn_at..];
    let mut ends = torn.windows(TRAILER.len()).enumerate().filter(|(_, window)| *window == TRAILER);
    ends.any(|(at, _)| torn.get(at + TRAILER.len()..).and_then(batch_len).is_some())
}

/// The length of the batch at the start of `bytes`, if it is whole and its checksum is right.
fn batch_len(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    if take_u8(&mut rest)? != START {
        return None;
    }
    let num_items = u32::from_le_bytes(take(&mut rest)?);
    let _seqno: [u8; 8] = take(&mut rest)?;
    let items = rest;
    for _ in 0..num_items {
        match take_u8(&mut rest)? {
            ITEM => {
                let _type_and_compression_and_keyspace: [u8; 10] = take(&mut rest)?;
                let key_len = u16::from_le_bytes(take(&mut rest)?);
                let _value_len: [u8; 4] = take(&mut rest)?;
                let stored_len = u32::from_le_bytes(take(&mut rest)?);
                rest = rest.get(usize::from(key_len) + stored_len as usize..)?;
            }
            CLEAR => rest = rest.get(8..)?,
            _ => return None,
        }
    }
    let items = items.get(..items.len() - rest.len())?;
    if take_u8(&mut rest)? != END || u64::from_le_bytes(take(&mut rest)?) != xxh3_64(items) {
        return None;
    }
    let rest = rest.strip_prefix(TRAILER)?;
    Some(bytes.len() - rest.len())
}

fn take_u8(bytes: &mut &[u8]) -> Option<u8> {
    bytes.split_off_first().copied()
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*taken)
}

#[cfg(test)]
mod tests {
    use fjall::{Database, KeyspaceCreateOptions, PersistMode};

    use super::*;

    /// Pins the engine's format: all that it writes is whole by our reading, and ends where its zeros begin.
    #[test]
    fn test_journal_that_the_engine_wrote_is_sound_to_its_end() {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::builder(directory.path()).open().unwrap();
        let keyspace = database.keyspace("a", KeyspaceCreateOptions::default).unwrap();
        let mut num_batches = 0;
        for number in 0..50u64 {
            let mut batch = database.batch().durability(Some(PersistMode::SyncData));
            for item in 0..=number % 3 {
                batch.insert(&keyspace, (number * 10 + item).to_be_bytes(), vec![b'x'; 300 * number as usize]);
            }
            batch.commit().unwrap();
            keyspace.remove(number.to_be_bytes()).unwrap();
            num_batches += 2;
        }
        drop((keyspace, database));
        let (_, path) = journals(directory.path()).unwrap().pop().unwrap();
        let bytes = std::fs::read(path).unwrap();
        assert_eq!(end_of_sound_part(&bytes), None);
        let mut rest = bytes.as_slice();
        let counted = std::iter::from_fn(|| {
            rest = rest.get(batch_len(rest)?..)?;
            Some(())
        });
        assert_eq!(counted.count(), num_batches);
    }

    #[test]
    fn test_torn_batch_is_a_tail_only_if_no_whole_one_follows() {
        let items = [&[CLEAR][..], &7u64.to_le_bytes()].concat();
        let checksum = xxh3_64(&items).to_le_bytes();
        let whole = [&[START][..], &1u32.to_le_bytes(), &[0; 8], &items, &[END], &checksum, TRAILER].concat();
        let mut torn = whole.clone();
        torn[15] ^= 0xff;
        assert_eq!(batch_len(&whole), Some(whole.len()));

        let tail = [&whole[..], &torn, &[0; 100]].concat();
        assert_eq!(end_of_sound_part(&tail), Some(whole.len()));
        assert!(!has_batch_after(&tail, whole.len()));

        let middle = [&whole[..], &torn, &whole].concat();
        assert_eq!(end_of_sound_part(&middle), Some(whole.len()));
        assert!(has_batch_after(&middle, whole.len()));
    }
}
