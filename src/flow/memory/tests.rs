//! Tests of the memory budget.

use proptest::prelude::*;

use super::*;

#[test]
fn test_packages_stop_at_the_limit_and_give_back_what_they_had() {
    let budget = MemoryBudget::new(100);
    let first = budget.try_reserve(60).unwrap();
    let second = budget.try_reserve(40).unwrap();
    assert!(budget.try_reserve(1).is_none());
    assert!(budget.try_reserve(u64::MAX).is_none());
    drop(first);
    assert_eq!(budget.in_use(), 40);
    assert!(budget.try_reserve(60).is_some());
    drop(second);
    assert_eq!(budget.in_use(), 0);
    assert_eq!(budget.snapshot().refused_packages, 2);
}

#[test]
fn test_what_outgrows_its_room_counts_and_is_given_back() {
    let budget = MemoryBudget::new(100);
    let package = budget.try_reserve(60).unwrap();
    assert!(package.outgrown_by(60).is_none());
    let more = package.outgrown_by(260).unwrap();
    assert_eq!(budget.snapshot().packages_bytes, 260);
    assert!(budget.try_reserve(1).is_none());
    drop((package, more));
    assert_eq!(budget.in_use(), 0);
}

#[test]
fn test_half_stays_for_packages_whatever_the_others_hold() {
    let budget = MemoryBudget::new(100);
    let batch = budget.take(500);
    budget.set_outside(500);
    let package = budget.try_reserve(50).unwrap();
    assert!(budget.try_reserve(1).is_none());
    assert_eq!(budget.in_use(), 1050);
    budget.set_outside(0);
    drop(batch);
    assert!(budget.try_reserve(50).is_some());
    drop(package);
}

#[test]
fn test_consumers_read_on_up_to_half_and_only_while_there_is_room() {
    let budget = MemoryBudget::new(100);
    let batch = budget.take(49);
    assert!(budget.may_read_on());
    let next = budget.take(1);
    assert!(!budget.may_read_on());
    drop(next);
    let package = budget.try_reserve(51).unwrap();
    assert!(!budget.may_read_on(), "full of packages");
    drop(package);
    budget.set_outside(51);
    assert!(!budget.may_read_on(), "full of what others hold");
    budget.set_outside(50);
    assert!(budget.may_read_on());
    drop(batch);
}

#[test]
fn test_pressure_counts_who_was_refused_and_forgets_them() {
    let budget = MemoryBudget::new(100);
    let _package = budget.try_reserve(100).unwrap();
    for _ in 0..4 {
        assert!(budget.try_reserve(50).is_none());
    }
    assert_eq!(budget.pressure(), 3.0);
    budget.relax();
    assert_eq!(budget.pressure(), 2.0);
    (0..10).for_each(|_| budget.relax());
    assert_eq!(budget.pressure(), 1.0);
}

#[test]
fn test_a_turn_is_told_once() {
    let budget = MemoryBudget::new(80);
    let mut watch = FullWatch::default();
    let package = budget.try_reserve(75).unwrap();
    assert_eq!(watch.on_look(&budget.snapshot()), None, "nearly full, but nobody was refused");
    assert!(budget.try_reserve(10).is_none());
    assert_eq!(watch.on_look(&budget.snapshot()), Some(Turn::Full));
    assert!(budget.try_reserve(10).is_none());
    assert_eq!(watch.on_look(&budget.snapshot()), None);
    assert_eq!(watch.on_look(&budget.snapshot()), None, "nobody was refused, but there is no room either");
    drop(package);
    assert_eq!(watch.on_look(&budget.snapshot()), Some(Turn::Room));
    assert_eq!(watch.on_look(&budget.snapshot()), None);
    // What the others hold beyond their part is not waited for.
    budget.set_outside(1000);
    assert!(budget.try_reserve(41).is_none());
    assert_eq!(watch.on_look(&budget.snapshot()), Some(Turn::Full));
    assert_eq!(watch.on_look(&budget.snapshot()), Some(Turn::Room));
}

