//! Reloads of a running engine: what is taken over, what is not, and that nobody is disturbed by either.

use crate::common;

use common::device::{CODECS, Device, position};
use common::http;
use common::layouts::{Layouts, NEXT_VERSION, with_cargo};
use common::ledger::add_cargo_under_load;
use common::site::{Running, Site};
use common::{until, until_true};
use serde_json::{Value, json};
use surgetank::codec::avro::split_single_object;
use surgetank::engine::reload::ReloadError;
use surgetank::engine::{all_topics, open_log, record_topics};
use surgetank::log::{AppendBatch, Completion, Keys, TopicPartition};
use surgetank::protocol::message::Identity;
use surgetank::protocol::reason::{RefusalReason, RejectReason};
use surgetank::protocol::receipt::Outcome;

/// Reads the files again, which has to work, and returns what is told of it.
async fn reload(running: &Running, site: &Site) -> Value {
    running.started.reloader.reload(Ok(site.loaded())).await.unwrap_or_else(|error| panic!("{error}"));
    told(running).await
}

/// Reads the files again, which has to fail; returns the reason.
async fn refused(running: &Running, site: &Site) -> String {
    let error = running.started.reloader.reload(Ok(site.loaded())).await.unwrap_err();
    assert!(!error.is_retryable(), "{error}");
    let told = told(running).await;
    assert_eq!(told["last"]["outcome"], "error", "{told}");
    told["last"]["reason"].as_str().unwrap().to_owned()
}

