//! The gate of a pod that shares a budget with others: what it reports, and what it does with its share.

use std::time::Duration;

use hdrhistogram::Histogram;
use tracing::{info, warn};

use super::explain::FleetExplained;
use crate::flow::budget::{Budget, Member, Standing, weigh_backlog};
use crate::flow::limiter::{Decision, Limiter, LimiterSettings, Sample};
use crate::telemetry::histogram::empty;

/// What a pod has seen since its last report.
pub struct Taken {
    /// Record partitions that it holds.
    pub partitions: u32,
    /// What its writes have shown.
    pub sample: Sample,
    /// Their latencies (µs).
    pub latencies: Histogram<u64>,
    /// Its own limiter, while that decides.
    pub limiter: Option<Limiter>,
}

/// The fleet, as the gate of one pod knows it.
pub(super) struct FleetState {
    member: Member,
    standing: Standing,
    sample: Sample,
    latencies: Histogram<u64>,
    /// The leader has told of a backlog that no window has counted yet.
    has_backlog: bool,
}

// === impl FleetState ===

impl FleetState {
    pub(super) fn new(pod: &str, num_partitions: u32, now: Duration) -> Self {
        Self {
            member: Member::new(pod.to_owned(), num_partitions, now),
            standing: Standing::Unheard,
            sample: Sample::default(),
            latencies: empty(),
            has_backlog: false,
        }
    }

    pub(super) fn take_report(&mut self, now: Duration, num_held: u32, limiter: &Limiter) -> Taken {
        Taken {
            partitions: num_held,
            sample: std::mem::take(&mut self.sample),
            latencies: std::mem::replace(&mut self.latencies, empty()),
            limiter: (self.member.standing(now) != Standing::Sharing).then(|| limiter.clone()),
        }
    }

    /// While the budget is shared the pod's own limiter is the leader's, so that whoever is left alone or cut off goes
    /// on with what the fleet has learnt. A single pod's view of a shared store teaches nothing: the store's latency
    /// hardly moves with its own few writes.
    ///
    /// Returns the limit from now on, if it is the share: all pods change over with the word, not each with its own tick.
    pub(super) fn on_budget(
        &mut self,
        now: Duration,
        budget: Budget,
        own: &mut Limiter,
        settings: &LimiterSettings,
    ) -> Option<u32> {
        self.has_backlog |= budget.is_backlogged;
        self.note_change_of_leader(&budget);
        let learnt = budget.limiter.clone();
        self.member.on_budget(now, budget);
        self.note_standing(now);
        if self.standing != Standing::Sharing {
            return None;
        }
        if let Some(learnt) = learnt {
            *own = Limiter::resume(settings, learnt);
        }
        Some(self.member.share().max(1))
    }

    /// The limit for the next window.
    pub(super) fn decide(
        &mut self,
        now: Duration,
        num_held: u32,
        sample: &Sample,
        latencies: &Histogram<u64>,
        own: &mut Limiter,
    ) -> Decision {
        self.sample.append(sample);
        let added = self.latencies.add(latencies);
        assert!(added.is_ok(), "it fails only where a histogram cannot grow, and these can");
        self.note_standing(now);
        let has_backlog = std::mem::take(&mut self.has_backlog);
        let decision = match self.standing {
            Standing::Sharing => own.decision(),
            standing => {
                // Who has heard no budget has no cap.
                own.cap(self.member.cap(now, num_held).unwrap_or(u32::MAX));
                let mut sample = sample.clone();
                // While it shares, the leader has counted it.
                if has_backlog && standing == Standing::Alone {
                    weigh_backlog(&mut sample);
                }
                own.on_window(&sample)
            }
        };
        Decision { limit: self.member.limit(now, num_held, decision.limit), ..decision }
    }

    pub(super) fn is_observer(&self, now: Duration) -> bool {
        self.member.is_observer(now)
    }

    pub(super) fn explain(&self, now: Duration) -> FleetExplained {
        let heard = self.member.heard();
        let budget = heard.map(|(_, budget)| budget);
        let standing = self.member.standing(now);
        FleetExplained {
            pod: self.member.pod().to_owned(),
            leader: budget.map(|budget| budget.leader.clone()),
            is_leader: budget.is_some_and(|budget| budget.leader == self.member.pod()),
            epoch: budget.map_or(0, |budget| budget.epoch),
            seq: budget.map_or(0, |budget| budget.seq),
            budget: budget.map(|budget| budget.budget),
            share: self.member.share(),
            standing: name(standing),
            cut_off: standing == Standing::CutOff,
            heard_ms_ago: heard.map(|(at, _)| now.saturating_sub(at).as_millis() as u64),
            pods: budget.map(|budget| budget.shares.clone()).unwrap_or_default(),
            p50_us: budget.map_or(0, |budget| budget.p50_us),
            p99_us: budget.map_or(0, |budget| budget.p99_us),
            database: budget.and_then(|budget| budget.database),
            is_backlogged: budget.is_some_and(|budget| budget.is_backlogged),
        }
    }

