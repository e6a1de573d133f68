//! The leader and its members together, without any channel between them.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use proptest::prelude::*;

use super::*;
use crate::flow::limiter::{AdaptiveSettings, Limiter, LimiterSettings, Sample};

fn settings() -> LimiterSettings {
    LimiterSettings::Adaptive(AdaptiveSettings { initial: 16, max: 1024 })
}

/// A report of a pod whose writes take `latency_us` with `in_flight` of them at a time.
fn report(pod: &str, partitions: u32, in_flight: u32, latency_us: u64) -> Report {
    let (length, num_waiting) = (INTERVAL, 10);
    let mut sample = Sample { length, max_in_flight: in_flight, num_waiting, ..Sample::default() };
    let mut histogram = Histogram::new(2).unwrap();
    let num_writes = u64::from(in_flight) * length.as_micros() as u64 / latency_us.max(1);
    for _ in 0..num_writes.min(5_000) {
        sample.confirm(1, Duration::from_micros(latency_us));
        histogram.record(latency_us).unwrap();
    }
    Report { pod: pod.to_owned(), seq: 1, epoch: 1, partitions, sample, histogram, limiter: None }
}

fn budget(round: Round) -> Budget {
    Budget {
        leader: "a".to_owned(),
        epoch: 1,
        seq: 1,
        budget: round.budget,
        shares: round.shares,
        p50_us: 0,
        p99_us: 0,
        database: None,
        is_backlogged: round.is_backlogged,
        limiter: Some(round.limiter),
    }
}

fn told(budget: u32, pods: &[(&str, u32)]) -> Budget {
    let held: Vec<u32> = pods.iter().map(|(_, held)| *held).collect();
    let parts = shares(budget, &held).into_iter().zip(pods);
    let parts = parts.map(|(share, (name, held))| (name.to_string(), PodShare { partitions: *held, share }));
    let (leader, shares) = ("a".to_owned(), parts.collect());
    let (p50_us, p99_us, is_backlogged) = (0, 0, false);
    Budget { leader, epoch: 1, seq: 1, budget, shares, p50_us, p99_us, database: None, is_backlogged, limiter: None }
}

/// A store that serves `capacity` writes at a time in 2 ms; more of them queue.
fn latency_us(in_flight: u32, capacity: u32) -> u64 {
    2_000 * u64::from(in_flight.max(capacity)) / u64::from(capacity)
}

/// Runs a leader over pods with these partitions, each of which uses all that it may, and returns the budgets.
fn run(leader: &mut Leader, pods: &[(&str, u32)], capacity: u32, from: u64, rounds: u64) -> Vec<u32> {
    let mut limits: BTreeMap<&str, u32> = pods.iter().map(|(name, _)| (*name, 1)).collect();
    let mut budgets = Vec::new();
    for round in from..from + rounds {
        let now = INTERVAL * round as u32;
        let in_flight = limits.values().sum();
        for (name, held) in pods {
            leader.on_report(now, report(name, *held, limits[name], latency_us(in_flight, capacity)));
        }
        if let Some(round) = leader.on_tick(now, None) {
            budgets.push(round.budget);
            limits.iter_mut().for_each(|(name, limit)| *limit = round.shares[*name].share);
        }
    }
    budgets
}

#[test]
fn test_pods_together_find_what_the_store_bears() {
    let mut leader = Leader::new(settings(), Duration::ZERO);
    let budgets = run(&mut leader, &[("a", 3), ("b", 3), ("c", 2)], 100, 0, 200);
    let last = &budgets[100..];
    assert!(last.iter().all(|budget| (80..=170).contains(budget)), "{last:?}");
    // Pods that come add nothing to what the store has to bear.
    let more: Vec<(String, u32)> = (0..8).map(|pod| (format!("pod-{pod}"), 1)).collect();
    let more: Vec<(&str, u32)> = more.iter().map(|(name, held)| (name.as_str(), *held)).collect();
    let budgets = run(&mut leader, &more, 100, 200, 100);
    assert!(budgets.iter().all(|budget| (60..=200).contains(budget)), "{budgets:?}");
}