async fn told(running: &Running) -> Value {
    let (status, told) = http::get(running.engine.http_addr, "/health/reload").await;
    assert_eq!(status, 200);
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_version_goes_live_under_load_and_loses_nothing() {
    let layouts = Layouts::new();
    let site = Site::new(&[("messages.directory", &layouts.quoted())]);
    let running = site.launch().await;
    add_cargo_under_load(&site, &running, &layouts).await;
    let told = told(&running).await;
    assert_eq!(told["generation"], 2, "{told}");
    assert_eq!(told["last"]["changes"], json!([format!("message type position version {NEXT_VERSION} (new)")]));
    let number = |condition: &str| site.number(&format!("select count(*) from position where {condition}"));
    assert!(number("version = 3") > 1_000);
    assert_eq!(number("version = 3 and cargo is null"), 0, "rows of the new version without its column");
    assert_eq!(number("version < 3 and cargo is not null"), 0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_connected_device_sends_the_new_version_as_soon_as_it_is_known() {
    let layouts = Layouts::new();
    let site = Site::new(&[("messages.directory", &layouts.quoted())]);
    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "truck-1").await;
    device.accepted(&[position(0, 7)]).await;
    layouts.add_cargo();
    let codecs = layouts.codecs();
    let outcomes = device.deliver(&[with_cargo(&codecs, 1, 1)]).await;
    assert_eq!(outcomes, [Outcome::Rejected(RejectReason::UnknownVersion)]);
    reload(&running, &site).await;
    device.accepted(&[with_cargo(&codecs, 2, 20_000), position(3, 8)]).await;
    running.catch_up().await;
    let rows = site.rows("select sequence, version, cargo, odometer from position order by sequence");
    assert_eq!(json!(rows), json!([[0, 1, null, 7], [2, 3, 20_000, null], [3, 1, null, 8]]));
    running.stop().await;

    // The schema is in the log: only layouts that read it start.
    let running = site.launch().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_type_goes_to_the_topic_that_takes_the_rest_and_to_no_other() {
    let door = r#"
        type = "door"
        id = 77
        doc = "A door"
        [[version]]
        version = 1
        fields = [{ name = "open", kind = "bool", doc = "Whether it is open" }]
    "#;
    let send_door = async |running: &Running, layouts: &Layouts| {
        let mut device = Device::connect(running.engine.devices_addr, "door-1").await;
        let (mut header, _) = position(0, 0);
        (header.type_id, header.version) = (layouts.codecs().by_name("door").unwrap().message_type.id, 1);
        device.deliver(&[(header, vec![0x80])]).await
    };
    let layouts = Layouts::new();
    let site = Site::new(&[("messages.directory", &layouts.quoted())]);
    let running = site.launch().await;
    layouts.write("door.toml", door);
    let told = reload(&running, &site).await;
    assert_eq!(told["last"]["changes"], json!(["message type door (new)"]));
    assert_eq!(send_door(&running, &layouts).await, [Outcome::Accepted]);
    running.catch_up().await;
    assert_eq!(json!(site.rows("select device_id, open from door")), json!([["door-1", 1]]));
    running.stop().await;

    // Without such a topic, naming the type in another one takes it; a topic of its own needs a restart.
    let layouts = Layouts::new();
    let directory = layouts.quoted();
    let named = "[\"position\", \"harsh_event\", \"engine_health\", \"device_status\"]";
    let settings = [("messages.directory", directory.as_str()), ("topics.telemetry.types", named)];
    let site = Site::new(&settings);
    let running = site.launch().await;
    layouts.write("door.toml", door);
    let reason = refused(&running, &site).await;
    assert!(reason.contains("no topic takes type \"door\""), "{reason}");
    site.configure(&[settings[0], settings[1], ("topics.doors.types", "[\"door\"]")]);
    let reason = refused(&running, &site).await;
    assert!(reason.contains("\"door\"") && reason.contains("needs a restart"), "{reason}");
    let with_door = named.replace(']', ", \"door\"]");
    site.configure(&[settings[0], ("topics.telemetry.types", &with_door)]);
    let told = reload(&running, &site).await;
    assert_eq!(told["last"]["changes"], json!(["topics.telemetry.types", "message type door (new)"]));
    assert_eq!(send_door(&running, &layouts).await, [Outcome::Accepted]);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_taken_over_changes_nothing() {
    let layouts = Layouts::new();
    let directory = layouts.quoted();
    let site = Site::new(&[("messages.directory", &directory)]);
    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "truck-1").await;
    device.accepted(&[position(0, 0)]).await;
    let (health, before) = (layouts.read("engine_health.toml"), layouts.read("position.toml"));
    let restore = || {
        layouts.write("engine_health.toml", &health);
        layouts.write("position.toml", &before);
    };
    // Everything else that has changed must not be taken over either.
    site.configure(&[("messages.directory", &directory), ("devices.max_messages", "5")]);

    layouts.add_cargo();
    layouts.write("engine_health.toml", &health.replace("kind = \"fixed\", bits = 16", "kind = \"fixxed\", bits = 16"));
    let reason = refused(&running, &site).await;
    assert!(reason.contains("engine_health.toml: type engine_health, version 1, field rpm"), "{reason}");

    layouts.write("engine_health.toml", &health.replace("doc = \"What", "dok = \"What"));
    let reason = refused(&running, &site).await;
    assert!(reason.contains("engine_health.toml:5: unknown field `dok`"), "{reason}");

    // Records that are in the log already could not be read.
    layouts.write("engine_health.toml", &health.replace("unit = \"1/min\"", "unit = \"rad/s\""));
    let reason = refused(&running, &site).await;
    assert!(reason.contains("field rpm would change its meaning"), "{reason}");
    assert_eq!(site.rows("select name from pragma_table_info('position') where name = 'cargo'").len(), 0);

    // The store's column has another type.
    restore();
    layouts.add_next_version("kind = \"text\", length_bits = 5, max = 24");
    let connection = rusqlite::Connection::open(site.store_path()).unwrap();
    connection.execute_batch("alter table position add column cargo integer").unwrap();
    let reason = refused(&running, &site).await;
    assert!(reason.contains("column position.cargo is INTEGER but the layouts need TEXT"), "{reason}");

    // A layout that devices may still use is gone.
    restore();
    std::fs::remove_file(layouts.path().join("harsh_event.toml")).unwrap();
    let reason = refused(&running, &site).await;
    assert!(reason.contains("message type harsh_event is gone"), "{reason}");

    // A mixture of what can be taken over and what cannot.
    site.configure(&[
        ("messages.directory", &directory),
        ("log.embedded.write_buffer", "\"64 MiB\""),
        ("devices.max_package", "\"40 MiB\""),
        ("memory.budget", "\"512 MiB\""),
    ]);
    let reason = refused(&running, &site).await;
    assert!(reason.contains("devices.max_package = \"40 MiB\" is more than log.embedded.write_buffer"), "{reason}");

    // A file that is wrong by itself.
    std::fs::write(site.config_path(), "[devices]\nmax_mesages = 5\n").unwrap();
    let read = surgetank::config::LoadedConfig::load_with(Some(&site.config_path()), []);
    let error = running.started.reloader.reload(read).await.unwrap_err();
    assert!(matches!(error, ReloadError::Config(_)), "{error}");
    let told = told(&running).await;
    let reason = told["last"]["reason"].as_str().unwrap();
    assert!(reason.contains("surgetank.toml:2: devices.max_mesages: unknown key"), "{reason}");

    assert_eq!(told["generation"], 1, "{told}");
    let mut late = Device::connect(running.engine.devices_addr, "truck-2").await;
    assert_eq!(late.welcome.max_messages, device.welcome.max_messages);
    device.accepted(&[position(1, 1)]).await;
    late.accepted(&[position(0, 0)]).await;
    running.catch_up().await;
    assert_eq!(site.number("select count(*) from position"), 3);
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn limits_are_those_of_the_welcome_until_a_device_connects_again() {
    let site = Site::new(&[("devices.max_messages", "4")]);
    let running = site.launch().await;
    let server = running.engine.devices_addr;
    let messages = |num: u32| (0..num).map(|sequence| position(sequence, sequence)).collect::<Vec<_>>();
    let mut device = Device::connect(server, "truck-1").await;
    site.configure(&[
        ("devices.max_messages", "2"),
        ("devices.max_connections", "7"),
        ("memory.budget", "\"64 MiB\""),
        ("gate.max_writes", "3"),
        ("limits.address_connections", "2"),
    ]);
    let told = reload(&running, &site).await;
    assert_eq!(
        told["last"]["changes"],
        json!(["devices.max_messages", "gate.max_writes", "limits.address_connections", "memory.budget"])
    );
    assert_eq!(told["needs_restart"], json!(["devices.max_connections"]));
    let (_, histograms) = http::get(running.engine.http_addr, "/histograms").await;
    assert_eq!(histograms["memory"]["budget_bytes"], 64 << 20);
    until_true("the gate to keep to its new limit", async || {
        http::get(running.engine.http_addr, "/gate").await.1["limit"].as_u64().unwrap() <= 3
    })
    .await;

    device.accepted(&messages(4)).await;
    let _second = Device::connect(server, "truck-2").await;
    let third = Device::try_connect(server, "truck-3", "").await.err().flatten().expect("a refusal");
    assert_eq!(third.reason, RefusalReason::TooManyFromAddress);
    drop(device);
    let mut device =
        until("room for the device to come back", async || Device::try_connect(server, "truck-1", "").await.ok()).await;
    assert_eq!(device.welcome.max_messages, 2);
    let too_many = device.deliver(&messages(4)).await;
    assert_eq!(too_many, [Outcome::Rejected(RejectReason::TooManyMessages); 4]);
    device.accepted(&messages(2)).await;

    // What needs a restart is told until it is taken back, or there was one.
    site.configure(&[]);
    let told = reload(&running, &site).await;
    assert_eq!((&told["generation"], &told["needs_restart"]), (&3.into(), &json!([])));
    let told = reload(&running, &site).await;
    assert_eq!((&told["generation"], &told["last"]["changes"]), (&3.into(), &json!([])));
    running.stop().await;
}

/// The fingerprint that builds before this one gave the shipped `position`.
const EARLIER_POSITION: [u8; 8] = 0x2e6e_032d_061c_1b19_u64.to_be_bytes();

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_with_the_fingerprint_of_an_earlier_build_become_rows() {
    // Somebody may have removed what that build registered.
    for is_registered in [true, false] {
        let site = Site::new(&[]);
        let codec = CODECS.by_name("position").unwrap();
        let (header, body) = position(1, 77);
        let mut record = Vec::new();
        let identity = Identity { device_id: "truck-1", header, received_at_us: header.event_time_ms * 1000 };
        codec.layout(1).unwrap().transcode(&identity, &body, &mut record).unwrap();
        assert_eq!(split_single_object(&record).unwrap().0, codec.fingerprint);
        assert_ne!(codec.fingerprint, EARLIER_POSITION);
        record[2..10].copy_from_slice(&EARLIER_POSITION);

        let log = open_log(&site.config()).unwrap();
        log.apply(&all_topics(&site.config())).await.unwrap();
        if is_registered {
            log.put_schema(EARLIER_POSITION, codec.schema_json.clone()).await.unwrap();
        }
        let (sender, receipt) = tokio::sync::oneshot::channel();
        let topic = record_topics(&site.config())[0].name.clone();
        let ends = vec![record.len() as u32];
        let batch = AppendBatch { keys: Keys::Same("truck-1".into()), values: record.into(), ends, trace: None };
        let completion = Completion::new(move |outcome| drop(sender.send(outcome)));
        log.append(&TopicPartition { topic, partition: 0 }, batch, completion);
        receipt.await.unwrap().unwrap();
        log.close().await;
        drop(log);

        let running = site.launch().await;
        let mut device = Device::connect(running.engine.devices_addr, "truck-2").await;
        device.accepted(&[position(1, 78)]).await;
        running.catch_up().await;
        let odometers = site.rows("select device_id, odometer from position order by device_id");
        assert_eq!(odometers.len(), 2, "registered: {is_registered}");
        assert_eq!(running.counters().dead_letters, 0);
        let known = running.started.backends.log.schemas().await.unwrap();
        let of_position: Vec<_> = known.iter().filter(|(_, json)| *json == codec.schema_json).collect();
        let earlier = is_registered.then_some(EARLIER_POSITION);
        let expected: Vec<_> = earlier.into_iter().chain([codec.fingerprint]).collect();
        assert_eq!(of_position.iter().map(|(fingerprint, _)| *fingerprint).collect::<Vec<_>>(), expected);
        running.stop().await;
    }
}
