//! What the cluster says about our topics: asked once for each inspection, judged by the rules beside this file.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use crate::log::kafka::describe::TopicConfig;
use crate::log::kafka::failed;
use crate::log::kafka::group_view::{self, GroupView};
use crate::log::kafka::quiet::Quiet;
use crate::log::kafka::settings::KafkaLogSettings;
use crate::log::{LogError, TopicSpec};

/// How long brokers have to answer one question.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What a topic is to the engine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Its records become rows: this process reads it.
    Consumed,
    /// Its records become rows, and others fill it.
    Others,
    /// Records are appended to it, and this process does not read it: dead letters.
    Kept,
    /// The writer schemas.
    Schemas,
    /// The control channel of the pods.
    Control,
}

/// One topic as the cluster describes it.
#[derive(Debug, Clone)]
pub(super) struct TopicFacts {
    /// What the config wants.
    pub spec: TopicSpec,
    /// What it is for.
    pub role: Role,
    /// Its partitions in the order of their numbers, or why there are none to be seen.
    pub partitions: Result<Vec<PartitionFacts>, RDKafkaErrorCode>,
    /// Its settings; `None`: the brokers do not tell them.
    pub config: Option<TopicConfig>,
}

/// One partition as the cluster describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartitionFacts {
    /// Whether a broker leads it: without, nobody can append or read.
    pub has_leader: bool,
    /// How many copies it should have.
    pub num_replicas: usize,
    /// How many of them have everything.
    pub num_in_sync: usize,
}

/// Where a partition begins and ends, and what of it is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Extent {
    /// The offset of the oldest record that is still there.
    pub start: i64,
    /// The offset after the last record.
    pub end: i64,
    /// What the group has committed; `None`: nothing yet.
    pub committed: Option<i64>,
}

/// One partition of a topic.
pub(super) type Place = (Arc<str>, u32);

/// Asks the cluster. Blocks; a client of its own for each inspection, so that none outlives what it was made with.
pub(super) struct Asker {
    consumer: BaseConsumer<Quiet>,
    context: String,
}

// === impl TopicFacts ===

impl TopicFacts {
    /// Its partitions, as far as they are known and the config wants them.
    pub(super) fn wanted_partitions(&self) -> impl Iterator<Item = (u32, &PartitionFacts)> {
        let known = self.partitions.iter().flatten();
        (0..self.spec.num_partitions).zip(known)
    }

    /// A setting that is a number, if the settings are known.
    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.config.as_ref().and_then(|config| config.number(key))
    }
}

// === impl Extent ===

impl Extent {
    /// The offset of the first record that is not done and still there. A commit behind the end is of an earlier topic of
    /// this name: reading begins at the start then.
    pub(super) fn next(&self) -> i64 {
        self.committed.filter(|committed| *committed <= self.end).unwrap_or(self.start).max(self.start)
    }

    /// How many records are there and not done.
    pub(super) fn num_unread(&self) -> u64 {
        u64::try_from(self.end - self.next()).unwrap_or(0)
    }
}

// === impl Asker ===

impl Asker {
    /// A client that names the group and never joins it.
    pub(super) fn new(settings: &KafkaLogSettings) -> Result<Self, LogError> {
        let context = format!("asking kafka at {} about its topics", settings.brokers.join(","));
        let consumer = BaseConsumer::from_config_and_context(&settings.inspector(), Quiet)
            .map_err(|error| failed(&context, error))?;
        Ok(Self { consumer, context })
    }

