//! The Kafka log, against a real broker: the contract of every log, and what is its own: rebalances and sizes.
//!
//! Runs only if `SURGETANK_TEST_KAFKA` says where a broker is (`host:port`); every test then uses names of its own.

use crate::cluster;
mod control;
mod ranges;
use crate::log_contract;

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use cluster::{Cluster, cluster};
use log_contract::{Consumption, PATIENCE, Room, append, at, batch, outcome, read, scan, spec, until};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use surgetank::log::kafka::{KafkaLog, KafkaLogSettings};
use surgetank::log::{AppendError, AssignmentEvent, Log, ReadError, ReadLimit};

impl Room for Cluster {
    fn open(&self) -> Arc<dyn Log> {
        self.open()
    }

    fn topic(&self) -> &str {
        &self.name
    }
}

log_contract::contract!(cluster());

#[tokio::test]
async fn record_that_is_too_large_is_refused() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = spec(&cluster.name, 1);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let values = [vec![b'x'; 10], vec![b'x'; 2_000_000], vec![b'x'; 10]];
    assert!(matches!(
        outcome(append(&*log, &at(&topic, 0), batch("device", &values))).await,
        Err(AppendError::TooLarge(_))
    ));
    outcome(append(&*log, &at(&topic, 0), batch("device", &["small"]))).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_that_nobody_tells_is_found_out() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = spec(&cluster.name, 1);
    let new = NewTopic::new(&topic.name, 1, TopicReplication::Fixed(1)).set("max.message.bytes", "16384");
    cluster.admin().create_topics([&new], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    // Nothing of this can be compressed.
    let noise = |len: usize| -> Vec<u8> { (0..len).map(|_| rand::random()).collect() };
    fail::cfg("kafka_limits", &format!("return({})", cluster.name)).unwrap();
    let values: Vec<Vec<u8>> = (0..2000).map(|_| noise(200)).collect();
    outcome(append(&*log, &at(&topic, 0), batch("device", &values))).await.unwrap();
    let mut found = Vec::new();
    scan(&*log, &topic, |_, _, _, value| found.push(value.to_vec()));
    // What was refused may come behind what was not.
    let sorted = |mut values: Vec<Vec<u8>>| {
        values.sort_unstable();
        values
    };
    let num_found = found.len();
    assert!(sorted(found) == sorted(values), "{num_found} records");
    assert_eq!(log.conditions().iter().map(|condition| condition.code).collect::<Vec<_>>(), ["topic_limit_assumed"]);
    let refused = outcome(append(&*log, &at(&topic, 0), batch("device", &[noise(30_000)]))).await;
    assert!(matches!(refused, Err(AppendError::TooLarge(_))), "{refused:?}");
    assert_eq!(log.record_limit(&topic.name).max_bytes(), 30_000 + "device".len() - 1);
    outcome(append(&*log, &at(&topic, 0), batch("device", &[noise(16_000)]))).await.unwrap();
    fail::remove("kafka_limits");
    log.inspect(std::slice::from_ref(&topic)).await.unwrap();
    assert_eq!(log.record_limit(&topic.name).max_bytes(), 16_384 - 96);
    assert!(log.conditions().is_empty(), "{:?}", log.conditions());
    log.close().await;
}

