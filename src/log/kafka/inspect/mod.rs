//! Asks the cluster for everything about our topics that may keep acknowledged records from becoming rows, and judges it:
//! whether they are there ([`presence`]), how many copies they have ([`replicas`]), what is removed from them ([`cleanup`],
//! [`unread`]), whether they are still those that they were ([`recreated`]), and whether others have been left with records
//! that nobody reads ([`abandoned`]). Of topics that others fill it matters only whether they can be read ([`awaited`]) and
//! whether retention comes near.
//!
//! Asking is in [`facts`]; the rules are pure. The engine asks every 20 seconds or so, at its start and on request.

mod abandoned;
mod awaited;
mod cleanup;
mod facts;
mod presence;
mod recreated;
mod replicas;
mod unread;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use rdkafka::Offset;
use rdkafka::types::RDKafkaErrorCode;

use self::facts::{Asker, Extent, PartitionFacts, Place, Role, TopicFacts};
use self::recreated::Memory;
use self::replicas::Wanted;
use self::unread::{Retention, Unread};
use super::brokers::Brokers;
use super::consumption::Consumption;
use super::describe::TopicConfig;
use super::failed;
use super::settings::KafkaLogSettings;
use crate::flow::health::{Condition, Part};
use crate::log::{LogError, TopicPartition, TopicSpec, spec_of};

/// Looks at the topics of one log.
pub(super) struct Inspector {
    settings: KafkaLogSettings,
    brokers: Arc<Brokers>,
    /// Told where logs begin, so that a loss is seen though nothing is read.
    consumption: Arc<Consumption>,
    /// The topics that this process reads; empty until it subscribes.
    consumed: Mutex<HashSet<Arc<str>>>,
    /// The topics that were there once: what was never there is told by a check before a start.
    seen: Mutex<HashSet<Arc<str>>>,
    memory: Mutex<Memory>,
    /// Topics that the group read once; `None` until they have been looked for.
    abandoned: Mutex<Option<Vec<Arc<str>>>>,
    /// What was found out about offsets when they were last told.
    of_offsets: Mutex<Vec<Condition>>,
}

// === impl Inspector ===

impl Inspector {
    /// One that has seen nothing yet.
    pub(super) fn new(settings: KafkaLogSettings, (brokers, consumption): (Arc<Brokers>, Arc<Consumption>)) -> Self {
        Self {
            settings,
            brokers,
            consumption,
            consumed: Mutex::default(),
            seen: Mutex::default(),
            memory: Mutex::default(),
            abandoned: Mutex::default(),
            of_offsets: Mutex::default(),
        }
    }

    /// From now on these are read.
    pub(super) fn note_subscribed(&self, topics: &[TopicSpec]) {
        *self.consumed.lock() = topics.iter().map(|topic| topic.name.clone()).collect();
    }

    /// Everything that is wrong with these topics, whose settings are these; the log's own are among them.
    pub(super) async fn inspect(
        self: Arc<Self>,
        topics: Vec<TopicSpec>,
        configs: HashMap<String, TopicConfig>,
    ) -> Result<Vec<Condition>, LogError> {
        // The client is dropped there, too, which may block.
        let asking = tokio::task::spawn_blocking(move || self.ask(topics, configs));
        asking.await.unwrap_or_else(|error| Err(failed("asking kafka about its topics", error)))
    }

    fn ask(
        &self,
        topics: Vec<TopicSpec>,
        mut configs: HashMap<String, TopicConfig>,
    ) -> Result<Vec<Condition>, LogError> {
        let asker = Asker::new(&self.settings)?;
        let (mut facts, mut conditions) = (Vec::new(), Vec::new());
        let (topics, unmatched) = expand(&asker, topics)?;
        conditions.extend(unmatched);
        for mut spec in topics {
            let partitions = asker.partitions(&spec.name)?;
            let config = configs.remove(&*spec.name);
            let role = self.role(&spec);
            match (&partitions, role) {
                (Ok(partitions), Role::Others) => spec.num_partitions = partitions.len() as u32,
                (_, Role::Others) => {}
                _ if self.was_never_there(&spec.name, &partitions) => continue,
                _ => {}
            }
            facts.push(TopicFacts { role, spec, partitions, config });
        }
        let KafkaLogSettings { replication_factor, min_insync_replicas, .. } = self.settings;
        let wanted = Wanted { replication_factor, min_insync_replicas };
        let of_topic = |topic: &TopicFacts| {
            if topic.role == Role::Others {
                return awaited::judge(topic);
            }
            let present = presence::judge(topic);
            present.into_iter().chain(replicas::judge(topic, wanted)).chain(cleanup::judge(topic)).collect::<Vec<_>>()
        };
        conditions.extend(facts.iter().flat_map(of_topic));
        // Who cannot be asked about offsets, such as a group whose coordinator is away, says so elsewhere.
        match self.ask_offsets(&asker, &facts) {
            Ok(found) => *self.of_offsets.lock() = found,
            Err(error) => tracing::debug!(%error, "cannot ask for offsets"),
        }
        conditions.extend(self.of_offsets.lock().iter().cloned());
        // Once this process is a member, it follows the group by itself.
        if self.consumed.lock().is_empty()
            && let Some(view) = asker.group(&self.settings.group)
        {
            let names: Vec<_> = facts.iter().map(|topic| topic.spec.name.clone()).collect();
            conditions.extend(view.foreign(&self.settings.group, &names));
        }
        Ok(conditions)
    }

