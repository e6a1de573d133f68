//! The gate, and the fleet whose budget it may share.

use crate::flow::pause::FlowState;
use crate::observe::metrics::registry::{Group, counter, gauge};

pub(super) const GROUP: Group = Group {
    title: "Gate and fleet",
    metrics: &[
        gauge("surgetank_gate_limit_writes", &[], "How many writes may be in flight.", |scrape, out| {
            out.put(&[], scrape.gate.limit);
        }),
        gauge("surgetank_gate_writes_in_flight", &[], "Writes in flight.", |scrape, out| {
            out.put(&[], scrape.gate.num_in_flight);
        }),
        gauge("surgetank_gate_writes_waiting", &[], "Writes that wait for a permit.", |scrape, out| {
            out.put(&[], scrape.gate.num_waiting);
        }),
        gauge(
            "surgetank_gate_latency_seconds",
            &[],
            "The mean latency of the confirmed writes that the limiter last judged: it stays while none is confirmed. NaN \
             before there was one.",
            |scrape, out| out.put(&[], scrape.gate.latency_us.map(|us| us / 1e6)),
        ),
        gauge(
            "surgetank_gate_baseline_seconds",
            &[],
            "What the limiter holds that against: what the same writes take on an unloaded store, or the threshold of the \
             limiter `fixed`; NaN before it is known.",
            |scrape, out| out.put(&[], scrape.gate.baseline_us.map(|us| us / 1e6)),
        ),
        gauge(
            "surgetank_gate_partition_state",
            &["topic", "partition", "state"],
            "1 for the state that the partition is in: open, throttled (not read), paused (not fetched either); 0 for the \
             others.",
            |scrape, out| {
                for (name, state) in &scrape.gate.partitions {
                    let partition = name.partition.to_string();
                    out.one_of(&[&name.topic, &partition], &FlowState::ALL.map(FlowState::name), state.name());
                }
            },
        )
        .only("for partitions that this pod consumes"),
        counter(
            "surgetank_gate_pauses_total",
            &["topic", "partition"],
            "How often the partition was paused.",
            |scrape, out| {
                for (name, count) in scrape.view.gate.pauses() {
                    out.put(&[&name.topic, &name.partition.to_string()], count);
                }
            },
        )
        .only("for partitions that this pod has consumed"),
        gauge("surgetank_gate_paused_partitions", &[], "Partitions that are paused.", |scrape, out| {
            let partitions = scrape.gate.partitions.iter();
            out.put(&[], partitions.filter(|(_, state)| *state == FlowState::Paused).count() as u64);
        }),
        gauge(
            "surgetank_fleet_pods",
            &[],
            "Pods that share the budget of writes, by the leader's last word; 1 for a pod alone.",
            |scrape, out| out.put(&[], scrape.gate.fleet.num_pods),
        ),
        gauge(
            "surgetank_fleet_budget_writes",
            &[],
            "Writes that all pods together may have in flight; for a pod alone its own limit.",
            |scrape, out| out.put(&[], scrape.gate.fleet.budget),
        ),
        gauge(
            "surgetank_fleet_share_writes",
            &[],
            "This pod's part of that.",
            |scrape, out| out.put(&[], scrape.gate.fleet.share),
        ),
        gauge(
            "surgetank_fleet_leader",
            &[],
            "1 if this pod decides about the budget, as one alone does.",
            |scrape, out| out.put(&[], scrape.gate.fleet.is_leader),
        ),
        gauge(
            "surgetank_fleet_cut_off",
            &[],
            "1 if the leader has been silent for too long, and this pod keeps to a fair part of its last budget.",
            |scrape, out| out.put(&[], scrape.gate.fleet.is_cut_off),
        ),
    ],
};
