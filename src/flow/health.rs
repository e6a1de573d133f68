//! What is wrong, since when, and what that means as a whole: the rules behind `/health`.
//!
//! Parts of the engine say what is wrong with them right now, as [`Condition`]s made from what they remember. A
//! [`HealthBoard`] compares each round with the one before: it keeps when each condition began and tells what has changed,
//! so that a state is logged when it begins and when it ends, and never in between.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Serialize, Serializer};

/// A condition that is not reported any more ends after this long, so that one that comes and goes is logged once.
pub const LINGER: Duration = Duration::from_secs(5);

/// What a condition is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// Appending records durably, and the topics that they are in.
    Log,
    /// Writing rows, and the tables that they go to.
    Store,
    /// Reading the records back and committing offsets.
    Consume,
    /// This machine's clock.
    Clock,
    /// The data directory and the disk below it.
    Disk,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Nothing is wrong.
    Ok,
    /// The part works, but something was lost, or may be lost, or needs a person soon.
    Degraded,
    /// The part does not do its work.
    Failing,
}

/// Something that is wrong now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    /// What it is about.
    pub part: Part,
    /// How bad it is; never [`Verdict::Ok`].
    pub verdict: Verdict,
    /// One word for programs, such as `topic_compacted`. Part, code and subject are a condition's identity.
    pub code: &'static str,
    /// The topic, partition or table; empty if it is about the part as a whole.
    pub subject: String,
    /// What is wrong, where, and what the operator can do: for people.
    pub detail: String,
    /// No message can be acknowledged while this lasts: the engine is not ready.
    pub refuses_intake: bool,
    /// An engine must not start like this: only an operator can mend it, and going on would lose records.
    pub refuses_start: bool,
}

/// A number that goes up and down, for `/histograms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Gauge {
    /// What it counts, with its unit: `store_wal_bytes`.
    pub name: &'static str,
    /// How much it is now.
    pub value: u64,
}

/// What is different from the round before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// It was not there before.
    Began(Condition),
    /// It is not there any more.
    Ended {
        /// As it was last.
        condition: Condition,
        /// How long it was there.
        lasted: Duration,
    },
}

/// What is wrong, with when it began.
#[derive(Debug, Default)]
pub struct HealthBoard {
    entries: BTreeMap<(Part, &'static str, String), Entry>,
    /// Since when the parts are in the state that they are in; none: since the start.
    states: BTreeMap<Part, (Verdict, Instant)>,
    /// The parts that were not heard of yet, and since when. Nobody is told when that ends.
    awaited: BTreeMap<Part, Instant>,
}

/// The code of a part that was not heard of yet, and what is said of it.
const AWAITED: (&str, &str) = ("starting", "not connected yet");

#[derive(Debug)]
struct Entry {
    condition: Condition,
    began: Instant,
    last_reported: Instant,
}

/// The board at one moment, as `/health` shows it.
#[derive(Debug, Serialize)]
pub struct HealthReport {
    /// The worst of all parts.
    pub verdict: Verdict,
    /// The parts.
    #[serde(flatten)]
    pub parts: BTreeMap<Part, PartReport>,
}

/// One part at one moment.
#[derive(Debug, Serialize)]
pub struct PartReport {
    /// The worst of its conditions.
    pub state: Verdict,
    /// The worst condition's detail; nothing while the part is well.
    pub reason: Option<String>,
    /// Since when it is in this state; nothing if it was never in another.
    pub since: Option<Since>,
    /// All that is wrong with it, the worst first.
    pub conditions: Vec<ConditionReport>,
}

/// One condition at one moment.
#[derive(Debug, Serialize)]
pub struct ConditionReport {
    /// See [`Condition::code`].
    pub code: &'static str,
    /// See [`Condition::subject`].
    pub subject: String,
    /// See [`Condition::verdict`].
    pub state: Verdict,
    /// See [`Condition::detail`].
    pub reason: String,
    /// When it began.
    pub since: Since,
}

/// A moment on the wall clock, written as RFC 3339.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since(pub std::time::SystemTime);

// === impl Part ===

impl Part {
    /// All of them, in the order of the path.
    pub const ALL: [Self; 5] = [Self::Log, Self::Store, Self::Consume, Self::Clock, Self::Disk];

    /// Its name as `/health` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Log => "log",
            Self::Store => "store",
            Self::Consume => "consume",
            Self::Clock => "clock",
            Self::Disk => "disk",
        }
    }
}

// === impl Verdict ===

impl Verdict {
    /// All of them, the best first.
    pub const ALL: [Self; 3] = [Self::Ok, Self::Degraded, Self::Failing];