    fn was_never_there(&self, topic: &Arc<str>, partitions: &Result<Vec<PartitionFacts>, RDKafkaErrorCode>) -> bool {
        let mut seen = self.seen.lock();
        match partitions {
            Ok(_) => {
                seen.insert(topic.clone());
                false
            }
            Err(RDKafkaErrorCode::UnknownTopicOrPartition) => !seen.contains(topic),
            Err(_) => false,
        }
    }

    fn role(&self, spec: &TopicSpec) -> Role {
        match &*spec.name {
            _ if spec.others.is_some() => Role::Others,
            topic if topic == self.settings.schema_topic => Role::Schemas,
            topic if topic == self.settings.control_topic => Role::Control,
            topic if self.consumed.lock().contains(topic) => Role::Consumed,
            _ => Role::Kept,
        }
    }

    fn ask_offsets(&self, asker: &Asker, facts: &[TopicFacts]) -> Result<Vec<Condition>, LogError> {
        let is_of_records = |topic: &&TopicFacts| matches!(topic.role, Role::Consumed | Role::Kept | Role::Others);
        let of_records = facts.iter().filter(is_of_records);
        let places: Vec<Place> = of_records.clone().flat_map(led_partitions).collect();
        let mut conditions = Vec::new();
        let commits = asker.committed(&places)?;
        let asked_at = Instant::now();
        let mut extents = asker.extents(&places)?;
        for ((topic, partition), extent) in &extents {
            let id = TopicPartition { topic: topic.clone(), partition: *partition };
            if let Ok(start) = u64::try_from(extent.start) {
                self.consumption.assignments.on_start(&id, start, asked_at);
            }
        }
        match &commits {
            Ok(commits) => {
                for (place, extent) in &mut extents {
                    extent.committed = commits.get(place).copied();
                }
            }
            Err(code) => conditions.push(self.unchecked(*code)),
        }
        conditions.extend(self.memory.lock().update(&extents));
        if commits.is_err() {
            return Ok(conditions);
        }
        // Before this process subscribes, a commit tells that a topic is read.
        let is_read = |topic: &&TopicFacts| {
            topic.role == Role::Consumed
                || extents.iter().any(|((name, _), extent)| *name == topic.spec.name && extent.committed.is_some())
        };
        for topic in of_records.filter(is_read) {
            if let Some(retention) = Retention::of(topic) {
                let unread = ask_unread(asker, topic, retention, &extents)?;
                let record_bytes = self.brokers.record_bytes(&topic.spec.name);
                conditions.extend(unread::judge(topic, retention, &unread, record_bytes));
            }
        }
        conditions.extend(self.ask_abandoned(asker, facts)?);
        Ok(conditions)
    }

    fn ask_abandoned(&self, asker: &Asker, facts: &[TopicFacts]) -> Result<Vec<Condition>, LogError> {
        let mut known = self.abandoned.lock();
        let topics = match &*known {
            Some(topics) => topics.clone(),
            None => {
                let ours: Vec<&str> = facts.iter().map(|topic| &*topic.spec.name).collect();
                known.insert(abandoned::find(asker, &ours)?).clone()
            }
        };
        drop(known);
        let mut places = Vec::new();
        for topic in topics {
            // One that was deleted meanwhile has no partitions.
            let partitions = (0..).zip(asker.partitions(&topic)?.unwrap_or_default());
            places.extend(partitions.filter(|(_, facts)| facts.has_leader).map(|(number, _)| (topic.clone(), number)));
        }
        let (mut extents, commits) = (asker.extents(&places)?, asker.committed(&places)?.unwrap_or_default());
        for (place, extent) in &mut extents {
            extent.committed = commits.get(place).copied();
        }
        Ok(abandoned::judge(&extents))
    }

