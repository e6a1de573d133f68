use super::*;

mod any_order;

const FULL: Size = Size { records: 4096, bytes: 1 << 20 };

/// A log that is known to have much more, and room for it.
struct Plenty;

impl Surroundings for Plenty {
    fn has_room(&self) -> bool {
        true
    }

    fn log_end(&self) -> Option<u64> {
        Some(u64::MAX)
    }
}

/// What the test says that it is.
struct Around {
    has_room: bool,
    log_end: Option<u64>,
}

impl Surroundings for Around {
    fn has_room(&self) -> bool {
        self.has_room
    }

    fn log_end(&self) -> Option<u64> {
        self.log_end
    }
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn records(records: usize) -> Size {
    Size { records, bytes: records * 10 }
}

fn ready(max_batches_in_flight: usize) -> Consumption {
    let mut rule = Consumption::new(ConsumptionSettings { full: FULL, max_batches_in_flight });
    assert_eq!(actions(&mut rule, ms(0), &Plenty), []);
    rule.on_ready();
    rule
}

/// Everything that is to be done now.
fn actions(rule: &mut Consumption, now: Duration, around: &impl Surroundings) -> Vec<Action> {
    std::iter::from_fn(|| rule.next(now, around)).collect()
}

fn sent(actions: &[Action]) -> Vec<(BatchId, u64)> {
    let sent = actions.iter().filter_map(|action| match action {
        Action::Send { id, next_offset } => Some((*id, *next_offset)),
        _ => None,
    });
    sent.collect()
}

fn reads_at_most(at_most: Size) -> Action {
    Action::Read { at_most, give_up_after: None }
}

/// A partition that waits for a slot with a small batch's worth of records.
fn behind() -> Consumption {
    let mut rule = ready(2);
    assert_eq!(actions(&mut rule, ms(0), &Plenty), [reads_at_most(SMALL)]);
    rule.on_read(ms(1), records(SMALL.records), 1024);
    assert_eq!(actions(&mut rule, ms(1), &Plenty), [Action::AskForSlot]);
    rule
}

#[test]
fn test_with_nothing_in_flight_what_was_read_goes_out_at_once() {
    let mut rule = ready(2);
    assert_eq!(actions(&mut rule, ms(0), &Plenty), [reads_at_most(SMALL)]);
    rule.on_read(ms(5), records(3), 3);
    let done = actions(&mut rule, ms(5), &Plenty);
    assert_eq!(sent(&done).len(), 1);
    assert_eq!(done[1..], [reads_at_most(SMALL)]);
}

#[test]
fn test_what_is_read_meanwhile_is_one_batch_once_the_one_in_flight_is_settled() {
    let mut rule = ready(2);
    actions(&mut rule, ms(0), &Plenty);
    rule.on_read(ms(0), records(1), 1);
    let first = sent(&actions(&mut rule, ms(0), &Plenty))[0].0;
    rule.on_read(ms(10), records(2), 3);
    let left = SMALL.less(records(2)).unwrap();
    assert_eq!(actions(&mut rule, ms(10), &Plenty), [reads_at_most(left), Action::LookAgain(MAX_AGE)]);
    rule.on_read(ms(20), records(4), 7);
    assert_eq!(actions(&mut rule, ms(20), &Plenty), [reads_at_most(left.less(records(4)).unwrap())]);
    rule.on_settled(first);
    let done = actions(&mut rule, ms(30), &Plenty);
    assert_eq!((done[0], sent(&done)[0].1), (Action::Commit(1), 7));
}

#[test]
fn test_records_are_collected_for_no_longer_than_the_greatest_age() {
    let mut rule = ready(2);
    actions(&mut rule, ms(0), &Plenty);
    rule.on_read(ms(0), records(1), 1);
    actions(&mut rule, ms(0), &Plenty);
    rule.on_read(ms(10), records(2), 3);
    actions(&mut rule, ms(10), &Plenty);
    rule.on_time();
    let almost = ms(9) + MAX_AGE;
    assert_eq!(actions(&mut rule, almost, &Plenty), [Action::LookAgain(ms(1))], "too early, and asked again");
    rule.on_time();
    assert_eq!(sent(&actions(&mut rule, ms(10) + MAX_AGE, &Plenty))[0].1, 3);
}

#[test]
fn test_no_more_batches_than_allowed_are_in_flight_and_nothing_is_read_beyond_them() {
    let mut rule = ready(1);
    actions(&mut rule, ms(0), &Plenty);
    rule.on_read(ms(0), records(1), 1);
    let done = actions(&mut rule, ms(0), &Plenty);
    assert_eq!(done.len(), 1, "{done:?}");
    rule.on_settled(sent(&done)[0].0);
    assert_eq!(actions(&mut rule, ms(9), &Plenty), [Action::Commit(1), reads_at_most(SMALL)]);
}

#[test]
fn test_a_partition_that_is_behind_collects_a_full_batch_with_a_slot() {
    let mut rule = behind();
    assert!(rule.on_slot());
    let left = FULL.less(records(1024)).unwrap();
    assert_eq!(
        actions(&mut rule, ms(2), &Plenty),
        [Action::Read { at_most: left, give_up_after: Some(FILL_WAIT) }, Action::LookAgain(MAX_AGE - ms(1))]
    );
    rule.on_read(ms(3), left, 4096);
    assert_eq!(sent(&actions(&mut rule, ms(3), &Plenty))[0].1, 4096);
}

#[test]
fn test_a_slot_is_not_held_for_what_the_log_does_not_give() {
    // The log has no more.
    let mut rule = behind();
    assert!(rule.on_slot());
    let at_end = Around { has_room: true, log_end: Some(1024) };
    assert_eq!(sent(&actions(&mut rule, ms(2), &at_end)).len(), 1);
    // There is no memory for more.
    let mut rule = behind();
    assert!(rule.on_slot());
    let no_room = Around { has_room: false, log_end: None };
    assert_eq!(sent(&actions(&mut rule, ms(2), &no_room)).len(), 1);
    // The log does not send it in time, or cannot be reached.
    let ends: [fn(&mut Consumption); 2] = [Consumption::on_read_timeout, |rule| rule.on_read_failed(ms(502))];
    for end_read in ends {
        let mut rule = behind();
        assert!(rule.on_slot());
        assert_eq!(sent(&actions(&mut rule, ms(2), &Plenty)), []);
        end_read(&mut rule);
        assert_eq!(sent(&actions(&mut rule, ms(502), &Plenty)).len(), 1);
    }
}

#[test]
fn test_a_slot_that_comes_too_late_is_not_kept() {
    let mut rule = behind();
    rule.set_flow(FlowState::Throttled);
    assert_eq!(sent(&actions(&mut rule, ms(2), &Plenty)).len(), 1, "what is not read on does not grow");
    assert!(!rule.on_slot());
    rule.set_flow(FlowState::Open);
    assert_eq!(actions(&mut rule, ms(3), &Plenty), [reads_at_most(SMALL)]);
}

#[test]
fn test_a_throttled_partition_gives_its_read_and_its_slot_back() {
    let mut rule = behind();
    assert!(rule.on_slot());
    actions(&mut rule, ms(2), &Plenty);
    rule.set_flow(FlowState::Throttled);
    let done = actions(&mut rule, ms(3), &Plenty);
    assert_eq!(done[..2], [Action::CancelRead, Action::ReleaseSlot]);
    assert_eq!((sent(&done).len(), done.len()), (1, 3));
}

#[test]
fn test_the_reader_is_paused_after_its_read_is_given_up_and_reads_only_after_it_goes_on() {
    let mut rule = ready(2);
    actions(&mut rule, ms(0), &Plenty);
    rule.set_flow(FlowState::Paused);
    assert_eq!(actions(&mut rule, ms(1), &Plenty), [Action::CancelRead, Action::SetPaused(true)]);
    rule.set_flow(FlowState::Open);
    assert_eq!(actions(&mut rule, ms(2), &Plenty), [], "it is still being paused");
    rule.on_paused();
    assert_eq!(actions(&mut rule, ms(3), &Plenty), [Action::SetPaused(false)]);
    rule.on_paused();
    assert_eq!(actions(&mut rule, ms(4), &Plenty), [reads_at_most(SMALL)]);
}

#[test]
fn test_without_memory_the_first_batch_is_read_and_no_further_one() {
    let no_room = Around { has_room: false, log_end: None };
    let mut rule = ready(2);
    assert_eq!(actions(&mut rule, ms(0), &no_room), [reads_at_most(SMALL)]);
    rule.on_read(ms(0), records(1), 1);
    let done = actions(&mut rule, ms(0), &no_room);
    assert_eq!((sent(&done).len(), done[1..].to_vec()), (1, vec![Action::LookAgain(RETRY_DELAY)]));
    rule.on_time();
    assert_eq!(actions(&mut rule, ms(100), &Plenty), [reads_at_most(SMALL)]);
}

#[test]
fn test_a_read_that_failed_is_tried_again_after_a_moment() {
    let mut rule = ready(2);
    actions(&mut rule, ms(0), &Plenty);
    rule.on_read_failed(ms(10));
    assert_eq!(actions(&mut rule, ms(10), &Plenty), [Action::LookAgain(RETRY_DELAY)]);
    rule.on_time();
    assert_eq!(actions(&mut rule, ms(110), &Plenty), [reads_at_most(SMALL)]);
}

#[test]
fn test_a_dropped_batch_is_sent_again_and_holds_the_offset() {
    let mut rule = ready(1);
    actions(&mut rule, ms(0), &Plenty);
    rule.on_read(ms(0), records(1), 1);
    let id = sent(&actions(&mut rule, ms(0), &Plenty))[0].0;
    rule.on_dropped(ms(5), id);
    assert_eq!(actions(&mut rule, ms(5), &Plenty), [Action::LookAgain(RETRY_DELAY)]);
    rule.on_time();
    assert_eq!(actions(&mut rule, ms(105), &Plenty), [Action::SendAgain(id)]);
    rule.on_settled(id);
    assert_eq!(actions(&mut rule, ms(106), &Plenty)[0], Action::Commit(1));
}

#[test]
fn test_a_drain_forgets_what_is_in_no_batch_and_leaves_after_the_last_commit() {
    let mut rule = ready(2);
    actions(&mut rule, ms(0), &Plenty);
    rule.on_read(ms(0), records(1), 1);
    let id = sent(&actions(&mut rule, ms(0), &Plenty))[0].0;
    rule.on_read(ms(1), records(1), 2);
    actions(&mut rule, ms(1), &Plenty);
    rule.drain();
    assert_eq!(actions(&mut rule, ms(2), &Plenty), [Action::CancelRead, Action::Discard]);
    rule.on_settled(id);
    assert_eq!(actions(&mut rule, ms(3), &Plenty), [Action::Commit(1), Action::Leave]);
    assert_eq!(actions(&mut rule, ms(4), &Plenty), []);
}

#[test]
fn test_a_partition_that_never_began_leaves_at_once() {
    let mut rule = Consumption::new(ConsumptionSettings { full: FULL, max_batches_in_flight: 2 });
    rule.drain();
    assert_eq!(actions(&mut rule, ms(0), &Plenty), [Action::Leave]);
}

#[test]
#[should_panic(expected = "is reported on and is not in flight")]
fn test_a_batch_that_is_settled_twice_is_a_bug() {
    let mut rule = ready(1);
    actions(&mut rule, ms(0), &Plenty);
    rule.on_read(ms(0), records(1), 1);
    let id = sent(&actions(&mut rule, ms(0), &Plenty))[0].0;
    rule.on_settled(id);
    rule.on_settled(id);
}