    /// Its name as `/health` shows it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

// === impl Condition ===

impl Condition {
    /// The part works, but a person should look.
    pub fn degraded(part: Part, code: &'static str, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        let (subject, detail) = (subject.into(), detail.into());
        Self { part, verdict: Verdict::Degraded, code, subject, detail, refuses_intake: false, refuses_start: false }
    }

    /// The part does not do its work.
    pub fn failing(part: Part, code: &'static str, subject: impl Into<String>, detail: impl Into<String>) -> Self {
        Self { verdict: Verdict::Failing, ..Self::degraded(part, code, subject, detail) }
    }

    /// No message can be acknowledged while this lasts.
    pub fn refusing_intake(self) -> Self {
        Self { refuses_intake: true, ..self }
    }

    /// An engine must not start like this.
    pub fn refusing_start(self) -> Self {
        Self { refuses_start: true, ..self }
    }

    fn identity(&self) -> (Part, &'static str, String) {
        (self.part, self.code, self.subject.clone())
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.part.name(), self.detail)
    }
}

// === impl HealthBoard ===

impl HealthBoard {
    /// A board of a start: these parts are not well before they were heard of.
    pub fn awaiting(parts: &[Part], now: Instant) -> Self {
        let awaited = parts.iter().map(|part| (*part, now)).collect();
        let states = parts.iter().map(|part| (*part, (Verdict::Degraded, now))).collect();
        Self { awaited, states, ..Self::default() }
    }

    /// A part is there: from now on it is what its conditions say.
    pub fn heard_of(&mut self, part: Part, now: Instant) {
        self.awaited.remove(&part);
        self.note_state(part, now);
    }

    /// Takes in everything that is wrong now, and tells what has changed.
    pub fn update(&mut self, conditions: Vec<Condition>, now: Instant) -> Vec<Change> {
        let mut changes = Vec::new();
        for condition in conditions {
            match self.entries.get_mut(&condition.identity()) {
                Some(entry) => {
                    entry.condition = condition;
                    entry.last_reported = now;
                }
                None => {
                    changes.push(Change::Began(condition.clone()));
                    self.entries.insert(condition.identity(), Entry { condition, began: now, last_reported: now });
                }
            }
        }
        self.entries.retain(|_, entry| {
            let is_over = now.saturating_duration_since(entry.last_reported) >= LINGER;
            if is_over {
                let lasted = entry.last_reported.saturating_duration_since(entry.began);
                changes.push(Change::Ended { condition: entry.condition.clone(), lasted });
            }
            !is_over
        });
        for part in Part::ALL {
            self.note_state(part, now);
        }
        changes
    }

    fn note_state(&mut self, part: Part, now: Instant) {
        let state = self.state_of(part);
        if self.states.get(&part).map_or(Verdict::Ok, |(known, _)| *known) != state {
            self.states.insert(part, (state, now));
        }
    }

    /// The board as people and programs see it. `wall` is the time of `now` on the wall clock.
    pub fn report(&self, now: Instant, wall: std::time::SystemTime) -> HealthReport {
        let since = |at: Instant| {
            let ago = now.saturating_duration_since(at);
            Since(wall.checked_sub(ago).unwrap_or(std::time::UNIX_EPOCH))
        };
        let part_report = |part: Part| {
            let mut entries: Vec<&Entry> = self.entries.values().filter(|entry| entry.condition.part == part).collect();
            entries.sort_by_key(|entry| (std::cmp::Reverse(entry.condition.verdict), entry.began));
            let awaited = self.awaited.get(&part).map(|began| ConditionReport {
                code: AWAITED.0,
                subject: String::new(),
                state: Verdict::Degraded,
                reason: AWAITED.1.to_owned(),
                since: since(*began),
            });
            let conditions: Vec<ConditionReport> = entries
                .into_iter()
                .map(|Entry { condition, began, .. }| ConditionReport {
                    code: condition.code,
                    subject: condition.subject.clone(),
                    state: condition.verdict,
                    reason: condition.detail.clone(),
                    since: since(*began),
                })
                .chain(awaited)
                .collect();
            PartReport {
                state: self.state_of(part),
                reason: conditions.first().map(|worst| worst.reason.clone()),
                since: self.states.get(&part).map(|(_, at)| since(*at)),
                conditions,
            }
        };
        let parts: BTreeMap<Part, PartReport> = Part::ALL.map(|part| (part, part_report(part))).into();
        HealthReport { verdict: parts.values().map(|part| part.state).max().unwrap_or(Verdict::Ok), parts }
    }

