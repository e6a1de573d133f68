//! Pods that share one budget on a real Kafka and a real Cassandra, as processes.
//!
//! Needs `SURGETANK_TEST_KAFKA` and `SURGETANK_TEST_CASSANDRA`; otherwise the test says that it was skipped.

use crate::common;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use common::ledger::{Load, assert_nothing_lost, compare, fleet};
use common::process::Process;
use common::servers::{NUM_PARTITIONS, Servers};
use common::{http, until, until_true};
use serde_json::Value;

async fn gate(address: SocketAddr) -> Value {
    http::get(address, "/gate").await.1
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap_or_else(|| panic!("{key} in {value}"))
}

fn num_partitions(gate: &Value) -> u64 {
    gate["partitions"].as_object().unwrap().len() as u64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pods_share_one_budget_and_survive_their_leader() {
    let Some(servers) = Servers::find() else { return };
    let name = common::unique_name();
    let sites = [servers.site(&name, "pod-0", &[]), servers.site(&name, "pod-1", &[])];
    let mut pods = vec![Process::start(&sites[0]).await];
    let first = pods[0].http;
    let alone = until("a lone pod to lead itself", async || {
        let gate = gate(first).await;
        (gate["fleet"]["standing"] == "alone").then_some(gate)
    })
    .await;
    assert_eq!((&alone["fleet"]["leader"], &alone["fleet"]["is_leader"]), (&"pod-0".into(), &true.into()));
    pods.push(Process::start(&sites[1]).await);
    let loads = [Load::start(fleet(pods[0].devices)), Load::start(fleet(pods[1].devices))];
    let addresses = [pods[0].http, pods[1].http];

    until_true("both to share", async || {
        let gates = [gate(addresses[0]).await, gate(addresses[1]).await];
        gates.iter().all(|gate| gate["fleet"]["standing"] == "sharing" && num_partitions(gate) > 0)
    })
    .await;
    for load in &loads {
        load.acked(2_000).await;
    }
    // Of one word of the leader the limits are compared: the next one reaches one pod a little sooner than the other.
    let mut words = BTreeSet::new();
    until_true("both to keep to each of a dozen words", async || {
        let gates = [gate(addresses[0]).await, gate(addresses[1]).await];
        let [first, second] = [&gates[0]["fleet"], &gates[1]["fleet"]];
        let word = |fleet: &Value| (number(fleet, "epoch"), number(fleet, "seq"));
        let share = [first, second].iter().all(|fleet| fleet["standing"] == "sharing");
        if share && word(first) == word(second) {
            assert_eq!(first["leader"], second["leader"]);
            assert_ne!(first["is_leader"], second["is_leader"]);
            let sum: u64 = gates.iter().map(|gate| number(gate, "limit")).sum();
            assert!(sum <= number(first, "budget").max(2), "{gates:?}");
            words.insert(word(first));
        }
        words.len() >= 12
    })
    .await;
    // A word of an interval in which no write was confirmed has no latencies.
    let told = until("a word with latencies", async || {
        let told = gate(addresses[0]).await["fleet"].clone();
        (number(&told, "p99_us") > 0).then_some(told)
    })
    .await;
    for figure in ["pending_mutations", "running_compactions", "pending_compaction_tasks"] {
        assert!(told["database"][figure].is_u64(), "{figure} in {told}");
    }

    // The leader dies: the other one leads, and has everything.
    let leads_first = told["is_leader"] == true;
    let (dead, alive) = if leads_first { (0, 1) } else { (1, 0) };
    let budget = number(&told, "budget");
    pods[dead].kill();
    let killed = Instant::now();
    let [load_0, load_1] = loads;
    let (lost_load, load) = if leads_first { (load_0, load_1) } else { (load_1, load_0) };
    let mut was_cut_off = false;
    until_true("the survivor to lead", async || {
        let gate = gate(addresses[alive]).await;
        if gate["fleet"]["cut_off"] == true {
            was_cut_off = true;
            assert!(number(&gate, "limit") <= budget.max(number(&gate["fleet"], "budget")), "{gate}");
        }
        gate["fleet"]["is_leader"] == true
    })
    .await;
    println!("another leader after {:?}; cut off in between: {was_cut_off}", killed.elapsed());
    assert!(killed.elapsed() < Duration::from_secs(20));
    until_true("the survivor to have all partitions", async || {
        let gate = gate(addresses[alive]).await;
        num_partitions(&gate) == NUM_PARTITIONS && gate["fleet"]["standing"] == "alone"
    })
    .await;
    println!("all partitions after {:?}", killed.elapsed());
    load.acked(2_000).await;
    let mut report = load.end().await;
    assert_eq!(report.unacked_at_end, 0);
    pods[alive].signal("TERM");
    assert_eq!(pods[alive].exited().await.code(), Some(0), "{}", pods[alive].told());

    // The devices of the dead pod find it again on its old addresses.
    let config = std::fs::read_to_string(sites[dead].config_path()).unwrap();
    let (devices, http) = (pods[dead].devices, pods[dead].http);
    let fixed = config
        .replacen("[devices]\nlisten = \"127.0.0.1:0\"", &format!("[devices]\nlisten = \"{devices}\""), 1)
        .replacen("[http]\nlisten = \"127.0.0.1:0\"", &format!("[http]\nlisten = \"{http}\""), 1);
    std::fs::write(sites[dead].config_path(), fixed).unwrap();
    let running = sites[dead].launch().await;
    lost_load.acked(100).await;
    let other = lost_load.end().await;
    assert_eq!(other.unacked_at_end, 0);
    report.ledger.devices.extend(other.ledger.devices);
    running.catch_up().await;
    // The lag is told from what is known; the store itself has the last word.
    let config = sites[dead].config();
    until_true("the store to have everything", async || {
        compare(report.ledger.clone(), &config, &running.started.backends).await.lost == 0
    })
    .await;
    assert_nothing_lost(report.ledger, &config, &running.started.backends).await;
    running.stop().await;
}
