//! What the store refuses: a row becomes a dead letter for what it holds itself and for nothing else, and a table that takes
//! nothing stops with the reason, keeps its offsets, and goes on by itself.

use crate::common;

use std::net::SocketAddr;
use std::ops::Range;

use common::device::{Device, position_at};
use common::ledger::{Load, assert_nothing_lost, dead_letters, fleet};
use common::servers::Servers;
use common::site::{Running, Site};
use common::{http, now_ms, until, until_true};
use scylla::client::session_builder::SessionBuilder;
use serde_json::Value;

/// Somebody else's connection to the store's file.
fn execute(site: &Site, sql: &str) {
    let connection = rusqlite::Connection::open(site.store_path()).unwrap();
    connection.busy_timeout(common::PATIENCE).unwrap();
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

/// Refuses rows of `position` with the code of a bad value.
fn refuse(site: &Site, when: &str) {
    let body = "BEGIN SELECT RAISE(ABORT, 'not allowed'); END";
    execute(site, &format!("CREATE TRIGGER guard BEFORE INSERT ON position {when} {body}"));
}

async fn send(device: &mut Device, sequences: Range<u32>) {
    let time = now_ms();
    let messages: Vec<_> = sequences.map(|sequence| position_at(sequence, sequence, time)).collect();
    device.accepted(&messages).await;
}

/// Waits until the store is failing for this reason, and returns what is told.
async fn failing(address: SocketAddr, code: &str) -> Value {
    until(&format!("the store to fail as {code}"), async || {
        let (_, health) = http::try_get(address, "/health").await?;
        let conditions = health["store"]["conditions"].as_array()?;
        conditions.iter().find(|condition| condition["code"] == code).cloned()
    })
    .await
}

async fn healthy(address: SocketAddr) {
    until_true("to be healthy", async || {
        http::try_get(address, "/health").await.is_some_and(|(_, health)| health["verdict"] == "ok")
    })
    .await;
}

fn letters(site: &Site, running: &Running) -> Vec<u32> {
    let letters = dead_letters(&site.config(), &*running.started.backends.log);
    let mut sequences: Vec<u32> = letters.iter().filter_map(|letter| letter.sequence).collect();
    assert!(letters.iter().all(|letter| letter.reason_code == "refused_by_store"));
    sequences.sort_unstable();
    sequences
}

fn num_rows(site: &Site) -> i64 {
    site.number("select count(*) from position")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_all_rows_stops_the_table_and_one_of_a_row_is_a_dead_letter() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    send(&mut device, 0..10).await;
    running.catch_up().await;

    // A setting: it is not the rows' fault, with whatever words they are refused.
    refuse(&site, "");
    send(&mut device, 10..110).await;
    let told = failing(address, "table_refused").await;
    assert!(told["subject"] == "position" && told["reason"].as_str().unwrap().contains("not allowed"), "{told}");
    assert_eq!(http::get(address, "/health/ready").await.0, 200, "messages wait in the log");
    let (_, gate) = http::get(address, "/gate").await;
    let windows = gate["recent"].as_array().unwrap();
    assert!(
        !windows.is_empty() && windows.iter().all(|window| window["num_dropped"] == 0),
        "no matter of load: {gate}"
    );
    assert_eq!((num_rows(&site), letters(&site, &running)), (10, vec![]));
    execute(&site, "DROP TRIGGER guard");
    running.catch_up().await;
    healthy(address).await;
    assert_eq!((num_rows(&site), letters(&site, &running)), (110, vec![]));

    // Rows that are refused beside others which are not.
    refuse(&site, "WHEN NEW.sequence IN (150, 151, 180)");
    send(&mut device, 110..210).await;
    running.catch_up().await;
    assert_eq!((num_rows(&site), letters(&site, &running)), (207, vec![150, 151, 180]));
    let counters = running.counters();
    assert_eq!((counters.refused_rows, counters.dead_letters, counters.rows), (3, 3, 207));

    // Nothing but such rows: one that was confirmed before tells of them.
    execute(&site, "DROP TRIGGER guard");
    refuse(&site, "WHEN NEW.sequence >= 210");
    send(&mut device, 210..260).await;
    running.catch_up().await;
    healthy(address).await;
    assert_eq!((num_rows(&site), letters(&site, &running).len()), (207, 53));

    // Such rows undo all that was written with them, which then is written once more.
    execute(&site, "DROP TRIGGER guard");
    let body = "WHEN NEW.sequence IN (280, 320) BEGIN SELECT RAISE(ROLLBACK, 'all or nothing'); END";
    execute(&site, &format!("CREATE TRIGGER guard BEFORE INSERT ON position {body}"));
    send(&mut device, 260..360).await;
    running.catch_up().await;
    healthy(address).await;
    let (num_rows, letters) = (num_rows(&site), letters(&site, &running));
    assert_eq!((num_rows, &letters[53..]), (305, &[280, 320][..]), "{letters:?}");
    let counters = running.counters();
    assert_eq!((counters.refused_rows, counters.rows), (55, 305));
    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn rows_refused_before_any_was_confirmed_are_held_until_one_is() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    refuse(&site, "WHEN NEW.sequence < 5");
    send(&mut device, 0..3).await;
    let told = failing(running.engine.http_addr, "rows_held").await;
    assert!(told["reason"].as_str().unwrap().contains("not allowed"), "{told}");
    assert_eq!((num_rows(&site), letters(&site, &running)), (0, vec![]));
    // One good row among more that are not.
    send(&mut device, 3..6).await;
    running.catch_up().await;
    healthy(running.engine.http_addr).await;
    assert_eq!((num_rows(&site), letters(&site, &running)), (1, vec![0, 1, 2, 3, 4]));

    running.assert_unharmed().await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_setting_that_refuses_all_rows_from_the_start_makes_no_dead_letter() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    refuse(&site, "");
    send(&mut device, 0..200).await;
    failing(running.engine.http_addr, "rows_held").await;
    execute(&site, "DROP TRIGGER guard");
    running.catch_up().await;
    assert_eq!((num_rows(&site), letters(&site, &running)), (200, vec![]));
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_dropped_or_of_other_types_gets_nothing_until_it_is_right() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let mut device = Device::connect(running.engine.devices_addr, "d").await;
    send(&mut device, 0..10).await;
    running.catch_up().await;
    let create = site.rows("SELECT sql FROM sqlite_schema WHERE name = 'position'")[0][0].as_str().unwrap().to_owned();
    let wrong = create.replace("\"speed\" REAL", "\"speed\" TEXT");
    let lax = wrong.replace("STRICT, ", "");
    assert!(wrong != create && lax != wrong, "{create}");

    let mut sequence = 10;
    for (state, code) in [("", "is missing"), (&wrong, "position.speed is TEXT"), (&lax, "not declared STRICT")] {
        execute(&site, &format!("DROP TABLE position; {state}"));
        send(&mut device, sequence..sequence + 50).await;
        let reason = failing(address, "table_refused").await["reason"].to_string();
        assert!(reason.contains(code), "{reason}");
        if state.is_empty() {
            assert_eq!(site.number("SELECT count(*) FROM sqlite_schema WHERE name = 'position'"), 0, "made again");
            execute(&site, &create);
        } else {
            assert_eq!(num_rows(&site), 0, "{reason}");
            execute(&site, &format!("DROP TABLE position; {create}"));
        }
        running.catch_up().await;
        healthy(address).await;
        assert_eq!(site.rows("SELECT DISTINCT typeof(speed) FROM position"), [["real"]]);
        assert_eq!(site.number(&format!("SELECT count(*) FROM position WHERE sequence >= {sequence}")), 50);
        sequence += 50;
    }
    assert_eq!(letters(&site, &running), Vec::<u32>::new());
    running.stop().await;
}

/// Settings and columns of a real Cassandra, changed under load.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_cassandra_settings_and_columns_stop_a_table_and_nothing_is_lost() {
    let Some(servers) = Servers::find() else { return };
    let name = common::unique_name();
    let site = servers.site(&name, "pod-0", &[]);
    let running = site.launch().await;
    let address = running.engine.http_addr;
    let session = SessionBuilder::new().known_node(&servers.cassandra).build().await.unwrap();
    let alter = async |what: &str| {
        session.query_unpaged(format!("ALTER TABLE {name}.position {what}"), ()).await.unwrap();
    };
    let load = Load::start(fleet(running.engine.devices_addr));
    load.acked(2_000).await;
    for (begin, word, end) in [
        // Longer than rows can live by the clock of this Cassandra; the code is that of a bad value.
        ("WITH default_time_to_live = 630720000", "position", "WITH default_time_to_live = 0"),
        ("DROP odometer", "odometer is missing", "ADD odometer bigint"),
    ] {
        alter(begin).await;
        let told = failing(address, "table_refused").await;
        assert!(told["subject"] == "position" && told["reason"].as_str().unwrap().contains(word), "{told}");
        load.acked(2_000).await;
        alter(end).await;
        healthy(address).await;
    }
    let report = load.end().await;
    assert_eq!((report.unacked_at_end, report.rejected), (0, 0));
    running.catch_up().await;
    until_true("every accepted message to be written", async || {
        let counters = running.counters();
        counters.rows >= counters.accepted
    })
    .await;
    let found = assert_nothing_lost(report.ledger, &site.config(), &running.started.backends).await;
    assert_eq!((found.dead_lettered, running.counters().dead_letters), (0, 0));
    running.assert_unharmed().await;
    running.stop().await;
}
