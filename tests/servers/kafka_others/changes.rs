//! Topics and partitions that come while they are read.

use std::slice;

use rdkafka::admin::{AdminOptions, NewPartitions};
use surgetank::log::{OnGap, Start};

use super::{all_read, codes, id_of, matching, named};
use crate::cluster::cluster;
use crate::kafka_consume::follower::Follower;
use crate::log_contract::until;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pattern_follows_topics_and_their_partitions() {
    let Some(cluster) = cluster() else { return };
    let name = |suffix: &str| format!("{}.{suffix}", cluster.name);
    // Nobody reads what is there already.
    cluster.others_make(&name("a"), 1).await;
    cluster.others_send(&name("a"), 0, 0..10, &[]);
    let log = cluster.open_as("app");
    let topic = matching(&format!("^{}\\.", cluster.name), Start::Latest);
    let follower = Follower::start(&*log, &topic);
    until("the first topic to be assigned", || follower.lag(&id_of(&name("a"), 0)) == Some(0)).await;

    // What is written before it is noticed is read, too.
    cluster.others_make(&name("b"), 2).await;
    cluster.others_send(&name("b"), 1, 0..20, &[]);
    let first = name("a");
    let grown = NewPartitions::new(&first, 2);
    let _ = cluster.admin().create_partitions([&grown], &AdminOptions::new()).await.unwrap();
    until("the partition to be there", || {
        let known = cluster.admin().inner().fetch_metadata(Some(&name("a")), crate::log_contract::PATIENCE).unwrap();
        known.topics()[0].partitions().len() == 2
    })
    .await;
    cluster.others_send(&name("a"), 1, 0..30, &[]);
    all_read(&follower, &id_of(&name("b"), 1), 0..20).await;
    all_read(&follower, &id_of(&name("a"), 1), 0..30).await;
    cluster.others_send(&name("a"), 0, 10..15, &[]);
    all_read(&follower, &id_of(&name("a"), 0), 10..15).await;
    assert_eq!(codes(&log.inspect(slice::from_ref(&topic)).await.unwrap()), Vec::<&str>::new());
    assert_eq!(codes(&log.conditions()), Vec::<&str>::new());
    follower.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_comes_later_is_waited_for() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open_as("app");
    let topic = named(&cluster.name, Start::Latest, OnGap::Stop);
    log.apply(slice::from_ref(&topic)).await.unwrap();
    log.check(slice::from_ref(&topic)).await.unwrap();
    let found = log.inspect(slice::from_ref(&topic)).await.unwrap();
    assert_eq!(codes(&found), ["topic_awaited"]);
    assert!(found[0].detail.contains(&*cluster.name) && !found[0].refuses_start, "{}", found[0].detail);
    let follower = Follower::start(&*log, &topic);
    let unmatched = matching(&format!("^{}-none", cluster.name), Start::Latest);
    assert_eq!(codes(&log.inspect(&[unmatched]).await.unwrap()), ["topic_awaited"]);

    cluster.others_make(&cluster.name, 1).await;
    cluster.others_send(&cluster.name, 0, 0..20, &[]);
    all_read(&follower, &id_of(&cluster.name, 0), 0..20).await;
    assert_eq!(codes(&log.inspect(slice::from_ref(&topic)).await.unwrap()), Vec::<&str>::new());
    follower.close().await;
    log.close().await;
}
