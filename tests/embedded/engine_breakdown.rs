//! What only a restart can mend ends the process with exit code 1, so that whoever runs it starts it again, and loses
//! nothing; and a start takes messages in though the store is away. The same on Kafka and Cassandra is in `tests/outages`.
//!
//! Faults are injected through fail points, so these tests are built only with `--features failpoints`.
#![cfg(feature = "failpoints")]

use crate::common;

use std::time::{Duration, Instant};

use common::device::{Device, position};
use common::events::{JSON, event};
use common::http::{Request, get, try_get};
use common::layouts::Layouts;
use common::ledger::{Load, assert_nothing_lost, fleet};
use common::process::Process;
use common::site::Site;
use common::{in_time, until, until_true};
use surgetank::engine::Engine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Nobody listens there.
const NOWHERE: &str = "127.0.0.1:1";

/// Settings of a store at this address.
fn cassandra_at(node: &str) -> [(&'static str, String); 2] {
    [("store.kind", "\"cassandra\"".to_owned()), ("store.cassandra.nodes", format!("[{node:?}]"))]
}

/// The codes of a part's conditions in an answer of `/health`.
fn codes(health: &serde_json::Value, part: &str) -> Vec<String> {
    let conditions = health[part]["conditions"].as_array().unwrap();
    conditions.iter().map(|condition| condition["code"].as_str().unwrap().to_owned()).collect()
}

/// After a failed flush nobody knows what is on disk: only a new start, which reads it, finds out.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flush_that_fails_ends_the_process_and_the_next_one_has_everything_acknowledged() {
    let site = Site::new(&[]);
    // Late enough for something to be acknowledged before, and in the middle of what comes after.
    let mut process = Process::start_with(&site, "flush=50*off->return").await;
    let (devices, http) = (process.devices.to_string(), process.http.to_string());
    let load = Load::start(fleet(process.devices));
    let status = process.exited().await;
    let told = process.told();
    assert_eq!(status.code(), Some(1), "{told}");
    let reason = told.lines().last().unwrap();
    assert!(reason.starts_with("surgetank: writing to the log failed: storage engine: "), "{told}");
    assert!(reason.ends_with("a new start finds out what is durable"), "{told}");
    assert!(!told.contains("actor ended by itself"), "{told}");
    assert!(load.progress.acked.get() > 0, "nothing was acknowledged before the failure");

    // The same place, so that the fleet finds it again.
    site.configure(&[("devices.listen", &format!("{devices:?}")), ("http.listen", &format!("{http:?}"))]);
    let running = site.launch().await;
    load.acked(1_000).await;
    let report = load.end().await;
    assert_eq!(report.unacked_at_end, 0);
    running.catch_up().await;
    assert_nothing_lost(report.ledger, &site.config(), &running.started.backends).await;
    running.stop().await;
}

/// What is taken in while the store is away is in the log, and becomes rows when there is a store.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_while_the_store_is_away_takes_messages_in_and_their_rows_come_when_it_is_back() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    Device::connect(running.engine.devices_addr, "truck-1").await.accepted(&[position(1, 1)]).await;
    running.catch_up().await;
    running.stop().await;

    let [kind, nodes] = cassandra_at(NOWHERE);
    let away = [(kind.0, kind.1.as_str()), (nodes.0, nodes.1.as_str())];
    site.configure(&away);
    let mut process = Process::start(&site).await;
    assert_eq!(get(process.http, "/health/started").await.0, 200);
    let mut device = Device::connect(process.devices, "truck-1").await;
    device.accepted(&[position(2, 2)]).await;
    Request::events(JSON, event("truck-2", 1).to_string()).send(process.ingest).await.accepted(1);
    let (status, told) = until("health to tell of the store", async || {
        let (status, told) = get(process.http, "/health").await;
        assert_ne!(told["verdict"], "ok", "{told}");
        codes(&told, "store").contains(&"store_unavailable".to_owned()).then_some((status, told))
    })
    .await;
    assert_eq!((status, &told["verdict"]), (503, &"failing".into()), "{told}");
    assert!(
        told["store"]["reason"].as_str().unwrap().contains(NOWHERE) && told["store"]["since"].is_string(),
        "{told}"
    );
    assert_eq!((&told["log"]["state"], codes(&told, "consume")), (&"ok".into(), vec!["starting".to_owned()]), "{told}");
    assert_eq!(get(process.http, "/health/ready").await.0, 200, "a database outage is no device outage");
    let lags = get(process.http, "/histograms").await.1["lag_records"].clone();
    assert_eq!(lags, serde_json::json!({"telemetry/0": null, "telemetry/1": null}), "unknown is not 0");

    // A reload does not need the store, unless it brings layouts.
    site.configure(&[&away[..], &[("devices.retry_delay", "\"200 ms\"")]].concat());
    process.signal("HUP");
    until_true("the reload", async || get(process.http, "/health/reload").await.1["generation"] == 2).await;
    device.accepted(&[position(3, 3)]).await;
    let since = Instant::now();
    process.signal("TERM");
    assert_eq!(process.exited().await.code(), Some(0), "{}", process.told());
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
    let lines = process.told().matches("the store does not answer").count();
    assert_eq!(lines, 1, "one line for the change, not one for each attempt: {}", process.told());

    site.configure(&[]);
    let running = site.launch().await;
    running.catch_up().await;
    let rows = site.rows("select device_id, sequence from position order by 1, 2");
    let expected = [("truck-1", 1), ("truck-1", 2), ("truck-1", 3), ("truck-2", 1)];
    assert_eq!(rows, expected.map(|(device, sequence)| vec![serde_json::Value::from(device), sequence.into()]));
    running.stop().await;
}

