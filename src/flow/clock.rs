//! Whether this machine's clock can be believed.
//!
//! A wall clock is evidence, not truth. What else tells the time is weighed against it: the day of the build, before
//! which no time can be right; the clocks of the database and of the broker; how far the clock has gone beside the
//! monotonic one; the newest record of the log. Nothing that cannot be taken back hangs on the wall clock alone: while
//! it is wrong nothing is taken in, and while it is doubtful nobody is told that his event time is out of range.

use std::fmt;
use std::time::{Duration, Instant};

use super::health::{Condition, Part};

/// Clocks that are further apart are not only late: one of them is wrong.
pub const MAX_DIFFERENCE: Duration = Duration::from_secs(3600);

/// A clock that moves by more than this beside the monotonic one was set. Clocks that are kept right are moved by seconds.
const MIN_JUMP: Duration = Duration::from_secs(60);

/// How long a clock that was set is doubtful, if nobody else tells the time.
const DOUBT_AFTER_JUMP: Duration = Duration::from_secs(3600);

/// Who else tells the time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// The nodes of the database.
    Database,
    /// The broker of the log.
    Broker,
}

/// What a clock said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Milliseconds since the Unix epoch.
    pub unix_ms: u64,
    /// When it said so, on the monotonic clock.
    pub at: Instant,
}

/// How far the clock can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// Nothing speaks against it.
    Sound,
    /// It may be wrong: take in what is good, but refuse nothing because of its time.
    Doubtful,
    /// It is wrong: take nothing in.
    Wrong,
}

/// What speaks against the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doubt {
    /// It shows a time at which this program had not been built.
    BeforeBuild {
        /// How long before.
        by: Duration,
    },
    /// It is far from everybody else who tells the time.
    Apart(Witness, Offset),
    /// It is far from one and agrees with another.
    Disputed(Witness, Offset),
    /// Somebody is to be asked and has not answered yet.
    Unasked,
    /// It was set.
    Jumped(Offset),
    /// It is behind what an earlier run has written.
    BehindLog {
        /// How far.
        by: Duration,
    },
}

/// How far our clock is from another one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Offset {
    /// Ours shows the later time.
    Ahead(Duration),
    /// Ours shows the earlier time.
    Behind(Duration),
}

/// All that is known about the time beside the clock itself. Immutable: what is new makes another one.
#[derive(Debug, Clone)]
pub struct Evidence {
    built_at_ms: u64,
    /// Our own clock when it was looked at last.
    own: Reading,
    jump: Option<(Instant, Offset)>,
    database: Testimony,
    broker: Testimony,
    newest_logged_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
enum Testimony {
    /// There is no such clock, or it does not tell.
    Absent,
    /// It is to be asked.
    Awaited,
    Heard(Reading),
}

// === impl Reading ===

impl Reading {
    /// What that clock shows at `now`, if nobody has set it.
    pub fn expected_ms(self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.at).as_millis() as u64;
        // A look that was made just before the reading must not see the reading's time go backwards.
        let before = self.at.saturating_duration_since(now).as_millis() as u64;
        self.unix_ms.saturating_add(since).saturating_sub(before)
    }
}

// === impl Offset ===

impl Offset {
    /// How far `ours` is from `other`, both in milliseconds since the Unix epoch.
    pub fn between(ours_ms: u64, other_ms: u64) -> Self {
        let apart = Duration::from_millis(ours_ms.abs_diff(other_ms));
        if ours_ms >= other_ms { Self::Ahead(apart) } else { Self::Behind(apart) }
    }

    /// How far, whichever way.
    pub fn size(self) -> Duration {
        match self {
            Self::Ahead(by) | Self::Behind(by) => by,
        }
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ahead(by) => write!(f, "{} ahead of", rounded(*by)),
            Self::Behind(by) => write!(f, "{} behind", rounded(*by)),
        }
    }
}

/// Seconds are enough for people, minutes where it is hours, and days where it is many.
fn rounded(duration: Duration) -> String {
    match duration.as_secs() {
        seconds if seconds < 3600 => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
        seconds if seconds < 3 * 86_400 => {
            humantime::format_duration(Duration::from_secs((seconds + 30) / 60 * 60)).to_string()
        }
        seconds => format!("{} days", seconds / 86_400),
    }
}

// === impl Witness ===

impl Witness {
    fn name(self) -> &'static str {
        match self {
            Self::Database => "the database's",
            Self::Broker => "the broker's",
        }
    }
}

// === impl Evidence ===

impl Evidence {
    /// What is known at the start: when the program's newest source was written, what our clock shows, and who else will
    /// be asked.
    pub fn new(built_at_ms: u64, own: Reading, awaited: &[Witness]) -> Self {
        let of = |witness| if awaited.contains(&witness) { Testimony::Awaited } else { Testimony::Absent };
        let (database, broker) = (of(Witness::Database), of(Witness::Broker));
        Self { built_at_ms, own, jump: None, database, broker, newest_logged_ms: None }
    }

    /// With the time of the newest record that earlier runs have left in the log. A hint only: that run's clock may have
    /// been the wrong one.
    pub fn with_newest_logged(self, newest_logged_ms: Option<u64>) -> Self {
        Self { newest_logged_ms, ..self }
    }

