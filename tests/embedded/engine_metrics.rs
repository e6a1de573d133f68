//! `/metrics` of an engine: what is declared is there, and nothing else, and it says what happened.

use crate::common;

use std::collections::BTreeSet;

use common::device::{Device, position_at};
use common::events::{JSON, event};
use common::http::{Answer, Request, get, try_get};
use common::metrics::{OPEN_METRICS, Scraped, scrape};
use common::site::{Running, Site};
use common::{in_time, now_ms, until, until_true};
use surgetank::engine::Engine;
use surgetank::observe::metrics::{GROUPS, Kind, Metric};

fn declared() -> impl Iterator<Item = &'static Metric> {
    GROUPS.iter().flat_map(|group| group.metrics)
}

async fn ask(running: &Running, accept: &str) -> Answer {
    Request::new("GET", "/metrics").header("Accept", accept).send(running.engine.http_addr).await
}

fn text(answer: &Answer) -> String {
    String::from_utf8(answer.body.clone()).unwrap()
}

/// Asserts that what is told is declared like this: names, types, labels.
fn assert_declared(told: &Scraped, family_of: impl Fn(&Metric) -> String) {
    for sample in &told.samples {
        let family = sample.family(&told.types);
        let metric = declared().find(|metric| family_of(metric) == family);
        let metric = metric.unwrap_or_else(|| panic!("{} is not declared", sample.name));
        assert_eq!(told.types[family], metric.kind.name(), "{family}");
        let is_bucket = metric.kind == Kind::Histogram && sample.name.ends_with("_bucket");
        let expected: Vec<&str> = metric.labels.iter().copied().chain(is_bucket.then_some("le")).collect();
        let labels: Vec<&str> = sample.labels.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(labels, expected, "{}", sample.name);
    }
    let mut series = BTreeSet::new();
    for sample in &told.samples {
        assert!(series.insert((&sample.name, &sample.labels)), "twice: {sample:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_declared_is_told_and_nothing_else_in_both_formats() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    running.catch_up().await;
    let classic = text(&ask(&running, "text/plain").await);
    let told = Scraped::parse(&classic);
    assert_declared(&told, |metric| metric.name.to_owned());
    let missing: Vec<&str> =
        declared().filter(|metric| !told.types.contains_key(metric.name)).map(|metric| metric.name).collect();
    for metric in declared().filter(|metric| metric.only.is_none()) {
        assert!(!missing.contains(&metric.name), "{} is missing", metric.name);
    }
    for name in ["surgetank_consumer_lag_records", "surgetank_gate_partition_state", "surgetank_store_wal_bytes"] {
        assert!(!missing.contains(&name), "{name} is missing with the embedded log and store, and partitions");
    }

    // OpenMetrics names a counter's family without what only its samples end with.
    let open = text(&ask(&running, OPEN_METRICS).await);
    let family = |metric: &Metric| match metric.kind {
        Kind::Counter => metric.name.strip_suffix("_total").unwrap().to_owned(),
        Kind::Gauge | Kind::Histogram => metric.name.to_owned(),
    };
    let told_openly = Scraped::parse(&open);
    assert_declared(&told_openly, family);
    let names = |told: &Scraped| told.samples.iter().map(|sample| sample.name.clone()).collect::<BTreeSet<_>>();
    assert_eq!(names(&told_openly), names(&told), "the same in both");
    assert!(open.ends_with("\n# EOF\n") && !classic.contains("# EOF"), "only OpenMetrics has an end");
    assert!(open.contains("\n# UNIT surgetank_mailbox_wait_seconds seconds\n"), "{open}");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_format_is_the_one_that_is_preferred() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let (open, classic) =
        ("application/openmetrics-text; version=1.0.0; charset=utf-8", "text/plain; version=0.0.4; charset=utf-8");
    for (accept, expected) in [
        ("application/openmetrics-text", open),
        (OPEN_METRICS, open),
        ("application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1", open),
        ("application/openmetrics-text;q=0.2, text/plain;q=0.3", classic),
        ("application/openmetrics-text;q=0", classic),
        ("text/plain", classic),
        ("*/*", classic),
        ("text/html,application/xhtml+xml", classic),
        ("no media type, at all;;", classic),
    ] {
        let answer = ask(&running, accept).await;
        assert_eq!((answer.status, answer.header("content-type")), (200, Some(expected)), "{accept}");
        assert_eq!(answer.header("vary"), Some("accept"), "caches keep both");
    }
    let answer = Request::new("GET", "/metrics").send(running.engine.http_addr).await;
    assert_eq!(answer.header("content-type"), Some(classic), "without a word");

    let head = Request::new("HEAD", "/metrics").bytes();
    let answer = common::http::say(running.engine.http_addr, &head, false).await.to_ascii_lowercase();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("http/1.1 200") && head.contains(classic) && body.is_empty(), "{answer}");
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
    assert!(length.parse::<usize>().unwrap() > 1000, "{answer}");
    let answer = Request::new("POST", "/metrics").send(running.engine.http_addr).await;
    answer.problem(405, "method-not-allowed");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_are_what_devices_were_told_and_the_store_confirmed() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let server = running.engine.http_addr;
    let before = scrape(server).await;
    assert_eq!(before.value("surgetank_messages_total", &[("outcome", "accepted")]), 0.0);
    assert_eq!(before.value("surgetank_store_write_seconds_count", &[]), 0.0);
    assert!(before.value("surgetank_gate_latency_seconds", &[]).is_nan(), "nothing was written");

    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    for sequence in 0..20 {
        device.accepted(&[position_at(sequence, 1, now_ms())]).await;
    }
    let ingest = running.engine.ingest_addr.unwrap();
    Request::events(JSON, event("app", 1).to_string()).send(ingest).await.accepted(1);
    running.catch_up().await;
    common::http::say(running.engine.devices_addr, &[0xff; 64], false).await;

    // Times are noted after whom they concern was told.
    let told = until("everything to be counted", async || {
        let told = scrape(server).await;
        let counted = ["surgetank_acknowledge_seconds_count", "surgetank_receive_to_row_seconds_count"];
        let is_all = told.sum("surgetank_connections_refused_total") == 1.0 && told.sum("surgetank_connections") == 1.0;
        (is_all && counted.iter().all(|name| told.sum(name) == 21.0)).then_some(told)
    })
    .await;
    assert_eq!(told.value("surgetank_messages_total", &[("outcome", "accepted")]), 21.0);
    assert_eq!(told.value("surgetank_messages_total", &[("outcome", "retry_later")]), 0.0);
    assert_eq!(told.value("surgetank_connections_refused_total", &[("reason", "frame_too_large")]), 1.0);
    assert_eq!(told.value("surgetank_write_rows_sum", &[]), 21.0, "each row was in one write");
    let writes = told.value("surgetank_store_writes_total", &[]);
    assert_eq!(told.value("surgetank_write_rows_count", &[]), writes);
    let within = |le| told.value("surgetank_receive_to_row_seconds_bucket", &[("le", le)]);
    assert!(within("0.0005") <= within("0.1") && within("0.1") <= within("60"), "cumulative");
    assert_eq!(within("+Inf"), 21.0);
    for partition in ["0", "1"] {
        let partition = [("topic", "telemetry"), ("partition", partition)];
        assert_eq!(told.value("surgetank_consumer_lag_records", &partition), 0.0);
        let state =
            |state| told.value("surgetank_gate_partition_state", &[partition[0], partition[1], ("state", state)]);
        assert_eq!([state("open"), state("throttled"), state("paused")], [1.0, 0.0, 0.0]);
    }
    assert_eq!(told.value("surgetank_fleet_budget_writes", &[]), told.value("surgetank_gate_limit_writes", &[]));
    assert_eq!((told.value("surgetank_fleet_pods", &[]), told.value("surgetank_fleet_leader", &[])), (1.0, 1.0));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_fails_shows_in_the_metrics_as_in_health() {
    let site = Site::new(&[("writer.retry_max", "\"100 ms\"")]);
    let running = site.launch().await;
    let server = running.engine.http_addr;
    let state = |told: &Scraped, state| told.value("surgetank_health", &[("part", "store"), ("state", state)]);
    let well = scrape(server).await;
    assert_eq!([state(&well, "ok"), state(&well, "failing")], [1.0, 0.0]);
    let blocked = site.block_store();
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    device.accepted(&[position_at(1, 1, now_ms())]).await;
    let told = until("the store to fail", async || {
        let told = scrape(server).await;
        (state(&told, "failing") == 1.0).then_some(told)
    })
    .await;
    let (_, health) = get(server, "/health").await;
    let code = health["store"]["conditions"][0]["code"].as_str().unwrap();
    assert_eq!(told.value("surgetank_health_condition", &[("part", "store"), ("code", code)]), 1.0);
    assert!(told.value("surgetank_health_conditions", &[("part", "store")]) >= 1.0);
    assert_eq!((told.value("surgetank_ready", &[]), state(&told, "ok")), (1.0, 0.0));
    assert_eq!(told.value("surgetank_store_writes_total", &[]), 0.0, "tried, and never confirmed");
    drop(blocked);
    running.catch_up().await;
    until_true("it to be well again", async || {
        let told = scrape(server).await;
        state(&told, "ok") == 1.0 && told.of("surgetank_health_condition").is_empty()
    })
    .await;
    assert_eq!(scrape(server).await.value("surgetank_store_writes_total", &[]), 1.0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn they_are_there_while_the_engine_starts_and_drains() {
    // Nobody listens on port 1 of this machine: the engine waits for its log.
    let waits = Site::new(&[
        ("log.kind", "\"kafka\""),
        ("log.kafka.brokers", "[\"127.0.0.1:1\"]"),
        ("log.kafka.delivery_timeout", "\"1 s\""),
    ]);
    let mut engine = Engine::launch(waits.loaded()).unwrap();
    until_true("an answer", async || try_get(engine.http_addr, "/health/live").await.is_some()).await;
    let told = scrape(engine.http_addr).await;
    assert_declared(&told, |metric| metric.name.to_owned());
    assert_eq!(told.value("surgetank_phase", &[("phase", "starting")]), 1.0);
    assert_eq!(told.value("surgetank_ready", &[]), 0.0);
    assert_eq!(told.value("surgetank_health_condition", &[("part", "log"), ("code", "starting")]), 1.0);
    for metric in declared().filter(|metric| metric.only.is_none()) {
        assert!(told.types.contains_key(metric.name), "{} is missing during a start", metric.name);
    }
    assert!(told.of("surgetank_store_wal_bytes").is_empty() && told.of("surgetank_log_unread_bytes").is_empty());
    engine.stop();
    in_time("an engine that waits to stop", engine.ended()).await.unwrap();

    let site = Site::new(&[("shutdown.notice", "\"3 s\"")]);
    let mut running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    device.accepted(&[position_at(1, 1, now_ms())]).await;
    running.catch_up().await;
    let before = scrape(running.engine.http_addr).await;
    running.engine.stop();
    let told = until("the engine to drain", async || {
        let told = scrape(running.engine.http_addr).await;
        (told.value("surgetank_phase", &[("phase", "draining")]) == 1.0).then_some(told)
    })
    .await;
    assert_eq!(
        (told.value("surgetank_phase", &[("phase", "running")]), told.value("surgetank_ready", &[])),
        (0.0, 0.0)
    );
    for sample in before.samples.iter().filter(|sample| sample.name.ends_with("_total")) {
        let labels: Vec<_> = sample.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert!(told.value(&sample.name, &labels) >= sample.value, "{sample:?} went down");
    }
    in_time("the engine to stop", running.engine.ended()).await.unwrap();
}