    fn state_of(&self, part: Part) -> Verdict {
        let of_part = self.entries.values().filter(|entry| entry.condition.part == part);
        let awaited = self.awaited.contains_key(&part).then_some(Verdict::Degraded);
        of_part.map(|entry| entry.condition.verdict).chain(awaited).max().unwrap_or(Verdict::Ok)
    }
}

impl Serialize for Since {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&humantime::format_rfc3339_seconds(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compacted(topic: &str) -> Condition {
        Condition::failing(Part::Log, "topic_compacted", topic, format!("topic {topic} is compacted"))
    }

    #[test]
    fn test_a_condition_is_told_when_it_begins_and_when_it_ends_and_never_in_between() {
        let (mut board, start) = (HealthBoard::default(), Instant::now());
        assert_eq!(board.update(vec![compacted("a")], start), [Change::Began(compacted("a"))]);
        let later = start + Duration::from_secs(60);
        assert_eq!(board.update(vec![compacted("a")], later), []);
        let changed = Condition { detail: "worse".to_owned(), ..compacted("a") };
        assert_eq!(board.update(vec![changed.clone()], later), [], "another text is the same condition");
        let ended = Change::Ended { condition: changed, lasted: Duration::from_secs(60) };
        assert_eq!(board.update(vec![], later + LINGER), [ended]);
        assert_eq!(board.update(vec![], later + LINGER), []);
    }

    #[test]
    fn test_a_condition_that_comes_and_goes_is_told_once() {
        let (mut board, start) = (HealthBoard::default(), Instant::now());
        board.update(vec![compacted("a")], start);
        for second in 1..10 {
            let now = start + Duration::from_secs(second);
            let reported = if second % 2 == 0 { vec![compacted("a")] } else { vec![] };
            assert_eq!(board.update(reported, now), []);
        }
    }

    #[test]
    fn test_a_part_is_not_well_before_it_was_heard_of() {
        let start = Instant::now();
        let wall = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let mut board = HealthBoard::awaiting(&[Part::Log, Part::Store], start);
        let told = |board: &HealthBoard, now| serde_json::to_value(board.report(now, wall)).unwrap();
        let report = told(&board, start);
        assert_eq!((&report["verdict"], &report["clock"]["state"]), (&"degraded".into(), &"ok".into()));
        assert_eq!(
            (&report["log"]["reason"], &report["log"]["since"]),
            (&"not connected yet".into(), &"2027-01-15T08:00:00Z".into())
        );
        assert_eq!(report["log"]["conditions"][0]["code"], "starting");
        assert_eq!(board.update(vec![], start), [], "every start is like this: that is no news");

        let later = start + Duration::from_secs(7);
        let away = Condition::failing(Part::Store, "store_unavailable", "", "the store does not answer");
        board.update(vec![away.clone()], later);
        board.heard_of(Part::Log, later);
        let report = told(&board, later);
        assert_eq!((&report["log"]["state"], &report["log"]["since"]), (&"ok".into(), &"2027-01-15T08:00:00Z".into()));
        assert_eq!(report["log"]["conditions"], serde_json::json!([]));
        assert_eq!((&report["verdict"], &report["store"]["reason"]), (&"failing".into(), &away.detail.into()));
        board.heard_of(Part::Store, later);
        board.update(vec![], later + LINGER);
        assert_eq!(told(&board, later + LINGER)["verdict"], "ok");
    }

    #[test]
    fn test_the_verdict_is_that_of_the_worst_part_and_the_reason_that_of_the_worst_condition() {
        let (mut board, start) = (HealthBoard::default(), Instant::now());
        let fewer = Condition::degraded(Part::Log, "too_few_replicas", "b", "fewer replicas than wanted");
        board.update(vec![fewer.clone()], start);
        let now = start + Duration::from_secs(10);
        board.update(vec![fewer, compacted("a")], now);
        let wall = std::time::UNIX_EPOCH + Duration::from_secs(1_800_000_000);
        let report = serde_json::to_value(board.report(now, wall)).unwrap();
        assert_eq!(report["verdict"], "failing");
        assert_eq!(report["log"]["reason"], "topic a is compacted");
        assert_eq!(report["log"]["since"], "2027-01-15T08:00:00Z", "failing since now, degraded before");
        assert_eq!(report["log"]["conditions"][1]["since"], "2027-01-15T07:59:50Z");
        assert_eq!(
            report["store"],
            serde_json::json!({"state": "ok", "reason": null, "since": null, "conditions": []})
        );
    }
}
