//! How messages are taken in: their layouts, their topics, and which event times they may have. A reload replaces the rules
//! whole; whoever takes a package in looks at them once for each package.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;

use crate::codec::Codecs;
use crate::flow::clock::{Evidence, Trust};
use crate::schema::TypeId;

/// How messages are taken in.
#[derive(Debug, Clone)]
pub struct IntakeRules {
    /// The layouts.
    pub codecs: Arc<Codecs>,
    /// For each message type, which of the topics of [`super::routes::Routes`] takes it.
    pub topic_of: HashMap<TypeId, usize>,
    /// How far ahead of this machine's clock an event time may lie.
    pub max_event_time_ahead: Duration,
    /// How far behind this machine's clock an event time may lie.
    pub max_event_time_behind: Duration,
}

/// The rules in force, shared by all who take messages in.
pub type LiveIntakeRules = Arc<ArcSwap<IntakeRules>>;

/// What is known of this machine's clock, shared by all who take messages in.
pub type LiveEvidence = Arc<ArcSwap<Evidence>>;

/// The event times that are taken at one moment, in milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventWindow {
    now_ms: u64,
    earliest_ms: u64,
    latest_ms: u64,
    trust: Trust,
}

/// Why a message of this event time is not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Untimely {
    /// It never will be: why, for people, as the end of a sentence that begins with the event time.
    OutOfRange(String),
    /// Perhaps it is our clock that is wrong: the message is to be sent again.
    RetryLater,
}

// === impl IntakeRules ===

impl IntakeRules {
    /// The event times that are taken of what came at this moment, in microseconds since the Unix epoch, by a clock that
    /// can be believed so far.
    pub fn window(&self, received_at_us: u64, trust: Trust) -> EventWindow {
        let now_ms = received_at_us / 1000;
        let span = |duration: Duration| duration.as_millis() as u64;
        EventWindow {
            now_ms,
            earliest_ms: now_ms.saturating_sub(span(self.max_event_time_behind)),
            latest_ms: now_ms.saturating_add(span(self.max_event_time_ahead)),
            trust,
        }
    }
}

// === impl EventWindow ===

impl EventWindow {
    /// Whether a message of this event time is taken.
    #[inline]
    pub fn check(&self, event_time_ms: u64) -> Result<(), Untimely> {
        if (self.earliest_ms..=self.latest_ms).contains(&event_time_ms) {
            return Ok(());
        }
        Err(match self.trust {
            Trust::Sound => Untimely::OutOfRange(self.fault(event_time_ms)),
            Trust::Doubtful | Trust::Wrong => Untimely::RetryLater,
        })
    }

    fn fault(&self, event_time_ms: u64) -> String {
        let apart_ms = event_time_ms.abs_diff(self.now_ms);
        let side = if event_time_ms > self.now_ms { "ahead of" } else { "behind" };
        let hint = self.unit_of(event_time_ms).map(|unit| {
            format!("; {event_time_ms} looks like {unit}, and an event time is in milliseconds since 1970")
        });
        format!("{apart_ms} ms {side} the server's clock{}", hint.unwrap_or_default())
    }

    /// The unit in which a number that is out of range would be a time of about now.
    fn unit_of(&self, number: u64) -> Option<&'static str> {
        // Within a year or so: a wider net would find a unit for nearly every number.
        let is_about_now = |ms: Option<u64>| ms.is_some_and(|ms| ms.abs_diff(self.now_ms) < 400 * 86_400_000);
        [
            ("seconds", number.checked_mul(1000)),
            ("microseconds", Some(number / 1000)),
            ("nanoseconds", Some(number / 1_000_000)),
        ]
        .into_iter()
        .find_map(|(unit, ms)| is_about_now(ms).then_some(unit))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW_MS: u64 = 1_796_000_000_000;

    fn window() -> EventWindow {
        let rules = IntakeRules {
            codecs: Arc::new(Codecs::builtin().unwrap()),
            topic_of: HashMap::new(),
            max_event_time_ahead: Duration::from_secs(60),
            max_event_time_behind: Duration::from_secs(3600),
        };
        rules.window(NOW_MS * 1000 + 999, Trust::Sound)
    }

    #[test]
    fn test_the_bounds_themselves_are_taken_and_nothing_beyond_them() {
        let window = window();
        for taken in [NOW_MS - 3_600_000, NOW_MS, NOW_MS + 60_000] {
            assert_eq!(window.check(taken), Ok(()), "{taken}");
        }
        for refused in [0, NOW_MS - 3_600_001, NOW_MS + 60_001, u64::MAX] {
            assert!(matches!(window.check(refused), Err(Untimely::OutOfRange(_))), "{refused}");
        }
        assert_eq!(window.fault(NOW_MS + 60_001), "60001 ms ahead of the server's clock");
        assert_eq!(window.fault(NOW_MS - 3_600_001), "3600001 ms behind the server's clock");
    }

    #[test]
    fn test_a_number_in_another_unit_is_named() {
        for (number, unit) in [
            (1_795_995_013, "1795995013 looks like seconds"),
            (NOW_MS * 1000, "looks like microseconds"),
            (NOW_MS * 1_000_000, "looks like nanoseconds"),
        ] {
            assert!(window().fault(number).contains(unit), "{}", window().fault(number));
        }
        for number in [0, 1, 7_200, u64::MAX] {
            assert!(!window().fault(number).contains("looks like"), "{}", window().fault(number));
        }
    }

    #[test]
    fn test_a_clock_at_the_beginning_of_time_has_a_window_too() {
        let rules = IntakeRules { max_event_time_behind: Duration::from_secs(u64::MAX / 1000), ..rules_of_one_day() };
        assert_eq!(rules.window(0, Trust::Sound).check(0), Ok(()));
    }

    fn rules_of_one_day() -> IntakeRules {
        IntakeRules {
            codecs: Arc::new(Codecs::builtin().unwrap()),
            topic_of: HashMap::new(),
            max_event_time_ahead: Duration::from_secs(86_400),
            max_event_time_behind: Duration::from_secs(86_400),
        }
    }
}
