//! How the cluster is, for what operators see: its brokers, and how many partitions of all topics lack copies or a leader.
//!
//! One question for the metadata of all topics that the login may see, one for the settings of those that need a look. What
//! is wrong with our own topics, and what to do about it, is found by [`super::inspect`].

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rdkafka::bindings;
use rdkafka::client::{Client, ClientContext};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::metadata::Metadata;

use super::describe::{self, TopicConfig};
use super::failed;
use super::quiet::Quiet;
use super::settings::KafkaLogSettings;
use crate::flow::cluster::{LogCluster, PartitionCounts, Probes};
use crate::log::{LogError, TopicSpec};

/// How long brokers have to answer the first question.
const TIMEOUT: Duration = Duration::from_secs(10);
/// How long the client may take to tell what it has just been told.
const CONTROLLER_TIMEOUT: Duration = Duration::from_millis(500);
/// Of so many topics of others at most, which lack copies, the settings are asked for.
const MAX_DESCRIBED: usize = 2000;

/// What can be asked, as operators see it.
const METADATA: &str = "kafka_metadata";
const CONTROLLER: &str = LogCluster::CONTROLLER;
const TOPIC_CONFIGS: &str = LogCluster::TOPIC_CONFIGS;

/// Asks about one cluster, again and again.
#[derive(Default)]
pub(super) struct ClusterAsker {
    /// It was said that settings of topics are not told.
    has_told: AtomicBool,
}

/// The cluster as it describes itself.
#[derive(Debug, Default)]
struct Described {
    num_brokers: u64,
    controller: Option<i32>,
    topics: BTreeMap<String, Vec<Copies>>,
}

/// One partition.
#[derive(Debug, Clone, Copy)]
struct Copies {
    has_leader: bool,
    num_replicas: usize,
    num_in_sync: usize,
}

// === impl ClusterAsker ===

impl ClusterAsker {
    /// Asks; our own topics are these.
    pub(super) async fn ask(&self, settings: &KafkaLogSettings, own: &[TopicSpec]) -> Result<LogCluster, LogError> {
        let asked = settings.clone();
        // The client is dropped there, too, which may block.
        let asking = tokio::task::spawn_blocking(move || describe_cluster(&asked)).await;
        let described = asking.unwrap_or_else(|error| Err(failed("asking kafka about its cluster", error)))?;
        let own: Vec<&str> =
            own.iter().map(|topic| &*topic.name).filter(|name| *name != settings.control_topic).collect();
        let names = described.to_be_looked_at(&own);
        let configs = match names.is_empty() {
            true => HashMap::new(),
            false => describe::topic_configs(settings, &names).await?,
        };
        let cluster = described.count(&own, &configs);
        if let Some(tells_settings) = cluster.probes.get(TOPIC_CONFIGS) {
            self.tell(*tells_settings);
        }
        Ok(cluster)
    }

    /// Once for each change.
    fn tell(&self, tells_settings: bool) {
        if self.has_told.swap(!tells_settings, Ordering::Relaxed) == tells_settings {
            match tells_settings {
                true => tracing::info!("kafka tells the settings of topics again"),
                false => tracing::info!(
                    "kafka does not tell the settings of our topics: partitions below min.insync.replicas are not counted"
                ),
            }
        }
    }
}

fn describe_cluster(settings: &KafkaLogSettings) -> Result<Described, LogError> {
    let context = format!("asking kafka at {} about its cluster", settings.brokers.join(","));
    let consumer: BaseConsumer<Quiet> =
        BaseConsumer::from_config_and_context(&settings.inspector(), Quiet).map_err(|error| failed(&context, error))?;
    let metadata = consumer.fetch_metadata(None, TIMEOUT).map_err(|error| failed(&context, error))?;
    Ok(Described { controller: controller(consumer.client(), CONTROLLER_TIMEOUT), ..Described::of(&metadata) })
}

/// The broker that the others name as their controller. With KRaft they name any that is alive.
#[expect(unsafe_code)]
fn controller<C: ClientContext>(client: &Client<C>, timeout: Duration) -> Option<i32> {
    let timeout_ms = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // rdkafka has no call for this one.
    // SAFETY: the client's handle lives as long as `client` and may be used by any thread; a number is all that comes back.
    let id = unsafe { bindings::rd_kafka_controllerid(client.native_ptr(), timeout_ms) };
    (id >= 0).then_some(id)
}

// === impl Described ===

impl Described {
    fn of(metadata: &Metadata) -> Self {
        let mut topics = BTreeMap::new();
        for topic in metadata.topics().iter().filter(|topic| topic.error().is_none()) {
            let copies = topic.partitions().iter().map(|partition| Copies {
                has_leader: partition.leader() >= 0,
                num_replicas: partition.replicas().len(),
                num_in_sync: partition.isr().len(),
            });
            topics.insert(topic.name().to_owned(), copies.collect());
        }
        Self { num_brokers: metadata.brokers().len() as u64, controller: None, topics }
    }

