//! Creating and checking topics.

use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::FromClientConfig;

use super::failed;
use super::settings::KafkaLogSettings;
use crate::log::{LogError, TopicSpec};

/// How long brokers have to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Nobody reads the control channel but from its end; ten minutes are for people who want to know what was said.
const CONTROL_RETENTION_MS: &str = "600000";

type Admin = AdminClient<DefaultClientContext>;

/// Creates what is missing of ours and says what it did.
pub(super) async fn apply(settings: KafkaLogSettings, wanted: Vec<TopicSpec>) -> Result<Vec<String>, LogError> {
    let wanted = own_topics(&settings, wanted);
    let (admin, missing) = look(settings.clone(), wanted.clone()).await?;
    let min_insync = settings.min_insync_replicas.to_string();
    let mut changes = Vec::new();
    for spec in &missing {
        let replication = TopicReplication::Fixed(i32::from(settings.replication_factor));
        let mut topic =
            NewTopic::new(&spec.name, spec.num_partitions as i32, replication).set("min.insync.replicas", &min_insync);
        if *spec.name == *settings.schema_topic {
            topic = topic.set("cleanup.policy", "compact");
        }
        if *spec.name == *settings.control_topic {
            // Without the second, what is old would stay for as long as a segment takes to fill.
            topic = topic.set("retention.ms", CONTROL_RETENTION_MS).set("segment.ms", CONTROL_RETENTION_MS);
            // So that each word tells the broker's time, which is the only way to learn it: the protocol has no question
            // for it.
            topic = topic.set("message.timestamp.type", "LogAppendTime");
        }
        let context = format!("creating topic {}", spec.name);
        let options = AdminOptions::new().operation_timeout(Some(TIMEOUT)).request_timeout(Some(TIMEOUT));
        let results = admin.create_topics([&topic], &options).await.map_err(|error| failed(&context, error))?;
        for result in results {
            match result {
                // Another pod that starts at the same time may have been faster.
                Ok(_) | Err((_, rdkafka::types::RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(failed(&context, code)),
            }
        }
        changes.push(format!(
            "created topic {} with {} partitions, {} replicas",
            spec.name, spec.num_partitions, settings.replication_factor
        ));
    }
    if !missing.is_empty() {
        wait_until_known(&settings, &wanted).await?;
    }
    Ok(changes)
}

/// The first missing or different topic of ours is the error.
pub(super) async fn check(settings: KafkaLogSettings, wanted: Vec<TopicSpec>) -> Result<(), LogError> {
    let wanted = own_topics(&settings, wanted);
    let (_, missing) = look(settings, wanted).await?;
    missing.first().map_or(Ok(()), |spec| Err(LogError::MissingTopic(spec.name.to_string())))
}

/// These topics and the log's own.
pub(super) fn with_own_topics(settings: &KafkaLogSettings, mut wanted: Vec<TopicSpec>) -> Vec<TopicSpec> {
    let own = [&settings.schema_topic, &settings.control_topic].into_iter().filter(|name| !name.is_empty());
    wanted.extend(own.map(|name| TopicSpec::own(name.as_str(), 1)));
    wanted
}

/// These topics and the log's own, without those of others.
pub(super) fn own_topics(settings: &KafkaLogSettings, mut wanted: Vec<TopicSpec>) -> Vec<TopicSpec> {
    wanted.retain(|spec| spec.others.is_none());
    with_own_topics(settings, wanted)
}

/// Asks the cluster which topics it has; a different number of partitions is an error. Returns those missing.
async fn look(settings: KafkaLogSettings, wanted: Vec<TopicSpec>) -> Result<(Admin, Vec<TopicSpec>), LogError> {
    let asking = tokio::task::spawn_blocking(move || {
        let context = format!("asking kafka at {} for its topics", settings.brokers.join(","));
        let admin = Admin::from_config(&settings.admin()).map_err(|error| failed(&context, error))?;
        // All topics, since asking for one by name may create it.
        let metadata = admin.inner().fetch_metadata(None, TIMEOUT).map_err(|error| failed(&context, error))?;
        let mut missing = Vec::new();
        for spec in wanted {
            match metadata.topics().iter().find(|topic| topic.name() == &*spec.name) {
                None => missing.push(spec),
                Some(topic) if topic.partitions().len() != spec.num_partitions as usize => {
                    return Err(LogError::PartitionCount {
                        topic: spec.name.to_string(),
                        actual: topic.partitions().len() as u32,
                        expected: spec.num_partitions,
                    });
                }
                Some(_) => {}
            }
        }
        Ok((admin, missing))
    });
    asking.await.unwrap_or_else(|error| Err(failed("asking kafka for its topics", error)))
}

/// A created topic takes a moment until every broker knows it; whoever appends before that would fail.
async fn wait_until_known(settings: &KafkaLogSettings, wanted: &[TopicSpec]) -> Result<(), LogError> {
    let deadline = Instant::now() + TIMEOUT;
    loop {
        match look(settings.clone(), wanted.to_vec()).await {
            Ok((_, missing)) if missing.is_empty() => return Ok(()),
            Err(error) if Instant::now() >= deadline => return Err(error),
            Ok((_, missing)) if Instant::now() >= deadline => {
                let name = missing.first().map(|spec| spec.name.to_string()).unwrap_or_default();
                return Err(LogError::MissingTopic(name));
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}