#[test]
fn test_the_next_leader_goes_on_where_the_last_one_was() {
    let mut first = Leader::new(settings(), Duration::ZERO);
    let mut next = first.clone();
    run(&mut first, &[("a", 4), ("b", 4)], 100, 0, 100);
    let now = INTERVAL * 100;
    first.on_report(now, report("a", 4, 50, 2_000));
    let last = budget(first.on_tick(now, None).unwrap());
    next.follow(now, &last);
    next.on_report(now, report("b", 8, 50, 2_000));
    let round = next.on_tick(now, None).unwrap();
    assert!(round.budget.abs_diff(last.budget) <= last.budget / 2 + 1, "{} after {}", round.budget, last.budget);
    assert_eq!(round.shares["b"].share, round.budget);
}

#[test]
fn test_a_lone_pod_is_followed_by_the_leader_and_not_led() {
    let mut leader = Leader::new(settings(), Duration::ZERO);
    let own = Limiter::new(&LimiterSettings::Adaptive(AdaptiveSettings { initial: 333, max: 1024 }));
    let now = INTERVAL * 2;
    leader.on_report(now, Report { limiter: Some(own), ..report("a", 8, 300, 2_000) });
    leader.on_report(now, report("b", 0, 0, 0));
    let round = leader.on_tick(now, None).unwrap();
    assert_eq!(round.budget, 333);
    let mut member = Member::new("a".to_owned(), 8, Duration::ZERO);
    member.on_budget(now, budget(round));
    assert_eq!(member.standing(now), Standing::Alone);
    assert_eq!(member.limit(now, 8, 500), 500);
}

#[test]
fn test_one_pod_of_a_fleet_asks_the_servers_and_each_that_knows_of_no_leader() {
    let second = Duration::from_secs(1);
    let word = |leader: &str| Budget { leader: leader.to_owned(), ..told(10, &[("a", 4), ("b", 4)]) };
    let member = |pod: &str| Member::new(pod.to_owned(), 8, second);
    let (mut a, mut b) = (member("a"), member("b"));
    assert!(!a.is_observer(second * 2) && !b.is_observer(second * 2), "whoever leads is about to be heard");
    for member in [&mut a, &mut b] {
        member.on_budget(second * 3, word("a"));
    }
    assert!(a.is_observer(second * 3) && !b.is_observer(second * 3));
    // The log is away: nobody is heard, and who led goes on at once.
    assert!(a.is_observer(second * 20) && !b.is_observer(second * 20));
    assert!(a.is_observer(second * 40) && b.is_observer(second * 40));
    // It is back, and another leads.
    for member in [&mut a, &mut b] {
        member.on_budget(second * 41, word("b"));
    }
    assert!(!a.is_observer(second * 41) && b.is_observer(second * 41));
    assert!(member("c").is_observer(second * 32), "one that never hears a leader is alone");
}

#[test]
fn test_leader_listens_before_it_speaks_and_forgets_who_is_silent() {
    let mut leader = Leader::new(settings(), Duration::ZERO);
    leader.on_report(INTERVAL, report("a", 4, 1, 2_000));
    leader.on_report(INTERVAL, report("b", 4, 1, 2_000));
    assert!(leader.on_tick(INTERVAL, None).is_none());
    assert_eq!(leader.on_tick(INTERVAL * 2, None).unwrap().shares.len(), 2);
    let later = INTERVAL + STALE_AFTER;
    leader.on_report(later, report("a", 4, 1, 2_000));
    assert_eq!(leader.on_tick(later, None).unwrap().shares.len(), 2);
    let round = leader.on_tick(later + INTERVAL, None).unwrap();
    assert_eq!(round.shares.keys().collect::<Vec<_>>(), ["a"]);
    assert_eq!(round.shares["a"].share, round.budget);
}

#[test]
fn test_backlog_at_the_database_lowers_the_budget_until_it_is_gone() {
    let mut leader = Leader::new(settings(), Duration::ZERO);
    let pods = [("a", 4), ("b", 4)];
    let before = *run(&mut leader, &pods, 100, 0, 100).last().unwrap();
    let blocked = StorePressure { blocked_mutations: Some(1), ..StorePressure::default() };
    let mut after = before;
    for round in 100..110 {
        let now = INTERVAL * round;
        pods.iter().for_each(|(name, held)| leader.on_report(now, report(name, *held, after / 2, 2_000)));
        let round = leader.on_tick(now, Some(&blocked)).unwrap();
        assert!(round.is_backlogged);
        after = round.budget;
    }
    assert!(after < before * 2 / 3, "{after} after {before}");
}

