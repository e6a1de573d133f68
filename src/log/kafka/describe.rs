//! The settings of topics, as the brokers have them at present.

use std::collections::HashMap;
use std::time::Duration;

use rdkafka::admin::{AdminClient, AdminOptions, ResourceSpecifier};
use rdkafka::config::FromClientConfigAndContext;

use super::failed;
use super::quiet::Quiet;
use super::settings::KafkaLogSettings;
use crate::log::LogError;

/// How long brokers have to answer.
const TIMEOUT: Duration = Duration::from_secs(10);

/// The settings of one topic.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct TopicConfig(HashMap<String, String>);

// === impl TopicConfig ===

impl TopicConfig {
    /// A setting's value, as Kafka writes it; `None` if the broker did not say.
    pub(super) fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// A setting that is a number.
    pub(super) fn number(&self, key: &str) -> Option<i64> {
        self.get(key)?.parse().ok()
    }

    /// Whether a setting that is a list, such as `cleanup.policy`, has this entry.
    pub(super) fn lists(&self, key: &str, entry: &str) -> bool {
        self.get(key).is_some_and(|list| list.split(',').any(|item| item.trim() == entry))
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for TopicConfig {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        Self(pairs.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect())
    }
}

/// Asks for the settings of these topics. A topic that does not exist, or that this client may not describe, is left out.
pub(super) async fn topic_configs(
    settings: &KafkaLogSettings,
    topics: &[&str],
) -> Result<HashMap<String, TopicConfig>, LogError> {
    let context = format!("asking kafka at {} for the settings of its topics", settings.brokers.join(","));
    let admin =
        AdminClient::from_config_and_context(&settings.admin(), Quiet).map_err(|error| failed(&context, error))?;
    let specifiers: Vec<_> = topics.iter().map(|name| ResourceSpecifier::Topic(name)).collect();
    let options = AdminOptions::new().request_timeout(Some(TIMEOUT));
    let results = admin.describe_configs(&specifiers, &options).await.map_err(|error| failed(&context, error))?;
    let mut configs = HashMap::new();
    for (name, result) in topics.iter().zip(results) {
        let entries = result.map(|resource| resource.entries).unwrap_or_default();
        // The client library passes a refusal of a single topic on as a topic without settings; a real one has dozens.
        if !entries.is_empty() {
            let values = entries.into_iter().filter_map(|entry| entry.value.map(|value| (entry.name, value))).collect();
            configs.insert((*name).to_owned(), TopicConfig(values));
        }
    }
    Ok(configs)
}
