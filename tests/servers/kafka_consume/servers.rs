//! Brokers that refuse the group, or move.

use std::time::{Duration, Instant};

use rdkafka::Offset;
use surgetank::flow::health::Verdict;
use surgetank::log::TopicPartition;
use surgetank::log::kafka::{KafkaLog, KafkaLogSettings, KafkaLogin};
use surgetank::tls::ServerTrust;

use super::follower::Follower;
use super::{fill, over, seen};
use crate::cluster::{Cluster, cluster};
use crate::log_contract::{PATIENCE, append, at, batch, outcome, until};

/// A login that loses its right on the group and gets it back, while it runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_missing_right_on_the_group_is_told() {
    let variables = ["SURGETANK_TEST_KAFKA_SASL", "SURGETANK_TEST_TLS_DIR", "SURGETANK_TEST_SERVICES"];
    let [Ok(brokers), Ok(tls), Ok(services)] = variables.map(std::env::var) else {
        return println!("skipped: one of {variables:?} is not set");
    };
    let Some(cluster) = cluster() else { return };
    let admin = cluster.open();
    let topic = cluster.topic(&*admin, 1).await;
    fill(&*admin, &at(&topic, 0), 5).await;
    let forbid = |action: &str| {
        let mut command = std::process::Command::new(&services);
        command.args(["kafka-tool", "org.apache.kafka.tools.AclCommand", action, "--force"]);
        command.args(["--deny-principal", "User:surgetank", "--operation", "Read", "--group", &cluster.name]);
        assert!(command.status().unwrap().success());
    };
    forbid("--add");
    let settings = KafkaLogSettings {
        brokers: vec![brokers],
        tls: Some(ServerTrust { ca: std::path::Path::new(&tls).join("ca.pem"), identity: None }),
        login: Some(KafkaLogin {
            mechanism: "SCRAM-SHA-256",
            username: "surgetank".to_owned(),
            password: "secret".to_owned(),
        }),
        ..cluster.settings("pod-0")
    };
    let log = KafkaLog::open(settings).unwrap();
    let follower = Follower::start(&log, &topic);
    let failing = seen(&log, "not_consuming").await;
    assert_eq!(failing.verdict, Verdict::Failing);
    assert!(failing.detail.contains("READ on the group"), "{}", failing.detail);
    forbid("--remove");
    over(&log, "not_consuming").await;
    until("all to be read", || follower.num_seen() == 5).await;
    follower.close().await;
}

/// Starts a broker of its own, kills it, and starts it at another port. librdkafka may go on asking the old address for the
/// coordinator, since its id is the same; then the client is made anew.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes a minute and a broker of its own"]
async fn a_coordinator_that_comes_back_at_another_address_is_found_again() {
    let Ok(services) = std::env::var("SURGETANK_TEST_SERVICES") else {
        return println!("skipped: SURGETANK_TEST_SERVICES is not set");
    };
    let directory = tempfile::tempdir().unwrap();
    let ports: [u16; 8] =
        std::array::from_fn(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port());
    let run = |command: &[&str], ports: &[u16]| {
        let names = ["KAFKA_PORT", "KAFKA_CONTROLLER_PORT", "KAFKA_TLS_PORT", "KAFKA_SASL_PORT"];
        let mut process = std::process::Command::new(&services);
        process.args(command).env("SURGETANK_SERVICES_DIR", directory.path());
        process.envs(names.iter().zip(ports).map(|(name, port)| (*name, port.to_string())));
        assert!(process.status().unwrap().success());
    };
    run(&["start", "kafka"], &ports[..4]);
    let name = "moved".to_owned();
    let cluster = Cluster { brokers: format!("127.0.0.1:{},127.0.0.1:{}", ports[0], ports[4]), name };
    let log = cluster.open();
    let topic = cluster.topic(&*log, 2).await;
    let id = at(&topic, 0);
    let follower = Follower::start(&*log, &topic);
    fill(&*log, &id, 5).await;
    until("all to be read", || follower.num_seen() == 5).await;

    run(&["kill", "kafka"], &ports[..4]);
    // A service keeps its ports; this one is to move.
    std::fs::remove_file(directory.path().join("kafka/ports")).unwrap();
    // The controller stays where it is: its address is on disk.
    run(&["start", "kafka"], &[ports[4], ports[1], ports[6], ports[7]]);
    let moved = Instant::now();
    let deadline = moved + 2 * PATIENCE;
    let values = ["late"];
    while outcome(append(&*log, &id, batch("device", &values))).await.is_err() {
        assert!(Instant::now() < deadline);
    }
    let is_late = |seen: &Vec<(TopicPartition, u64, String)>| seen.last().unwrap().2 == "late";
    until("the late record to be read", || is_late(&follower.seen.lock())).await;
    println!("read {:?} after the broker was back", moved.elapsed());
    let end = Offset::Offset(follower.seen.lock().last().unwrap().1 as i64 + 1);
    while cluster.committed(&id) != end || !log.conditions().is_empty() {
        assert!(Instant::now() < deadline, "{:?}", log.conditions());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    println!("committed {:?} after the broker was back", moved.elapsed());
    follower.close().await;
    log.close().await;
    run(&["stop", "kafka"], &[]);
}