    fn unchecked(&self, code: RDKafkaErrorCode) -> Condition {
        let group = &self.settings.group;
        let detail = format!(
            "the commits of group {group} cannot be read ({code}): whether retention comes near to what is not yet a row is not \
             known. Give the login the rights Describe and Read on the group"
        );
        Condition::degraded(Part::Consume, "commits_unchecked", &**group, detail)
    }
}

/// These topics, with those that match a pattern in the place of it, and what is wrong with patterns.
fn expand(asker: &Asker, topics: Vec<TopicSpec>) -> Result<(Vec<TopicSpec>, Vec<Condition>), LogError> {
    if topics.iter().all(|spec| spec.pattern().is_none()) {
        return Ok((topics, Vec::new()));
    }
    let names = asker.all_topics()?;
    let (mut expanded, mut unmatched) = (Vec::new(), Vec::new());
    for spec in &topics {
        let Some(pattern) = spec.pattern() else {
            expanded.push(spec.clone());
            continue;
        };
        let matching = names.iter().filter(|name| spec_of(&topics, name).is_some_and(|found| found == spec));
        let num_before = expanded.len();
        expanded.extend(matching.map(|name| TopicSpec { name: name.as_str().into(), ..spec.clone() }));
        if expanded.len() == num_before {
            unmatched.push(awaited::unmatched(&spec.name, pattern));
        }
    }
    Ok((expanded, unmatched))
}

/// The partitions of a topic that somebody can be asked about.
fn led_partitions(topic: &TopicFacts) -> impl Iterator<Item = Place> {
    let led = topic.wanted_partitions().filter(|(_, partition)| partition.has_leader);
    led.map(|(number, _)| (topic.spec.name.clone(), number))
}

/// Finds out how old the unread records of a topic are. Costs nothing while everything is read.
fn ask_unread(
    asker: &Asker,
    topic: &TopicFacts,
    retention: Retention,
    extents: &HashMap<Place, Extent>,
) -> Result<Vec<Unread>, LogError> {
    let behind = |place: &Place| extents.get(place).is_some_and(|extent| extent.num_unread() > 0);
    let places: Vec<Place> = led_partitions(topic).filter(behind).collect();
    let now = SystemTime::now();
    let younger_than = |age| {
        let asked: Vec<_> = places.iter().map(|place| (place.clone(), age)).collect();
        asker.younger_than(&asked, now)
    };
    let (fresh, kept) = match retention.age {
        Some(age) => (younger_than(age / 2)?, younger_than(age)?),
        None => Default::default(),
    };
    let unread = places.iter().filter_map(|place| {
        let extent = *extents.get(place)?;
        let offset_in = |answers: &HashMap<Place, Offset>| match answers.get(place)? {
            Offset::Offset(offset) => Some(*offset),
            // All are older.
            Offset::End => Some(extent.end),
            _ => None,
        };
        Some(Unread { partition: place.1, extent, fresh_from: offset_in(&fresh), kept_from: offset_in(&kept) })
    });
    Ok(unread.collect())
}

/// "partition 3", "partitions 0, 3".
fn numbers(partitions: impl IntoIterator<Item = u32>) -> String {
    let numbers: Vec<String> = partitions.into_iter().map(|number| number.to_string()).collect();
    let plural = if numbers.len() == 1 { "" } else { "s" };
    format!("partition{plural} {}", numbers.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A topic that is as it should be.
    pub(super) fn topic(role: Role, num_partitions: u32) -> TopicFacts {
        let partition = PartitionFacts { has_leader: true, num_replicas: 3, num_in_sync: 3 };
        TopicFacts {
            spec: TopicSpec::own("t", num_partitions),
            role,
            partitions: Ok(vec![partition; num_partitions as usize]),
            config: Some(TopicConfig::default()),
        }
    }

    pub(super) fn with_config(topic: TopicFacts, config: &[(&str, &str)]) -> TopicFacts {
        TopicFacts { config: Some(config.iter().copied().collect()), ..topic }
    }

    pub(super) fn codes(conditions: &[Condition]) -> Vec<String> {
        let code = |condition: &Condition| format!("{:?} {}", condition.verdict, condition.code).to_lowercase();
        conditions.iter().map(code).collect()
    }
}