#[tokio::test]
async fn cluster_that_cannot_be_reached_shows_in_health_and_in_time() {
    if cluster().is_none() {
        return;
    }
    let nobody = Cluster { brokers: "127.0.0.1:1".to_owned(), name: "nobody".to_owned() };
    let settings = KafkaLogSettings { delivery_timeout: Duration::from_secs(2), ..nobody.settings("") };
    let log = KafkaLog::open(settings).unwrap();
    assert!(log.health().unwrap_err().contains("no kafka broker"));
    let started = std::time::Instant::now();
    let refused = outcome(append(&log, &at(&spec("nothing", 1), 0), batch("device", &["v"]))).await;
    assert!(matches!(refused, Err(AppendError::Unavailable(_))), "{refused:?}");
    assert!(started.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_client_keeps_in_its_queues_is_told() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = spec(&cluster.name, 1);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let values = vec![vec![b'x'; 100]; 1000];
    outcome(append(&*log, &at(&topic, 0), batch("device", &values))).await.unwrap();
    let mut consumption = Consumption::start(&*log, &topic).await;
    until("fetched records to be told", || log.buffered_bytes() >= 100_000).await;
    for reader in consumption.readers.values_mut() {
        read(&mut **reader, 1000).await;
    }
    until("read records to be forgotten", || log.buffered_bytes() == 0).await;
    consumption.close().await;

    let nobody = Cluster { brokers: "127.0.0.1:1".to_owned(), name: "nobody".to_owned() };
    let unreachable = KafkaLog::open(KafkaLogSettings { delivery_timeout: PATIENCE, ..nobody.settings("") }).unwrap();
    let _pending = append(&unreachable, &at(&topic, 0), batch("device", &values));
    until("records that nobody confirms to be told", || unreachable.buffered_bytes() >= 100_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn second_member_takes_over_where_the_first_committed() {
    let Some(cluster) = cluster() else { return };
    let (first, second) =
        (KafkaLog::open(cluster.settings("a")).unwrap(), KafkaLog::open(cluster.settings("b")).unwrap());
    let topic = spec(&cluster.name, 2);
    first.apply(std::slice::from_ref(&topic)).await.unwrap();
    for partition in 0..2 {
        let values: Vec<_> = (0..100).map(|number| number.to_string()).collect();
        outcome(append(&first, &at(&topic, partition), batch("device", &values))).await.unwrap();
    }
    let (subscription, mut events) = first.subscribe(std::slice::from_ref(&topic)).unwrap();
    let Some(AssignmentEvent::Assigned(mut readers)) = events.recv().await else { panic!("assigned first") };
    assert_eq!(readers.len(), 2);
    for reader in &mut readers {
        read(&mut **reader, 80).await;
        reader.offsets().commit(70);
    }

    let (other_subscription, mut other_events) = second.subscribe(std::slice::from_ref(&topic)).unwrap();
    let revoked = tokio::time::timeout(PATIENCE, events.recv()).await.unwrap();
    let Some(AssignmentEvent::Revoked { partitions, done }) = revoked else { panic!("one partition is taken away") };
    assert_eq!(partitions.len(), 1);
    // What is committed while finishing still counts; after the answer nothing does.
    let position = readers.iter().position(|reader| *reader.partition() == partitions[0]).unwrap();
    let mut taken = readers.remove(position);
    taken.offsets().commit(75);
    done.send(()).unwrap();

    let assigned = tokio::time::timeout(PATIENCE, other_events.recv()).await.unwrap();
    let Some(AssignmentEvent::Assigned(mut others)) = assigned else { panic!("the other member gets it") };
    assert_eq!(*others[0].partition(), partitions[0]);
    taken.offsets().commit(100);
    let late = taken.read(ReadLimit { max_records: 1, max_bytes: 1 }).await;
    assert!(matches!(late, Err(ReadError::Revoked(_))));
    drop(taken);
    assert_eq!(read(&mut *others[0], 25).await.first().unwrap().0, 75);

    // The partition that stayed was not disturbed.
    assert_eq!(read(&mut *readers[0], 20).await.first().unwrap().0, 80);
    drop((readers, others));
    subscription.close().await;
    other_subscription.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restarted_member_gets_its_partitions_back_at_once() {
    let Some(cluster) = cluster() else { return };
    let topic = spec(&cluster.name, 4);
    for restart in 0..3 {
        let log = cluster.open();
        log.apply(std::slice::from_ref(&topic)).await.unwrap();
        let started = std::time::Instant::now();
        let consumption = Consumption::start(&*log, &topic).await;
        println!("start {restart}: partitions after {:?}", started.elapsed());
        assert!(restart == 0 || started.elapsed() < Duration::from_secs(3), "took {:?}", started.elapsed());
        consumption.close().await;
        until("the log is healthy", || log.health().is_ok()).await;
        log.close().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_that_was_fenced_off_takes_its_place_again() {
    let Some(cluster) = cluster() else { return };
    let topic = spec(&cluster.name, 1);
    let log = cluster.open();
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let values: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    outcome(append(&*log, &at(&topic, 0), batch("device", &values))).await.unwrap();
    let mut fenced = Consumption::start(&*log, &topic).await;
    let mut reader = fenced.readers.remove(&0).unwrap();
    read(&mut *reader, 10).await;
    reader.offsets().commit(10);
    // Another one takes the place under the same id, as this one itself does when Kafka was away for a while.
    let other = cluster.open();
    let taker = Consumption::start(&*other, &topic).await;
    taker.close().await;
    other.close().await;

    let revoked = tokio::time::timeout(PATIENCE, fenced.events.recv()).await.unwrap();
    let Some(AssignmentEvent::Revoked { done, .. }) = revoked else { panic!("what it had is lost") };
    drop(reader);
    done.send(()).unwrap();
    let assigned = tokio::time::timeout(PATIENCE, fenced.events.recv()).await.unwrap();
    let Some(AssignmentEvent::Assigned(readers)) = assigned else { panic!("it is assigned again") };
    fenced.readers.extend(readers.into_iter().map(|reader| (reader.partition().partition, reader)));
    let first = read(&mut **fenced.readers.get_mut(&0).unwrap(), 10).await[0].0;
    assert!(first <= 10, "nothing is passed over that was not committed: {first}");
    assert_eq!(log.broken(), None);
    fenced.close().await;
    log.close().await;
}

const CHILD_CLUSTER: &str = "SURGETANK_TEST_KAFKA_CHILD";

/// Not a test of its own: the member that gets killed. It says when it has its partitions, and reads on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn child_that_is_killed() {
    let Ok(name) = std::env::var(CHILD_CLUSTER) else { return };
    let cluster = Cluster { brokers: std::env::var("SURGETANK_TEST_KAFKA").unwrap(), name };
    let topic = spec(&cluster.name, 4);
    let log = cluster.open();
    let mut consumption = Consumption::start(&*log, &topic).await;
    let first = read(&mut **consumption.readers.get_mut(&0).unwrap(), 1).await;
    println!("reading from {}", first.first().unwrap().0);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_killed_with_9_is_back_at_once() {
    let Some(cluster) = cluster() else { return };
    let topic = spec(&cluster.name, 4);
    let log = cluster.open();
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    outcome(append(&*log, &at(&topic, 0), batch("device", &["v"]))).await.unwrap();
    for restart in 0..4 {
        let started = std::time::Instant::now();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "log_kafka::child_that_is_killed", "--nocapture"])
            .env(CHILD_CLUSTER, &cluster.name)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains("reading from 0")), "nothing was committed");
        let took = started.elapsed();
        println!("start {restart}: first record after {took:?}");
        child.kill().unwrap(); // SIGKILL
        child.wait().unwrap();
        assert!(took < Duration::from_secs(3), "took {took:?}");
    }
}

/// Needs the broker's process id in `SURGETANK_TEST_KAFKA_PID`, and the broker for itself: freezes it for 15 seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "freezes the broker"]
async fn broker_that_hangs_loses_nothing_and_no_append_completes_twice() {
    let Some(cluster) = cluster() else { return };
    let Ok(pid) = std::env::var("SURGETANK_TEST_KAFKA_PID") else {
        return println!("skipped: SURGETANK_TEST_KAFKA_PID is not set");
    };
    let signal = |name: &str| assert!(Command::new("kill").args([name, &pid]).status().unwrap().success());
    let topic = spec(&cluster.name, 2);
    let log = cluster.open();
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let mut consumption = Consumption::start(&*log, &topic).await;

    let started = std::time::Instant::now();
    let mut outcomes = Vec::new();
    let mut frozen = None;
    while started.elapsed() < Duration::from_secs(30) {
        let number = outcomes.len() as u64;
        let calls = Arc::new(AtomicU64::new(0));
        let result = Arc::new(AtomicU64::new(0));
        let (counted, stored) = (calls.clone(), result.clone());
        let done = surgetank::log::Completion::new(move |outcome| {
            counted.fetch_add(1, Ordering::SeqCst);
            stored.store(if outcome.is_ok() { 1 } else { 2 }, Ordering::SeqCst);
        });
        log.append(&at(&topic, (number % 2) as u32), batch("device", &[number.to_string()]), done);
        outcomes.push((calls, result));
        tokio::time::sleep(Duration::from_millis(2)).await;
        if frozen.is_none() && started.elapsed() > Duration::from_secs(3) {
            signal("-STOP");
            frozen = Some(std::time::Instant::now());
        }
        if frozen.is_some_and(|at| at.elapsed() > Duration::from_secs(15))
            && started.elapsed() < Duration::from_secs(19)
        {
            signal("-CONT");
        }
    }
    until("every append has an outcome", || outcomes.iter().all(|(calls, _)| calls.load(Ordering::SeqCst) > 0)).await;
    until("the log is healthy again", || log.health().is_ok()).await;
    assert!(outcomes.iter().all(|(calls, _)| calls.load(Ordering::SeqCst) == 1), "each exactly once");

    let mut copies = std::collections::HashMap::<u64, u32>::new();
    let mut last = [None::<u64>; 2];
    scan(&*log, &topic, |id, _, _, value| {
        let number = std::str::from_utf8(value).unwrap().parse().unwrap();
        *copies.entry(number).or_default() += 1;
        assert!(last[id.partition as usize] < Some(number), "in call order");
        last[id.partition as usize] = Some(number);
    });
    let confirmed = (0u64..).zip(&outcomes).filter(|(_, (_, result))| result.load(Ordering::SeqCst) == 1);
    let confirmed: Vec<_> = confirmed.map(|(number, _)| number).collect();
    assert!(confirmed.iter().all(|number| copies.get(number) == Some(&1)), "every confirmed record is there once");
    println!(
        "{} appends, {} confirmed, {} failed, {} of the failed are there all the same",
        outcomes.len(),
        confirmed.len(),
        outcomes.len() - confirmed.len(),
        copies.len() - confirmed.len(),
    );
    // The consumer goes on as well. Its session has ended meanwhile, so its partitions are taken and given again.
    while let Ok(Some(event)) = tokio::time::timeout(Duration::from_secs(8), consumption.events.recv()).await {
        match event {
            AssignmentEvent::Revoked { partitions, done } => {
                consumption.readers.retain(|_, reader| !partitions.contains(reader.partition()));
                drop(done);
            }
            AssignmentEvent::Assigned(new) => {
                consumption.readers.extend(new.into_iter().map(|reader| (reader.partition().partition, reader)));
            }
        }
    }
    let num_of_partition_0 = copies.keys().filter(|number| *number % 2 == 0).count();
    read(&mut **consumption.readers.get_mut(&0).unwrap(), num_of_partition_0).await;
    consumption.close().await;
}

/// A figure, not a check: `SURGETANK_TEST_KAFKA=… cargo test --release --test servers log_kafka::throughput -- --ignored --nocapture`.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "measures, does not check"]
async fn throughput() {
    let Some(cluster) = cluster() else { return };
    let log = cluster.open();
    let topic = spec(&cluster.name, 8);
    log.apply(std::slice::from_ref(&topic)).await.unwrap();
    let (num_appends, num_values) = (60_000, 50);
    let started = std::time::Instant::now();
    let mut tasks = Vec::new();
    for partition in 0..8 {
        let (log, topic) = (log.clone(), topic.clone());
        tasks.push(tokio::spawn(async move {
            let one = batch("device-00000001", &vec![vec![b'x'; 50]; num_values]);
            let credits = Arc::new(tokio::sync::Semaphore::new(64));
            for _ in 0..num_appends / 8 {
                let permit = credits.clone().acquire_owned().await.unwrap();
                let done = surgetank::log::Completion::new(move |outcome| {
                    outcome.unwrap();
                    drop(permit);
                });
                log.append(&at(&topic, partition), one.clone(), done);
            }
            drop(credits.acquire_many(64).await.unwrap());
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    let num_records = num_appends * num_values;
    println!("appended {:.0} records/s", num_records as f64 / started.elapsed().as_secs_f64());

    let mut consumption = Consumption::start(&*log, &topic).await;
    let started = std::time::Instant::now();
    let mut tasks = Vec::new();
    for (_, mut reader) in consumption.readers.drain() {
        tasks.push(tokio::spawn(async move {
            let mut count = 0;
            while count < num_records / 8 {
                let limit = ReadLimit { max_records: 8_192, max_bytes: 2 << 20 };
                count += reader.read(limit).await.unwrap().records.len();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    println!("read {:.0} records/s", num_records as f64 / started.elapsed().as_secs_f64());
    consumption.close().await;
}
