//! The numbers of `/metrics` beside what is counted from outside: each counter grows by what was sent, answered, written and
//! buried, and stands still while the store confirms nothing.

use crate::common;

use std::net::SocketAddr;
use std::time::Instant;

use common::device::{Device, block, position_at};
use common::events::{JSON, address, event};
use common::http::Request;
use common::ledger::{Load, dead_letters, fleet};
use common::metrics::{Scraped, scrape};
use common::site::{QUICK_MARKS, Site};
use common::{now_ms, until, until_true};
use surgetank::credentials::TokenKind;
use surgetank::protocol::receipt::Outcome;

/// How much series have grown.
struct Growth {
    before: Scraped,
    after: Scraped,
}

impl Growth {
    fn of(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        self.after.value(name, labels) - self.before.value(name, labels)
    }

    fn total(&self, name: &str) -> f64 {
        self.after.sum(name) - self.before.sum(name)
    }
}

fn batch(sequences: std::ops::Range<u32>) -> Vec<common::device::Message> {
    let time = now_ms();
    sequences.map(|sequence| position_at(sequence, sequence, time)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_counter_grows_by_what_is_counted_from_outside() {
    let site = Site::new(&[("credentials.file", "\"tokens.toml\"")]);
    let (own, app) = (site.add_token(TokenKind::Device, ""), site.add_token(TokenKind::Http, "name = \"app\""));
    let running = site.launch().await;
    let (operators, ingest) = (running.engine.http_addr, address(&running));
    let mut device = Device::try_connect(running.engine.devices_addr, "truck-1", &own).await.ok().unwrap();
    let before = scrape(operators).await;
    assert_eq!(before.sum("surgetank_store_rows_total"), 0.0, "known tables are there from the start");

    // Two good packages, and one of which a message is too far in the future.
    let (first, second) = (batch(0..10), batch(10..15));
    device.accepted(&first).await;
    device.accepted(&second).await;
    let late = [position_at(15, 15, now_ms()), position_at(16, 16, now_ms() + 365 * 86_400_000)];
    let outcomes = device.deliver(&late).await;
    assert!(matches!(outcomes[..], [Outcome::Accepted, Outcome::Rejected(_)]), "{outcomes:?}");
    let num_bytes: usize = [&first[..], &second[..], &late[..]].iter().map(|messages| block(messages).len()).sum();

    // Requests: good, bad, unauthorised, and for nothing.
    let send = async |request: Request| request.send(ingest).await.status;
    let bearer = format!("Bearer {app}");
    let body = event("van-1", 1).to_string();
    assert_eq!(send(Request::events(JSON, body.clone()).header("Authorization", &bearer)).await, 200);
    assert_eq!(send(Request::events(JSON, "{").header("Authorization", &bearer)).await, 400);
    assert_eq!(send(Request::events(JSON, body.clone())).await, 401);
    assert_eq!(send(Request::new("GET", "/v1/packages")).await, 405);
    assert_eq!(send(Request::new("GET", "/nowhere")).await, 404);

    running.catch_up().await;
    // A row that the store refuses beside one that it takes.
    site.execute(
        "CREATE TRIGGER guard BEFORE INSERT ON position WHEN NEW.sequence = 101 BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    device.accepted(&batch(100..103)).await;
    running.catch_up().await;

    let growth = Growth { before, after: scrape(operators).await };
    let rows = site.number("SELECT count(*) FROM position") as f64;
    assert_eq!(rows, 19.0);
    assert_eq!(growth.of("surgetank_store_rows_total", &[("table", "position")]), rows);
    assert_eq!(growth.total("surgetank_store_rows_total"), rows);
    assert_eq!(growth.of("surgetank_store_rows_refused_total", &[("table", "position")]), 1.0);
    let letters = dead_letters(&site.config(), &*running.started.backends.log);
    for reason in ["event_time_out_of_range", "refused_by_store"] {
        assert_eq!(letters.iter().filter(|letter| letter.reason_code == reason).count(), 1, "{reason}");
        assert_eq!(growth.of("surgetank_dead_letters_total", &[("reason", reason)]), 1.0, "{reason}");
    }
    assert_eq!(growth.total("surgetank_dead_letters_total"), letters.len() as f64);
    // Three good packages, and the chunk of the good request.
    assert_eq!(growth.of("surgetank_packages_total", &[("outcome", "accepted")]), 4.0);
    assert_eq!(growth.of("surgetank_packages_total", &[("outcome", "rejected")]), 1.0);
    assert_eq!(growth.of("surgetank_packages_total", &[("outcome", "retry_later")]), 0.0);
    let last = block(&batch(100..103)).len();
    let from_devices = growth.of("surgetank_received_bytes_total", &[("source", "devices")]);
    // Times that differ by milliseconds are packed a little differently.
    assert!(from_devices.abs_diff(num_bytes + last) <= 16, "{from_devices} {num_bytes} {last}");
    assert_eq!(growth.of("surgetank_received_bytes_total", &[("source", "http")]), body.len() as f64 + 1.0);
    for (endpoint, status) in
        [("events", "200"), ("events", "400"), ("events", "401"), ("packages", "405"), ("other", "404")]
    {
        let labels = [("endpoint", endpoint), ("status", status)];
        assert_eq!(growth.of("surgetank_ingest_requests_total", &labels), 1.0, "{endpoint} {status}");
    }
    assert_eq!(growth.total("surgetank_ingest_requests_total"), 5.0);
    // 16 + 3 records of packages, one of them refused later, and an event.
    assert_eq!(growth.of("surgetank_log_appended_records_total", &[("topic", "telemetry")]), 20.0);
    assert_eq!(growth.total("surgetank_log_appended_records_total"), 22.0);
    assert_eq!(growth.total("surgetank_log_read_records_total"), 20.0);
    let of_records = growth.of("surgetank_log_appended_bytes_total", &[("topic", "telemetry")]);
    assert_eq!(growth.total("surgetank_log_read_bytes_total"), of_records);
    assert_eq!(growth.total("surgetank_store_write_retries_total"), 0.0);
    for partition in ["0", "1"] {
        let of = |name: &str| growth.after.value(name, &[("topic", "telemetry"), ("partition", partition)]);
        assert_eq!(of("surgetank_consumer_committed_offset"), of("surgetank_log_end_offset"));
        assert_eq!(of("surgetank_consumer_lag_seconds"), 0.0);
    }
    let ends = growth.after.sum("surgetank_log_end_offset");
    assert_eq!(ends, 20.0);
    running.stop().await;
}

trait Near {
    fn abs_diff(self, other: usize) -> u64;
}

impl Near for f64 {
    fn abs_diff(self, other: usize) -> u64 {
        (self as u64).abs_diff(other as u64)
    }
}

async fn stage(operators: SocketAddr) -> Option<String> {
    let scraped = scrape(operators).await;
    let stages = scraped.of("surgetank_bottleneck");
    assert_eq!(stages.len(), 5, "{stages:?}");
    let told: Vec<_> = stages.iter().filter(|sample| sample.value == 1.0).map(|sample| &sample.labels[0].1).collect();
    assert!(told.len() <= 1, "{told:?}");
    told.first().map(|stage| (*stage).clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_blocked_store_stops_the_rows_and_ages_the_lag_and_is_the_bottleneck() {
    let site = Site::new(&QUICK_MARKS);
    let running = site.launch().await;
    let operators = running.engine.http_addr;
    let load = Load::start(fleet(running.engine.devices_addr));
    load.acked(2_000).await;
    assert_eq!(stage(operators).await, None);
    let before = scrape(operators).await;
    assert_eq!(before.sum("surgetank_gate_pauses_total"), 0.0);

    let blocked = site.block_store();
    until_true("both partitions to be paused", async || {
        scrape(operators).await.sum("surgetank_gate_paused_partitions") == 2.0
    })
    .await;
    let (paused, since) = (scrape(operators).await, Instant::now());
    assert_eq!(paused.sum("surgetank_gate_pauses_total"), 2.0);
    let told = until("a bottleneck", async || stage(operators).await).await;
    assert_eq!(told, "store");
    load.acked(1).await;
    let waited = since.elapsed().as_secs_f64();
    let later = scrape(operators).await;
    assert_eq!(
        later.sum("surgetank_store_rows_total"),
        paused.sum("surgetank_store_rows_total"),
        "nothing is confirmed"
    );
    assert!(later.sum("surgetank_log_appended_records_total") > paused.sum("surgetank_log_appended_records_total"));
    for partition in ["0", "1"] {
        let labels = [("topic", "telemetry"), ("partition", partition)];
        let age = |scraped: &Scraped| scraped.value("surgetank_consumer_lag_seconds", &labels);
        assert!(age(&paused) > 0.0 && age(&later) > age(&paused) + waited - 0.5, "{} {waited}", age(&paused));
        let progressed =
            |scraped: &Scraped| scraped.value("surgetank_consumer_last_progress_timestamp_seconds", &labels);
        assert_eq!(progressed(&later), progressed(&paused));
    }
    drop(blocked);
    let report = load.end().await;
    running.catch_up().await;
    let after = scrape(operators).await;
    let rows = site.number("SELECT count(*) FROM position") as f64;
    assert!(after.sum("surgetank_store_rows_total") >= rows && rows > 0.0, "{rows}");
    assert!(after.sum("surgetank_store_rows_total") >= report.ledger.num_acked() as f64);
    assert!(after.of("surgetank_consumer_lag_seconds").iter().all(|sample| sample.value == 0.0));
    running.stop().await;
}
