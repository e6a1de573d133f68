//! Durability, rules 1 and 2 of the design: an ACK means that the log has it, and an offset is committed only behind what is
//! settled.
//!
//! Faults are injected through fail points, so these tests are built only with `--features failpoints`.
#![cfg(feature = "failpoints")]

use crate::common;

use std::time::{Duration, Instant};

use common::device::{Device, position, position_at};
use common::ledger::{Load, assert_nothing_lost, dead_letters, fleet, identities_acked, identities_in_log};
use common::process::{Clock, Process, arg, run, told};
use common::site::{QUICK_RESTARTS, Site};
use common::{PATIENCE, http, now_ms, until, until_true};
use fail::FailScenario;
use surgetank::codec::avro::RecordIdentity;
use surgetank::engine::open_log;
use surgetank::protocol::receipt::Outcome;

// === 1. ACK means durable ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_1_what_was_acknowledged_is_in_the_log_after_kill_9() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let mut process = Process::start(&site).await;
    let mut options = fleet(process.devices);
    options.rate = 0.0;
    options.drain_timeout = Duration::from_millis(1);
    let load = Load::start(options);
    load.acked(5_000).await;
    process.kill();
    let report = load.end().await;

    let config = site.config();
    let log = open_log(&config).unwrap();
    let in_log = identities_in_log(&config, &*log);
    let missing: Vec<_> = identities_acked(&report.ledger).filter(|identity| !in_log.contains(identity)).collect();
    assert!(missing.is_empty(), "{} acknowledged and not in the log, such as {:?}", missing.len(), missing[0]);
    log.close().await;
    drop(log);

    let running = site.launch().await;
    running.catch_up().await;
    assert_nothing_lost(report.ledger, &config, &running.started.backends).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_1_no_receipt_before_the_append() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    fail::cfg("partition_producer", "pause").unwrap();
    device.send_package(&[position(1, 1)]).await;
    until_true("the batch to be at the producer", async || running.depth("partition_producer") == 1).await;
    device.answers_only_ping().await;
    assert_eq!(running.counters().accepted, 0);
    let config = site.config();
    assert!(identities_in_log(&config, &*running.started.backends.log).is_empty());
    fail::remove("partition_producer");
    let receipt = device.receipt().await;
    assert_eq!(receipt.outcomes(1).unwrap().collect::<Vec<_>>(), [Outcome::Accepted]);
    assert_eq!(identities_in_log(&config, &*running.started.backends.log).len(), 1);
    running.stop().await;
}

/// A log that is full of what the store has not taken says "later" and not "yes"; nothing that it did take is lost, and
/// the disk is not filled beyond the budget and what was already on its way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_1_a_full_log_says_retry_later() {
    const BUDGET: u64 = 64 << 20;
    let _scenario = FailScenario::setup();
    let site = Site::new(&[
        ("log.embedded.disk_budget", "\"64 MiB\""),
        ("log.embedded.retention_size", "\"1 MiB\""),
        ("writer.retry_max", "\"100 ms\""),
    ]);
    let running = site.launch().await;
    let blocked = site.block_store();
    let mut device = Device::connect(running.engine.devices_addr, "flood").await;
    let time = now_ms();
    let mut sequence = 0;
    let mut num_accepted = 0;
    let deadline = Instant::now() + PATIENCE;
    loop {
        assert!(Instant::now() < deadline, "the log never was full");
        let messages: Vec<_> = (0..10_000).map(|number| position_at(sequence + number, 1, time)).collect();
        let outcomes = device.deliver(&messages).await;
        let accepted = outcomes.iter().filter(|outcome| **outcome == Outcome::Accepted).count();
        num_accepted += accepted as i64;
        sequence += 10_000;
        if accepted == 0 {
            assert!(outcomes.iter().all(|outcome| *outcome == Outcome::RetryLater), "{outcomes:?}");
            break;
        }
        assert_eq!(accepted, 10_000);
    }
    // The next is told the same, with a delay.
    device.send_package(&[position_at(sequence, 1, time)]).await;
    let receipt = device.receipt().await;
    assert_eq!(receipt.retry_after_ms(), 100, "{receipt:?}");
    let (status, body) = http::get(running.engine.http_addr, "/health/ready").await;
    assert_eq!(status, 503);
    assert!(body["reasons"].to_string().contains("log"), "{body}");
    let bytes_per_record = 60;
    assert!((num_accepted as u64) < BUDGET / bytes_per_record * 2, "{num_accepted} accepted beyond the budget");

    drop(blocked);
    running.catch_up().await;
    until_true("the log to take messages again", async || {
        device.deliver(&[position_at(sequence, 1, time)]).await == [Outcome::Accepted]
    })
    .await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), num_accepted + 1);
    running.stop().await;
}

