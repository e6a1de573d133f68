//! Ranges of Kafka's partitions, as far as they are Kafka's own: transactions, and records that were removed.

use std::time::Duration;

use rdkafka::admin::AdminOptions;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use surgetank::log::{RangeEnd, RangeError, RangeStart, ReadLimit};

use crate::cluster::cluster;
use crate::common::until;
use crate::log_contract::{append, at, batch, offsets_of, outcome, spec};

const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn markers_and_aborted_records_count_as_read() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = spec(&cluster.name, 1);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    outcome(append(&*log, &at(&topic, 0), batch("device", &["v-0", "v-1"]))).await.unwrap();
    let producer: BaseProducer = cluster.client().set("transactional.id", &cluster.name).create().unwrap();
    producer.init_transactions(TIMEOUT).unwrap();
    // Offsets 2 to 4 and the marker at 5, which is the last offset of the log.
    producer.begin_transaction().unwrap();
    for _ in 0..3 {
        producer.send(BaseRecord::<[u8], [u8]>::to(&topic.name).partition(0).payload(b"aborted")).unwrap();
    }
    producer.flush(TIMEOUT).unwrap();
    producer.abort_transaction(TIMEOUT).unwrap();
    let id = at(&topic, 0);
    // The coordinator has promised the marker by now, not written it.
    let mut range = until("the marker to be in the log", async || {
        let range = log.read_range(&id, RangeStart::Earliest, RangeEnd::Now).await.unwrap();
        (range.offsets() == (0..6)).then_some(range)
    })
    .await;
    assert_eq!(offsets_of(&mut *range, 64).await, [0, 1]);
    let mut range = log.read_range(&id, RangeStart::Offset(3), RangeEnd::Offset(5)).await.unwrap();
    assert!(offsets_of(&mut *range, 64).await.is_empty(), "nothing of it is for anybody");

    outcome(append(&*log, &id, batch("device", &["v-6"]))).await.unwrap();
    let mut range = log.read_range(&id, RangeStart::Offset(1), RangeEnd::Offset(6)).await.unwrap();
    assert_eq!(offsets_of(&mut *range, 64).await, [1], "what lies behind the end ends it, too");
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn removed_records_are_an_error_that_says_where_to_go_on() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = spec(&cluster.name, 1);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let id = at(&topic, 0);
    // More than the client fetches ahead, so that there is something left to be missed.
    let large: Vec<Vec<u8>> = (0..40).map(|_| (0..400_000).map(|_| rand::random()).collect()).collect();
    for values in large.chunks(1) {
        outcome(append(&*log, &id, batch("device", values))).await.unwrap();
    }
    let mut range = log.read_range(&id, RangeStart::Earliest, RangeEnd::Now).await.unwrap();
    let limit = ReadLimit { max_records: 1, max_bytes: 1 };
    assert_eq!(range.read(limit).await.unwrap().unwrap().records[0].offset, 0);
    let mut before = TopicPartitionList::new();
    before.add_partition_offset(&topic.name, 0, Offset::Offset(38)).unwrap();
    cluster.admin().delete_records(&before, &AdminOptions::new()).await.unwrap();

    let asked = log.read_range(&id, RangeStart::Offset(5), RangeEnd::Now).await.err();
    assert!(matches!(asked, Some(RangeError::Gone { from: 5, first: 38, .. })), "{asked:?}");
    let mut last = 0;
    let gone = loop {
        match range.read(limit).await {
            Ok(Some(batch)) => {
                assert_eq!(batch.records[0].offset, last + 1, "nothing is left out without a word");
                last += 1;
            }
            Ok(None) => panic!("it ends as if nothing were missing, after {last}"),
            Err(error) => break error,
        }
    };
    assert!(matches!(gone, RangeError::Gone { from, first: 38, .. } if from == last + 1), "{gone:?} after {last}");
    let rest = log.read_range(&id, RangeStart::Earliest, RangeEnd::Now).await.unwrap();
    assert_eq!(rest.offsets(), 38..40);
    log.close().await;
}
