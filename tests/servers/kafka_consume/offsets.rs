//! Offsets that are skipped: removed before they were read, begun anew, or taken by the markers of transactions.

use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::producer::Producer;
use rdkafka::{Offset, TopicPartitionList};
use surgetank::flow::health::Verdict;
use surgetank::log::kafka::{KafkaLog, KafkaLogSettings};
use surgetank::log::{AssignmentEvent, Log, TopicPartition, TopicSpec};

use super::follower::Follower;
use super::others::send;
use super::{SEEN_WITHIN, fill, seen};
use crate::cluster::cluster;
use crate::log_contract::{self, PATIENCE, append, at, batch, outcome, until};

/// Reads all of a topic and leaves.
async fn read_all(log: &dyn Log, topic: &TopicSpec, count: usize) {
    let follower = Follower::start(log, topic);
    until("all to be read", || follower.num_seen() == count).await;
    follower.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_was_removed_while_nobody_read_is_named() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 2).await;
    let (first, second) = (at(&topic, 0), at(&topic, 1));
    fill(&*log, &first, 300).await;
    fill(&*log, &second, 50).await;
    read_all(&*log, &topic, 350).await;
    assert_eq!(log.lost_records(), 0);
    fill(&*log, &first, 700).await;
    fill(&*log, &second, 70).await;
    cluster.delete_records_before(&first, 900).await;
    // Of the other one everything goes.
    cluster.delete_records_before(&second, 120).await;

    let follower = Follower::start(&*log, &topic);
    until("the rest to be read", || follower.num_seen() == 100).await;
    until("both losses to be counted", || log.lost_records() == 600 + 70).await;
    let lost = seen(&*log, "records_lost").await;
    assert_eq!(lost.verdict, Verdict::Degraded);
    let ranges = [format!("{first} 300 to 899 (600 records)"), format!("{second} 50 to 119 (70 records)")];
    assert!(ranges.iter().all(|range| lost.detail.contains(range)), "{}", lost.detail);
    until("the lag to be none", || [&first, &second].iter().all(|id| follower.lag(id) == Some(0))).await;
    until("the commits to be told", || cluster.committed(&second) == Offset::Offset(120)).await;
    follower.close().await;
    // Nothing is lost twice.
    let follower = Follower::start(&*log, &topic);
    until("the lag to be known", || [&first, &second].iter().all(|id| follower.lag(id) == Some(0))).await;
    assert_eq!(log.lost_records(), 670);
    follower.close().await;
    log.close().await;
}

/// What another client of the group has committed was read there, and is no row here.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_of_another_client_is_named_and_what_it_skips_is_counted() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let id = at(&topic, 0);
    fill(&*log, &id, 100).await;
    read_all(&*log, &topic, 100).await;
    until("the commit to be told", || cluster.committed(&id) == Offset::Offset(100)).await;
    fill(&*log, &id, 50).await;
    let other: BaseConsumer = cluster.client().set("group.id", &cluster.name).create().unwrap();
    let mut commit = TopicPartitionList::new();
    commit.add_partition_offset(&id.topic, 0, Offset::Offset(130)).unwrap();
    // Only once the member that has left is forgotten.
    until("the other commit to be taken", || other.commit(&commit, CommitMode::Sync).is_ok()).await;

    let follower = Follower::start(&*log, &topic);
    until("the rest to be read", || follower.num_seen() == 20).await;
    let foreign = seen(&*log, "foreign_commits").await;
    assert_eq!(foreign.verdict, Verdict::Degraded);
    assert!(foreign.detail.contains(&format!("{id} 100 to 129 (no mark)")), "{}", foreign.detail);
    assert_eq!(log.lost_records(), 30);
    until("the commit to be told", || cluster.committed(&id) == Offset::Offset(150)).await;
    follower.close().await;
    // Our own commits are marked.
    let again = Follower::start(&*log, &topic);
    until("the lag to be none", || again.lag(&id) == Some(0)).await;
    assert_eq!(log.lost_records(), 30);
    again.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_was_removed_from_a_paused_partition_is_named_while_it_is_paused() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let id = at(&topic, 0);
    fill(&*log, &id, 100).await;
    let mut consumption = log_contract::Consumption::start(&*log, &topic).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    log_contract::read(&mut **reader, 40).await;
    reader.offsets().commit(40);
    reader.pause();
    fill(&*log, &id, 100).await;
    until("the lag of a paused partition to grow", || reader.offsets().lag() == Some(160)).await;
    cluster.delete_records_before(&id, 150).await;
    let lost = seen(&*log, "records_lost").await;
    assert!(lost.detail.contains("40 to 149 (110 records)"), "{}", lost.detail);
    reader.resume();
    assert_eq!(log_contract::read(&mut **reader, 50).await[0].0, 150);
    reader.offsets().commit(200);
    until("the lag to be none", || reader.offsets().lag() == Some(0)).await;
    assert_eq!(log.lost_records(), 110);
    consumption.close().await;
    log.close().await;
}