/// What a device is told to be rejected it deletes, so nothing is while the engine's own clock may be the wrong one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_1_a_wrong_clock_rejects_nothing() {
    let site = Site::new(&[]);
    // In 1970.
    let clock = Clock::set(&site, -1_780_000_000);
    let process = Process::start_with(&site, &clock.failpoint()).await;
    let state = async |code: &str, status: u16| {
        until_true(&format!("health to tell of {code}, readiness to be {status}"), async || {
            let Some((_, health)) = http::try_get(process.http, "/health").await else { return false };
            let has_code = health["clock"]["conditions"].as_array().unwrap().iter().any(|found| found["code"] == code);
            (has_code || code.is_empty() && health["clock"]["state"] == "ok")
                && http::get(process.http, "/health/ready").await.0 == status
        })
        .await;
    };
    state("clock_before_build", 503).await;
    let mut device = Device::connect(process.devices, "d").await;
    assert_eq!(device.deliver(&[position(1, 1)]).await, [Outcome::RetryLater]);
    let event = || http::Request::events(common::events::JSON, common::events::event("d", 2).to_string());
    let answer = event().send(process.ingest).await;
    assert_eq!((answer.status, answer.header("retry-after").is_some()), (503, true), "{}", answer.json());

    // Set right, by what nobody can say to be right: what is in order is taken, what is not is not thrown away yet.
    clock.move_to(0);
    state("clock_jumped", 200).await;
    assert_eq!(event().send(process.ingest).await.status, 200);
    let early = position_at(3, 1, now_ms() + 3 * 86_400_000);
    assert_eq!(device.deliver(&[position(2, 1), early.clone()]).await, [Outcome::Accepted, Outcome::RetryLater]);
    let mut late = common::events::event("d", 4);
    late["event_time"] = serde_json::json!(1_795_995_013);
    let answer = http::Request::events(common::events::JSON, late.to_string()).send(process.ingest).await;
    assert_eq!((answer.status, &answer.json()["retry_later"]), (503, &serde_json::json!(1)), "{}", answer.json());
    assert_eq!(process.told().matches("before the day on which this program was written").count(), 1);
    drop(process);

    // A start by the right clock has no doubt.
    clock.move_to(0);
    let process = Process::start(&site).await;
    let mut device = Device::connect(process.devices, "d").await;
    let rejected = Outcome::Rejected(surgetank::protocol::reason::RejectReason::EventTimeOutOfRange);
    assert_eq!(device.deliver(&[early]).await, [rejected]);
    let answer = http::Request::events(common::events::JSON, late.to_string()).send(process.ingest).await;
    assert_eq!(answer.json()["reason"], "event_time_out_of_range");
    assert!(answer.json()["detail"].as_str().unwrap().contains("looks like seconds"), "{}", answer.json());
}

// === 2. An offset is committed only when everything up to it is in the store or the dead letters ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_nothing_is_committed_that_is_not_stored() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[("writer.retry_max", "\"100 ms\""), ("consumer.read_records", "10")]);
    let mut process = Process::start(&site).await;
    let blocked = site.block_store();
    let time = now_ms();
    // Several batches of several partitions are read, and none can be written.
    for number in 0..8 {
        let mut device = Device::connect(process.devices, &format!("device-{number}")).await;
        let messages: Vec<_> = (0..100).map(|sequence| position_at(sequence, sequence, time)).collect();
        device.accepted(&messages).await;
    }
    let address = process.http;
    let histograms = until("writes to be tried again", async || {
        let (_, body) = http::get(address, "/histograms").await;
        (body["counters"]["write_retries"].as_u64()? > 0).then_some(body)
    })
    .await;
    let lag: u64 = histograms["lag_records"].as_object().unwrap().values().map(|lag| lag.as_u64().unwrap()).sum();
    assert_eq!(lag, 800, "{histograms}");
    assert_eq!(histograms["counters"]["rows"], 0, "{histograms}");
    process.kill();
    drop(blocked);
    assert_eq!(site.number("select count(*) from position"), 0);

    let running = site.launch().await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 800);
    running.stop().await;
}

/// Writers die with some batches while others complete, and then the process dies: whatever was committed in between
/// must not have passed over a batch that died.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_batches_that_complete_out_of_order_commit_no_gap() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[("consumer.read_records", "20"), ("writer.actors", "2")]);
    let settings: Vec<_> = QUICK_RESTARTS
        .into_iter()
        .chain([("consumer.read_records", "20"), ("writer.actors", "2"), ("consumer.max_batches_in_flight", "8")])
        .collect();
    site.configure(&settings);
    let mut process = Process::start_with(&site, "writer=10%panic").await;
    let mut options = fleet(process.devices);
    options.drain_timeout = Duration::from_millis(1);
    let load = Load::start(options);
    load.acked(10_000).await;
    let (_, body) = http::get(process.http, "/histograms").await;
    assert!(body["counters"]["rows"].as_u64().unwrap() > 0, "{body}");
    process.kill();
    assert!(process.told().contains("panicked"), "{}", process.told());
    let report = load.end().await;

    let running = site.launch().await;
    running.catch_up().await;
    assert_nothing_lost(report.ledger, &site.config(), &running.started.backends).await;
    running.stop().await;
}

