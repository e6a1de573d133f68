//! Commands whose output cannot be written, whose reader has gone, or whose result is large.

use std::fs::OpenOptions;
use std::io::Read;
use std::process::{Output, Stdio};

use serde_json::{Value, json};

use super::common::http as common_http;
use super::common::process::{Process, arg, run, surgetank, told};
use super::common::site::Site;
use super::common::until_true;

/// Runs a command whose stdout is a disk without room.
fn run_full(arguments: &[&str]) -> Output {
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    surgetank(arguments).stdin(Stdio::null()).stdout(full).output().unwrap()
}

/// A site with 20,000 rows and nothing running.
fn site_with_rows() -> Site {
    let site = Site::new(&[]);
    std::fs::create_dir(site.data_dir()).unwrap();
    let store = rusqlite::Connection::open(site.store_path()).unwrap();
    store
        .execute_batch(
            "CREATE TABLE t (i INTEGER PRIMARY KEY, text TEXT, real REAL, missing TEXT, bytes BLOB);
             WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 20000)
             INSERT INTO t SELECT i, 'line' || char(10) || '\"' || i, i / 4.0, NULL, x'0aff' FROM n",
        )
        .unwrap();
    site
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_result_that_cannot_be_written_fails_the_command() {
    let site = site_with_rows();
    let config = site.config_path();
    let config = arg(&config);
    let scenario = site.path().join("calm.toml");
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/config/scenarios/calm.toml")).unwrap();
    std::fs::write(&scenario, text.replace("parallelism = 32", "parallelism = 2").replace("40 s", "10 s")).unwrap();
    let ledger = site.path().join("ledger");
    let fails = |arguments: &[&str]| {
        let (code, _, stderr) = told(&tokio::task::block_in_place(|| run_full(arguments)));
        assert_eq!(code, 1, "{arguments:?}: {stderr}");
        assert!(stderr.contains("surgetank: cannot write to stdout"), "{arguments:?}: {stderr}");
        assert!(stderr.contains("No space left on device"), "{arguments:?}: {stderr}");
        stderr
    };
    for arguments in [&["--help"][..], &["--version"], &["query", "--help"], &["completions", "bash"]] {
        fails(arguments);
    }
    for format in ["table", "json"] {
        fails(&["query", "--config", config, "--format", format, "select 1"]);
        fails(&["query", "--config", config, "--format", format, "select * from t"]);
    }
    fails(&["simulate-gate", arg(&scenario), "--json"]);
    let stderr = fails(&["token", "new", "--kind", "device"]);
    assert_eq!(stderr.lines().count(), 1, "no token is given whose hash is nowhere: {stderr}");
    fails(&["apply", "--config", config]);
    assert_eq!(told(&run(&["apply", "--config", config])).2, "nothing to do: everything is there\n");

    let mut process = Process::start(&site).await;
    let target = process.devices.to_string();
    let simulate = ["simulate", "--target", &target, "--devices", "2", "--rate", "100", "--seconds", "1"];
    fails(&[&simulate[..], &["--json", "--ledger", arg(&ledger)]].concat());
    let (code, _, stderr) =
        told(&tokio::task::block_in_place(|| run(&[&simulate[..], &["--ledger", "/dev/full"]].concat())));
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("cannot write the ledger to /dev/full: No space left on device"), "{stderr}");
    process.signal("TERM");
    assert_eq!(process.exited().await.code(), Some(0));
    fails(&["verify", "--json", "--config", config, "--ledger", arg(&ledger)]);
    fails(&["dead-letters", "--config", config]);
}

/// What cannot be told to people stops nothing.
#[test]
fn a_stderr_that_takes_nothing_is_no_failure() {
    let site = Site::new(&[]);
    let full = || OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ends = |arguments: &[&str]| surgetank(arguments).stderr(full()).output().unwrap().status.code();
    assert_eq!(ends(&["check", "--config", arg(&site.config_path())]), Some(0));
    assert_eq!(ends(&["check", "--config", "/none"]), Some(2));
    assert_eq!(ends(&["token", "new", "--kind", "device"]), Some(1), "the token is told there, and only there");
}

