//! What the engine is doing, and whether it is well.

use std::collections::BTreeSet;

use crate::flow::bottleneck::Stage;
use crate::flow::health::{Part, Verdict};
use crate::observe::Phase;
use crate::observe::metrics::registry::{Group, counter, gauge};
use crate::observe::reloads::OUTCOMES;
use crate::telemetry::lines;

pub(super) const GROUP: Group = Group {
    title: "State and health",
    metrics: &[
        gauge(
            "surgetank_phase",
            &["phase"],
            "1 for what the engine is doing: starting, running or draining; 0 for the others.",
            |scrape, out| {
                let phase = match scrape.view.status.phase() {
                    Phase::Starting { .. } => "starting",
                    Phase::Running => "running",
                    Phase::Draining => "draining",
                };
                out.one_of(&[], &["starting", "running", "draining"], phase);
            },
        ),
        gauge(
            "surgetank_ready",
            &[],
            "1 if a message that is sent now would be acknowledged, as /health/ready says.",
            |scrape, out| out.put(&[], scrape.view.status.not_ready().is_empty()),
        ),
        gauge(
            "surgetank_bottleneck",
            &["stage"],
            "1 for the last stage of the path (edge, decode, log, gate, store) whose queue was full for half of the last 30 s; \
             operating.md says what to do about each.",
            |scrape, out| {
                let stage = scrape.view.bottleneck.stage().map_or("", Stage::name);
                out.one_of(&[], &Stage::ALL.map(Stage::name), stage);
            },
        ),
        gauge(
            "surgetank_health",
            &["part", "state"],
            "1 for the state that the part is in, as /health says: ok, degraded or failing; 0 for the others.",
            |scrape, out| {
                for (part, report) in &scrape.health.parts {
                    out.one_of(&[part.name()], &Verdict::ALL.map(Verdict::name), report.state.name());
                }
            },
        ),
        gauge(
            "surgetank_health_condition",
            &["part", "code"],
            "1 while something is wrong with the part; the code is explained in troubleshooting.md.",
            |scrape, out| {
                for (part, report) in &scrape.health.parts {
                    let codes: BTreeSet<&str> = report.conditions.iter().map(|condition| condition.code).collect();
                    codes.into_iter().for_each(|code| out.put(&[part.name(), code], true));
                }
            },
        )
        .only("while the condition lasts"),
        gauge(
            "surgetank_health_conditions",
            &["part"],
            "How many things are wrong with the part: topics, partitions and tables count one by one.",
            |scrape, out| {
                for part in Part::ALL {
                    let report = scrape.health.parts.get(&part);
                    out.put(&[part.name()], report.map_or(0, |report| report.conditions.len() as u64));
                }
            },
        ),
        counter(
            "surgetank_reloads_total",
            &["outcome"],
            "Reloads of the config, by what came of them.",
            |scrape, out| {
                for (outcome, count) in OUTCOMES.iter().zip(scrape.view.reloads.numbers().counts) {
                    out.put(&[outcome], count);
                }
            },
        ),
        gauge(
            "surgetank_config_last_reload_successful",
            &[],
            "1 if the last reload went well, or there was none; 0 while the files are not in force, as /health/reload says why.",
            |scrape, out| out.put(&[], u64::from(scrape.view.reloads.numbers().last_went_well)),
        ),
        gauge(
            "surgetank_config_last_reload_timestamp_seconds",
            &[],
            "When the config in force was taken over: at the last reload that went well, or at the start.",
            |scrape, out| out.put(&[], scrape.view.reloads.numbers().in_force_since_ms as f64 / 1e3),
        ),
        counter("surgetank_log_lines_lost_total", &[], "Log lines that could not be written to stderr.", |_, out| {
            out.put(&[], lines::num_lost())
        }),
    ],
};
