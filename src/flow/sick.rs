//! A write that keeps failing while others of its table are confirmed: when it is tried aside of the others, and when it is
//! given up.
//!
//! A store that is overloaded or away fails writes of all kinds, and then nothing is given up, however long that lasts. So
//! what counts is the time through which other rows of the table were confirmed: once there is a gap in that, the time
//! begins anew.

use std::time::Duration;

/// A write is tried aside once it has failed for so long (or for the time after which it is given up, if that is shorter)
/// and so many times while others were confirmed. An overloaded store
/// fails one and the same write a few times, too, and then it is the gate that has to hear of it.
const ASIDE_AFTER: Duration = Duration::from_secs(15);
const ASIDE_FAILURES: u32 = 5;

/// If no other row was confirmed for so long, it may be the table.
const LONGEST_GAP: Duration = Duration::from_secs(60);

/// How one write has fared. Times are since one and the same moment.
#[derive(Debug, Clone, Default)]
pub struct Sickness {
    /// When it failed first while others were confirmed.
    since: Option<Duration>,
    last: Duration,
    /// So many failures had others confirmed between them and the one before.
    num_alone: u32,
}

/// What is to be done with a write that has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Advice {
    /// It is tried again as others are.
    TryAgain,
    /// It is tried again aside: it takes nothing of what others need, and says nothing of the store.
    Aside,
    /// It is not tried again.
    GiveUp,
}

// === impl Sickness ===

impl Sickness {
    /// The write failed at `now`; another row of its table was confirmed last at `confirmed`.
    pub fn failed(&mut self, now: Duration, confirmed: Option<Duration>, give_up_after: Option<Duration>) -> Advice {
        let Some(since) = self.since else {
            *self = Self { since: Some(now), last: now, num_alone: 0 };
            return Advice::TryAgain;
        };
        let is_alone = confirmed.is_some_and(|confirmed| confirmed > self.last);
        let heard = confirmed.unwrap_or_default().max(since);
        self.last = now;
        if !is_alone && now.saturating_sub(heard) > LONGEST_GAP {
            *self = Self { since: Some(now), last: now, num_alone: 0 };
            return Advice::TryAgain;
        }
        self.num_alone += u32::from(is_alone);
        let lasted = now.saturating_sub(since);
        let aside_after = give_up_after.map_or(ASIDE_AFTER, |after| after.min(ASIDE_AFTER));
        let is_sick = self.num_alone >= ASIDE_FAILURES && lasted >= aside_after;
        match give_up_after {
            Some(after) if is_sick && is_alone && lasted >= after => Advice::GiveUp,
            _ if is_sick => Advice::Aside,
            _ => Advice::TryAgain,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Option<Duration> = Some(Duration::from_secs(3600));

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    /// What is advised when a write fails every `step` seconds up to `end`, and others are confirmed in these seconds.
    fn advised(step: u64, end: u64, confirmed: impl Fn(u64) -> bool) -> Vec<(u64, Advice)> {
        let (mut sickness, mut advice) = (Sickness::default(), Vec::new());
        for at in (0..=end).step_by(step as usize) {
            let last = (0..at).rev().find(|second| confirmed(*second));
            // In the middle of that second.
            let last = last.map(|second| seconds(second) + Duration::from_millis(500));
            advice.push((at, sickness.failed(seconds(at), last, HOUR)));
        }
        advice
    }

    fn first(advice: &[(u64, Advice)], wanted: Advice) -> Option<u64> {
        advice.iter().find(|(_, advice)| *advice == wanted).map(|(at, _)| *at)
    }

    #[test]
    fn test_a_write_that_fails_alone_goes_aside_and_is_given_up_after_its_time() {
        let advice = advised(2, 4000, |_| true);
        assert_eq!((first(&advice, Advice::Aside), first(&advice, Advice::GiveUp)), (Some(16), Some(3600)));
        let seldom = advised(30, 4000, |second| second % 45 == 0);
        assert_eq!(first(&seldom, Advice::GiveUp), Some(3630), "others need not be confirmed all the time");
    }

    #[test]
    fn test_nothing_is_given_up_while_no_other_row_is_confirmed() {
        let down = advised(2, 20_000, |_| false);
        assert!(down.iter().all(|(_, advice)| *advice == Advice::TryAgain));
        // An outage within the time begins it anew.
        let outage = advised(2, 8000, |second| !(3000..3100).contains(&second));
        let given_up = first(&outage, Advice::GiveUp).unwrap();
        assert!((6600..6800).contains(&given_up), "{given_up}");
    }

    #[test]
    fn test_a_few_failures_are_no_sickness() {
        let often = advised(1, 14, |_| true);
        assert!(often.iter().all(|(_, advice)| *advice == Advice::TryAgain));
        let few = advised(20, 80, |_| true);
        assert!(few.iter().all(|(_, advice)| *advice == Advice::TryAgain));
    }

    #[test]
    fn test_without_a_time_nothing_is_given_up() {
        let mut sickness = Sickness::default();
        for at in (0..1_000_000).step_by(100) {
            let advice = sickness.failed(seconds(at), Some(seconds(at)), None);
            assert_ne!(advice, Advice::GiveUp);
        }
    }

    proptest! {
        #[test]
        fn test_who_is_given_up_has_failed_for_its_time_and_others_were_confirmed_throughout(
            steps in prop::collection::vec((1u64..100, any::<bool>()), 1..200),
        ) {
            let (mut sickness, mut now) = (Sickness::default(), 0);
            let mut confirmed: Vec<u64> = Vec::new();
            for (step, is_confirmed) in steps {
                if is_confirmed {
                    confirmed.push(now + step / 2);
                }
                now += step;
                let last = confirmed.last().map(|at| seconds(*at));
                if sickness.failed(seconds(now), last, Some(seconds(600))) == Advice::GiveUp {
                    prop_assert!(now >= 600);
                    let mut marks: Vec<u64> = confirmed.iter().copied().filter(|at| *at + 600 >= now).collect();
                    marks.insert(0, now - 600);
                    marks.push(now);
                    // A gap is seen at the failure after it, which may come a step later.
                    prop_assert!(marks.windows(2).all(|pair| pair[1] - pair[0] <= 60 + 200), "{marks:?}");
                    return Ok(());
                }
            }
        }
    }
}
