//! Rules: copies of records. Too few of them and nothing can be appended, or a receipt promises less than it says.

use super::facts::{PartitionFacts, Role, TopicFacts};
use super::numbers;
use crate::flow::health::{Condition, Part};

/// What the config wants of each topic.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted {
    /// `log.kafka.replication_factor`.
    pub replication_factor: u16,
    /// `log.kafka.min_insync_replicas`.
    pub min_insync_replicas: u16,
}

/// What is wrong with a topic's copies.
pub(super) fn judge(topic: &TopicFacts, wanted: Wanted) -> Vec<Condition> {
    let name = &topic.spec.name;
    let min_insync = min_insync(topic);
    let is_short = |partition: &PartitionFacts| partition.has_leader && partition.num_in_sync < min_insync;
    let which = |is_it: &dyn Fn(&PartitionFacts) -> bool| -> Vec<u32> {
        topic.wanted_partitions().filter(|(_, partition)| is_it(partition)).map(|(number, _)| number).collect()
    };
    let (offline, short) = (which(&|partition| !partition.has_leader), which(&is_short));
    // Where some partitions take records, a pod that is not ready would turn part of an outage into a whole one.
    let takes_nothing =
        topic.role == Role::Consumed && offline.len() + short.len() == topic.spec.num_partitions as usize;
    let failing = |code, detail: String| {
        let condition = Condition::failing(Part::Log, code, &**name, detail);
        if takes_nothing { condition.refusing_intake() } else { condition }
    };
    let mut conditions = Vec::new();
    if !offline.is_empty() {
        let detail = format!(
            "no broker leads {} of topic {name}: nothing is appended there and nothing is read from there. Bring the brokers back \
             that have the copies",
            numbers(offline)
        );
        conditions.push(failing("partitions_offline", detail));
    }
    let in_sync = topic.wanted_partitions().filter(|(_, facts)| is_short(facts)).map(|(_, facts)| facts.num_in_sync);
    if let Some(num_in_sync) = in_sync.min() {
        let detail = format!(
            "nothing can be appended to {} of topic {name}: copies in sync {num_in_sync}, min.insync.replicas {min_insync}. Bring the missing \
             brokers back, or lower the setting if you accept the risk",
            numbers(short),
        );
        conditions.push(failing("too_few_in_sync", detail));
    }
    // What is said on the control channel is worthless a second later: it needs no copies.
    if topic.role != Role::Control {
        conditions.extend(weaker_than_configured(topic, wanted));
    }
    conditions
}

/// How many copies have to be in sync for an append.
fn min_insync(topic: &TopicFacts) -> usize {
    // A topic whose settings may not be read is held to Kafka's own default.
    topic.number("min.insync.replicas").and_then(|number| usize::try_from(number).ok()).unwrap_or(1)
}

/// Everything works, but a receipt stands on fewer copies than the config says.
fn weaker_than_configured(topic: &TopicFacts, wanted: Wanted) -> Vec<Condition> {
    let name = &topic.spec.name;
    let Wanted { replication_factor, min_insync_replicas } = wanted;
    let degraded = |code, detail| Condition::degraded(Part::Log, code, &**name, detail);
    let mut conditions = Vec::new();
    let fewest = topic.wanted_partitions().map(|(_, partition)| partition.num_replicas).min();
    if let Some(fewest) = fewest.filter(|fewest| *fewest < usize::from(replication_factor)) {
        let detail = format!(
            "topic {name} has {fewest} replicas but log.kafka.replication_factor is {replication_factor}: a lost broker loses \
             acknowledged records sooner than you think. Add replicas (kafka-reassign-partitions), or set the key to {fewest}"
        );
        conditions.push(degraded("too_few_replicas", detail));
    }
    if let Some(actual) = topic.number("min.insync.replicas")
        && actual < i64::from(min_insync_replicas)
    {
        let detail = format!(
            "min.insync.replicas of topic {name} is {actual} but log.kafka.min_insync_replicas is {min_insync_replicas}: a record \
             counts as acknowledged with fewer copies than you think. Set it on the topic (kafka-configs), or change the key"
        );
        conditions.push(degraded("min_insync_replicas_low", detail));
    }
    let min_insync = min_insync(topic);
    let is_behind = |facts: &PartitionFacts| {
        facts.has_leader && facts.num_in_sync < facts.num_replicas && facts.num_in_sync >= min_insync
    };
    let behind = || topic.wanted_partitions().filter(|(_, facts)| is_behind(facts));
    if let Some((_, worst)) = behind().min_by_key(|(_, facts)| facts.num_in_sync) {
        let detail = format!(
            "copies of {} of topic {name} are missing or lag behind: in sync {} of {}. Records are still acknowledged; bring the \
             missing brokers back before others fail",
            numbers(behind().map(|(number, _)| number)),
            worst.num_in_sync,
            worst.num_replicas
        );
        conditions.push(degraded("under_replicated", detail));
    }
    let has_followers = fewest.is_some_and(|fewest| fewest > 1);
    let is_unclean = |config: &super::TopicConfig| config.get("unclean.leader.election.enable") == Some("true");
    if has_followers && topic.config.as_ref().is_some_and(is_unclean) {
        let detail = format!(
            "unclean.leader.election.enable of topic {name} is true: a broker that lacks acknowledged records may become the \
             leader, and they are gone then without a word. Set it to false on the topic"
        );
        conditions.push(degraded("unclean_leader_election", detail));
    }
    conditions
}

