use super::*;
use crate::flow::health::{Condition, Verdict};
use crate::log::TopicPartition;
use crate::log::kafka::group_view::GroupMember;

fn report(state: &str, join_state: &str) -> GroupStatistics {
    GroupStatistics { state: state.to_owned(), join_state: join_state.to_owned(), ..GroupStatistics::default() }
}

fn health(now: Instant) -> GroupHealth {
    let topics = [TopicSpec::own("orders", 2)];
    GroupHealth::new("fleet", &topics, now)
}

fn view(held: &[u32]) -> GroupView {
    held_by(CLIENT_ID, held)
}

fn held_by(client_id: &str, held: &[u32]) -> GroupView {
    let held = held.iter().map(|partition| TopicPartition { topic: "orders".into(), partition: *partition });
    let (client_id, host) = (client_id.to_owned(), "/10.0.0.7".to_owned());
    let members = vec![GroupMember { client_id, host, held: held.collect() }];
    GroupView { state: "Stable".to_owned(), protocol: "cooperative-sticky".to_owned(), members }
}

fn only(health: &GroupHealth, now: Instant) -> Condition {
    let mut conditions = health.conditions(now);
    assert_eq!(conditions.len(), 1, "{conditions:?}");
    conditions.remove(0)
}

#[test]
fn test_a_normal_join_is_nothing_and_one_that_does_not_end_is_failing() {
    let start = Instant::now();
    let mut health = health(start);
    health.on_report(&report("up", "wait-join"), 0, true, start + Duration::from_secs(5));
    assert_eq!(health.conditions(start + Duration::from_secs(5)), []);
    let condition = only(&health, start + PATIENCE);
    assert_eq!((condition.code, condition.verdict), ("not_consuming", Verdict::Failing));
    assert!(condition.detail.contains("wait-join"), "{}", condition.detail);
    health.on_report(&report("up", "steady"), 2, true, start + PATIENCE);
    assert_eq!(health.conditions(start + PATIENCE), []);
}

#[test]
fn test_the_reason_says_what_to_do_and_an_error_is_news_once() {
    let start = Instant::now();
    let mut health = health(start);
    let now = start + PATIENCE;
    health.on_report(&report("up", "init"), 0, true, now);
    assert!(health.on_error(RDKafkaErrorCode::InconsistentGroupProtocol, "inconsistent", now));
    assert!(!health.on_error(RDKafkaErrorCode::InconsistentGroupProtocol, "inconsistent", now));
    health.on_view(GroupView { protocol: "range".to_owned(), ..held_by("report-job", &[0, 1]) }, now);
    assert!(!health.is_spare(now), "others have all partitions, but whoever may not join is no spare member");
    let detail = health.reason(now);
    assert!(detail.contains("report-job at /10.0.0.7") && detail.contains("range"), "{detail}");
    health.on_error(RDKafkaErrorCode::GroupAuthorizationFailed, "not authorized", now);
    assert!(health.reason(now).contains("READ on the group"));
    assert!(health.on_error(RDKafkaErrorCode::GroupAuthorizationFailed, "x", now + NEWS_AFTER));
}

#[test]
fn test_a_member_too_many_is_well_and_a_partition_that_nobody_has_is_not() {
    let start = Instant::now();
    let mut health = health(start);
    let now = start + PATIENCE;
    health.on_report(&report("up", "steady"), 0, true, now);
    assert!(health.wants_view(now) && !health.wants_view(now), "not asked over and over");
    health.on_view(view(&[0, 1]), now);
    assert!(health.is_spare(now));
    assert_eq!(health.conditions(now), []);
    health.on_view(view(&[0]), now);
    assert!(!health.is_spare(now));
    assert!(only(&health, now).detail.contains("orders/1 to nobody"));
    // The same seen by the member that has the other one.
    health.on_report(&report("up", "steady"), 1, true, now);
    assert_eq!(health.conditions(now), [], "a rebalance may be under way");
    let condition = only(&health, now + PATIENCE);
    assert_eq!((condition.code, condition.verdict), ("partitions_not_consumed", Verdict::Failing));
    health.on_view(view(&[0, 1]), now + PATIENCE);
    assert_eq!(health.conditions(now + PATIENCE), []);
    assert_eq!(health.conditions(now + 2 * ANSWER_HOLDS), []);
}

#[test]
fn test_another_application_in_the_group_takes_records_away() {
    let start = Instant::now();
    let mut health = health(start);
    health.on_report(&report("up", "steady"), 1, true, start);
    health.on_view(held_by("report-job", &[0, 1]), start);
    assert_eq!(health.conditions(start), []);
    let condition = only(&health, start + PATIENCE);
    assert_eq!((condition.code, condition.verdict), ("foreign_member", Verdict::Failing));
    assert!(condition.detail.contains("report-job at /10.0.0.7"), "{}", condition.detail);
    health.on_report(&report("up", "steady"), 2, true, start + PATIENCE);
    assert_eq!(health.conditions(start + PATIENCE), []);
}

#[test]
fn test_a_missing_coordinator_is_told_and_the_client_made_anew_within_bounds() {
    let start = Instant::now();
    let mut health = health(start);
    health.on_report(&report("up", "steady"), 2, true, start);
    health.on_report(&report("wait-broker-transport", "steady"), 2, true, start);
    assert!(!health.wants_new_client(start + PATIENCE));
    let condition = only(&health, start + PATIENCE);
    assert_eq!((condition.code, condition.verdict), ("no_coordinator", Verdict::Degraded));
    let now = start + RENEW_AFTER;
    health.on_report(&report("wait-broker-transport", "init"), 0, false, now);
    assert!(!health.wants_new_client(now), "no broker at all: a new client would not find one");
    health.on_report(&report("wait-broker-transport", "init"), 0, true, now);
    assert!(health.wants_new_client(now) && !health.wants_new_client(now));
    assert!(health.wants_new_client(now + RENEW_AFTER));
    assert_eq!(only(&health, now + PATIENCE).code, "not_consuming");
}

#[test]
fn test_commits_that_are_refused_are_told_until_one_is_taken() {
    let start = Instant::now();
    let mut health = health(start);
    health.on_report(&report("up", "steady"), 2, true, start);
    health.on_commit(Err("unknown topic".to_owned()), start);
    assert_eq!(health.conditions(start), []);
    assert_eq!(only(&health, start + PATIENCE).code, "commits_refused");
    health.on_commit(Ok(()), start + PATIENCE);
    assert_eq!(health.conditions(start + PATIENCE), []);
}
