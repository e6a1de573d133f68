use proptest::prelude::*;

use super::*;

fn at(offset: u64) -> Progress {
    let mut progress = Progress::default();
    progress.begin(offset);
    progress
}

#[test]
fn test_commits_are_told_once_and_never_go_back() {
    let mut progress = at(0);
    assert_eq!(progress.take_untold(), None);
    progress.on_records(0, 10);
    progress.on_commit(7);
    progress.on_commit(5);
    assert_eq!(progress.take_untold(), Some(7));
    assert_eq!(progress.take_untold(), None);
    progress.on_commit_failed();
    assert_eq!(progress.take_untold(), Some(7));
}

#[test]
fn test_the_commit_moves_over_offsets_without_a_record_once_all_before_them_are_settled() {
    let mut progress = at(0);
    progress.on_records(0, 10);
    assert_eq!(progress.on_gap(15, Some(0)), None, "the log still begins at 0: nothing is lost");
    progress.on_report(0, 15, 15);
    progress.on_commit(9);
    assert_eq!((progress.take_untold(), progress.lag()), (Some(9), Some(6)));
    progress.on_commit(10);
    assert_eq!((progress.take_untold(), progress.lag()), (Some(15), Some(0)));
    progress.on_records(15, 16);
    assert_eq!((progress.take_untold(), progress.settled()), (None, Some(10)), "the new one is not settled");
}

#[test]
fn test_a_group_without_a_commit_begins_at_the_first_record_and_misses_nothing() {
    let mut progress = Progress::default();
    assert_eq!((progress.look_at(40), progress.lag()), (Next::Expected, None));
    progress.on_report(40, 50, 50);
    assert_eq!(progress.lag(), Some(10));
    progress.on_records(40, 42);
    assert_eq!((progress.rewind(), progress.lag()), (Some(40), Some(10)));
}

#[test]
fn test_what_the_start_of_the_log_has_passed_is_lost() {
    let mut progress = at(100);
    assert_eq!(progress.look_at(900), Next::Ahead);
    assert_eq!(progress.on_gap(900, Some(880)), Some(Gone { from: 100, to: 880 }), "the rest held no record");
    progress.on_records(900, 1000);
    progress.on_commit(1000);
    assert_eq!(progress.on_low(1200), Some(Gone { from: 1000, to: 1200 }));
    assert_eq!(progress.take_untold(), Some(1200));
    assert_eq!(progress.look_at(1100), Next::Ahead, "it was fetched before it was removed");
    progress.on_records(1100, 1300);
    assert_eq!((progress.settled(), progress.rewind()), (Some(1000), Some(1000)));
    assert_eq!(progress.settled(), Some(1000), "what was handed out is to be read again");
}

#[test]
fn test_what_can_be_fetched_no_more_is_lost_once_that_is_sure() {
    let (mut progress, start) = (at(40), Instant::now());
    assert_eq!(progress.on_fetched(80, start), None);
    progress.on_start(150, start);
    progress.on_start(150, start + SURE_AFTER / 2);
    assert_eq!(progress.on_fetched(80, start + SURE_AFTER / 2), None, "an answer may be under way");
    let sure = start + SURE_AFTER;
    assert_eq!(progress.on_fetched(80, sure), Some(Gone { from: 80, to: 150 }), "the client holds what is below");
    assert_eq!((progress.on_fetched(-1001, sure), progress.on_fetched(150, sure)), (None, None));
    progress.on_records(40, 160);
    assert_eq!(progress.on_fetched(80, sure), None, "a report may be older than what was read");
}

#[test]
fn test_a_log_that_was_emptied_is_lost_up_to_its_end() {
    let mut progress = at(100);
    assert_eq!(progress.on_gap(500, Some(500)), Some(Gone { from: 100, to: 500 }));
    progress.on_report(500, 500, 500);
    assert_eq!((progress.take_untold(), progress.lag()), (Some(500), Some(0)));
}

#[test]
fn test_a_lower_offset_begins_anew() {
    let mut progress = at(100);
    assert_eq!(progress.look_at(0), Next::Anew);
    progress.on_records(100, 110);
    assert_eq!(progress.look_at(109), Next::Anew);
    assert_eq!(progress.rewind(), Some(100));
    assert_eq!(progress.look_at(100), Next::Expected, "going back is no new beginning");
}