/// A schema in the log binds every later start, so one that the store may not agree to does not go there before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_with_another_version_of_a_type_in_the_log_waits_for_the_store() {
    let (site, layouts) = (Site::new(&[]), Layouts::new());
    let [kind, nodes] = cassandra_at(NOWHERE);
    let directory = layouts.quoted();
    let (kind, nodes) = ((kind.0, kind.1.as_str()), (nodes.0, nodes.1.as_str()));
    let settings = [("messages.directory", directory.as_str()), kind, nodes];
    site.configure(&settings);
    // Types that are new to the log wait for nothing.
    let mut first = Engine::launch(site.loaded()).unwrap();
    let opened = in_time("the first start", first.opened()).await.unwrap();
    let schemas = opened.log.schemas().await.unwrap();
    drop(opened);
    first.stop();
    in_time("its end", first.ended()).await.unwrap();
    drop(first);

    layouts.add_cargo();
    let mut second = Engine::launch(site.loaded()).unwrap();
    until_true("the start to wait", async || {
        let answer = try_get(second.http_addr, "/health/ready").await;
        answer.is_some_and(|(status, told)| {
            assert_eq!(status, 503, "{told}");
            told["reasons"][0].as_str().is_some_and(|reason| reason.starts_with("starting: waiting for the store: "))
        })
    })
    .await;
    second.stop();
    in_time("an engine that waits to stop", second.ended()).await.unwrap();
    drop(second);

    site.configure(&[("messages.directory", directory.as_str())]);
    let running = site.launch().await;
    let after = running.started.backends.log.schemas().await.unwrap();
    assert_eq!((after.len(), &after[..schemas.len()]), (schemas.len() + 1, &schemas[..]), "only now");
    running.stop().await;
}

/// A wrong password looks like a cluster that cannot look it up: messages are taken in, and health tells of it by its name.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_login_that_the_database_does_not_accept_is_told_as_such() {
    let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let node = server.local_addr().unwrap().to_string();
    let serving = tokio::spawn(async move {
        while let Ok((connection, _)) = server.accept().await {
            tokio::spawn(refuse_login(connection));
        }
    });
    let [kind, nodes] = cassandra_at(&node);
    let site = Site::new(&[
        (kind.0, &kind.1),
        (nodes.0, &nodes.1),
        ("store.cassandra.username", "\"surgetank\""),
        ("store.cassandra.password", "\"wrong\""),
    ]);
    let mut engine = Engine::launch(site.loaded()).unwrap();
    let reason = until("health to tell of the login", async || {
        let (_, told) = try_get(engine.http_addr, "/health").await?;
        assert_ne!(told["verdict"], "ok", "{told}");
        let is_told = codes(&told, "store").contains(&"store_login_refused".to_owned());
        is_told.then(|| told["store"]["reason"].as_str().unwrap().to_owned())
    })
    .await;
    assert!(reason.contains("Provided username") && reason.contains("store.cassandra.username"), "{reason}");
    in_time("the start", engine.opened()).await.unwrap();
    Device::connect(engine.devices_addr, "truck-1").await.accepted(&[position(1, 1)]).await;
    engine.stop();
    in_time("the end", engine.ended()).await.unwrap();
    serving.abort();
}

/// What Cassandra answers up to its refusal, in frames of the fourth version of its protocol.
async fn refuse_login(mut connection: TcpStream) -> std::io::Result<()> {
    const STARTUP: u8 = 1;
    const OPTIONS: u8 = 5;
    let string = |text: &str| [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat();
    loop {
        let mut head = [0; 9];
        connection.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
        connection.read_exact(&mut vec![0; length as usize]).await?;
        let (opcode, body) = match head[4] {
            OPTIONS => (6, vec![0, 0]),
            STARTUP => (3, string("org.apache.cassandra.auth.PasswordAuthenticator")),
            _ => {
                (0, [&0x100_u32.to_be_bytes()[..], &string("Provided username and/or password are incorrect")].concat())
            }
        };
        let mut answer = vec![0x84, 0, head[2], head[3], opcode];
        answer.extend((body.len() as u32).to_be_bytes());
        answer.extend(body);
        connection.write_all(&answer).await?;
    }
}