    /// The partitions of a topic. Asking never creates it: a consumer's client does not allow that.
    pub(super) fn partitions(&self, topic: &str) -> Result<Result<Vec<PartitionFacts>, RDKafkaErrorCode>, LogError> {
        let metadata =
            self.consumer.fetch_metadata(Some(topic), TIMEOUT).map_err(|error| failed(&self.context, error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Ok(Err(RDKafkaErrorCode::UnknownTopicOrPartition));
        };
        if let Some(error) = found.error() {
            return Ok(Err(error.into()));
        }
        let mut partitions: Vec<_> = found.partitions().iter().collect();
        partitions.sort_by_key(|partition| partition.id());
        let facts = partitions.into_iter().map(|partition| PartitionFacts {
            has_leader: partition.leader() >= 0,
            num_replicas: partition.replicas().len(),
            num_in_sync: partition.isr().len(),
        });
        Ok(Ok(facts.collect()))
    }

    /// Who is in the group; `None` if nobody knows it, or it cannot be asked.
    pub(super) fn group(&self, group: &str) -> Option<GroupView> {
        let asked = group_view::ask(self.consumer.client(), group, TIMEOUT);
        asked.inspect_err(|error| tracing::debug!(%error, "cannot ask who is in the group")).ok().flatten()
    }

    /// The names of all topics of the cluster that this login may see.
    pub(super) fn all_topics(&self) -> Result<Vec<String>, LogError> {
        let metadata = self.consumer.fetch_metadata(None, TIMEOUT).map_err(|error| failed(&self.context, error))?;
        let sound = metadata.topics().iter().filter(|topic| topic.error().is_none());
        Ok(sound.map(|topic| topic.name().to_owned()).collect())
    }

    /// All partitions of the cluster that this login may see and that have a leader.
    pub(super) fn all_partitions(&self) -> Result<Vec<Place>, LogError> {
        let metadata = self.consumer.fetch_metadata(None, TIMEOUT).map_err(|error| failed(&self.context, error))?;
        let sound = metadata.topics().iter().filter(|topic| topic.error().is_none());
        let places = sound.flat_map(|topic| {
            let name: Arc<str> = topic.name().into();
            let led = topic.partitions().iter().filter(|partition| partition.leader() >= 0);
            led.map(move |partition| (name.clone(), partition.id() as u32))
        });
        Ok(places.collect())
    }

    /// Where these partitions begin and end, each of which has a leader.
    pub(super) fn extents(&self, places: &[Place]) -> Result<HashMap<Place, Extent>, LogError> {
        let starts = self.offsets(places.iter().map(|place| (place, Offset::Beginning)))?;
        let ends = self.offsets(places.iter().map(|place| (place, Offset::End)))?;
        let extents = places.iter().filter_map(|place| {
            let (Some(Offset::Offset(start)), Some(Offset::Offset(end))) = (starts.get(place), ends.get(place)) else {
                return None;
            };
            Some((place.clone(), Extent { start: *start, end: *end, committed: None }))
        });
        Ok(extents.collect())
    }

    /// What the group has committed of these partitions, or why that is not told.
    pub(super) fn committed(
        &self,
        places: &[Place],
    ) -> Result<Result<HashMap<Place, i64>, RDKafkaErrorCode>, LogError> {
        if places.is_empty() {
            return Ok(Ok(HashMap::new()));
        }
        let list = self.list(places.iter().map(|place| (place, Offset::Invalid)))?;
        let refused = |error: &KafkaError| error.rdkafka_error_code().filter(|code| is_of_rights(*code));
        match self.consumer.committed_offsets(list, TIMEOUT) {
            Ok(list) => {
                let refusal = list.elements().iter().find_map(|element| refused(element.error().as_ref().err()?));
                let commits = by_place(&list).into_iter().filter_map(|(place, offset)| match offset {
                    Offset::Offset(offset) => Some((place, offset)),
                    _ => None,
                });
                Ok(refusal.map_or_else(|| Ok(commits.collect()), Err))
            }
            Err(error) => refused(&error).map(Err).ok_or_else(|| failed(&self.context, error)),
        }
    }

    /// For each of these partitions the offset of its first record that is at most `age` old; the end if there is none.
    pub(super) fn younger_than(
        &self,
        places: &[(Place, Duration)],
        now: SystemTime,
    ) -> Result<HashMap<Place, Offset>, LogError> {
        let at = |age: &Duration| {
            let since_epoch = now.duration_since(UNIX_EPOCH).unwrap_or_default();
            Offset::Offset(since_epoch.saturating_sub(*age).as_millis() as i64)
        };
        self.offsets(places.iter().map(|(place, age)| (place, at(age))))
    }

    fn offsets<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a Place, Offset)>,
    ) -> Result<HashMap<Place, Offset>, LogError> {
        let list = self.list(wanted)?;
        if list.count() == 0 {
            return Ok(HashMap::new());
        }
        let answered = self.consumer.offsets_for_times(list, TIMEOUT).map_err(|error| failed(&self.context, error))?;
        Ok(by_place(&answered))
    }

    fn list<'a>(&self, wanted: impl Iterator<Item = (&'a Place, Offset)>) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::new();
        for ((topic, partition), offset) in wanted {
            list.add_partition_offset(topic, *partition as i32, offset)
                .map_err(|error| failed(&self.context, error))?;
        }
        Ok(list)
    }
}

/// Whether an error means that a right is missing: asking again does not help.
pub(super) fn is_of_rights(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode as Code;
    matches!(code, Code::TopicAuthorizationFailed | Code::GroupAuthorizationFailed | Code::ClusterAuthorizationFailed)
}

/// Those without an error.
fn by_place(list: &TopicPartitionList) -> HashMap<Place, Offset> {
    let elements = list.elements();
    let sound = elements.iter().filter(|element| element.error().is_ok());
    sound.map(|element| ((element.topic().into(), element.partition() as u32), element.offset())).collect()
}