    /// The topics whose settings matter: our own, and of the others those that lack copies. One that has all of them is
    /// short of nothing.
    fn to_be_looked_at<'a>(&'a self, own: &[&'a str]) -> Vec<&'a str> {
        let lacks = |copies: &[Copies]| copies.iter().any(|copies| copies.num_in_sync < copies.num_replicas);
        let others = self.topics.iter().filter(|(name, copies)| !own.contains(&name.as_str()) && lacks(copies));
        let there = own.iter().copied().filter(|name| self.topics.contains_key(*name));
        there.chain(others.map(|(name, _)| name.as_str()).take(MAX_DESCRIBED)).collect()
    }

    fn count(&self, own: &[&str], configs: &HashMap<String, TopicConfig>) -> LogCluster {
        let (mut of_all, mut of_own) = (PartitionCounts::default(), PartitionCounts::default());
        for (name, partitions) in &self.topics {
            let is_own = own.contains(&name.as_str());
            let min_in_sync = configs.get(name).and_then(|config| config.number("min.insync.replicas"));
            let min_in_sync = min_in_sync.and_then(|number| usize::try_from(number).ok());
            for Copies { has_leader, num_replicas, num_in_sync } in partitions.iter().copied() {
                of_all.add(has_leader, num_replicas, num_in_sync, min_in_sync);
                if is_own {
                    of_own.add(has_leader, num_replicas, num_in_sync, min_in_sync);
                }
            }
        }
        let mut probes = Probes::from([(METADATA, true), (CONTROLLER, self.controller.is_some())]);
        // Topics that are all gone say nothing about rights.
        if own.iter().any(|name| self.topics.contains_key(*name)) {
            probes.insert(TOPIC_CONFIGS, own.iter().any(|name| configs.contains_key(*name)));
        }
        LogCluster { num_brokers: self.num_brokers, controller: self.controller, all: of_all, own: of_own, probes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of each partition whether it has a leader, how many copies it should have, and how many are in sync.
    type Topic = (&'static str, &'static [(bool, usize, usize)]);

    fn cluster(topics: &[Topic]) -> Described {
        let copies = |partitions: &[(bool, usize, usize)]| {
            let copies = partitions.iter().map(|(has_leader, num_replicas, num_in_sync)| Copies {
                has_leader: *has_leader,
                num_replicas: *num_replicas,
                num_in_sync: *num_in_sync,
            });
            copies.collect()
        };
        let topics = topics.iter().map(|(name, partitions)| ((*name).to_owned(), copies(partitions))).collect();
        Described { num_brokers: 3, controller: Some(2), topics }
    }

    fn configs(topics: &[(&str, &str)]) -> HashMap<String, TopicConfig> {
        let config = |min: &str| [("min.insync.replicas", min)].into_iter().collect();
        topics.iter().map(|(name, min)| ((*name).to_owned(), config(min))).collect()
    }

    const TOPICS: &[Topic] = &[
        ("ours", &[(true, 3, 3), (true, 3, 2), (true, 3, 1)]),
        ("sound", &[(true, 3, 3)]),
        ("theirs", &[(false, 3, 0), (true, 3, 2)]),
    ];

    #[test]
    fn test_settings_are_asked_of_our_topics_and_of_those_that_lack_copies() {
        assert_eq!(cluster(TOPICS).to_be_looked_at(&["ours", "gone"]), ["ours", "theirs"]);
        assert_eq!(cluster(TOPICS).to_be_looked_at(&["sound"]), ["sound", "ours", "theirs"]);
    }

    #[test]
    fn test_all_topics_are_counted_and_our_own_once_more() {
        let told = cluster(TOPICS).count(&["ours"], &configs(&[("ours", "2"), ("theirs", "1")]));
        assert_eq!(told.own, PartitionCounts { under_replicated: 2, offline: 0, under_min_isr: Some(1) });
        assert_eq!(told.all, PartitionCounts { under_replicated: 4, offline: 1, under_min_isr: Some(2) });
        assert_eq!((told.num_brokers, told.controller), (3, Some(2)));
        assert_eq!(told.probes, [(METADATA, true), (CONTROLLER, true), (TOPIC_CONFIGS, true)].into());
    }

    #[test]
    fn test_without_the_right_to_read_settings_the_count_is_unknown_and_not_zero() {
        let told = cluster(TOPICS).count(&["ours"], &HashMap::new());
        assert_eq!((told.own.under_min_isr, told.own.under_replicated), (None, 2));
        assert_eq!(told.probes.get(TOPIC_CONFIGS), Some(&false));
        let gone = cluster(TOPICS).count(&["gone"], &HashMap::new());
        assert_eq!(gone.probes.get(TOPIC_CONFIGS), None);
    }
}