    fn note_change_of_leader(&self, budget: &Budget) {
        let before = self.member.heard().map(|(_, before)| before.leader.as_str());
        if before != Some(budget.leader.as_str()) {
            info!(
                leader = budget.leader,
                before,
                epoch = budget.epoch,
                budget = budget.budget,
                "the fleet has a leader"
            );
        }
    }

    fn note_standing(&mut self, now: Duration) {
        let standing = self.member.standing(now);
        let before = std::mem::replace(&mut self.standing, standing);
        if standing == before {
            return;
        }
        let budget = self.member.heard().map(|(_, budget)| budget.budget);
        match (before, standing) {
            (_, Standing::CutOff) => {
                warn!(budget, "cut off from the fleet's leader; going on within the fair part of its last budget");
            }
            (Standing::CutOff, _) => info!(budget, share = self.member.share(), "the fleet's leader is heard again"),
            _ => tracing::debug!(before = name(before), now = name(standing), "standing in the fleet changes"),
        }
    }
}

fn name(standing: Standing) -> &'static str {
    match standing {
        Standing::Unheard => "unheard",
        Standing::Alone => "alone",
        Standing::Sharing => "sharing",
        Standing::CutOff => "cut_off",
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::flow::budget::{PodShare, STALE_AFTER};
    use crate::flow::limiter::FixedSettings;

    const HEARD: Duration = Duration::from_secs(10);

    fn settings() -> LimiterSettings {
        LimiterSettings::Fixed(FixedSettings { max_writes: 100, ..FixedSettings::default() })
    }

    /// 40 writes in flight; this pod has 3 of 8 partitions and a share of 15.
    fn budget() -> Budget {
        let pods = [("own", PodShare { partitions: 3, share: 15 }), ("other", PodShare { partitions: 5, share: 25 })];
        Budget {
            leader: "other".to_owned(),
            epoch: 1,
            seq: 1,
            budget: 40,
            shares: BTreeMap::from(pods.map(|(name, share)| (name.to_owned(), share))),
            p50_us: 0,
            p99_us: 0,
            database: None,
            is_backlogged: false,
            limiter: None,
        }
    }

    fn decide(fleet: &mut FleetState, now: Duration, own: &mut Limiter) -> u32 {
        fleet.decide(now, 3, &Sample::default(), &empty(), own).limit
    }

    #[test]
    fn test_the_limit_is_its_own_then_the_share_then_the_fair_part_of_the_last_budget() {
        let (mut fleet, mut own) = (FleetState::new("own", 8, Duration::ZERO), Limiter::new(&settings()));
        assert_eq!(decide(&mut fleet, Duration::ZERO, &mut own), 100);
        assert_eq!(fleet.on_budget(HEARD, budget(), &mut own, &settings()), Some(15), "with the word, not the tick");
        assert_eq!(decide(&mut fleet, HEARD + STALE_AFTER, &mut own), 15);
        let cut_off = HEARD + STALE_AFTER + Duration::from_millis(1);
        assert_eq!(decide(&mut fleet, cut_off, &mut own), 15, "three of eight parts of 40");
        assert!(fleet.explain(cut_off).cut_off && !fleet.explain(HEARD).cut_off);
    }

    #[test]
    fn test_who_holds_all_partitions_that_are_held_decides_alone() {
        let (mut fleet, mut own) = (FleetState::new("own", 8, Duration::ZERO), Limiter::new(&settings()));
        let mut alone = budget();
        alone.shares.retain(|name, _| name == "own");
        assert_eq!(fleet.on_budget(HEARD, alone, &mut own, &settings()), None);
        assert_eq!(decide(&mut fleet, HEARD, &mut own), 100);
    }

    #[test]
    fn test_a_report_has_what_was_seen_since_the_last_and_the_limiter_only_while_that_decides() {
        let (mut fleet, mut own) = (FleetState::new("own", 8, Duration::ZERO), Limiter::new(&settings()));
        let mut latencies = empty();
        latencies.record(700).unwrap();
        let sample = Sample { num_dropped: 2, ..Sample::default() };
        for _ in 0..2 {
            fleet.decide(Duration::ZERO, 3, &sample, &latencies, &mut own);
        }
        let taken = fleet.take_report(Duration::ZERO, 3, &own);
        assert_eq!((taken.partitions, taken.sample.num_dropped, taken.latencies.len()), (3, 4, 2));
        assert!(taken.limiter.is_some());
        fleet.on_budget(HEARD, budget(), &mut own, &settings());
        let taken = fleet.take_report(HEARD, 3, &own);
        assert_eq!((taken.sample.num_dropped, taken.latencies.len()), (0, 0));
        assert!(taken.limiter.is_none(), "while the budget is shared the leader's decides");
    }
}
