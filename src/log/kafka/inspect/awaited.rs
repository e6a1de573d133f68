//! Rules: topics that others fill. They may come later, and their settings are not ours; but what is not there, or may not be
//! read, makes no rows.

use rdkafka::types::RDKafkaErrorCode;

use super::facts::{TopicFacts, is_of_rights};
use super::numbers;
use crate::flow::health::{Condition, Part};
use crate::log::TopicPattern;

/// What keeps a topic of others from being read.
pub(super) fn judge(topic: &TopicFacts) -> Vec<Condition> {
    let name = &topic.spec.name;
    let partitions = match &topic.partitions {
        Ok(partitions) => partitions,
        Err(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => {
            let detail = format!(
                "topic {name}, which others fill, does not exist: nothing is read from it. It is looked for every 10 seconds or \
                 so; correct its name in the config if it should be there"
            );
            return vec![Condition::degraded(Part::Consume, "topic_awaited", &**name, detail)];
        }
        Err(code) if is_of_rights(*code) => {
            let detail = format!(
                "this login may not look at topic {name}, so that nothing is read from it ({code}): grant it Describe and Read on \
                 the topic"
            );
            return vec![Condition::failing(Part::Consume, "topic_refused", &**name, detail)];
        }
        Err(code) => {
            let detail = format!("the cluster does not say where topic {name} is ({code})");
            return vec![Condition::degraded(Part::Consume, "topic_awaited", &**name, detail)];
        }
    };
    let offline = (0..).zip(partitions).filter(|(_, partition)| !partition.has_leader).map(|(number, _)| number);
    let offline: Vec<u32> = offline.collect();
    if offline.is_empty() {
        return Vec::new();
    }
    let detail = format!(
        "no broker leads {} of topic {name}: nothing is read from there. Bring the brokers back that have the copies",
        numbers(offline)
    );
    vec![Condition::failing(Part::Log, "partitions_offline", &**name, detail)]
}

/// No topic matches a pattern.
pub(super) fn unmatched(section: &str, pattern: &TopicPattern) -> Condition {
    let detail = format!(
        "no topic matches {pattern} (topics.{section}.pattern), or this login may describe none of them: nothing is read by it. \
         Topics are looked for every 10 seconds or so"
    );
    Condition::degraded(Part::Consume, "topic_awaited", section, detail)
}

#[cfg(test)]
mod tests {
    use super::super::facts::Role;
    use super::super::tests::{codes, topic, with_config};
    use super::*;

    fn judged(partitions: RDKafkaErrorCode) -> Vec<Condition> {
        judge(&TopicFacts { partitions: Err(partitions), ..topic(Role::Others, 3) })
    }

    #[test]
    fn test_a_topic_of_others_that_is_there_is_no_condition_whatever_its_settings() {
        let compacted = with_config(topic(Role::Others, 3), &[("cleanup.policy", "compact")]);
        assert_eq!(judge(&compacted), []);
        assert_eq!(judge(&TopicFacts { config: None, ..topic(Role::Others, 3) }), []);
    }

    #[test]
    fn test_a_topic_that_is_not_there_is_waited_for_and_a_missing_right_is_named() {
        assert_eq!(codes(&judged(RDKafkaErrorCode::UnknownTopicOrPartition)), ["degraded topic_awaited"]);
        let refused = judged(RDKafkaErrorCode::TopicAuthorizationFailed);
        assert_eq!(codes(&refused), ["failing topic_refused"]);
        assert!(refused[0].detail.contains("Describe and Read"), "{}", refused[0].detail);
        assert!(!refused[0].refuses_intake);
    }

    #[test]
    fn test_partitions_without_a_leader_are_named() {
        let mut facts = topic(Role::Others, 3);
        let mut partitions = facts.partitions.clone().unwrap();
        partitions[1].has_leader = false;
        facts.partitions = Ok(partitions);
        let found = judge(&facts);
        assert_eq!(codes(&found), ["failing partitions_offline"]);
        assert!(found[0].detail.contains("partition 1 of topic t"), "{}", found[0].detail);
    }
}
