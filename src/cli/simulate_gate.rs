//! `surgetank simulate-gate`: the limiter against a modelled store.

use comfy_table::Table;
use comfy_table::presets::NOTHING;

use super::args::{LimiterKind, SimulateGateArgs};
use super::{Failure, Outcome as CommandOutcome};
use crate::flow::limiter::{AdaptiveSettings, FixedSettings, LimiterSettings};
use crate::simulate_gate::{Outcome, Scenario, judge, plot};

pub(super) fn simulate_gate(args: &SimulateGateArgs) -> CommandOutcome {
    let path = args.scenario.display();
    let scenario = Scenario::load(&args.scenario).map_err(|error| Failure::Usage(format!("{path}: {error}")))?;
    let (name, settings) = match args.limiter {
        LimiterKind::Adaptive => ("adaptive", LimiterSettings::Adaptive(AdaptiveSettings::default())),
        LimiterKind::Fixed => ("fixed", LimiterSettings::Fixed(FixedSettings::default())),
    };
    let (outcome, trace) = judge(&scenario, &settings);
    print(&outcome, name);
    let misses = scenario.expect.as_ref().map_or_else(Vec::new, |expect| expect.misses(&outcome));
    for miss in &misses {
        eprintln!("  outside what the scenario expects: {miss}");
    }
    if args.json {
        println!("{}", serde_json::to_string(&outcome).map_err(Failure::job)?);
    }
    if let Some(path) = &args.plot {
        let drawing = plot(&scenario, &trace, name).map_err(Failure::job)?;
        let write = std::fs::write(path, drawing);
        write.map_err(|error| Failure::Job(format!("cannot write the plot to {}: {error}", path.display())))?;
    }
    Ok(())
}

fn print(outcome: &Outcome, limiter: &str) {
    let mut table = Table::new();
    table.load_preset(NOTHING);
    let percent = outcome.goodput_vs_best_fixed * 100.0;
    let rows = [
        ("scenario", outcome.scenario.clone()),
        ("limiter", limiter.to_owned()),
        ("goodput", format!("{:.0} rows/s", outcome.goodput_rows_per_s)),
        ("against the best fixed limit", format!("{percent:.1} % (which is {})", outcome.best_fixed_limit)),
        ("p99 of store latency", format!("{:.2} times the unloaded one at worst", outcome.p99_vs_unloaded)),
        ("settles after a change", format!("in {:.1} s at worst", outcome.settle_s)),
        ("recovers after a stall", format!("in {:.1} s at worst", outcome.recover_s)),
        ("partitions left paused", outcome.left_paused.to_string()),
    ];
    for (name, value) in rows {
        table.add_row([name.to_owned(), value]);
    }
    eprintln!("{table}");
}