#[test]
fn test_delays_grow_with_pressure_up_to_a_cap() {
    let delay = |pressure, draw| retry_delay(Duration::from_secs(1), pressure, draw).as_millis();
    assert_eq!([delay(0.2, 0.0), delay(1.0, 0.5), delay(1.0, 1.0)], [500, 1000, 1500]);
    assert_eq!(delay(3.0, 0.5), 3000);
    assert_eq!(delay(1000.0, 1.0), 8000);
    assert!(delay(1000.0, 0.0) < 3000, "spread at the cap, too");
    assert_eq!(delay(f64::INFINITY, 1.0), 8000);
}

#[test]
fn test_threads_at_once_never_lead_over_the_limit() {
    let budget = MemoryBudget::new(1000);
    std::thread::scope(|scope| {
        for worker in 0..4u64 {
            let budget = budget.clone();
            scope.spawn(move || {
                for step in 0..2000 {
                    let package = budget.try_reserve(100 + (worker * 37 + step) % 300);
                    assert!(budget.in_use() <= 1000);
                    drop(package);
                }
            });
        }
    });
    assert_eq!(budget.in_use(), 0);
}

#[test]
fn test_what_grows_is_never_counted_twice() {
    const NUM_LOOKS: usize = 2_000_000;
    let budget = MemoryBudget::new(1000);
    let mut growing = budget.take(0);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| (0..NUM_LOOKS).map(|_| budget.in_use()).max());
        while !watch.is_finished() {
            (0..=100).for_each(|bytes| growing.resize(bytes));
        }
        assert!(watch.join().unwrap() <= Some(100));
    });
}

#[derive(Debug, Clone)]
enum Step {
    Reserve(u64),
    Take(u64),
    Outside(u64),
    Resize(usize, u64),
    Drop(usize),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u64..400).prop_map(Step::Reserve),
        (0u64..400).prop_map(Step::Take),
        (0u64..2000).prop_map(Step::Outside),
        (any::<usize>(), 0u64..400).prop_map(|(index, bytes)| Step::Resize(index, bytes)),
        any::<usize>().prop_map(Step::Drop),
    ]
}

proptest! {
    /// In use is always exactly what is held; reserving never leads over the limit, nor refuses packages their part.
    #[test]
    fn test_what_is_held_is_counted_and_given_back(steps in prop::collection::vec(step(), 0..200)) {
        const LIMIT: u64 = 1000;
        let budget = MemoryBudget::new(LIMIT);
        let mut held: Vec<(Reserved, u64, bool)> = Vec::new();
        let mut outside = 0;
        for step in steps {
            let sum = |of_packages| held.iter().filter(|held| held.2 == of_packages).map(|held| held.1).sum::<u64>();
            let (packages, others) = (sum(true), sum(false) + outside);
            match step {
                Step::Reserve(bytes) => match budget.try_reserve(bytes) {
                    Some(reserved) => {
                        prop_assert!(packages + bytes + others.min(LIMIT / 2) <= LIMIT);
                        held.push((reserved, bytes, true));
                    }
                    None => prop_assert!(packages + bytes + others > LIMIT && packages + bytes > LIMIT / 2),
                },
                Step::Take(bytes) => held.push((budget.take(bytes), bytes, false)),
                Step::Outside(bytes) => {
                    outside = bytes;
                    budget.set_outside(bytes);
                }
                Step::Resize(index, bytes) if !held.is_empty() => {
                    let index = index % held.len();
                    held[index].0.resize(bytes);
                    held[index].1 = bytes;
                }
                Step::Drop(index) if !held.is_empty() => drop(held.swap_remove(index % held.len())),
                Step::Resize(..) | Step::Drop(_) => {}
            }
            prop_assert_eq!(budget.in_use(), held.iter().map(|held| held.1).sum::<u64>() + outside);
        }
        drop(held);
        prop_assert_eq!(budget.in_use(), outside);
    }

    #[test]
    fn test_delays_stay_between_half_and_eight_times_the_base(
        base_ms in 1u64..600_000, pressure in 0.0f64..1e6, draw in 0.0f64..1.0
    ) {
        let base = Duration::from_millis(base_ms);
        let delay = retry_delay(base, pressure, draw);
        prop_assert!(delay >= base / 2 && delay <= base * 8, "{delay:?}");
        prop_assert!(delay <= retry_delay(base, pressure + 1.0, draw));
    }
}