    /// With what a witness says now; `None` if it turns out to tell nothing.
    pub fn with_testimony(self, witness: Witness, reading: Option<Reading>) -> Self {
        let testimony = reading.map_or(Testimony::Absent, Testimony::Heard);
        match witness {
            Witness::Database => Self { database: testimony, ..self },
            Witness::Broker => Self { broker: testimony, ..self },
        }
    }

    /// With another look at our own clock, and how far it was set since the last one, if it was.
    pub fn with_own(self, own: Reading) -> (Self, Option<Offset>) {
        let offset = Offset::between(own.unix_ms, self.own.expected_ms(own.at));
        let jump = (offset.size() > MIN_JUMP).then_some(offset);
        (Self { own, jump: jump.map(|offset| (own.at, offset)).or(self.jump), ..self }, jump)
    }

    /// How far the clock can be believed when it shows `wall_ms`.
    pub fn trust(&self, wall_ms: u64, now: Instant) -> Trust {
        self.doubt(wall_ms, now).map_or(Trust::Sound, Doubt::trust)
    }

    /// What speaks most against a clock that shows `wall_ms`.
    pub fn doubt(&self, wall_ms: u64, now: Instant) -> Option<Doubt> {
        let before_build = Duration::from_millis(self.built_at_ms.saturating_sub(wall_ms));
        if before_build > MAX_DIFFERENCE {
            return Some(Doubt::BeforeBuild { by: before_build });
        }
        let said = [(Witness::Database, self.database), (Witness::Broker, self.broker)];
        let (mut agrees, mut apart, mut is_awaited) = (false, None, false);
        for (witness, testimony) in said {
            match testimony {
                Testimony::Absent => {}
                Testimony::Awaited => is_awaited = true,
                Testimony::Heard(reading) => {
                    let offset = Offset::between(wall_ms, reading.expected_ms(now));
                    if offset.size() > MAX_DIFFERENCE {
                        apart = apart.or(Some((witness, offset)));
                    } else {
                        agrees = true;
                    }
                }
            }
        }
        match apart {
            Some((witness, offset)) if agrees => return Some(Doubt::Disputed(witness, offset)),
            Some((witness, offset)) => return Some(Doubt::Apart(witness, offset)),
            None if agrees => return None,
            None => {}
        }
        let since_look = Offset::between(wall_ms, self.own.expected_ms(now));
        if since_look.size() > MIN_JUMP {
            return Some(Doubt::Jumped(since_look));
        }
        if let Some((at, offset)) = self.jump
            && now.saturating_duration_since(at) < DOUBT_AFTER_JUMP
        {
            return Some(Doubt::Jumped(offset));
        }
        let behind_log = Duration::from_millis(self.newest_logged_ms.unwrap_or(0).saturating_sub(wall_ms));
        if behind_log > MAX_DIFFERENCE {
            return Some(Doubt::BehindLog { by: behind_log });
        }
        is_awaited.then_some(Doubt::Unasked)
    }
}

// === impl Doubt ===

impl Doubt {
    /// What it comes to.
    pub fn trust(self) -> Trust {
        match self {
            Self::BeforeBuild { .. } | Self::Apart(..) => Trust::Wrong,
            Self::Disputed(..) | Self::Unasked | Self::Jumped(_) | Self::BehindLog { .. } => Trust::Doubtful,
        }
    }

    /// As part of the engine's health. A witness that was not asked yet is nothing to tell of.
    pub fn condition(self) -> Option<Condition> {
        let wrong = |code, what: String| {
            let detail = format!(
                "this machine's clock is wrong: {what}; nothing is taken in (\"retry later\") until it is set right"
            );
            Condition::failing(Part::Clock, code, "", detail).refusing_intake()
        };
        let doubtful = |code, what: String| {
            let detail = format!(
                "{what}; until that is settled messages whose event time is out of range are \"retry later\" and not \
                 rejected"
            );
            Condition::degraded(Part::Clock, code, "", detail)
        };
        Some(match self {
            Self::BeforeBuild { by } => {
                let by = rounded(by);
                wrong("clock_before_build", format!("it is {by} before the day on which this program was written"))
            }
            Self::Apart(witness, offset) => {
                let what = format!("it is {offset} {} (if that one is wrong, set it right there)", witness.name());
                wrong("clock_wrong", what)
            }
            Self::Disputed(witness, offset) => {
                let what = format!(
                    "this machine's clock is {offset} {} but agrees with another server's: one of the servers' \
                     clocks is to be set right",
                    witness.name()
                );
                doubtful("clock_disputed", what)
            }
            Self::Unasked => return None,
            Self::Jumped(offset) => {
                let what = match offset {
                    Offset::Ahead(by) => format!("this machine's clock was set {} forward", rounded(by)),
                    Offset::Behind(by) => format!("this machine's clock was set {} back", rounded(by)),
                };
                doubtful("clock_jumped", format!("{what}, and no server tells the time"))
            }
            Self::BehindLog { by } => {
                let what = format!(
                    "this machine's clock is {} behind the newest record that an earlier run has left in the log: it \
                     is wrong now, or was wrong then",
                    rounded(by)
                );
                doubtful("clock_behind_log", what)
            }
        })
    }
}

/// The time that most of these clocks agree on: the median, by which one clock that is far off is not heard.
pub fn median(mut readings: Vec<u64>) -> Option<u64> {
    readings.sort_unstable();
    readings.get(readings.len().checked_sub(1)? / 2).copied()
}

#[cfg(test)]
mod tests;