#[cfg(test)]
mod tests {
    use super::super::tests::{codes, topic, with_config};
    use super::*;

    const WANTED: Wanted = Wanted { replication_factor: 3, min_insync_replicas: 2 };

    fn with_partitions(role: Role, partitions: &[(bool, usize, usize)]) -> TopicFacts {
        let partitions = partitions.iter().map(|(has_leader, num_replicas, num_in_sync)| PartitionFacts {
            has_leader: *has_leader,
            num_replicas: *num_replicas,
            num_in_sync: *num_in_sync,
        });
        let partitions: Vec<_> = partitions.collect();
        let facts = with_config(topic(role, partitions.len() as u32), &[("min.insync.replicas", "2")]);
        TopicFacts { partitions: Ok(partitions), ..facts }
    }

    #[test]
    fn test_a_topic_with_all_its_copies_is_no_condition() {
        assert_eq!(judge(&with_partitions(Role::Consumed, &[(true, 3, 3), (true, 3, 3)]), WANTED), []);
    }

    #[test]
    fn test_a_topic_whose_copies_lag_behind_is_degraded_while_it_takes_records() {
        let partitions = &[(true, 3, 3), (true, 3, 2)];
        let found = judge(&with_partitions(Role::Kept, partitions), WANTED);
        assert_eq!(codes(&found), ["degraded under_replicated"]);
        assert!(found[0].detail.contains("partition 1 of topic t") && found[0].detail.contains("2 of 3"), "{found:?}");
        assert_eq!(judge(&with_partitions(Role::Control, partitions), WANTED), []);
        // What takes nothing any more is said to do so, and once.
        let short = judge(&with_partitions(Role::Consumed, &[(true, 3, 1), (false, 3, 0)]), WANTED);
        assert_eq!(codes(&short), ["failing partitions_offline", "failing too_few_in_sync"]);
    }

    #[test]
    fn test_only_a_topic_that_takes_nothing_at_all_refuses_intake() {
        let some = judge(&with_partitions(Role::Consumed, &[(true, 3, 1), (false, 3, 0), (true, 3, 3)]), WANTED);
        assert_eq!(codes(&some), ["failing partitions_offline", "failing too_few_in_sync"]);
        assert!(some.iter().all(|condition| !condition.refuses_intake));
        assert!(
            some[1].detail.starts_with("nothing can be appended to partition 0 of topic t: copies in sync 1,"),
            "{}",
            some[1].detail
        );
        let all = judge(&with_partitions(Role::Consumed, &[(true, 3, 1), (false, 3, 0)]), WANTED);
        assert!(all.iter().all(|condition| condition.refuses_intake));
        let dead_letters = judge(&with_partitions(Role::Kept, &[(true, 3, 1)]), WANTED);
        assert!(dead_letters.iter().all(|condition| !condition.refuses_intake));
    }

    #[test]
    fn test_weaker_than_configured_is_said_but_for_the_control_channel() {
        let weak = |role| {
            let facts = with_partitions(role, &[(true, 2, 2)]);
            judge(
                &with_config(facts, &[("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")]),
                WANTED,
            )
        };
        let expected =
            ["degraded too_few_replicas", "degraded min_insync_replicas_low", "degraded unclean_leader_election"];
        assert_eq!(codes(&weak(Role::Consumed)), expected);
        assert_eq!(codes(&weak(Role::Schemas)), expected);
        assert_eq!(weak(Role::Control), []);
    }

    #[test]
    fn test_a_topic_without_followers_has_no_elections() {
        let facts = with_partitions(Role::Consumed, &[(true, 1, 1)]);
        let facts = with_config(facts, &[("min.insync.replicas", "1"), ("unclean.leader.election.enable", "true")]);
        assert_eq!(judge(&facts, Wanted { replication_factor: 1, min_insync_replicas: 1 }), []);
    }
}
