//! The control channel on which the processes that share a log agree.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use surgetank::log::kafka::{KafkaLog, KafkaLogSettings};
use surgetank::log::{Control, Log};

use crate::cluster::cluster;
use crate::log_contract::{PATIENCE, until};

/// What was heard until `wanted` was, from the other and from oneself.
async fn hear(control: &mut dyn Control, wanted: &str) -> Vec<String> {
    let mut heard = Vec::new();
    while heard.last().map(String::as_str) != Some(wanted) {
        let message = tokio::time::timeout(PATIENCE, control.receive()).await.expect("the word comes in time");
        heard.push(String::from_utf8(message.to_vec()).unwrap());
    }
    heard
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn control_channel_has_one_leader_and_everybody_hears_everybody() {
    let Some(cluster) = cluster() else { return };
    let log = KafkaLog::open(cluster.settings("a")).unwrap();
    log.apply(&[]).await.unwrap();
    let join = |pod: &str| log.control(pod).unwrap().expect("kafka has a control channel");
    let (mut first, mut second) = (join("a"), join("b"));
    until("there is a leader", || first.is_leader() || second.is_leader()).await;
    // Who joins later does not take the office, nor is there a second one.
    for _ in 0..100 {
        assert!(!(first.is_leader() && second.is_leader()));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // What is said before a reader has found the end of the topic is not heard: said until it is.
    let mut number = 0;
    while tokio::time::timeout(Duration::from_millis(100), second.receive()).await.is_err() {
        first.publish(format!("hello {number}").into());
        number += 1;
    }
    first.publish("from a".into());
    hear(&mut *second, "from a").await;
    second.publish("from b".into());
    let heard = hear(&mut *first, "from b").await;
    assert!(heard.iter().any(|word| word == "from a"), "one hears oneself: {heard:?}");

    // Another installation on the same topic by mistake is not heard.
    let settings = KafkaLogSettings { group: format!("{}-other", cluster.name), ..cluster.settings("x") };
    let stranger = KafkaLog::open(settings.clone()).unwrap().control("x").unwrap().unwrap();
    let topic = settings.control_topic.clone();
    let consumer: BaseConsumer = cluster.client().create().unwrap();
    let end = || consumer.fetch_watermarks(&topic, 0, PATIENCE).unwrap().1;
    let before = end();
    stranger.publish("from a stranger".into());
    until("the stranger's word to be in the topic", || end() > before).await;
    first.publish("the end".into());
    assert_eq!(hear(&mut *second, "the end").await, ["from b", "the end"]);

    let (mut leader, other) = if first.is_leader() { (first, second) } else { (second, first) };
    let closed = std::time::Instant::now();
    leader.close().await;
    until("the other one leads", || other.is_leader()).await;
    println!("the other one leads {:?} after the leader was told to leave", closed.elapsed());
    assert!(closed.elapsed() < Duration::from_secs(5), "took {:?}", closed.elapsed());
}
