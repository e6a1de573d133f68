//! Reloads of the real binary: by SIGHUP, and because a file has changed.

use crate::common;

use common::device::{Device, position};
use common::layouts::{Layouts, with_cargo};
use common::process::Process;
use common::site::Site;
use common::{http, until};
use serde_json::{Value, json};

/// Waits until this many reloads have had effect, and returns what is told.
async fn generation(process: &Process, number: u64) -> Value {
    until("a reload", async || {
        let (_, told) = http::get(process.http, "/health/reload").await;
        (told["generation"] == number).then_some(told)
    })
    .await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn changed_files_are_taken_over_and_connections_stay() {
    let layouts = Layouts::new();
    let directory = layouts.quoted();
    let settings = [("messages.directory", directory.as_str()), ("reload.look_every", "\"100 ms\"")];
    let site = Site::new(&settings);
    let process = Process::start(&site).await;
    let mut device = Device::connect(process.devices, "truck-1").await;

    layouts.add_cargo();
    generation(&process, 2).await;
    device.accepted(&[with_cargo(&layouts.codecs(), 1, 1_000)]).await;

    let quiet = ("logging.level", "\"info,surgetank::actors::connection=debug\"");
    site.configure(&[settings[0], settings[1], quiet, ("http.listen", "\"127.0.0.1:1\"")]);
    let told = generation(&process, 3).await;
    assert_eq!(told["last"]["changes"], json!(["logging.level"]));
    assert_eq!(told["needs_restart"], json!(["http.listen"]));
    process.tells("\"needs_restart\":\"http.listen\"").await;
    // Now that debug is logged, a refusal is.
    common::device::say(process.devices, b"not a frame at all").await;
    process.tells("connection refused").await;
    device.accepted(&[position(2, 2)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_a_value_is_read_from_is_watched_and_its_content_not_shown() {
    let level = ("logging.level", "\"${file:level}\"");
    let site = Site::new(&[level, ("reload.look_every", "\"100 ms\"")]);
    std::fs::write(site.path().join("level"), "info\n").unwrap();
    let process = Process::start(&site).await;
    std::fs::write(site.path().join("level"), "info,surgetank=debug\n").unwrap();
    assert_eq!(generation(&process, 2).await["last"]["changes"], json!(["logging.level"]));

    std::fs::write(site.path().join("level"), "no=such=level\n").unwrap();
    let told = until("a refusal", async || {
        let (_, told) = http::get(process.http, "/health/reload").await;
        (told["last"]["outcome"] == "error").then_some(told)
    })
    .await;
    let reason = told["last"]["reason"].as_str().unwrap();
    assert!(reason.contains("logging.level") && !reason.contains("no=such=level"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sighup_reads_the_files_at_once_and_says_what_is_wrong() {
    let site = Site::new(&[("reload.look_every", "\"0 s\"")]);
    let process = Process::start(&site).await;
    let fine = std::fs::read_to_string(site.config_path()).unwrap();
    std::fs::write(site.config_path(), format!("{fine}\n[gate]\nmax_writs = 3\n")).unwrap();
    process.signal("HUP");
    let told = until("the answer", async || {
        let (_, told) = http::get(process.http, "/health/reload").await;
        told["last"].is_object().then_some(told)
    })
    .await;
    assert_eq!((&told["generation"], &told["last"]["outcome"]), (&1.into(), &"error".into()), "{told}");
    let reason = told["last"]["reason"].as_str().unwrap();
    assert!(reason.contains("gate.max_writs: unknown key; did you mean \"max_writes\"?"), "{reason}");
    process.tells("gate.max_writs").await;

    std::fs::write(site.config_path(), format!("{fine}\n[gate]\nmax_writes = 3\n")).unwrap();
    process.signal("HUP");
    let told = generation(&process, 2).await;
    assert_eq!(told["last"]["changes"], json!(["gate.max_writes"]));
    Device::connect(process.devices, "truck-1").await.accepted(&[position(1, 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_is_away_is_asked_again_without_another_change() {
    let layouts = Layouts::new();
    let directory = layouts.quoted();
    let site = Site::new(&[("messages.directory", &directory), ("reload.look_every", "\"100 ms\"")]);
    let process = Process::start(&site).await;
    let blocked = site.block_store();
    layouts.add_cargo();
    let told = until("a reload that fails", async || {
        let (_, told) = http::get(process.http, "/health/reload").await;
        (told["last"]["outcome"] == "error").then_some(told)
    })
    .await;
    assert!(told["last"]["reason"].as_str().unwrap().contains("locked"), "{told}");
    assert_eq!(told["generation"], 1);
    drop(blocked);
    generation(&process, 2).await;
    let mut device = Device::connect(process.devices, "truck-1").await;
    device.accepted(&[with_cargo(&layouts.codecs(), 1, 1_000)]).await;
}