/// Nobody can hear it, so it says so where it is asked.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_engine_whose_log_lines_cannot_be_written_works_and_tells_of_it() {
    let http = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let site = Site::new(&[("http.listen", &format!("{:?}", http.to_string()))]);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let config = site.config_path();
    let mut engine = surgetank(&["run", "--config", arg(&config)]).stderr(full).spawn().unwrap();
    until_true("the engine to tell of its log lines", async || {
        let health = common_http::try_get(http, "/health").await;
        health.is_some_and(|(status, body)| {
            let told = body["disk"]["conditions"].to_string();
            status == 200 && told.contains("log_lines_lost") && told.contains("No space left on device")
        })
    })
    .await;
    until_true("the engine to be ready", async || common_http::get(http, "/health/ready").await.0 == 200).await;
    engine.kill().unwrap();
    engine.wait().unwrap();
}

#[test]
fn a_reader_that_has_left_is_no_failure() {
    let site = site_with_rows();
    for format in ["table", "json"] {
        let config = site.config_path();
        let mut child = surgetank(&["query", "--config", arg(&config), "--format", format, "select * from t"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 10]).unwrap();
        let (code, _, stderr) = told(&child.wait_with_output().unwrap());
        assert_eq!(code, 0, "{stderr}");
        assert!(stderr.is_empty() || stderr.contains("there are more"), "{stderr}");
    }
}

#[test]
fn json_is_the_same_row_by_row_and_a_table_is_cut_with_a_word() {
    let site = site_with_rows();
    let config = site.config_path();
    let query = |more: &[&str]| told(&run(&[&["query", "--config", arg(&config)], more].concat()));
    let (code, stdout, stderr) = query(&["--format", "json", "select * from t"]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    let object = |i: u32| json!({"i": i, "text": format!("line\n\"{i}"), "real": f64::from(i) / 4.0, "missing": null, "bytes": "0aff"});
    let expected: Vec<Value> = (1..=20_000).map(object).collect();
    assert_eq!(stdout, format!("{}\n", serde_json::to_string_pretty(&expected).unwrap()));
    assert_eq!(query(&["--format", "json", "select * from t where i < 0"]).1, "[]\n");
    let (code, stdout, _) =
        query(&["--format", "json", "select abs(i) from t union all select abs(-9223372036854775808)"]);
    assert_eq!(code, 1);
    assert!(stdout.starts_with("[\n  {") && !stdout.ends_with("]\n"), "what was found before the failure, and no end");

    let (code, stdout, stderr) = query(&["select i from t"]);
    assert_eq!(code, 0);
    assert_eq!(stdout.lines().filter(|line| line.trim().parse::<u32>().is_ok()).count(), 10_000);
    assert!(stderr.contains("the first 10000 rows, there are more; --format json prints all"), "{stderr}");
    assert_eq!(query(&["select i from t limit 10000"]).2, "", "nothing is left out");
}

/// A result of 100 MB within 80 MB of memory.
#[test]
fn a_large_result_is_not_collected() {
    let site = site_with_rows();
    let sql = "select a.i, printf('%05000d', a.i) as wide from t a";
    for format in ["table", "json"] {
        let mut command = std::process::Command::new("sh");
        command.args(["-c", "ulimit -d 80000; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_surgetank")]);
        command.args(["query", "--data-dir", arg(&site.data_dir()), "--format", format, sql]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let num_bytes = std::io::copy(&mut child.stdout.take().unwrap(), &mut std::io::sink()).unwrap();
        let (code, _, stderr) = told(&child.wait_with_output().unwrap());
        assert_eq!(code, 0, "{stderr}");
        assert!(num_bytes > if format == "json" { 100_000_000 } else { 1_000_000 }, "{num_bytes}");
    }
}
