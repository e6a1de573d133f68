//! Where reading begins: at the commits of a consumer that was stopped, or where the config says.

use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use surgetank::log::kafka::{KafkaLog, KafkaLogSettings, KafkaLogin};
use surgetank::log::{Log, OnGap, Start};
use surgetank::tls::ServerTrust;

use super::{all_read, codes, id_of, named, read_of, time_ms};
use crate::cluster::cluster;
use crate::kafka_consume::follower::Follower;
use crate::log_contract::until;

/// One partition for each codec that Kafka's clients have.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stopped_consumer_is_taken_over_at_its_commits() {
    let Some(cluster) = cluster() else { return };
    let codecs = ["none", "gzip", "snappy", "lz4", "zstd"];
    cluster.others_make(&cluster.name, codecs.len() as i32).await;
    let ids: Vec<_> = (0..codecs.len() as u32).map(|partition| id_of(&cluster.name, partition)).collect();
    let send = |numbers: std::ops::Range<i64>| {
        for (partition, codec) in (0..).zip(codecs) {
            cluster.others_send(&cluster.name, partition, numbers.clone(), &[("compression.type", codec)]);
        }
    };
    send(0..20);
    // As kafkajs assigns partitions.
    let before: BaseConsumer = cluster
        .of_group("app")
        .set("client.id", "kafkajs")
        .set("partition.assignment.strategy", "roundrobin")
        .set("auto.offset.reset", "earliest")
        .create()
        .unwrap();
    before.subscribe(&[&cluster.name]).unwrap();
    let mut num_read = 0;
    while num_read < 20 * codecs.len() {
        if let Some(record) = before.poll(Duration::from_millis(100)) {
            before.commit_message(&record.unwrap(), CommitMode::Async).unwrap();
            num_read += 1;
        }
    }
    before.commit_consumer_state(CommitMode::Sync).unwrap();
    drop(before);
    send(20..50);

    // A member like any other leaves the group at once.
    let settings = KafkaLogSettings { instance_id: String::new(), ..cluster.settings_as("app") };
    let log = KafkaLog::open(settings).unwrap();
    let topic = named(&cluster.name, Start::Earliest, OnGap::Stop);
    assert_eq!(codes(&log.inspect(std::slice::from_ref(&topic)).await.unwrap()), Vec::<&str>::new());
    let follower = Follower::start(&log, &topic);
    for id in &ids {
        all_read(&follower, id, 20..50).await;
    }
    until("all to be committed", || ids.iter().all(|id| cluster.committed_by("app", id) == Some(50))).await;
    assert_eq!((codes(&log.conditions()), log.lost_records()), (vec![], 0));
    follower.close().await;

    // A commit that others make later is no takeover.
    send(50..60);
    cluster.others_commit("app", &ids[0], 55);
    let follower = Follower::start(&log, &topic);
    all_read(&follower, &ids[0], 55..60).await;
    all_read(&follower, &ids[1], 50..60).await;
    assert_eq!((codes(&log.conditions()), log.lost_records()), (vec!["foreign_commits"], 5));
    follower.close().await;
    log.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_without_a_commit_starts_where_the_config_says_and_decides_once() {
    let Some(cluster) = cluster() else { return };
    cluster.others_make(&cluster.name, 1).await;
    let id = id_of(&cluster.name, 0);
    cluster.others_send(&cluster.name, 0, 0..30, &[]);
    let cases = [
        ("earliest", Start::Earliest, 0),
        ("latest", Start::Latest, 30),
        ("time", Start::TimeMs(time_ms(10) as u64), 10),
        ("future", Start::TimeMs(4_000_000_000_000), 30),
    ];
    let mut running = Vec::new();
    for (group, start, first) in cases {
        let log = cluster.open_as(group);
        let follower = Follower::start(&*log, &named(&cluster.name, start, OnGap::Stop));
        running.push((group, first, log, follower));
    }
    for (group, first, _, follower) in &running {
        all_read(follower, &id, *first..30).await;
        until("the start to be committed", || cluster.committed_by(group, &id) == Some(30)).await;
    }
    for (.., log, follower) in running {
        follower.close().await;
        log.close().await;
    }
    // It was decided by a process that read nothing; records came before the next one.
    cluster.others_send(&cluster.name, 0, 30..40, &[]);
    let log = cluster.open_as("latest");
    let follower = Follower::start(&*log, &named(&cluster.name, Start::Latest, OnGap::Stop));
    all_read(&follower, &id, 30..40).await;
    assert_eq!(codes(&log.conditions()), Vec::<&str>::new());
    follower.close().await;
    log.close().await;
}

/// The login may describe and read, and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rights_to_read_are_enough() {
    let variables = ["SURGETANK_TEST_KAFKA_SASL", "SURGETANK_TEST_TLS_DIR", "SURGETANK_TEST_SERVICES"];
    let [Ok(brokers), Ok(tls), Ok(services)] = variables.map(std::env::var) else {
        return println!("skipped: one of {variables:?} is not set");
    };
    let Some(cluster) = cluster() else { return };
    cluster.others_make(&cluster.name, 1).await;
    let id = id_of(&cluster.name, 0);
    cluster.others_send(&cluster.name, 0, 0..30, &[]);
    let add = |principal: &str, operation: &str| {
        let mut command = std::process::Command::new(&services);
        command.args(["kafka-tool", "org.apache.kafka.tools.AclCommand", "--add", "--force"]);
        command.args([principal, "User:surgetank", "--operation", operation, "--topic", &cluster.name]);
        assert!(command.status().unwrap().success());
    };
    // It includes Describe. Where there is a rule, whatever none allows is forbidden.
    add("--allow-principal", "Read");
    let settings = KafkaLogSettings {
        brokers: vec![brokers],
        tls: Some(ServerTrust { ca: std::path::Path::new(&tls).join("ca.pem"), identity: None }),
        login: Some(KafkaLogin {
            mechanism: "SCRAM-SHA-256",
            username: "surgetank".to_owned(),
            password: "secret".to_owned(),
        }),
        ..cluster.settings_as("app")
    };
    let log = KafkaLog::open(settings).unwrap();
    let topic = named(&cluster.name, Start::Earliest, OnGap::Stop);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let follower = Follower::start(&log, &topic);
    all_read(&follower, &id, 0..30).await;
    assert_eq!(codes(&log.inspect(std::slice::from_ref(&topic)).await.unwrap()), Vec::<&str>::new());

    // Without a right to describe it, that is said.
    add("--deny-principal", "Describe");
    let found = log.inspect(std::slice::from_ref(&topic)).await.unwrap();
    assert_eq!(codes(&found), ["topic_refused"]);
    assert!(found[0].detail.contains("grant it Describe and Read"), "{}", found[0].detail);
    assert_eq!(read_of(&follower, &id).len(), 30);
    follower.close().await;
    log.close().await;
}