#[test]
fn test_member_falls_back_within_its_fair_part_and_comes_back() {
    let mut member = Member::new("a".to_owned(), 8, Duration::ZERO);
    let at = |seconds: u64| Duration::from_secs(seconds);
    assert_eq!((member.standing(at(0)), member.limit(at(0), 4, 70)), (Standing::Unheard, 70));
    member.on_budget(at(1), told(100, &[("a", 4), ("b", 4)]));
    assert_eq!((member.standing(at(4)), member.limit(at(4), 4, 70)), (Standing::Sharing, 50));
    assert_eq!((member.standing(at(5)), member.limit(at(5), 4, 70)), (Standing::CutOff, 50));
    assert_eq!(member.limit(at(5), 4, 20), 20);
    // The other one is gone and has left its partitions.
    assert_eq!(member.limit(at(9), 8, 700), 100);
    assert_eq!(member.limit(at(9), 0, 700), 1);
    member.on_budget(at(10), told(100, &[("b", 8)]));
    assert_eq!((member.standing(at(10)), member.limit(at(10), 4, 70)), (Standing::Sharing, 1));
}

#[test]
fn test_a_pod_that_is_cut_off_learns_from_the_last_word_how_many_partitions_others_have() {
    let mut member = Member::new("a".to_owned(), 0, Duration::ZERO);
    member.on_budget(Duration::from_secs(1), told(100, &[("a", 4), ("b", 12)]));
    let now = Duration::from_secs(5);
    assert_eq!((member.standing(now), member.limit(now, 4, 700)), (Standing::CutOff, 25));
}

proptest! {
    #[test]
    fn test_limits_of_all_pods_keep_to_the_budget_whoever_is_cut_off(
        budget in 0u32..5_000,
        held in prop::collection::vec(0u32..50, 1..20),
        own in prop::collection::vec(0u32..5_000, 20),
        heard_s in prop::collection::vec(0u64..10, 20),
    ) {
        let all: u32 = held.iter().sum();
        let names: Vec<String> = (0..held.len()).map(|pod| format!("{pod:02}")).collect();
        let pods: Vec<(&str, u32)> = names.iter().map(String::as_str).zip(held.iter().copied()).collect();
        let now = Duration::from_secs(10);
        let mut sum = 0;
        let lone = held.iter().filter(|held| **held > 0).count() == 1;
        for (index, (name, held)) in pods.iter().enumerate() {
            let mut member = Member::new(name.to_string(), all, Duration::ZERO);
            member.on_budget(Duration::from_secs(heard_s[index]), told(budget, &pods));
            let limit = member.limit(now, *held, own[index]);
            prop_assert!(limit >= 1);
            if member.standing(now) == Standing::CutOff {
                prop_assert!(u64::from(limit) * u64::from(all) <= (u64::from(budget) * u64::from(*held)).max(all.into()));
            }
            sum += limit;
        }
        // A pod without partitions has a limit of 1 and nothing to write.
        prop_assert!(lone || sum <= budget.max(held.len() as u32) + held.len() as u32);
    }

    #[test]
    fn test_every_pod_that_reports_partitions_may_write(
        reports in prop::collection::vec((0usize..6, 0u32..9, 0u32..300, 500u64..50_000), 1..200)
    ) {
        let mut leader = Leader::new(settings(), Duration::ZERO);
        let mut now = INTERVAL * 2;
        for (pod, held, in_flight, latency_us) in reports {
            now += INTERVAL / 3;
            leader.on_report(now, report(&format!("pod-{pod}"), held, in_flight, latency_us));
            let round = leader.on_tick(now, None).unwrap();
            let sum: u32 = round.shares.values().map(|pod| pod.share).sum();
            prop_assert!(sum <= round.budget.max(round.shares.len() as u32));
            prop_assert!(round.shares.values().all(|pod| (pod.share > 0) == (pod.partitions > 0)));
        }
    }
}
