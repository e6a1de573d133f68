//! The same job on a real Kafka and a real Cassandra while these are frozen, killed and brought back.
//!
//! Needs `SURGETANK_TEST_KAFKA`, `SURGETANK_TEST_CASSANDRA` and `SURGETANK_TEST_SERVICES`, the script that controls the
//! two; otherwise the tests say that they were skipped. `scripts/test` sets all three.

use crate::common;

use std::net::SocketAddr;
use std::process::Command;
use std::time::{Duration, Instant};

use common::ledger::{Load, compare, dead_letters, fleet};
use common::process::{Process, arg, run};
use common::site::{Running, Site};
use common::{http, in_time, now_ms, until, until_true};
use surgetank::engine::Engine;
use surgetank::simulate::Ledger;
use tokio::sync::Mutex;

/// How long a server stays away at least: longer than any timeout that would hide the outage.
const OUTAGE: Duration = Duration::from_secs(8);

/// The servers are everybody's.
pub(super) static ONE_AT_A_TIME: Mutex<()> = Mutex::const_new(());

pub(super) struct Servers {
    kafka: String,
    cassandra: String,
    script: String,
}

pub(super) fn servers() -> Option<Servers> {
    let variable = |name: &str| {
        let value = std::env::var(name).ok();
        if value.is_none() {
            println!("skipped: {name} is not set");
        }
        value
    };
    Some(Servers {
        kafka: variable("SURGETANK_TEST_KAFKA")?,
        cassandra: variable("SURGETANK_TEST_CASSANDRA")?,
        script: variable("SURGETANK_TEST_SERVICES")?,
    })
}