#[test]
fn test_rewind_forgets_what_was_passed_over() {
    let mut progress = at(0);
    assert_eq!(progress.rewind(), None, "nothing was read");
    progress.on_records(0, 10);
    progress.on_gap(20, Some(0));
    assert_eq!((progress.rewind(), progress.settled()), (Some(0), Some(0)));
    progress.on_records(0, 10);
    progress.on_commit(10);
    assert_eq!(progress.settled(), Some(10), "the gap is found again");
}

#[test]
fn test_lag_is_unknown_until_the_end_is_reported_and_survives_a_report_without_one() {
    let mut progress = at(4);
    progress.on_report(-1001, -1001, -1001);
    assert_eq!(progress.lag(), None);
    progress.on_report(0, 10, 10);
    progress.on_report(-1, -1, -1);
    assert_eq!(progress.lag(), Some(6));
    progress.on_asked(0, 30);
    progress.on_report(0, 10, 10);
    assert_eq!(progress.lag(), Some(26), "a report may be older than an answer");
}

#[test]
fn test_an_open_transaction_holds_up_what_is_behind_it() {
    let mut progress = at(0);
    progress.on_report(0, 50, 20);
    assert_eq!((progress.behind_open_transaction(), progress.readable_end()), (0, Some(20)));
    progress.on_records(0, 20);
    assert_eq!((progress.behind_open_transaction(), progress.unread()), (30, 30));
    progress.on_report(0, 50, 50);
    assert_eq!((progress.behind_open_transaction(), progress.unread()), (0, 30));
}

#[derive(Debug, Clone)]
enum Step {
    Read { gap: u64, count: u64 },
    Pass(u64),
    Settle(usize),
    Rewind,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0u64..4, 1u64..5).prop_map(|(gap, count)| Step::Read { gap, count }),
        (1u64..6).prop_map(Step::Pass),
        (0usize..8).prop_map(Step::Settle),
        Just(Step::Rewind),
    ]
}

proptest! {
    /// Whatever comes: the commit never passes a record that is not settled, and in the end nothing is open.
    #[test]
    fn test_the_commit_never_passes_what_is_not_settled(steps in prop::collection::vec(step(), 1..60)) {
        let mut progress = at(0);
        let mut watermark = crate::flow::watermark::Watermark::new();
        // Every record of the log so far, and whether it is settled; offsets that hold none are absent.
        let mut log = std::collections::BTreeMap::<u64, bool>::new();
        let mut open = Vec::new();
        for step in steps {
            let position = progress.position().unwrap();
            match step {
                // After going back, what was there before is read as it was.
                Step::Read { .. } | Step::Pass(_) if log.range(position..).next().is_some() => {
                    let first = *log.range(position..).next().unwrap().0;
                    if first > position { progress.on_gap(first, Some(0)); }
                    progress.on_records(first, first + 1);
                    open.push((watermark.track(first + 1), first..first + 1));
                }
                Step::Read { gap, count } => {
                    let first = position + gap;
                    if gap > 0 { progress.on_gap(first, Some(0)); }
                    (first..first + count).for_each(|offset| { log.insert(offset, false); });
                    progress.on_records(first, first + count);
                    open.push((watermark.track(first + count), first..first + count));
                }
                Step::Pass(count) => { progress.on_gap(position + count, Some(0)); }
                Step::Settle(index) if !open.is_empty() => {
                    let (id, records) = open.remove(index % open.len());
                    records.for_each(|offset| { log.insert(offset, true); });
                    if let Some(next) = watermark.settle(id) { progress.on_commit(next); }
                }
                Step::Settle(_) => {}
                Step::Rewind => {
                    progress.rewind();
                    open.clear();
                    watermark = crate::flow::watermark::Watermark::new();
                }
            }
            let settled = progress.settled().unwrap();
            prop_assert!(log.range(..settled).all(|(_, settled)| *settled), "{settled} {log:?}");
        }
    }
}
