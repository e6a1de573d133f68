//! Whose word counts while leaders change.

use std::time::Duration;

use super::STALE_AFTER;

/// Follows the terms of leaders. All pods read the same messages in the same order, and a word of an earlier term than
/// the one that is followed does not count: a leader that was frozen may still speak when another leads already.
#[derive(Debug, Clone, Default)]
pub struct Term {
    followed: Option<Followed>,
    /// The term in which this pod leads.
    own: Option<u64>,
    /// It holds the office, but another has begun a later term: the office is about to be taken from it.
    is_deposed: bool,
}

#[derive(Debug, Clone)]
struct Followed {
    leader: String,
    epoch: u64,
    heard_at: Duration,
}

// === impl Term ===

impl Term {
    /// Takes in whether this pod holds the office. A new leader's term follows the last one that it has heard of.
    pub fn hold_office(&mut self, holds: bool) {
        if !holds {
            (self.own, self.is_deposed) = (None, false);
        } else if self.own.is_none() && !self.is_deposed {
            self.own = Some(self.epoch() + 1);
        }
    }

    /// The term in which this pod leads, if it does.
    pub fn own(&self) -> Option<u64> {
        self.own
    }

    /// The term that is followed, 0 before the first.
    pub fn epoch(&self) -> u64 {
        self.followed.as_ref().map_or(0, |followed| followed.epoch)
    }

    /// A pod follows this term. If it is a later one than its own, a leader has begun without having heard of it, and
    /// goes on above it.
    pub fn on_report(&mut self, epoch: u64) {
        if let Some(own) = &mut self.own
            && epoch > *own
        {
            *own = epoch + 1;
        }
    }

    /// A leader has spoken: whether it counts. `pod` is this one. After a long silence anybody's word does.
    pub fn on_budget(&mut self, now: Duration, pod: &str, leader: &str, epoch: u64) -> bool {
        let counts = self.followed.as_ref().is_none_or(|followed| {
            let is_same = epoch == followed.epoch && leader == followed.leader;
            is_same || epoch > followed.epoch || now.saturating_sub(followed.heard_at) > STALE_AFTER
        });
        if counts {
            self.followed = Some(Followed { leader: leader.to_owned(), epoch, heard_at: now });
            if leader != pod && self.own.is_some_and(|own| epoch > own) {
                (self.own, self.is_deposed) = (None, true);
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::from_secs(100);

    #[test]
    fn test_a_later_term_counts_and_the_earlier_leader_falls_silent() {
        let mut term = Term::default();
        term.hold_office(true);
        assert_eq!(term.own(), Some(1));
        assert!(term.on_budget(NOW, "a", "a", 1));
        assert!(term.on_budget(NOW, "a", "b", 2));
        assert_eq!(term.own(), None);
        // The office is not yet taken from it.
        term.hold_office(true);
        assert_eq!(term.own(), None);
        assert!(!term.on_budget(NOW, "a", "a", 1));
        term.hold_office(false);
        term.hold_office(true);
        assert_eq!(term.own(), Some(3));
    }

    #[test]
    fn test_of_one_term_the_first_to_speak_counts() {
        let mut term = Term::default();
        assert!(term.on_budget(NOW, "c", "a", 4));
        assert!(!term.on_budget(NOW, "c", "b", 4));
        assert!(term.on_budget(NOW, "c", "a", 4));
        assert!(!term.on_budget(NOW + STALE_AFTER, "c", "b", 1));
        assert!(term.on_budget(NOW + STALE_AFTER * 2, "c", "b", 1));
    }

    #[test]
    fn test_a_leader_that_has_just_started_learns_the_term_from_reports() {
        let mut term = Term::default();
        term.hold_office(true);
        term.on_report(7);
        assert_eq!(term.own(), Some(8));
        term.on_report(7);
        assert_eq!(term.own(), Some(8));
    }
}