/// The reader neither reads nor is paused, as while the store is slow: the client holds some records and fetches no more.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_was_removed_from_a_partition_that_is_not_read_is_counted_at_once_and_exactly() {
    let Some(cluster) = cluster() else { return };
    let settings =
        KafkaLogSettings { fetch_buffer_bytes: 64 << 10, compression: "none".to_owned(), ..cluster.settings("pod-0") };
    let log = KafkaLog::open(settings).unwrap();
    let topic = cluster.topic(&log, 1).await;
    let id = at(&topic, 0);
    for _ in 0..20 {
        outcome(append(&log, &id, batch("device", &vec![[b'x'; 1000]; 50]))).await.unwrap();
    }
    let mut consumption = log_contract::Consumption::start(&log, &topic).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    log_contract::read(&mut **reader, 10).await;
    cluster.delete_records_before(&id, 900).await;
    let started = Instant::now();
    while log.lost_records() == 0 {
        assert!(started.elapsed() < SEEN_WITHIN);
        // As the engine does, which does so less often.
        log.inspect(std::slice::from_ref(&topic)).await.unwrap();
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    seen(&log, "records_lost").await;
    let (num_lost, mut num_read, mut last) = (log.lost_records(), 10, 0);
    assert!((500..900).contains(&num_lost), "{num_lost}: the client held some");
    while last < 999 {
        last = log_contract::read(&mut **reader, 1).await[0].0;
        num_read += 1;
    }
    assert_eq!((log.lost_records(), num_read + num_lost), (num_lost, 1000));
    consumption.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_confirmed_and_not_done_is_lost_with_a_topic_that_is_made_again_at_once() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let id = at(&topic, 0);
    let mut consumption = log_contract::Consumption::start(&*log, &topic).await;
    let reader = consumption.readers.get_mut(&0).unwrap();
    fill(&*log, &id, 100).await;
    log_contract::read(&mut **reader, 40).await;
    reader.offsets().commit(30);
    // Its id is asked for every two seconds.
    tokio::time::sleep(Duration::from_secs(3)).await;
    fill(&*log, &id, 50).await;
    cluster.delete_topic(&topic).await;
    cluster.is_gone(&topic).await;
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let Some(AssignmentEvent::Revoked { done, .. }) = consumption.events.recv().await else {
        panic!("it is another topic")
    };
    // A write that was under way.
    reader.offsets().commit(35);
    consumption.readers.clear();
    drop(done);
    until("what is lost to be counted", || log.lost_records() > 0).await;
    assert_eq!(log.lost_records(), 115);
    let lost = seen(&*log, "records_lost").await;
    assert!(lost.detail.contains("35 to 149 (115 records)"), "{}", lost.detail);
    consumption.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_without_a_commit_on_a_log_that_has_lost_its_beginning_is_told() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 2).await;
    fill(&*log, &at(&topic, 0), 50).await;
    cluster.delete_records_before(&at(&topic, 0), 20).await;
    let follower = Follower::start(&*log, &topic);
    until("the rest to be read", || follower.num_seen() == 30).await;
    let unknown = seen(&*log, "start_unknown").await;
    assert!(unknown.detail.contains(&at(&topic, 0).to_string()), "{}", unknown.detail);
    assert!(!unknown.detail.contains(&at(&topic, 1).to_string()), "{}", unknown.detail);
    assert_eq!(log.lost_records(), 0, "nobody knows");
    follower.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_made_again_is_read_and_committed_from_its_start() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 2).await;
    let id = at(&topic, 0);
    fill(&*log, &id, 500).await;
    let follower = Follower::start(&*log, &topic);
    until("all to be read", || follower.num_seen() == 500 && follower.lag(&id) == Some(0)).await;

    // The second time the new topic has as many records as the old one had: offsets alone show nothing.
    for round in 1..=2 {
        cluster.delete_topic(&topic).await;
        cluster.is_gone(&topic).await;
        // A commit may be under way just now.
        if let Some(offsets) = follower.offsets.lock().get(&id) {
            offsets.commit(500);
        }
        log.apply(std::slice::from_ref(&topic)).await.unwrap();
        let values = ["a", "b", "c"].map(|value| format!("{round}{value}"));
        let deadline = Instant::now() + PATIENCE;
        // The producer finds the new topic in its own time.
        while outcome(append(&*log, &id, batch("device", &values))).await.is_err() {
            assert!(Instant::now() < deadline);
        }
        let is_last = |seen: &Vec<(TopicPartition, u64, String)>| seen.last().unwrap().2 == values[2];
        until("the new records to be read", || is_last(&follower.seen.lock())).await;
        let end = follower.seen.lock().last().unwrap().1 + 1;
        assert!(end < 100, "offsets began anew");
        until("the lag to be right", || follower.lag(&id) == Some(0)).await;
        until("the commits to go on", || cluster.committed(&id) == Offset::Offset(end as i64)).await;
    }
    assert_eq!(log.lost_records(), 0);
    until("nothing to be wrong any more", || log.conditions().is_empty()).await;
    follower.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markers_of_transactions_count_as_read() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 1).await;
    let id = at(&topic, 0);
    let producer = cluster.transactional("aborts");
    let follower = Follower::start(&*log, &topic);
    // Before any record, between records, and at the end.
    for round in 1..=3 {
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 10);
        producer.abort_transaction(PATIENCE).unwrap();
        until("the commit to move over what was aborted", || follower.lag(&id) == Some(0)).await;
        producer.begin_transaction().unwrap();
        send(&producer, &topic, 5);
        producer.commit_transaction(PATIENCE).unwrap();
        until("what was committed to be read", || follower.num_seen() == round * 5).await;
        until("the commit to move over the marker", || follower.lag(&id) == Some(0)).await;
    }
    until("the group to be told", || cluster.committed(&id) == Offset::Offset(3 * (11 + 6))).await;
    assert_eq!(log.lost_records(), 0, "gaps are no losses");
    follower.close().await;
    // What nobody read yet when it was aborted.
    producer.begin_transaction().unwrap();
    send(&producer, &topic, 10);
    producer.abort_transaction(PATIENCE).unwrap();
    let follower = Follower::start(&*log, &topic);
    until("the group to be told", || cluster.committed(&id) == Offset::Offset(3 * (11 + 6) + 11)).await;
    assert_eq!((follower.num_seen(), follower.lag(&id)), (0, Some(0)));
    follower.close().await;
    log.close().await;
}
