//! Rules: a topic that is not there, that we may not look at, or that has another number of partitions.

use rdkafka::types::RDKafkaErrorCode;

use super::facts::{Role, TopicFacts, is_of_rights};
use super::numbers;
use crate::flow::health::{Condition, Part};

/// What is wrong with a topic's being there.
pub(super) fn judge(topic: &TopicFacts) -> Vec<Condition> {
    let name = &topic.spec.name;
    let partitions = match &topic.partitions {
        Ok(partitions) => partitions,
        Err(code) if is_of_rights(*code) => {
            return vec![unchecked(topic, &format!("this login may not look at it ({code})"))];
        }
        Err(RDKafkaErrorCode::UnknownTopicOrPartition) => return vec![missing(topic)],
        Err(code) => return vec![unchecked(topic, &format!("the cluster does not say where it is ({code})"))],
    };
    let mut conditions = Vec::new();
    let (actual, wanted) = (partitions.len(), topic.spec.num_partitions as usize);
    if actual > wanted {
        let detail = match topic.role {
            Role::Control => format!(
                "topic {name} has {actual} partitions where one is wanted: the pods no longer hear all of each other; \
                 delete the topic and let `surgetank apply` create it"
            ),
            Role::Schemas => format!(
                "topic {name} has {actual} partitions where one is wanted: schemas beyond the first are never read, and \
                 the next start is refused; create it anew with one"
            ),
            Role::Consumed | Role::Kept | Role::Others => format!(
                "topic {name} has {actual} partitions but the config says {wanted}: nothing is appended to the others, and the \
                 next start is refused; set its number of partitions to {actual} when you restart (devices move between \
                 partitions then)"
            ),
        };
        conditions.push(Condition::degraded(Part::Log, "topic_grown", &**name, detail));
    }
    if actual < wanted {
        let lost = numbers(actual as u32..topic.spec.num_partitions);
        let detail = format!(
            "topic {name} has {actual} partitions but the config says {wanted}: it was probably made anew, by hand or by the \
             broker itself (auto.create.topics.enable). Nothing can be appended to {lost}; whose messages belong there is told \
             to send them later. Add partitions until there are {wanted} (kafka-topics --alter), and look at its replication"
        );
        conditions.push(Condition::failing(Part::Log, "partitions_missing", &**name, detail));
    }
    if topic.config.is_none() {
        conditions.push(unchecked(topic, "the brokers do not tell its settings"));
    }
    conditions
}

fn missing(topic: &TopicFacts) -> Condition {
    let name = &topic.spec.name;
    let harm = match topic.role {
        Role::Consumed | Role::Others => {
            "no message for it can be acknowledged, and what was acknowledged and not yet a row is lost with it"
        }
        Role::Kept => "what is refused can be neither kept nor acknowledged: its senders are told to send it later",
        Role::Schemas => "records that are written with schemas that only it had cannot be read after a restart",
        Role::Control => "the pods do not share one budget of writes",
    };
    let detail = format!("topic {name} does not exist any more: {harm}; create it again with `surgetank apply`");
    let condition = match topic.role {
        Role::Control => Condition::degraded(Part::Log, "topic_missing", &**name, detail),
        _ => Condition::failing(Part::Log, "topic_missing", &**name, detail),
    };
    if topic.role == Role::Consumed { condition.refusing_intake() } else { condition }
}

fn unchecked(topic: &TopicFacts, reason: &str) -> Condition {
    let name = &topic.spec.name;
    let detail = format!(
        "topic {name} cannot be checked: {reason}; whether it keeps what is acknowledged is not known. Give the login the \
         rights Describe and DescribeConfigs on it"
    );
    Condition::degraded(Part::Log, "topic_unchecked", &**name, detail)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{codes, topic};
    use super::*;

    #[test]
    fn test_a_topic_as_configured_is_no_condition() {
        for role in [Role::Consumed, Role::Kept, Role::Schemas, Role::Control] {
            assert_eq!(judge(&topic(role, 3)), []);
        }
    }

    #[test]
    fn test_a_missing_topic_fails_and_without_one_for_records_nothing_can_be_acknowledged() {
        let gone = |role| TopicFacts { partitions: Err(RDKafkaErrorCode::UnknownTopicOrPartition), ..topic(role, 3) };
        let of = |role| judge(&gone(role)).remove(0);
        assert_eq!(codes(&judge(&gone(Role::Consumed))), ["failing topic_missing"]);
        assert!(of(Role::Consumed).refuses_intake);
        assert!(!of(Role::Kept).refuses_intake, "messages that are fine still pass");
        assert_eq!(codes(&[of(Role::Control)]), ["degraded topic_missing"]);
    }

    #[test]
    fn test_a_missing_right_is_told_from_a_missing_topic() {
        let hidden =
            TopicFacts { partitions: Err(RDKafkaErrorCode::TopicAuthorizationFailed), ..topic(Role::Consumed, 3) };
        assert_eq!(codes(&judge(&hidden)), ["degraded topic_unchecked"]);
        let silent = TopicFacts { config: None, ..topic(Role::Consumed, 3) };
        assert_eq!(codes(&judge(&silent)), ["degraded topic_unchecked"]);
    }

    #[test]
    fn test_more_partitions_are_a_warning_and_fewer_a_failure() {
        let with = |actual: usize| {
            let mut facts = topic(Role::Consumed, 3);
            let partition = facts.partitions.as_ref().unwrap()[0];
            facts.partitions = Ok(vec![partition; actual]);
            judge(&facts)
        };
        assert_eq!(codes(&with(4)), ["degraded topic_grown"]);
        assert_eq!(codes(&with(1)), ["failing partitions_missing"]);
        assert!(with(1)[0].detail.contains("partitions 1, 2"), "{}", with(1)[0].detail);
    }
}