impl Servers {
    /// Freezes, thaws, kills or restarts a server, and returns when that is done.
    pub(super) async fn tell(&self, order: &'static str, server: &'static str) {
        let mut command = Command::new(&self.script);
        command.args([order, server]);
        if let Ok(directory) = std::env::var("SURGETANK_TEST_SERVICES_DIR") {
            command.env("SURGETANK_SERVICES_DIR", directory);
        }
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        assert!(output.status.success(), "{order} {server}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// A site on these servers with topics, tables and a group of its own.
    pub(super) fn site(&self) -> Site {
        self.site_of(&common::unique_name())
    }

    /// A site on these servers with the topics, tables and group of this name.
    fn site_of(&self, name: &str) -> Site {
        let quoted = |text: String| format!("{text:?}");
        let (kafka, cassandra) = (format!("[{:?}]", self.kafka), format!("[{:?}]", self.cassandra));
        let topic = format!("topics.{name}");
        Site::new_without_topics(&[
            (&format!("{topic}.partitions"), "4"),
            (&format!("{topic}.types"), "[\"*\"]"),
            ("dead_letter.topic", &quoted(format!("{name}_dead"))),
            ("log.kind", "\"kafka\""),
            ("log.kafka.brokers", &kafka),
            ("log.kafka.group", &quoted(name.to_owned())),
            ("log.kafka.instance_id", "\"pod-0\""),
            ("log.kafka.schema_topic", &quoted(format!("{name}_schemas"))),
            ("log.kafka.control_topic", &quoted(format!("{name}_control"))),
            ("log.kafka.delivery_timeout", "\"5 s\""),
            ("store.kind", "\"cassandra\""),
            ("store.cassandra.nodes", &cassandra),
            ("store.cassandra.keyspace", &quoted(name.to_owned())),
            ("store.cassandra.request_timeout", "\"2 s\""),
        ])
    }
}

/// A log that is away makes the pod unready; a store that is away does not, since messages wait for it in the log.
async fn failing_because_of(address: SocketAddr, part: &str) {
    let reason = until(&format!("{part} to fail"), async || {
        let (_, body) = http::try_get(address, "/health").await?;
        (body[part]["state"] == "failing").then(|| body[part]["reason"].to_string())
    })
    .await;
    println!("failing: {reason}");
    if part == "store" {
        assert_eq!(http::get(address, "/health/ready").await.0, 200, "a database outage is no device outage");
    } else {
        until_true("not to be ready", async || http::get(address, "/health/ready").await.0 == 503).await;
    }
}

async fn healthy(address: SocketAddr) {
    let mut last = None;
    until_true("to be healthy and ready", async || {
        let now = http::try_get(address, "/health").await.map(|(_, body)| body);
        let is_healthy = now.as_ref().is_some_and(|body| body["verdict"] == "ok");
        if now != last {
            println!("health: {now:?}");
            last = now;
        }
        is_healthy && http::get(address, "/health/ready").await.0 == 200
    })
    .await;
}

/// The store has everything soon; what it does not have after a while is lost.
async fn assert_complete(ledger: Ledger, site: &Site, running: &Running) {
    let config = site.config();
    // A lag is known only once Kafka has been asked for the end of the partition: right after a start it says little, so
    // the store itself is looked at until it has everything.
    let mut found = compare(ledger.clone(), &config, &running.started.backends).await;
    for _ in 0..60 {
        if found.lost == 0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        found = compare(ledger.clone(), &config, &running.started.backends).await;
    }
    println!("{found:?}");
    assert!(found.acked > 0);
    assert_eq!(found.lost, 0, "lost, such as {:?}", found.lost_examples);
    assert_eq!((found.duplicate_rows, found.unknown_rows), (0, 0), "{found:?}");
    assert!(
        dead_letters(&config, &*running.started.backends.log).is_empty(),
        "an outage is no reason for a dead letter"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn outages_of_kafka_and_cassandra_lose_nothing_and_are_told() {
    let Some(servers) = servers() else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let site = servers.site();
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let mut options = fleet(running.engine.devices_addr);
    options.rate = 1000.0;
    let load = Load::start(options);
    load.acked(1_000).await;

    for (server, part) in [("kafka", "log"), ("cassandra", "store")] {
        healthy(address).await;
        let began = Instant::now();
        servers.tell("pause", server).await;
        failing_because_of(address, part).await;
        let noticed = began.elapsed();
        tokio::time::sleep(OUTAGE.saturating_sub(noticed)).await;
        servers.tell("resume", server).await;
        let resumed = Instant::now();
        healthy(address).await;
        load.acked(1_000).await;
        println!("{server} frozen: noticed after {noticed:?}, ready again {:?} after it went on", resumed.elapsed());
    }
    for (server, part) in [("kafka", "log"), ("cassandra", "store")] {
        servers.tell("kill", server).await;
        failing_because_of(address, part).await;
        servers.tell("restart", server).await;
        servers.tell("wait", server).await;
        let back = Instant::now();
        healthy(address).await;
        load.acked(1_000).await;
        println!("{server} down: ready again {:?} after it was back", back.elapsed());
    }

    let report = load.end().await;
    assert_eq!(report.unacked_at_end, 0);
    for group in running.started.view.supervisor.tree().snapshot() {
        for actor in &group.actors {
            assert_eq!(actor.restarts, 0, "an outage is no reason for an actor to die: {group:?}");
        }
    }
    assert_complete(report.ledger, &site, &running).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kill_9_of_the_engine_on_kafka_and_cassandra_loses_nothing() {
    let Some(servers) = servers() else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let site = servers.site();
    let mut process = Process::start(&site).await;
    let load = Load::start(fleet(process.devices));
    load.acked(5_000).await;
    let (devices, http_addr) = (process.devices, process.http);
    process.kill();
    let killed = now_ms();

    // The same addresses, so that the fleet finds it again.
    let config = std::fs::read_to_string(site.config_path()).unwrap();
    let fixed = config
        .replacen("[devices]\nlisten = \"127.0.0.1:0\"", &format!("[devices]\nlisten = \"{devices}\""), 1)
        .replacen("[http]\nlisten = \"127.0.0.1:0\"", &format!("[http]\nlisten = \"{http_addr}\""), 1);
    std::fs::write(site.config_path(), fixed).unwrap();
    let mut process = Process::start_with(&site, "").await;
    until_true("the first row after the restart", async || {
        let histograms = http::try_get(http_addr, "/histograms").await;
        histograms.is_some_and(|(_, body)| body["counters"]["rows"].as_u64().unwrap_or(0) > 0)
    })
    .await;
    println!("first row {} ms after the kill", now_ms() - killed);
    load.acked(2_000).await;
    let report = load.end().await;
    assert_eq!(report.unacked_at_end, 0);
    process.signal("TERM");
    assert_eq!(process.exited().await.code(), Some(0), "{}", process.told());

    let running = site.launch().await;
    assert_complete(report.ledger, &site, &running).await;
    running.stop().await;
}

/// Pods that start while Cassandra is down acknowledge; one of them finds no keyspace when it is back, and goes on when that
/// is there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_that_start_while_cassandra_is_down_acknowledge_and_write_when_it_is_back() {
    let Some(servers) = servers() else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let (site, new_site) = (servers.site(), servers.site());
    let mut process = Process::start(&site).await;
    let load = Load::start(fleet(process.devices));
    load.acked(2_000).await;
    let mut ledger = load.end().await.ledger;
    process.kill();
    servers.tell("kill", "cassandra").await;

    for signal in ["TERM", "KILL"] {
        let began = Instant::now();
        let mut process = Process::start(&site).await;
        println!("ready {:?} after a start without Cassandra", began.elapsed());
        let load = Load::start(fleet(process.devices));
        load.acked(2_000).await;
        failing_because_of(process.http, "store").await;
        let report = load.end().await;
        assert_eq!((report.unacked_at_end, report.refused), (0, 0));
        ledger.devices.extend(report.ledger.devices);
        process.signal(signal);
        let status = process.exited().await;
        assert!(signal == "KILL" || status.code() == Some(0), "{}", process.told());
    }
    let engine = Engine::launch(site.loaded()).unwrap();
    let config = std::fs::read_to_string(new_site.config_path()).unwrap();
    std::fs::write(new_site.config_path(), config.replacen("[store]\n", "[store]\napply_on_start = false\n", 1))
        .unwrap();
    let new_pod = Process::start(&new_site).await;
    let load = Load::start(fleet(new_pod.devices));
    load.acked(1_000).await;
    let new_ledger = load.end().await.ledger;

    servers.tell("restart", "cassandra").await;
    servers.tell("wait", "cassandra").await;
    let back = Instant::now();
    let started = in_time("the pod to write", engine.started()).await.unwrap();
    let running = Running::of(engine, started, &site);
    healthy(running.engine.http_addr).await;
    println!("healthy {:?} after Cassandra was back", back.elapsed());
    assert_complete(ledger, &site, &running).await;
    running.stop().await;

    until_true("the new pod to tell what is missing", async || {
        let told = http::get(new_pod.http, "/health").await.1["store"].to_string();
        told.contains("store_unfit") && told.contains("surgetank apply")
    })
    .await;
    let applied = run(&["apply", "--config", arg(&new_site.config_path())]);
    assert!(applied.status.success(), "{applied:?}");
    healthy(new_pod.http).await;
    drop(new_pod);
    let running = new_site.launch().await;
    assert_complete(new_ledger, &new_site, &running).await;
    running.stop().await;
}

/// The group knows one member by an instance id, and that is the one that joined last.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_two_engines_with_one_instance_id_the_first_ends_and_the_second_takes_over() {
    let Some(servers) = servers() else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    let name = common::unique_name();
    let (first_site, second_site) = (servers.site_of(&name), servers.site_of(&name));
    let mut first = Process::start(&first_site).await;
    let mut options = fleet(first.devices);
    // These devices never learn of the second engine: what they have left at the end stays with them.
    options.drain_timeout = Duration::from_millis(1);
    let load = Load::start(options);
    load.acked(2_000).await;

    let second = second_site.launch().await;
    let began = Instant::now();
    let status = first.exited().await;
    println!("the first ended {:?} after the second ran", began.elapsed());
    let told = first.told();
    assert_eq!(status.code(), Some(1), "{told}");
    let reason = told.lines().last().unwrap();
    assert!(reason.starts_with("surgetank: ") && reason.contains("log.kafka.instance_id"), "{told}");
    let mut ledger = load.end().await.ledger;

    let load = Load::start(fleet(second.engine.devices_addr));
    load.acked(2_000).await;
    let report = load.end().await;
    assert_eq!(report.unacked_at_end, 0);
    ledger.devices.extend(report.ledger.devices);
    assert_complete(ledger, &second_site, &second).await;
    second.assert_unharmed().await;
    second.stop().await;
}

/// The database's word for the time, and where there is only a broker, the broker's.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_far_from_the_servers_takes_nothing_in_until_it_is_set_right() {
    use common::device::{Device, position};
    use common::process::Clock;
    use surgetank::protocol::receipt::Outcome;

    let Some(servers) = servers() else { return };
    let _alone = ONE_AT_A_TIME.lock().await;
    for (store, witness) in [("cassandra", "the database's"), ("embedded", "the broker's")] {
        let site = servers.site();
        let config = std::fs::read_to_string(site.config_path()).unwrap();
        let store = format!("[store]\nkind = {store:?}");
        std::fs::write(site.config_path(), config.replace("[store]\nkind = \"cassandra\"", &store)).unwrap();
        // Ahead: what is as far behind is before the build of this test.
        let clock = Clock::set(&site, 26 * 3600);
        let mut process = Process::start_with(&site, &clock.failpoint()).await;
        let ready = async |status| {
            until_true(&format!("readiness to be {status}"), async || {
                http::try_get(process.http, "/health/ready").await.is_some_and(|(found, _)| found == status)
            })
            .await;
        };
        process.tells("1day 2h ahead of").await;
        process.tells(witness).await;
        ready(503).await;
        let mut device = Device::connect(process.devices, "d").await;
        assert_eq!(device.deliver(&[position(1, 1)]).await, [Outcome::RetryLater]);
        let (_, health) = http::get(process.http, "/health").await;
        assert_eq!(
            (&health["verdict"], &health["clock"]["conditions"][0]["code"]),
            (&"failing".into(), &"clock_wrong".into())
        );
        clock.move_to(0);
        ready(200).await;
        device.accepted(&[position(1, 1)]).await;
        assert_eq!(process.told().matches("this machine's clock is wrong").count(), 1, "{}", process.told());
        process.signal("TERM");
        process.exited().await;
    }
}
