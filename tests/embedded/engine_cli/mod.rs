//! The command line of the real binary: outputs, exit codes, and what it refuses.

use crate::common;
mod documents;

use common::device::{Device, position};
use common::process::{Process, arg, run, surgetank, told};
use common::site::Site;
use common::until_true;
use serde_json::Value;
use surgetank::credentials::TokenKind;
use surgetank::engine::dead_letter_topic;
use surgetank::log::TopicPartition;
use surgetank::log::local::SOCKET_FILE;

use crate::log_contract::{append, batch, outcome};

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

#[test]
fn check_says_fine_or_names_file_line_and_key() {
    let site = Site::new(&[]);
    let (code, stdout, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(stderr.contains("fine (1 topics, 4 message types"), "{stderr}");
    assert!(!site.data_dir().exists(), "check starts nothing");

    std::fs::write(site.config_path(), "[writer]\nactors = 2\nretry_mni = \"1 s\"\n").unwrap();
    let (code, _, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert_eq!(code, 2, "{stderr}");
    let place = format!("{}:3: writer.retry_mni", site.config_path().display());
    assert!(stderr.contains(&place), "{stderr}");

    let (code, _, stderr) = told(&run(&["check", "--config", arg(&site.path().join("none.toml"))]));
    assert_eq!(code, 2);
    assert!(stderr.contains("none.toml"), "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_asks_the_engine_of_a_config_or_of_an_address() {
    let site = Site::new(&[]);
    let running = site.launch().await;
    let url = format!("http://{}", running.engine.http_addr);
    for (check, says) in [("live", "\"live\":true"), ("started", "\"started\":true"), ("all", "\"verdict\"")] {
        let (code, stdout, stderr) = told(&run(&["health", check, "--url", &url]));
        assert_eq!(code, 0, "{stderr}");
        assert!(stdout.contains(says), "{stdout}");
    }
    until_true("ready", async || told(&run(&["health", "--url", &url])).0 == 0).await;
    site.configure(&[("http.listen", &format!("\"{}\"", running.engine.http_addr))]);
    let (code, _, stderr) = told(&run(&["health", "live", "--config", arg(&site.config_path())]));
    assert_eq!(code, 0, "{stderr}");
    running.stop().await;

    let (code, stdout, stderr) = told(&run(&["health", "--url", &url]));
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("/health/ready: "), "{stderr}");
    assert_eq!(told(&run(&["health"])).0, 2, "whose health?");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn check_online_asks_the_log_and_the_store_and_changes_nothing() {
    let site = Site::new(&[]);
    let path = site.config_path();
    let (code, _, stderr) = told(&run(&["check", "--online", "--config", arg(&path)]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("does not exist yet: there is no log to ask"), "{stderr}");
    assert!(stderr.contains("online: not asked: log and store"), "{stderr}");
    assert!(!site.data_dir().exists(), "a check creates nothing");

    let running = site.launch().await;
    let (code, _, stderr) = told(&run(&["check", "--online", "--config", arg(&path)]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("an engine runs on this log"), "{stderr}");
    assert!(stderr.contains("online: not asked: log and store") && !stderr.contains("online: fine"), "{stderr}");
    running.stop().await;
    let (code, _, stderr) = told(&run(&["check", "--online", "--config", arg(&path)]));
    assert_eq!(code, 0, "{stderr}");
    assert!(stderr.contains("online: fine"), "{stderr}");

    // A column of another type, as somebody may have made it meanwhile.
    site.execute("alter table position drop column speed");
    site.execute("alter table position add column speed text");
    let (code, _, stderr) = told(&run(&["check", "--online", "--config", arg(&path)]));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("failing: store: column position.speed is TEXT"), "{stderr}");
}

#[test]
fn simulate_gate_refuses_a_wrong_scenario_and_prints_figures_of_a_right_one() {
    let directory = tempfile::tempdir().unwrap();
    let shipped = concat!(env!("CARGO_MANIFEST_DIR"), "/config/scenarios/calm.toml");
    let text = std::fs::read_to_string(shipped).unwrap();
    let (scenario, drawing) = (directory.path().join("mine.toml"), directory.path().join("mine.svg"));

    std::fs::write(&scenario, text.replace("nodes = 3", "nodes = 0")).unwrap();
    let (code, _, stderr) = told(&run(&["simulate-gate", arg(&scenario)]));
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("store.nodes is 0, but must be 1 to 64"), "{stderr}");

    let small = text.replace("parallelism = 32", "parallelism = 2").replace("40 s", "10 s");
    std::fs::write(&scenario, small).unwrap();
    let (code, stdout, stderr) = told(&run(&["simulate-gate", arg(&scenario), "--json", "--plot", arg(&drawing)]));
    assert_eq!(code, 0, "{stderr}");
    let figures = json(&stdout);
    for name in ["goodput_vs_best_fixed", "p99_vs_unloaded", "settle_s", "recover_s", "left_paused"] {
        assert!(figures[name].is_number(), "{name}: {stdout}");
    }
    assert_eq!(figures["scenario"], "calm");
    assert!(std::fs::read_to_string(&drawing).unwrap().starts_with("<svg"));
}

#[test]
fn check_reads_the_layouts_and_that_topics_take_every_type() {
    let layouts = tempfile::tempdir().unwrap();
    let directory = format!("{:?}", layouts.path().to_str().unwrap());
    let site = Site::new(&[("messages.directory", &directory)]);
    let file = layouts.path().join("door.toml");
    let layout = r#"
        type = "door"
        id = 7
        doc = "A door"
        [[version]]
        version = 1
        fields = [{ name = "open", kind = "boolean", doc = "Whether it is open" }]
    "#;
    std::fs::write(&file, layout).unwrap();
    let (code, _, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("door.toml") && stderr.contains("boolean"), "{stderr}");

    std::fs::write(&file, layout.replace("boolean", "bool")).unwrap();
    let (code, _, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert_eq!(code, 0, "{stderr}");

    site.configure(&[("messages.directory", &directory), ("topics.telemetry.types", "[\"window\"]")]);
    let (code, _, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("topics.telemetry.types") && stderr.contains("window"), "{stderr}");
}

#[test]
fn apply_creates_what_is_missing_and_then_nothing() {
    let site = Site::new(&[]);
    let apply = || told(&run(&["apply", "--config", arg(&site.config_path())]));
    let (code, stdout, stderr) = apply();
    assert_eq!(code, 0, "{stderr}");
    for line in ["created topic telemetry", "created topic dead-letters", "created table position"] {
        assert!(stdout.contains(line), "{stdout}");
    }
    let (code, stdout, stderr) = apply();
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    assert!(stderr.contains("nothing to do"), "{stderr}");
}

#[test]
fn run_without_apply_names_the_remedy() {
    let site = Site::new(&[("log.apply_on_start", "false")]);
    let (code, _, stderr) = told(&run(&["run", "--config", arg(&site.config_path())]));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("run `surgetank apply`"), "{stderr}");
}

#[test]
fn demo_ends_with_one_json_object_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let demo = || {
        let output = surgetank(&["demo", "--json", "--seconds", "2", "--devices", "20", "--rate", "500"])
            .current_dir(directory.path())
            .output()
            .unwrap();
        let (code, stdout, stderr) = told(&output);
        assert_eq!(code, 0, "{stderr}");
        let lines: Vec<&str> = stdout.lines().collect();
        assert_eq!(lines.len(), 1, "{stdout}");
        (json(lines[0]), stderr)
    };
    let (ledger, stderr) = demo();
    for key in ["sent", "acked", "duplicates", "rejected", "stored", "dead_lettered", "lost"] {
        assert!(ledger[key].is_u64(), "{key} in {ledger}");
    }
    for key in ["seconds", "acked_per_s", "stored_per_s"] {
        assert!(ledger[key].as_f64().is_some_and(|value| value > 0.0), "{key} in {ledger}");
    }
    for stage in ["ack_ms", "row_ms"] {
        let at = |quantile: &str| ledger[stage][quantile].as_f64().unwrap_or_else(|| panic!("{stage} in {ledger}"));
        assert!(0.0 < at("p50") && at("p50") <= at("p99") && at("p99") <= at("p999"), "{ledger}");
    }
    assert_eq!(ledger["lost"], 0);
    assert_eq!((&ledger["rejected"], &ledger["dead_lettered"]), (&0.into(), &0.into()), "{ledger}");
    assert_eq!(ledger["sent"], ledger["acked"]);
    assert_eq!(ledger["acked"], ledger["stored"]);
    let sent = ledger["sent"].as_u64().unwrap();
    assert!((500..=1200).contains(&sent), "{sent} sent in 2 s at 500/s");

    // What it tells people to type works.
    let hint = stderr.lines().find(|line| line.contains(" query ")).unwrap_or_else(|| panic!("no hint: {stderr}"));
    assert!(hint.contains("--data-dir data/demo"), "{hint}");
    let count = "select count(*) as n from (select 1 from position union all select 1 from engine_health \
                 union all select 1 from device_status union all select 1 from harsh_event)";
    let query = ["query", "--data-dir", "data/demo", "--format", "json", count];
    let (code, stdout, stderr) = told(&surgetank(&query).current_dir(directory.path()).output().unwrap());
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(json(&stdout)[0]["n"], ledger["stored"]);

    // Again in the same place: the last one's data is replaced and does not count as its own.
    let (ledger, stderr) = demo();
    assert!(stderr.contains("replacing the last demo's data"), "{stderr}");
    assert_eq!(ledger["stored"], ledger["acked"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn query_prints_tables_and_json_and_refuses_writes() {
    let site = Site::new(&[]);
    let mut process = Process::start(&site).await;
    let mut device = Device::connect(process.devices, "truck-1").await;
    device.accepted(&[position(1, 11), position(2, 22)]).await;
    let sql = "select device_id, sequence, odometer, driver from position order by sequence";
    let config = site.config_path();
    let query = |more: &[&str]| told(&run(&[&["query", "--config", arg(&config)], more].concat()));

    // Also while the engine runs.
    let rows = common::until("the rows", async || {
        let (code, stdout, stderr) = query(&[sql, "--format", "json"]);
        assert_eq!(code, 0, "{stderr}");
        Some(json(&stdout)).filter(|rows| rows.as_array().unwrap().len() == 2)
    })
    .await;
    let expected = r#"[{"device_id": "truck-1", "sequence": 1, "odometer": 11, "driver": null},
                       {"device_id": "truck-1", "sequence": 2, "odometer": 22, "driver": null}]"#;
    assert_eq!(rows, json(expected));
    let (code, stdout, _) = query(&[sql]);
    assert_eq!(code, 0);
    let lines: Vec<Vec<&str>> = stdout.lines().map(|line| line.split_whitespace().collect()).collect();
    assert!(lines.contains(&vec!["device_id", "sequence", "odometer", "driver"]), "{stdout}");
    assert!(lines.contains(&vec!["truck-1", "2", "22"]), "{stdout}");

    for sql in
        ["delete from position", "drop table position", "pragma user_version = 7", "select 1; select 2", "nonsense"]
    {
        let (code, stdout, stderr) = query(&[sql]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{sql}");
        assert!(stderr.starts_with("surgetank: "), "{stderr}");
    }
    assert_eq!(site.number("select count(*) from position"), 2);
    let (code, _, stderr) = told(&run(&["query", "--data-dir", arg(&site.path().join("none")), "select 1"]));
    assert_eq!(code, 1);
    assert!(stderr.contains("does not exist"), "{stderr}");
    process.signal("INT");
    assert_eq!(process.exited().await.code(), Some(0), "SIGINT ends it in order, too");
}

#[test]
fn version_help_completions_and_wrong_use() {
    let (code, stdout, _) = told(&run(&["--version"]));
    assert_eq!(code, 0);
    let commit = stdout.trim().strip_prefix(concat!("surgetank ", env!("CARGO_PKG_VERSION"), " (")).unwrap_or_default();
    assert!(commit.len() > 7 && commit.ends_with(')'), "{stdout}");

    let (code, stdout, _) = told(&run(&["completions", "bash"]));
    assert_eq!(code, 0);
    assert!(stdout.contains("complete -F _surgetank") && stdout.contains("simulate"), "{stdout}");

    let (code, stdout, _) = told(&run(&["--help"]));
    assert_eq!(code, 0);
    for command in ["run", "check", "apply", "demo", "simulate", "verify", "query", "token", "completions"] {
        assert!(stdout.contains(command), "{stdout}");
    }
    for wrong in [&["fly"][..], &["run"], &["demo", "--devices", "0"], &["demo", "--rate", "fast"], &[]] {
        assert_eq!(told(&run(wrong)).0, 2, "{wrong:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_second_engine_on_the_same_data_fails_and_leaves_the_first_alone() {
    let site = Site::new(&[]);
    let process = Process::start(&site).await;
    let second = || told(&run(&["run", "--config", arg(&site.config_path())]));
    let (code, _, stderr) = tokio::task::block_in_place(second);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("is in use by another process"), "{stderr}");
    assert!(stderr.contains(arg(&site.data_dir())), "{stderr}");

    let taken = format!("{:?}", process.devices.to_string());
    let other_data = format!("{:?}", arg(&site.path().join("other")));
    let other = Site::new(&[("devices.listen", &taken), ("data_dir", &other_data)]);
    let (code, _, stderr) = tokio::task::block_in_place(|| told(&run(&["run", "--config", arg(&other.config_path())])));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("devices.listen") && stderr.contains(&process.devices.to_string()), "{stderr}");
    Device::connect(process.devices, "d").await.accepted(&[position(1, 1)]).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verify_finds_what_is_lost() {
    let site = Site::new(&[("credentials.file", "\"tokens.toml\"")]);
    let token = site.add_token(TokenKind::Device, "");
    let mut process = Process::start(&site).await;
    let ledger = site.path().join("ledger");
    let target = process.devices.to_string();
    let simulate = [
        &["simulate", "--json", "--target", &target, "--devices", "5", "--rate", "500", "--seconds", "1"][..],
        &["--ledger", arg(&ledger)],
    ]
    .concat();
    // Without the token nobody gets in, and nothing is acknowledged: that is no success.
    let wrong = tokio::task::block_in_place(|| run(&[&simulate[..], &["--drain-seconds", "1"]].concat()));
    let (code, stdout, stderr) = told(&wrong);
    assert_eq!((code, &json(&stdout)["acked"]), (1, &0.into()), "{stderr}");
    assert!(json(&stdout)["refused"].as_u64().unwrap() > 0, "{stderr}");

    let mut right = surgetank(&simulate);
    right.env("SURGETANK_DEVICE_TOKEN", &token);
    let (code, stdout, stderr) = told(&tokio::task::block_in_place(|| right.output().unwrap()));
    assert_eq!(code, 0, "{stderr}");
    let acked = json(&stdout)["acked"].as_u64().unwrap();
    assert!(acked > 0);
    let config = site.config_path();
    let verify = || told(&run(&["verify", "--json", "--config", arg(&config), "--ledger", arg(&ledger)]));
    // Also while the engine runs, once it has caught up.
    until_true("all rows", async || tokio::task::block_in_place(verify).0 == 0).await;
    let (code, stdout, stderr) = tokio::task::block_in_place(verify);
    assert_eq!(code, 0, "{stderr}");
    assert_eq!(json(&stdout)["lost"], 0);
    assert_eq!((json(&stdout)["acked"].as_u64(), json(&stdout)["stored"].as_u64()), (Some(acked), Some(acked)));
    process.signal("TERM");
    assert_eq!(process.exited().await.code(), Some(0), "{}", process.told());

    let store = rusqlite::Connection::open(site.store_path()).unwrap();
    let first = "select sequence from position order by sequence limit 1";
    let deleted = store.execute(&format!("delete from position where sequence in ({first})"), []).unwrap();
    assert!(deleted > 0);
    drop(store);
    let (code, stdout, stderr) = verify();
    assert_eq!(code, 1, "{stderr}");
    assert_eq!(json(&stdout)["lost"], deleted);
    assert!(stderr.contains(&format!("{deleted} lost")), "{stderr}");

    let (code, _, stderr) =
        told(&run(&["verify", "--config", arg(&config), "--ledger", arg(&site.path().join("none"))]));
    assert_eq!(code, 2, "{stderr}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_read_while_the_engine_runs() {
    let site = Site::new(&[("dead_letter.partitions", "1")]);
    let config = site.config_path();
    let read = |options: &[&str]| {
        let arguments = [&["dead-letters", "--config", arg(&config), "--format", "json"][..], options].concat();
        tokio::task::block_in_place(|| told(&run(&arguments)))
    };
    let offsets = |options: &[&str]| -> Vec<u64> {
        let (code, stdout, stderr) = read(options);
        assert_eq!(code, 0, "{options:?}: {stderr}");
        stdout.lines().map(|line| json(line)["offset"].as_u64().unwrap()).collect()
    };
    let running = site.launch().await;
    let topic = dead_letter_topic(&site.config());
    let id = TopicPartition { topic: topic.name.clone(), partition: 0 };
    let log = &*running.started.backends.log;
    for number in 0..5 {
        outcome(append(log, &id, batch("device", &[format!("no letter {number}")]))).await.unwrap();
    }
    assert_eq!(offsets(&[]), [0, 1, 2, 3, 4]);
    assert_eq!(offsets(&["--partition", "0", "--from", "1", "--to", "3"]), [1, 2]);
    assert_eq!(offsets(&["--since", "1h"]), [0, 1, 2, 3, 4]);
    assert_eq!(offsets(&["--from", "2001-01-01T00:00:00Z", "--to", "2002-01-01T00:00:00Z"]), [0; 0]);
    let (code, _, stderr) = read(&["--from", "1"]);
    assert!(code == 2 && stderr.contains("--partition"), "{stderr}");
    let (code, _, stderr) = read(&["--from", "yesterday"]);
    assert!(code == 2 && stderr.contains("neither an offset nor a time"), "{stderr}");
    let (code, _, stderr) = read(&["--partition", "0", "--from", "9"]);
    assert!(code == 1 && stderr.contains("ends at offset 5"), "{stderr}");
    let (code, stdout, stderr) =
        told(&tokio::task::block_in_place(|| run(&["dead-letters", "--config", arg(&config)])));
    assert!(code == 0 && stdout.contains("reason"), "{stderr}");

    std::fs::remove_file(site.data_dir().join(SOCKET_FILE)).unwrap();
    let (code, _, stderr) = read(&[]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("in use by another process") && stderr.contains(SOCKET_FILE), "{stderr}");
    running.stop().await;
    assert_eq!(offsets(&["--partition", "0", "--from", "3"]), [3, 4], "and when it has stopped");
}

/// A demo under which rows disappear must not end with 0.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn demo_fails_when_something_is_lost() {
    let site = Site::new(&[]);
    told(&run(&["apply", "--config", arg(&site.config_path())]));
    // The store swallows every row of one device and says that it has them.
    let store = rusqlite::Connection::open(site.store_path()).unwrap();
    store
        .execute_batch(
            "create trigger swallow after insert on position when new.device_id like '%000003'
             begin delete from position where device_id = new.device_id; end",
        )
        .unwrap();
    drop(store);
    let demo =
        ["demo", "--json", "--config", arg(&site.config_path()), "--seconds", "1", "--devices", "5", "--rate", "500"]
            .map(str::to_owned);
    let output = tokio::task::spawn_blocking(move || run(&demo.each_ref().map(String::as_str))).await.unwrap();
    let (code, stdout, stderr) = told(&output);
    assert_eq!(code, 1, "{stderr}");
    assert!(json(&stdout)["lost"].as_u64().unwrap() > 0, "{stdout}");
    assert!(stderr.contains("acknowledged messages are lost, such as"), "{stderr}");
    assert!(stderr.contains("000003"), "{stderr}");
}

/// `simulate` against an engine that takes packages in and never answers.
#[cfg(feature = "failpoints")]
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulate_fails_when_messages_stay_unacknowledged() {
    let site = Site::new(&[]);
    let process = Process::start_with(&site, "partition_producer=pause").await;
    let target = process.devices.to_string();
    let simulate = ["simulate", "--target", &target, "--devices", "2", "--seconds", "1", "--drain-seconds", "1"];
    let (code, _, stderr) = told(&tokio::task::block_in_place(|| run(&simulate)));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("messages were not acknowledged within 1 s"), "{stderr}");
}
