//! The limiter against the model: every scenario that is shipped, and a grid of stores that it was not made for.

use std::path::Path;

use super::*;
use crate::flow::limiter::{AdaptiveSettings, FixedSettings, LimiterSettings};

fn adaptive() -> LimiterSettings {
    LimiterSettings::Adaptive(AdaptiveSettings::default())
}

fn shipped(name: &str) -> Scenario {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenarios");
    Scenario::load(&directory.join(name).with_extension("toml")).unwrap()
}

fn assert_as_expected(name: &str) {
    let scenario = shipped(name);
    let (outcome, _) = judge(&scenario, &adaptive());
    assert_eq!(scenario.expect.expect("ranges").misses(&outcome), Vec::<String>::new(), "{outcome:?}");
}

macro_rules! scenarios {
    ($($test:ident: $name:literal,)*) => { $(#[test] fn $test() { assert_as_expected($name); })* };
}

// One test each, so that they share the processors.
scenarios! {
    test_gate_calm: "calm",
    test_gate_surge: "surge",
    test_gate_slow_store: "slow_store",
    test_gate_stall: "stall",
    test_gate_sawtooth: "sawtooth",
    test_gate_slow_node: "slow_node",
    test_gate_pods: "pods",
    test_gate_base_step: "base_step",
}

/// The same targets on other stores, with and without a step to twice the latency. Not every store meets them:
/// `docs/backpressure.md` has the misses.
#[test]
fn test_gate_is_not_made_for_one_store() {
    let stores =
        [(1, 32, "2 ms"), (1, 32, "20 ms"), (1, 64, "20 ms"), (3, 16, "20 ms"), (3, 8, "5 ms"), (1, 128, "20 ms")];
    let mut misses = Vec::new();
    for (nodes, parallelism, service) in stores {
        for change in ["", "[[change]]\nat = \"30 s\"\nservice_factor = 2.0"] {
            let scenario: Scenario = format!(
                "name = 'grid'\nseed = 1\nduration = '60 s'\npods = 1\npartitions = 8\nfleet = false\n\
                 [store]\nnodes = {nodes}\nparallelism = {parallelism}\nservice = '{service}'\nspread = 0.4\n\
                 row_share = 0.3\nrows = [16, 64]\nthrash = 0.1\ntimeout = '2 s'\n{change}\n\
                 [expect]\ngoodput_vs_best_fixed = [0.95, 1.2]\np99_vs_unloaded = [1, 2]\nsettle_s = [0, 5]\n\
                 recover_s = [0, 5]\nleft_paused = [0, 0]\n"
            )
            .parse()
            .unwrap();
            let (outcome, _) = judge(&scenario, &adaptive());
            let missed = scenario.expect.expect("ranges").misses(&outcome);
            if !missed.is_empty() {
                misses.push(format!("{nodes} x {parallelism} x {service}, {change:?}: {missed:?}"));
            }
        }
    }
    assert!(misses.is_empty(), "{}", misses.join("\n"));
}

#[test]
fn test_a_scenario_need_not_say_what_it_expects() {
    let text = std::fs::read_to_string("config/scenarios/calm.toml").unwrap();
    let (plain, _) = text.split_once("[expect]").unwrap();
    let scenario: Scenario = plain.parse().unwrap();
    assert_eq!(scenario.expect, None);
    assert!(judge(&scenario, &adaptive()).0.goodput_rows_per_s > 0.0);
}

#[test]
fn test_the_same_scenario_gives_the_same_run() {
    let scenario = shipped("stall");
    let runs = [play(&scenario, &adaptive()), play(&scenario, &adaptive())];
    assert_eq!(runs[0].num_rows, runs[1].num_rows);
    let limits = runs.map(|run| run.points.iter().map(|point| point.limit).collect::<Vec<_>>());
    assert_eq!(limits[0], limits[1]);
}

#[test]
fn test_the_fixed_limiter_leaves_nothing_paused_after_a_stall() {
    let trace = play(&shipped("stall"), &LimiterSettings::Fixed(FixedSettings::default()));
    assert_eq!(trace.left_paused, 0);
    let (_, last_seconds) = trace.points.split_at(trace.points.len() - 50);
    assert!(last_seconds.iter().any(|point| point.rows_per_s > 0.0));
}

#[test]
fn test_a_wrong_scenario_says_what_is_wrong() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/scenarios/stall.toml");
    let text = std::fs::read_to_string(file).unwrap();
    for (from, to, said) in [
        ("spread", "spraed", "unknown field `spraed`"),
        ("\"2 s\"", "\"2\"", "not a duration with a unit"),
        ("nodes = 3", "nodes = 0", "store.nodes is 0, but must be 1 to 64"),
        ("at = \"55 s\"", "at = \"5 s\"", "change.at is 5000000"),
    ] {
        assert!(text.contains(from), "{from}");
        let error = text.replace(from, to).parse::<Scenario>().unwrap_err().to_string();
        assert!(error.contains(said), "{error}");
    }
}

#[test]
fn test_a_plot_has_all_its_lines() {
    let scenario = shipped("stall");
    let drawing = plot(&scenario, &play(&scenario, &adaptive()), "adaptive").unwrap();
    for text in ["in flight", "p99 of the unloaded store", "rows confirmed", "time (s)"] {
        assert!(drawing.contains(text), "{text}");
    }
}
