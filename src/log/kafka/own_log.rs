//! librdkafka's own log. It repeats itself many times a second while something is wrong, and what is wrong is told by
//! conditions: so only its errors are passed on, and of these one for each facility and minute.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// An error of the same facility is passed on again after this long.
const INTERVAL: Duration = Duration::from_secs(60);

/// What was repeated within this time still lasts.
const LASTS: Duration = Duration::from_secs(60);

/// Passes on what the clients of one log say.
#[derive(Debug, Default)]
pub(super) struct OwnLog {
    errors: Mutex<Errors>,
    lasting: Mutex<Lasting>,
}

/// The errors that clients report over and over while they last, by who has it and what it is, and when each came last.
#[derive(Debug, Default)]
struct Lasting(HashMap<(&'static str, Option<i32>), Instant>);

/// Which errors were passed on, by facility: one of librdkafka's dozen words for what the client was doing.
#[derive(Debug, Default)]
struct Errors {
    facilities: HashMap<String, Passed>,
}

#[derive(Debug)]
struct Passed {
    at: Instant,
    num_left_out: u64,
}

// === impl OwnLog ===

impl OwnLog {
    /// Takes in a line. What is not passed on is there at debug level.
    pub(super) fn line(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        use RDKafkaLogLevel::{Alert, Critical, Emerg, Error};
        let is_error = matches!(level, Emerg | Alert | Critical | Error);
        let passed = is_error.then(|| self.errors.lock().note(facility, Instant::now())).flatten();
        match passed {
            Some(left_out) => tracing::error!(target: "librdkafka", facility, left_out, "{line}"),
            None => tracing::debug!(target: "librdkafka", facility, ?level, "{line}"),
        }
    }
}

impl OwnLog {
    /// An error that a client reports by itself. Logged when it begins; while it lasts it is there at debug level.
    pub(super) fn error(&self, whose: &'static str, error: &KafkaError, reason: &str) {
        if self.lasting.lock().is_new((whose, error.rdkafka_error_code()), Instant::now()) {
            tracing::warn!(%error, reason, "kafka {whose} error");
        } else {
            tracing::debug!(%error, reason, "kafka {whose} error");
        }
    }
}

// === impl Lasting ===

impl Lasting {
    /// Takes in an error at `now`; whether it has not come for a while.
    fn is_new(&mut self, (whose, code): (&'static str, Option<RDKafkaErrorCode>), now: Instant) -> bool {
        let before = self.0.insert((whose, code.map(|code| code as i32)), now);
        before.is_none_or(|before| now.saturating_duration_since(before) >= LASTS)
    }
}

// === impl Errors ===

impl Errors {
    /// Takes in an error at `now`. `Some` if it is to be passed on: how many of this facility were left out since one was.
    fn note(&mut self, facility: &str, now: Instant) -> Option<u64> {
        let Some(passed) = self.facilities.get_mut(facility) else {
            self.facilities.insert(facility.to_owned(), Passed { at: now, num_left_out: 0 });
            return Some(0);
        };
        if now.saturating_duration_since(passed.at) < INTERVAL {
            passed.num_left_out += 1;
            return None;
        }
        passed.at = now;
        Some(std::mem::take(&mut passed.num_left_out))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_an_error_that_lasts_is_logged_when_it_begins() {
        let (mut lasting, start) = (Lasting::default(), Instant::now());
        let denied = ("producer", Some(RDKafkaErrorCode::TopicAuthorizationFailed));
        assert!(lasting.is_new(denied, start));
        assert!((1..200).all(|seconds| !lasting.is_new(denied, start + Duration::from_secs(seconds))));
        let at = start + Duration::from_secs(199);
        assert!(lasting.is_new(("control channel", denied.1), at), "another client");
        assert!(lasting.is_new(("producer", Some(RDKafkaErrorCode::ClusterAuthorizationFailed)), at), "another error");
        assert!(lasting.is_new(denied, at + LASTS), "it was over");
    }

    #[test]
    fn test_an_error_is_passed_on_once_for_each_facility_and_minute_with_the_count_of_the_others() {
        let (mut errors, start) = (Errors::default(), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        assert_eq!(errors.note("FAIL", at(0)), Some(0));
        assert_eq!(errors.note("FAIL", at(1)), None);
        assert_eq!(errors.note("SSL", at(2)), Some(0), "facilities are counted apart");
        assert_eq!(errors.note("FAIL", at(59)), None);
        assert_eq!(errors.note("FAIL", at(60)), Some(2));
        assert_eq!(errors.note("FAIL", at(61)), None);
        assert_eq!(errors.note("FAIL", at(120)), Some(1));
        assert_eq!(errors.note("FAIL", at(180)), Some(0));
    }
}
