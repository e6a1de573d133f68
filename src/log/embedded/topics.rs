//! Which topics and partitions the embedded log has, and where their commits and writer schemas are kept.
//!
//! Keyspaces: `topics` (name → number of partitions), `commits` (partition → offset), `schemas` (fingerprint → text),
//! and one `records.<topic>.<partition>` each.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arc_swap::ArcSwap;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parking_lot::Mutex;

use super::entry::{Damaged, Header};
use super::failure::Failure;
use super::partition::{Partition, decode_guard};
use crate::log::{LogError, TopicPartition, TopicSpec, WriterSchema};

/// The log's time among the commits, whose other keys are those of partitions and have a slash.
const TIME_KEY: &[u8] = b"time";

/// All topics of the log.
pub(super) struct Topics {
    database: Database,
    topics: Keyspace,
    commits: Keyspace,
    schemas: Keyspace,
    partitions: ArcSwap<HashMap<TopicPartition, Arc<Partition>>>,
    tail_cache: usize,
    /// Held while topics or schemas are added, which is rare.
    change: Mutex<()>,
}

// === impl Topics ===

impl Topics {
    /// Takes up all topics that the database has.
    pub(super) fn recover(database: Database, tail_cache: usize) -> Result<Self, Failure> {
        let keyspace = |name| database.keyspace(name, KeyspaceCreateOptions::default);
        let recovered = Self {
            topics: keyspace("topics")?,
            commits: keyspace("commits")?,
            schemas: keyspace("schemas")?,
            partitions: ArcSwap::default(),
            change: Mutex::new(()),
            tail_cache,
            database,
        };
        for spec in recovered.existing()? {
            recovered.add_partitions(&spec)?;
        }
        Ok(recovered)
    }

    /// A partition, if it exists.
    pub(super) fn partition(&self, id: &TopicPartition) -> Option<Arc<Partition>> {
        self.partitions.load().get(id).cloned()
    }

    /// All partitions.
    pub(super) fn partitions(&self) -> Vec<Arc<Partition>> {
        self.partitions.load().values().cloned().collect()
    }

    /// Everything that has tables on disk.
    pub(super) fn keyspaces(&self) -> Vec<Keyspace> {
        let own = [&self.topics, &self.commits, &self.schemas].map(Clone::clone);
        own.into_iter().chain(self.partitions.load().values().map(|partition| partition.entries.clone())).collect()
    }

    /// Bytes of entries in memory. Those in the tails are shared with the memtables for as long as they are in those, so
    /// the larger of the two is about what there is.
    pub(super) fn buffered_bytes(&self) -> u64 {
        let tails = self.partitions.load().values().map(|partition| partition.num_tail_bytes()).sum();
        self.database.write_buffer_size().max(tails)
    }

    /// The partitions of these topics, each of which must exist.
    pub(super) fn partitions_of(&self, topics: &[TopicSpec]) -> Result<Vec<Arc<Partition>>, LogError> {
        let ids = topics.iter().flat_map(|topic| {
            (0..topic.num_partitions).map(|partition| TopicPartition { topic: topic.name.clone(), partition })
        });
        ids.map(|id| self.partition(&id).ok_or_else(|| LogError::MissingTopic(id.topic.to_string()))).collect()
    }

    /// Topics beside these that were read once and have records that are not done, with how many.
    pub(super) fn abandoned(&self, wanted: &[TopicSpec]) -> BTreeMap<Arc<str>, u64> {
        let mut abandoned = BTreeMap::new();
        for partition in self.partitions() {
            let num_unread = partition.end().saturating_sub(partition.committed());
            let is_wanted = wanted.iter().any(|topic| topic.name == partition.id.topic);
            if !is_wanted && partition.is_consumed() && num_unread > 0 {
                *abandoned.entry(partition.id.topic.clone()).or_default() += num_unread;
            }
        }
        abandoned
    }

    /// Bytes over all partitions that nobody has read yet.
    pub(super) fn num_unread_bytes(&self) -> u64 {
        self.partitions.load().values().map(|partition| partition.num_unread_bytes()).sum()
    }

    /// Creates what is missing and says what it did. A different number of partitions is an error, because keys would
    /// move between partitions.
    pub(super) fn apply(&self, wanted: &[TopicSpec]) -> Result<Vec<String>, LogError> {
        let _change = self.change.lock();
        let mut changes = Vec::new();
        for spec in wanted {
            match self.check_one(spec) {
                Ok(()) => {}
                Err(LogError::MissingTopic(_)) => {
                    self.create(spec)?;
                    changes.push(format!("created topic {} with {} partitions", spec.name, spec.num_partitions));
                }
                Err(other) => return Err(other),
            }
        }
        Ok(changes)
    }

    /// The first missing or different topic is the error.
    pub(super) fn check(&self, wanted: &[TopicSpec]) -> Result<(), LogError> {
        wanted.iter().try_for_each(|spec| self.check_one(spec))
    }

    fn check_one(&self, wanted: &TopicSpec) -> Result<(), LogError> {
        let existing = self.existing().map_err(|failure| failed("reading the list of topics", failure))?;
        match existing.into_iter().find(|spec| spec.name == wanted.name) {
            None => Err(LogError::MissingTopic(wanted.name.to_string())),
            Some(spec) if spec.num_partitions != wanted.num_partitions => Err(LogError::PartitionCount {
                topic: wanted.name.to_string(),
                actual: spec.num_partitions,
                expected: wanted.num_partitions,
            }),
            Some(_) => Ok(()),
        }
    }

