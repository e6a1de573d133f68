//! What keeps a member of the group from consuming, and a member that has nothing to do.

use std::time::{Duration, Instant};

use rdkafka::producer::Producer;
use surgetank::flow::health::Verdict;
use surgetank::log::Log;
use surgetank::log::kafka::KafkaLog;

use super::follower::Follower;
use super::others::send;
use super::{SEEN_WITHIN, fill, over, seen};
use crate::cluster::cluster;
use crate::log_contract::{PATIENCE, append, at, batch, outcome, until};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_keeps_records_from_being_consumed_is_told() {
    // Each takes its time to be seen.
    tokio::join!(open_transaction(), incompatible_assignor(), foreign_member(), member_too_many(), deleted_topic());
}

async fn open_transaction() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let id = at(&topic, 0);
    let follower = Follower::start(&*log, &topic);
    fill(&*log, &id, 5).await;
    until("what is before it to be read", || follower.num_seen() == 5).await;
    let producer = cluster.transactional("open");
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 1);
    fill(&*log, &id, 20).await;
    let standing = seen(&*log, "open_transaction").await;
    assert!(standing.detail.contains(&format!("offset 5 of {id}, and 21 records wait")), "{}", standing.detail);
    assert_eq!(follower.lag(&id), Some(21));
    tokio::task::spawn_blocking(move || producer.commit_transaction(PATIENCE).unwrap()).await.unwrap();
    over(&*log, "open_transaction").await;
    until("all to be read", || follower.num_seen() == 26 && follower.lag(&id) == Some(0)).await;
    follower.close().await;
    log.close().await;
}

async fn incompatible_assignor() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    fill(&*log, &at(&topic, 0), 5).await;
    let foreign = cluster.foreign_member("range");
    until("the other one to be in the group", || cluster.group_is_stable()).await;
    let follower = Follower::start(&*log, &topic);
    let failing = seen(&*log, "not_consuming").await;
    assert_eq!(failing.verdict, Verdict::Failing);
    for part in ["another client is in the group", "report-job", "range"] {
        assert!(failing.detail.contains(part), "{part}: {}", failing.detail);
    }
    assert!(!log.is_spare());
    tokio::task::spawn_blocking(move || drop(foreign)).await.unwrap();
    over(&*log, "not_consuming").await;
    until("all to be read", || follower.num_seen() == 5).await;
    follower.close().await;
    log.close().await;
}

async fn foreign_member() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 2).await;
    let foreign = cluster.foreign_member("cooperative-sticky");
    until("the other one to be in the group", || cluster.group_is_stable()).await;
    // As `check --online` asks, which joins no group.
    let found = log.inspect(std::slice::from_ref(&topic)).await.unwrap();
    let told = found.iter().find(|condition| condition.code == "foreign_member").expect("the other one");
    assert!(told.detail.contains("report-job") && told.detail.contains("/0"), "{}", told.detail);
    let follower = Follower::start(&*log, &topic);
    let failing = seen(&*log, "foreign_member").await;
    assert!(failing.detail.contains("report-job"), "{}", failing.detail);
    tokio::task::spawn_blocking(move || drop(foreign)).await.unwrap();
    over(&*log, "foreign_member").await;
    assert_eq!(follower.offsets.lock().len(), 2, "both partitions are ours");
    follower.close().await;
    log.close().await;
}

async fn deleted_topic() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let id = at(&topic, 0);
    fill(&*log, &id, 5).await;
    let follower = Follower::start(&*log, &topic);
    until("all to be read", || follower.num_seen() == 5 && follower.lag(&id) == Some(0)).await;
    // Its id is asked for every two seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    cluster.delete_topic(&topic).await;
    let started = Instant::now();
    let is_told = || {
        let codes = ["topic_gone", "not_consuming"];
        log.conditions().into_iter().any(|condition| codes.contains(&condition.code))
    };
    until("the deletion to be told", is_told).await;
    assert!(started.elapsed() < SEEN_WITHIN);
    assert_eq!(follower.lag(&id), None);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let deadline = Instant::now() + PATIENCE;
    while outcome(append(&*log, &id, batch("device", &["late"]))).await.is_err() {
        assert!(Instant::now() < deadline);
    }
    until("what is new to be read", || follower.seen.lock().last().unwrap().2 == "late").await;
    over(&*log, "topic_gone").await;
    over(&*log, "not_consuming").await;
    follower.close().await;
    log.close().await;
}

async fn member_too_many() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let follower = Follower::start(&*log, &topic);
    until("it to have the partition", || follower.offsets.lock().len() == 1).await;
    let other = KafkaLog::open(cluster.settings("pod-1")).unwrap();
    let spare = Follower::start(&other, &topic);
    until("the other one to know that it has nothing to do", || other.is_spare()).await;
    let until = Instant::now() + Duration::from_secs(14);
    while Instant::now() < until {
        let wrong: Vec<_> = log.conditions().into_iter().chain(other.conditions()).collect();
        assert!(wrong.is_empty(), "{wrong:?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    spare.close().await;
    follower.close().await;
    log.close().await;
}
