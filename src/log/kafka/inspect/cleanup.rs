//! Rules: cleanup policies that remove what has not been read, or what is needed for ever.

use super::facts::{Role, TopicFacts};
use crate::flow::health::{Condition, Part};

/// What is wrong with a topic's `cleanup.policy`.
pub(super) fn judge(topic: &TopicFacts) -> Option<Condition> {
    let name = &topic.spec.name;
    let config = topic.config.as_ref()?;
    let policy = config.get("cleanup.policy").unwrap_or_default();
    match topic.role {
        Role::Consumed | Role::Kept if config.lists("cleanup.policy", "compact") => {
            // Whether it has the one or the other is not known before this process subscribes.
            let detail = format!(
                "topic {name} has cleanup.policy={policy}: of each device only its newest record is kept, so that \
                 acknowledged records and dead letters vanish before they are read. Set cleanup.policy=delete on the topic (kafka-configs)"
            );
            Some(Condition::failing(Part::Log, "topic_compacted", &**name, detail).refusing_start())
        }
        Role::Schemas if config.lists("cleanup.policy", "delete") && is_limited(topic) => {
            let detail = format!(
                "topic {name} has cleanup.policy={policy}: schemas vanish after a while, and records that were written with them \
                 become dead letters. Set cleanup.policy=compact on the topic (kafka-configs)"
            );
            Some(Condition::degraded(Part::Log, "schema_topic_deletes", &**name, detail).refusing_start())
        }
        // Nobody reads what is old on the control channel, and all of one pod's records have one key.
        _ => None,
    }
}

/// Whether deletion ever takes anything: without both bounds, everything stays.
fn is_limited(topic: &TopicFacts) -> bool {
    ["retention.ms", "retention.bytes"].iter().any(|key| topic.number(key).is_some_and(|bound| bound >= 0))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{codes, topic, with_config};
    use super::*;

    fn judged(role: Role, config: &[(&str, &str)]) -> Vec<Condition> {
        judge(&with_config(topic(role, 1), config)).into_iter().collect()
    }

    #[test]
    fn test_compaction_of_records_or_dead_letters_refuses_the_start() {
        for role in [Role::Consumed, Role::Kept] {
            for policy in ["compact", "compact,delete", "delete, compact"] {
                let found = judged(role, &[("cleanup.policy", policy)]);
                assert_eq!(codes(&found), ["failing topic_compacted"]);
                assert!(found[0].refuses_start);
                // The same words for both: a check from outside cannot tell them apart.
                assert!(
                    found[0].detail.contains("acknowledged records and dead letters vanish"),
                    "{}",
                    found[0].detail
                );
            }
            assert_eq!(judged(role, &[("cleanup.policy", "delete")]), []);
        }
        assert_eq!(judged(Role::Control, &[("cleanup.policy", "compact")]), []);
    }

    #[test]
    fn test_schemas_must_not_be_deleted() {
        let week = ("retention.ms", "604800000");
        for policy in ["delete", "compact,delete"] {
            let found = judged(Role::Schemas, &[("cleanup.policy", policy), week, ("retention.bytes", "-1")]);
            assert_eq!(codes(&found), ["degraded schema_topic_deletes"]);
            assert!(found[0].refuses_start);
        }
        assert_eq!(judged(Role::Schemas, &[("cleanup.policy", "compact"), week]), []);
        let endless = [("cleanup.policy", "delete"), ("retention.ms", "-1"), ("retention.bytes", "-1")];
        assert_eq!(judged(Role::Schemas, &endless), []);
    }
}
