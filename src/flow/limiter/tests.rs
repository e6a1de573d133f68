//! Both limiters by what they decide; how well they do against a store is tested in `simulate_gate`.

use std::time::Duration;

use proptest::prelude::*;

use super::*;

const WINDOW: Duration = Duration::from_millis(200);

fn adaptive() -> Limiter {
    Limiter::new(&LimiterSettings::default())
}

/// A window of an ideal store: `parallelism` servers of 5 ms each, kept as busy as the limit allows.
fn healthy(limit: u32, parallelism: u32) -> Sample {
    let latency = Duration::from_micros(5000).mul_f64(f64::from(limit.max(parallelism)) / f64::from(parallelism));
    let num_writes = (f64::from(limit) * WINDOW.as_secs_f64() / latency.as_secs_f64()) as u64;
    let mut sample = Sample { length: WINDOW, max_in_flight: limit, num_waiting: 9, ..Sample::default() };
    sample.oldest_in_flight = latency;
    sample.p99_us = latency.as_micros() as u64;
    sample.classes[0] = ClassSample { num_writes, latency_us: num_writes * latency.as_micros() as u64 };
    sample
}

/// Feeds windows of the ideal store, and returns the limits.
fn run(limiter: &mut Limiter, parallelism: u32, num_windows: usize) -> Vec<u32> {
    (0..num_windows).map(|_| limiter.on_window(&healthy(limiter.decision().limit, parallelism)).limit).collect()
}

#[test]
fn test_adaptive_finds_the_knee_whatever_the_store() {
    for parallelism in [4, 8, 32, 100, 512] {
        let mut limiter = adaptive();
        run(&mut limiter, parallelism, 40);
        let limits = run(&mut limiter, parallelism, 100);
        let mean = f64::from(limits.iter().sum::<u32>()) / 100.0 / f64::from(parallelism);
        // The short queue is much where there are few servers.
        let most = 1.5 + 24.0 / f64::from(parallelism);
        assert!((0.97..most).contains(&mean), "{parallelism} servers: {mean}");
    }
}

#[test]
fn test_adaptive_cuts_at_once_on_drops_and_once_per_generation_of_writes() {
    let mut limiter = adaptive();
    run(&mut limiter, 32, 50);
    let before = limiter.decision().limit;
    let dropping = Sample { num_dropped: 500, ..healthy(before, 32) };
    let cut = limiter.on_window(&Sample { oldest_in_flight: Duration::from_secs(2), ..dropping.clone() }).limit;
    assert!(cut <= before.div_ceil(2));
    for _ in 0..9 {
        assert!(limiter.on_window(&dropping).limit >= cut);
    }
    run(&mut limiter, 32, 20);
    assert!(limiter.decision().limit >= 32);
}

#[test]
fn test_a_cap_holds_until_it_is_lifted() {
    let mut limiter = adaptive();
    run(&mut limiter, 64, 50);
    limiter.cap(5);
    assert_eq!(limiter.decision().limit, 5);
    assert!(run(&mut limiter, 64, 50).iter().all(|limit| *limit <= 5));
    limiter.cap(0);
    assert_eq!(limiter.decision().limit, 1);
    limiter.cap(u32::MAX);
    run(&mut limiter, 64, 50);
    assert!(limiter.decision().limit >= 60);
}

#[test]
fn test_a_stall_is_forgotten_within_five_seconds() {
    let mut limiter = adaptive();
    run(&mut limiter, 64, 50);
    for window in 1..150u32 {
        // Writes time out every 2 s.
        let in_flight = limiter.decision().limit;
        let num_dropped = if window % 10 == 0 { u64::from(in_flight) } else { 0 };
        let oldest_in_flight = WINDOW * (window % 10);
        let length = WINDOW;
        let stalled = Sample {
            length,
            max_in_flight: in_flight,
            oldest_in_flight,
            num_dropped,
            num_waiting: 9,
            ..Sample::default()
        };
        assert!(limiter.on_window(&stalled).limit >= 1);
    }
    run(&mut limiter, 64, 25);
    assert!(limiter.decision().limit >= 58, "{:?}", limiter.explain());
}

/// A store that refuses what is above 40 in flight, and is not a bit slower before.
#[test]
fn test_adaptive_stays_below_what_a_store_refuses() {
    let mut limiter = adaptive();
    let (mut num_dropped, mut num_writes) = (0, 0);
    for _ in 0..500 {
        let limit = limiter.decision().limit;
        let mut sample = healthy(limit.min(40), 1000);
        sample.max_in_flight = limit;
        sample.num_dropped = u64::from(limit.saturating_sub(40)) * 40;
        num_dropped += sample.num_dropped;
        num_writes += sample.num_writes();
        limiter.on_window(&sample);
    }
    assert!(num_writes > 500 * 40 * 40 * 8 / 10, "{num_writes}");
    assert!(num_dropped < num_writes / 50, "{num_dropped} of {num_writes}");
}

fn any_sample() -> impl Strategy<Value = Sample> {
    let classes = prop::array::uniform10((0u64..400, 1u64..2_000_000));
    (classes, prop_oneof![Just(0u64), 0u64..500], 0u32..2000, 0u32..3, 0u64..5_000).prop_map(
        |(classes, num_dropped, max_in_flight, num_waiting, oldest_ms)| Sample {
            length: WINDOW,
            classes: classes.map(|(num_writes, mean_us)| ClassSample { num_writes, latency_us: num_writes * mean_us }),
            num_dropped,
            max_in_flight,
            num_waiting,
            oldest_in_flight: Duration::from_millis(oldest_ms),
            p99_us: 0,
        },
    )
}

proptest! {
    /// Whatever happens: within the bounds, no shrink by more than a half, and no growth of a limit that is not used,
    /// except back to where it was, or in a trial.
    #[test]
    fn test_adaptive_is_bounded(samples in prop::collection::vec(any_sample(), 1..200), cap in 1u32..2000) {
        let mut limiter = adaptive();
        limiter.cap(cap);
        for sample in samples {
            let before = limiter.decision().limit;
            let phase = limiter.explain().phase;
            let after = limiter.on_window(&sample).limit;
            prop_assert!((1..=cap.min(1024)).contains(&after));
            prop_assert!(after >= before / 2, "{before} to {after}");
            if f64::from(sample.max_in_flight) < 0.5 * f64::from(before) && phase != "check" {
                let back = limiter.explain().last_good.unwrap_or(0.0).ceil();
                prop_assert!(after <= before || f64::from(after) <= back, "{before} to {after}");
            }
        }
    }

    /// Whatever it went through, on a healthy store it comes back.
    #[test]
    fn test_adaptive_comes_back_after_anything(samples in prop::collection::vec(any_sample(), 1..100)) {
        let mut limiter = adaptive();
        samples.iter().for_each(|sample| { limiter.on_window(sample); });
        run(&mut limiter, 32, 300);
        let limits = run(&mut limiter, 32, 50);
        let goodput: f64 = limits.iter().map(|limit| f64::from((*limit).min(32))).sum();
        prop_assert!(goodput >= 0.95 * 32.0 * 50.0, "{:?}", limits);
    }
}
