//! Records that were removed before they were read, with each of the three rules.

use std::slice;

use surgetank::flow::health::Verdict;
use surgetank::log::{AssignmentEvent, Log, OnGap, PartitionReader, ReadLimit, Start, TopicPartition};

use super::{all_read, codes, id_of, named, read_of};
use crate::cluster::cluster;
use crate::kafka_consume::follower::Follower;
use crate::kafka_consume::seen;
use crate::log_contract::{PATIENCE, until};

const RULES: [(&str, OnGap); 3] = [("stop", OnGap::Stop), ("earliest", OnGap::Earliest), ("latest", OnGap::Latest)];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_whose_records_are_gone() {
    let Some(cluster) = cluster() else { return };
    cluster.others_make(&cluster.name, 1).await;
    let id = id_of(&cluster.name, 0);
    cluster.others_send(&cluster.name, 0, 0..100, &[]);
    for (group, _) in RULES {
        cluster.others_commit(group, &id, 30);
    }
    cluster.delete_records_before(&id, 60).await;
    let open = |(group, on_gap): (&str, OnGap)| {
        let log = cluster.open_as(group);
        let follower = Follower::start(&*log, &named(&cluster.name, Start::Earliest, on_gap));
        (log, follower)
    };
    let [(stop, stopped), (earliest, from_first), (latest, from_end)] = RULES.map(open);

    all_read(&from_first, &id, 60..100).await;
    until("the loss to be counted", || earliest.lost_records() == 30).await;
    let missed = seen(&*earliest, "records_missed").await;
    assert!(missed.detail.contains(&format!("{id} 30 to 59 (30 records)")), "{}", missed.detail);

    until("the end to be committed", || cluster.committed_by("latest", &id) == Some(100)).await;
    assert_eq!(latest.lost_records(), 70);
    let gap = seen(&*stop, "gap").await;
    assert_eq!((gap.verdict, &*gap.subject), (Verdict::Failing, &*cluster.name));
    assert!(gap.detail.contains(&format!("{id} 30 to 59 (30 records)")), "{}", gap.detail);
    assert_eq!(stop.lost_records(), 30);

    cluster.others_send(&cluster.name, 0, 100..120, &[]);
    all_read(&from_end, &id, 100..120).await;
    all_read(&from_first, &id, 60..120).await;
    until("the end to be seen", || stopped.lag(&id) == Some(90)).await;
    assert_eq!((read_of(&stopped, &id), cluster.committed_by("stop", &id)), (vec![], Some(30)));
    assert!(codes(&stop.conditions()).contains(&"gap"));
    for (log, follower) in [(stop, stopped), (earliest, from_first), (latest, from_end)] {
        follower.close().await;
        log.close().await;
    }
}

/// Reads one partition by hand.
struct Reading {
    log: std::sync::Arc<dyn Log>,
    subscription: Box<dyn surgetank::log::Subscription>,
    events: tokio::sync::mpsc::UnboundedReceiver<AssignmentEvent>,
}

impl Reading {
    async fn assigned(&mut self) -> Box<dyn PartitionReader> {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap();
        let AssignmentEvent::Assigned(mut readers) = event else { panic!("something is taken away") };
        readers.remove(0)
    }

    async fn taken_away(&mut self, reader: Box<dyn PartitionReader>) {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.unwrap().unwrap();
        let AssignmentEvent::Revoked { done, .. } = event else { panic!("something is assigned") };
        drop(reader);
        done.send(()).unwrap();
    }

    async fn read(reader: &mut dyn PartitionReader, num_records: usize) -> Vec<u64> {
        let mut offsets = Vec::new();
        while offsets.len() < num_records {
            let limit = ReadLimit { max_records: num_records - offsets.len(), max_bytes: 1 << 20 };
            let batch = tokio::time::timeout(PATIENCE, reader.read(limit)).await.unwrap().unwrap();
            offsets.extend(batch.records.iter().map(|record| record.offset));
        }
        offsets
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_that_are_removed_while_their_reader_is_paused() {
    let Some(cluster) = cluster() else { return };
    cluster.others_make(&cluster.name, 1).await;
    let id = id_of(&cluster.name, 0);
    cluster.others_send(&cluster.name, 0, 0..40, &[]);
    let rules = [RULES[0], RULES[2]];
    let mut running = Vec::new();
    for (group, on_gap) in rules {
        let log = cluster.open_as(group);
        let topic = named(&cluster.name, Start::Earliest, on_gap);
        let (subscription, events) = log.subscribe(slice::from_ref(&topic)).unwrap();
        let mut reading = Reading { log, subscription, events };
        let mut reader = reading.assigned().await;
        assert_eq!(Reading::read(&mut *reader, 30).await, (0..30).collect::<Vec<_>>());
        reader.offsets().commit(20);
        reader.pause();
        running.push((group, reading, reader));
    }
    cluster.others_send(&cluster.name, 0, 40..100, &[]);
    cluster.delete_records_before(&id, 60).await;
    for (group, mut reading, mut reader) in running {
        reader.resume();
        let nothing = reader.read(ReadLimit { max_records: 9, max_bytes: 9 });
        assert!(tokio::time::timeout(std::time::Duration::from_secs(2), nothing).await.is_err(), "{group}");
        // What was read is not given up before it is settled.
        assert!(reading.events.try_recv().is_err());
        reader.offsets().commit(30);
        reading.taken_away(reader).await;
        let mut reader = reading.assigned().await;
        if group == "stop" {
            let gap = seen(&*reading.log, "gap").await;
            assert!(gap.detail.contains(&format!("{id} 30 to 59 (30 records)")), "{}", gap.detail);
            assert_eq!((reading.log.lost_records(), cluster.committed_by(group, &id)), (30, Some(30)));
        } else {
            cluster.others_send(&cluster.name, 0, 100..110, &[]);
            assert_eq!(Reading::read(&mut *reader, 10).await, (100..110).collect::<Vec<_>>());
            assert_eq!(reading.log.lost_records(), 70);
        }
        let Reading { log, subscription, .. } = reading;
        drop(reader);
        subscription.close().await;
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_deleted_and_made_again() {
    let Some(cluster) = cluster() else { return };
    cluster.others_make(&cluster.name, 1).await;
    let id = id_of(&cluster.name, 0);
    cluster.others_send(&cluster.name, 0, 0..40, &[]);
    let open = |(group, on_gap): (&str, OnGap)| {
        let log = cluster.open_as(group);
        let follower = Follower::start(&*log, &named(&cluster.name, Start::Earliest, on_gap));
        (log, follower)
    };
    let running = [RULES[0], RULES[1]].map(open);
    for (_, follower) in &running {
        all_read(follower, &id, 0..40).await;
    }
    let topic = named(&cluster.name, Start::Earliest, OnGap::Stop);
    cluster.delete_topic(&topic).await;
    cluster.is_gone(&topic).await;
    cluster.others_make(&cluster.name, 1).await;
    cluster.others_send(&cluster.name, 0, 0..10, &[]);
    let [(stop, stopped), (earliest, from_first)] = running;
    let again = |follower: &Follower, id: &TopicPartition| read_of(follower, id).len();
    until("the new topic to be read", || again(&from_first, &id) == 50).await;
    let gap = seen(&*stop, "gap").await;
    assert!(gap.detail.contains(&format!("{id}, whose offsets began anew")), "{}", gap.detail);
    assert_eq!(again(&stopped, &id), 40);
    for (log, follower) in [(stop, stopped), (earliest, from_first)] {
        follower.close().await;
        log.close().await;
    }
}