/// What can never be written is settled by its dead letter: the offsets behind it are committed all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_a_record_that_is_no_record_goes_to_the_dead_letters_and_holds_nobody_up() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let config = site.config();
    let mut running = site.launch().await;
    let address = running.engine.devices_addr;
    Device::connect(address, "d").await.accepted(&[position(1, 1)]).await;
    let topic = &surgetank::engine::record_topics(&config)[0];
    let number = surgetank::log::partitioner::partition_for(b"d", topic.num_partitions);
    let partition = surgetank::log::TopicPartition { topic: topic.name.clone(), partition: number };
    let (answer, answered) = tokio::sync::oneshot::channel();
    let batch = surgetank::log::AppendBatch {
        keys: surgetank::log::Keys::Same("d".into()),
        values: "garbage".into(),
        ends: vec![7],
        trace: None,
    };
    let done = surgetank::log::Completion::new(move |outcome| answer.send(outcome).unwrap());
    running.started.backends.log.append(&partition, batch, done);
    answered.await.unwrap().unwrap();
    Device::connect(address, "d").await.accepted(&[position(2, 2)]).await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 2);
    let letters = dead_letters(&config, &*running.started.backends.log);
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].device_id.as_str(), letters[0].payload.as_slice()), ("d", &b"garbage"[..]));
    assert_eq!(letters[0].reason_code, "not_a_record");
    assert_eq!(letters[0].origin, format!("writer {partition}@1"));
    running.engine.stop();
    running.engine.ended().await.unwrap();
}

/// A row that the store will never take is settled by its dead letter as well, and its neighbours are stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_a_row_that_the_store_refuses_goes_to_the_dead_letters_and_holds_nobody_up() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&[]);
    let config = site.config();
    let (code, _, stderr) = told(&run(&["apply", "--config", arg(&site.config_path())]));
    assert_eq!(code, 0, "{stderr}");
    let store = rusqlite::Connection::open(site.store_path()).unwrap();
    store
        .execute_batch(
            "create trigger refuse before insert on position when new.odometer % 10 = 3
             begin select raise(abort, 'an unlucky number'); end",
        )
        .unwrap();
    drop(store);

    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    let time = now_ms();
    // In one package, so that good and bad rows are in one write.
    let messages: Vec<_> = (0..30).map(|number| position_at(number, number, time)).collect();
    device.accepted(&messages).await;
    device.accepted(&[position_at(30, 30, time)]).await;
    running.catch_up().await;
    let stored: Vec<u64> = site
        .rows("select sequence from position order by sequence")
        .iter()
        .map(|row| row[0].as_u64().unwrap())
        .collect();
    assert_eq!(stored, (0..=30).filter(|number| number % 10 != 3).collect::<Vec<_>>());
    let mut letters = dead_letters(&config, &*running.started.backends.log);
    letters.sort_by_key(|letter| letter.sequence);
    assert_eq!(letters.iter().map(|letter| letter.sequence).collect::<Vec<_>>(), [Some(3), Some(13), Some(23)]);
    for letter in &letters {
        let type_id = messages[0].0.type_id;
        assert_eq!((letter.device_id.as_str(), letter.type_id, letter.version), ("d", Some(type_id), Some(1)));
        assert_eq!((letter.reason_code.as_str(), letter.event_time_ms), ("refused_by_store", Some(time)));
        assert!(letter.detail.contains("an unlucky number"), "{letter:?}");
        assert!(letter.origin.starts_with("writer telemetry/"), "{letter:?}");
        let kept = RecordIdentity::peek(&letter.payload).unwrap();
        assert_eq!(Some(kept.sequence), letter.sequence, "the record is kept as it was");
    }
    let counters = running.counters();
    assert_eq!((counters.rows, counters.dead_letters), (28, 3), "{counters:?}");
    running.assert_unharmed().await;
    running.stop().await;

    // The offsets behind it are committed: nobody meets these rows again.
    let running = site.launch().await;
    running.catch_up().await;
    assert_eq!(dead_letters(&config, &*running.started.backends.log).len(), 3);
    running.stop().await;
}

/// A writer that dies in the middle of a batch has settled nothing of it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rule_2_a_panic_in_the_middle_of_a_batch_has_it_written_again() {
    let _scenario = FailScenario::setup();
    let site = Site::new(&QUICK_RESTARTS);
    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    fail::cfg("write_group", "2*panic").unwrap();
    let time = now_ms();
    let messages: Vec<_> = (0..50).map(|sequence| position_at(sequence, sequence, time)).collect();
    device.accepted(&messages).await;
    running.catch_up().await;
    assert_eq!(site.number("SELECT count(*) FROM position"), 50);
    assert!(dead_letters(&site.config(), &*running.started.backends.log).is_empty());
    assert_eq!(running.group("writer").actors.iter().map(|actor| actor.restarts).sum::<u64>(), 2);
    running.stop().await;
}