    fn create(&self, spec: &TopicSpec) -> Result<(), LogError> {
        let context = format!("creating topic {}", spec.name);
        // A file system and fjall allow names up to 255 bytes, and ours carry a prefix and the partition's number.
        if spec.name.is_empty() || spec.name.len() > 200 || spec.num_partitions == 0 {
            return Err(LogError::failed(context, "a topic needs a name of 1 to 200 bytes and at least one partition"));
        }
        // Partitions first: a topic that is in the list has them all, after a crash too.
        self.add_partitions(spec).map_err(|failure| failed(&context, failure))?;
        self.store(&self.topics, spec.name.as_bytes(), spec.num_partitions.to_le_bytes().to_vec())
            .map_err(|failure| failed(&context, failure))
    }

    fn add_partitions(&self, spec: &TopicSpec) -> Result<(), Failure> {
        let mut partitions = HashMap::clone(&self.partitions.load());
        for partition in 0..spec.num_partitions {
            let id = TopicPartition { topic: spec.name.clone(), partition };
            let name = format!("records.{}.{partition}", spec.name);
            let entries = self.database.keyspace(&name, records_options)?;
            let committed = self.commits.get(id.to_string())?;
            let committed = committed.as_deref().map(number).transpose()?;
            let recovered = Partition::recover(id.clone(), partitions.len(), entries, committed, self.tail_cache)?;
            partitions.insert(id, Arc::new(recovered));
        }
        self.partitions.store(Arc::new(partitions));
        Ok(())
    }

    fn existing(&self) -> Result<Vec<TopicSpec>, Failure> {
        let specs = self.topics.iter().map(|guard| {
            let (name, count) = guard.into_inner()?;
            let num_partitions = u32::from_le_bytes(*count.first_chunk::<4>().ok_or(Damaged)?);
            Ok(TopicSpec::own(String::from_utf8_lossy(&name), num_partitions))
        });
        specs.collect()
    }

    /// Stores commits. They are flushed like records: if anything unflushed could lie below a group in the journal, a
    /// torn tail could not be told from damage (see [`super::journal`]). It is five flushes a second at most.
    pub(super) fn store_commits(&self, commits: &[(Arc<Partition>, u64)]) -> Result<(), Failure> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for (partition, offset) in commits {
            batch.insert(&self.commits, partition.id.to_string(), offset.to_le_bytes());
        }
        Ok(batch.commit()?)
    }

    /// Stores the log's time.
    pub(super) fn store_time(&self, now_ms: u64) -> Result<(), Failure> {
        self.store(&self.commits, TIME_KEY, now_ms.to_le_bytes().to_vec())
    }

    /// The newest time that the log knows of, stored or of an entry, in milliseconds since the Unix epoch.
    pub(super) fn newest_ms(&self) -> Result<Option<u64>, Failure> {
        let stored = self.commits.get(TIME_KEY)?;
        let stored = stored.as_deref().map(number).transpose()?;
        Ok(stored.max(self.newest_written_ms()?))
    }

    /// When the newest entry of all partitions was written.
    pub(super) fn newest_written_ms(&self) -> Result<Option<u64>, Failure> {
        let mut newest_ms = None;
        for partition in self.partitions.load().values() {
            if let Some((_, bytes)) = partition.entries.last_key_value().map(decode_guard).transpose()? {
                newest_ms = newest_ms.max(Some(Header::decode(&bytes)?.written_at_ms));
            }
        }
        Ok(newest_ms)
    }

    /// Writes one pair, flushed.
    fn store(&self, keyspace: &Keyspace, key: &[u8], value: Vec<u8>) -> Result<(), Failure> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        batch.insert(keyspace, key, value);
        Ok(batch.commit()?)
    }

    /// Keeps a schema, durably; one that is there stays as it is.
    pub(super) fn put_schema(&self, fingerprint: [u8; 8], schema_json: &str) -> Result<(), Failure> {
        let _change = self.change.lock();
        if self.schemas.contains_key(fingerprint)? {
            return Ok(());
        }
        // The number of the schemas before it gives their order back, since keys sort by fingerprint.
        let order = self.schemas.len()? as u64;
        let value = [order.to_le_bytes().as_slice(), schema_json.as_bytes()].concat();
        self.store(&self.schemas, &fingerprint, value)
    }

    /// All schemas, oldest first.
    pub(super) fn schemas(&self) -> Result<Vec<WriterSchema>, Failure> {
        let mut schemas = Vec::new();
        for guard in self.schemas.iter() {
            let (key, value) = guard.into_inner()?;
            let fingerprint = *key.first_chunk::<8>().ok_or(Damaged)?;
            let (order, text) = value.split_first_chunk::<8>().ok_or(Damaged)?;
            schemas.push((u64::from_le_bytes(*order), fingerprint, String::from_utf8_lossy(text).into_owned()));
        }
        schemas.sort_unstable();
        Ok(schemas.into_iter().map(|(_, fingerprint, text)| (fingerprint, text)).collect())
    }
}

/// Settings of the engine for entries: they are found by range, never by exact key, so filters would only cost memory.
fn records_options() -> KeyspaceCreateOptions {
    KeyspaceCreateOptions::default().filter_policy(fjall::config::FilterPolicy::disabled())
}

/// Says what was tried.
pub(super) fn failed(context: &str, source: impl Into<Failure>) -> LogError {
    LogError::failed(context, source.into())
}

/// A number as this log stores it.
fn number(bytes: &[u8]) -> Result<u64, Damaged> {
    Ok(u64::from_le_bytes(*bytes.first_chunk::<8>().ok_or(Damaged)?))
}
