//! Whether this process consumes what it should, and if not, why: the rules, fed with reports, errors and time.
//!
//! A member without partitions is not always ill: a group gives nothing to those that are more than its partitions. So
//! the group is asked who has what, and only a partition that nobody has counts.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::brokers::GroupStatistics;
use super::settings::CLIENT_ID;
use crate::flow::health::{Condition, Part};
use crate::log::{TopicPartition, TopicSpec};

/// A state that lasts this long is not a normal join any more.
const PATIENCE: Duration = Duration::from_secs(12);
/// A client without a coordinator for this long is made anew: librdkafka keeps a coordinator's old address for as long as
/// its id is the same.
const RENEW_AFTER: Duration = Duration::from_secs(20);
/// How often the group is asked who has what, while this process does not have everything.
const ASK_INTERVAL: Duration = Duration::from_secs(10);
/// An answer older than this says nothing any more.
const ANSWER_HOLDS: Duration = Duration::from_secs(60);
/// An error that was not heard for this long is news.
const NEWS_AFTER: Duration = Duration::from_secs(600);
/// An error explains what is wrong for this long.
const ERROR_HOLDS: Duration = Duration::from_secs(60);
/// How many partitions are named.
const MAX_NAMED: usize = 8;

/// Who is in the group, as it says itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GroupView {
    /// `Stable`, or what it does instead.
    pub state: String,
    /// How it assigns partitions, once its members agree.
    pub protocol: String,
    /// All of them.
    pub members: Vec<GroupMember>,
}

/// A member, as the group says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct GroupMember {
    /// The id that its client gives itself: ours all give the same.
    pub client_id: String,
    /// Where it is.
    pub host: String,
    /// Which partitions it has.
    pub held: HashSet<TopicPartition>,
}

/// What is known of the membership.
#[derive(Debug)]
pub(super) struct GroupHealth {
    group: String,
    wanted: Vec<TopicPartition>,
    report: GroupStatistics,
    num_assigned: usize,
    has_broker: bool,
    down_since: Option<Instant>,
    idle_since: Option<Instant>,
    last_error: Option<(RDKafkaErrorCode, String, Instant)>,
    heard: Vec<(RDKafkaErrorCode, Instant)>,
    view: Option<(GroupView, Instant)>,
    /// Partitions that nobody has, since when.
    unheld: Option<(Vec<TopicPartition>, Instant)>,
    /// Partitions that somebody else has, and who.
    foreign: Option<(Vec<TopicPartition>, String, Instant)>,
    asked_at: Option<Instant>,
    commits_fail: Option<(String, Instant)>,
    renewed_at: Option<Instant>,
}

// === impl GroupHealth ===

impl GroupHealth {
    /// A member that joins now.
    pub(super) fn new(group: &str, topics: &[TopicSpec], now: Instant) -> Self {
        let partitions = |topic: &TopicSpec| {
            let name = topic.name.clone();
            (0..topic.num_partitions).map(move |partition| TopicPartition { topic: name.clone(), partition })
        };
        Self {
            group: group.to_owned(),
            wanted: topics.iter().flat_map(partitions).collect(),
            report: GroupStatistics::default(),
            num_assigned: 0,
            has_broker: false,
            down_since: Some(now),
            idle_since: Some(now),
            last_error: None,
            heard: Vec::new(),
            view: None,
            unheld: None,
            foreign: None,
            asked_at: None,
            commits_fail: None,
            renewed_at: None,
        }
    }

    /// Takes in a report of the client's, how many partitions it has, and whether any broker answers.
    pub(super) fn on_report(&mut self, report: &GroupStatistics, num_assigned: usize, has_broker: bool, now: Instant) {
        self.report = report.clone();
        (self.num_assigned, self.has_broker) = (num_assigned, has_broker);
        if self.is_up() {
            self.down_since = None;
        } else {
            self.down_since.get_or_insert(now);
        }
        if num_assigned > 0 {
            self.idle_since = None;
        } else {
            self.idle_since.get_or_insert(now);
        }
        if num_assigned >= self.wanted.len() {
            (self.unheld, self.foreign) = (None, None);
        }
    }

    /// Takes in an error. Whether it is news: the client repeats what lasts every second or two.
    pub(super) fn on_error(&mut self, code: RDKafkaErrorCode, text: &str, now: Instant) -> bool {
        // The code alone comes after the one with the text, and says less.
        let said_more = self.last_error.as_ref().is_some_and(|(known, said, at)| {
            *known == code && said.len() > text.len() && now.saturating_duration_since(*at) < ERROR_HOLDS
        });
        match &mut self.last_error {
            Some((_, _, at)) if said_more => *at = now,
            error => *error = Some((code, text.to_owned(), now)),
        }
        self.heard.retain(|(_, at)| now.saturating_duration_since(*at) < NEWS_AFTER);
        let before = self.heard.iter_mut().find(|(heard, _)| *heard == code);
        let is_news = before.is_none();
        match before {
            Some((_, at)) => *at = now,
            None => self.heard.push((code, now)),
        }
        is_news
    }

    /// Takes in whether the group took a commit.
    pub(super) fn on_commit(&mut self, outcome: Result<(), String>, now: Instant) {
        match (outcome, &mut self.commits_fail) {
            (Ok(()), fail) => *fail = None,
            (Err(reason), Some((known, _))) => *known = reason,
            (Err(reason), fail) => *fail = Some((reason, now)),
        }
    }

    /// Whether the last commit failed.
    pub(super) fn commits_fail(&self) -> bool {
        self.commits_fail.is_some()
    }

    /// Whether the group is to be asked now who has what.
    pub(super) fn wants_view(&mut self, now: Instant) -> bool {
        let is_due = self.asked_at.is_none_or(|at| now.saturating_duration_since(at) >= ASK_INTERVAL);
        let wants = is_due && self.is_up() && self.num_assigned < self.wanted.len();
        if wants {
            self.asked_at = Some(now);
        }
        wants
    }

    /// Takes in who has what.
    pub(super) fn on_view(&mut self, view: GroupView, now: Instant) {
        if view.state == "Stable" {
            let holder = |id: &TopicPartition| view.members.iter().find(|member| member.held.contains(id));
            let missing: Vec<_> = self.wanted.iter().filter(|id| holder(id).is_none()).cloned().collect();
            let since = self.unheld.take().map_or(now, |(_, since)| since);
            self.unheld = (!missing.is_empty()).then_some((missing, since));

            let foreign = |id: &TopicPartition| holder(id).filter(|member| member.client_id != CLIENT_ID);
            let lost: Vec<_> = self.wanted.iter().filter(|id| foreign(id).is_some()).cloned().collect();
            let since = self.foreign.take().map_or(now, |(.., since)| since);
            let who = self.wanted.iter().find_map(foreign).map(ToString::to_string);
            self.foreign = who.map(|who| (lost, who, since));
        }
        self.view = Some((view, now));
    }

    /// Whether it is right that this process has no partition: others have them all.
    pub(super) fn is_spare(&self, now: Instant) -> bool {
        let is_covered = self.fresh_view(now).is_some_and(|view| view.state == "Stable") && self.unheld.is_none();
        let is_member = self.is_up() && self.report.join_state == "steady";
        self.num_assigned == 0 && is_member && is_covered
    }

    /// Whether the client is to be made anew. Asked again no sooner than that can have helped.
    pub(super) fn wants_new_client(&mut self, now: Instant) -> bool {
        let lasts = |since: Option<Instant>| since.is_some_and(|at| now.saturating_duration_since(at) >= RENEW_AFTER);
        let wants = lasts(self.down_since)
            && self.renewed_at.is_none_or(|at| lasts(Some(at)))
            && self.has_broker
            && !matches!(self.recent_error(now), Some((RDKafkaErrorCode::GroupAuthorizationFailed, _)));
        if wants {
            self.renewed_at = Some(now);
        }
        wants
    }

    /// What is wrong now.
    pub(super) fn conditions(&self, now: Instant) -> Vec<Condition> {
        let lasting = |since: Option<Instant>| {
            since.map(|at| now.saturating_duration_since(at)).filter(|lasted| *lasted >= PATIENCE)
        };
        let mut conditions = Vec::new();
        if let Some(lasted) = lasting(self.idle_since).filter(|_| !self.is_spare(now)) {
            let detail = format!(
                "nothing is consumed since {} s, because {}; acknowledged records wait in the log",
                lasted.as_secs(),
                self.reason(now)
            );
            conditions.push(Condition::failing(Part::Consume, "not_consuming", "", detail));
        } else if let Some(lasted) = lasting(self.down_since) {
            let detail = format!(
                "no commit can be told since {} s, because {}; rows are written, and are written again after a restart",
                lasted.as_secs(),
                self.reason(now)
            );
            conditions.push(Condition::degraded(Part::Consume, "no_coordinator", "", detail));
        } else if let Some((missing, since)) = &self.unheld
            && lasting(Some(*since)).is_some()
            && self.num_assigned > 0
        {
            let detail = format!(
                "no member of the group {} has {}, because {}; acknowledged records wait there",
                self.group,
                named(missing),
                self.reason(now)
            );
            conditions.push(Condition::failing(Part::Consume, "partitions_not_consumed", "", detail));
        }
        if let Some((partitions, who, since)) = &self.foreign
            && lasting(Some(*since)).is_some()
        {
            let detail = format!(
                "{who} is in the group {} too and has {}: what it reads and commits there never becomes a row; end it, or \
                 give it a group of its own",
                self.group,
                named(partitions)
            );
            conditions.push(Condition::failing(Part::Consume, "foreign_member", "", detail));
        }
        if let Some((reason, since)) = &self.commits_fail
            && lasting(Some(*since)).is_some()
            && conditions.is_empty()
        {
            let detail = format!(
                "the group {} takes no commits: {reason}; rows are written, and are written again after a restart",
                self.group
            );
            conditions.push(Condition::degraded(Part::Consume, "commits_refused", "", detail));
        }
        conditions
    }

    fn is_up(&self) -> bool {
        self.report.state == "up"
    }

    fn recent_error(&self, now: Instant) -> Option<(RDKafkaErrorCode, &str)> {
        let (code, text, at) = self.last_error.as_ref()?;
        (now.saturating_duration_since(*at) < ERROR_HOLDS).then_some((*code, text))
    }

    fn fresh_view(&self, now: Instant) -> Option<&GroupView> {
        let (view, at) = self.view.as_ref()?;
        (now.saturating_duration_since(*at) < ANSWER_HOLDS).then_some(view)
    }

    /// Why nothing is assigned, or nothing can be told.
    fn reason(&self, now: Instant) -> String {
        let group = &self.group;
        let error = self.recent_error(now);
        if let Some(explained) = error.and_then(|(code, text)| self.explain(code, text, now)) {
            return explained;
        }
        let said = error.map(|(_, text)| format!(": {text}")).unwrap_or_default();
        if !self.is_up() {
            let state = &self.report.state;
            return format!("the coordinator of the group {group} does not answer (librdkafka: {state}){said}");
        }
        if let Some((missing, _)) = &self.unheld {
            return format!("the group {group} has given {} to nobody{said}", named(missing));
        }
        match self.fresh_view(now) {
            Some(view) => format!(
                "the group {group} is not of one mind: it is in state {} with the members {}{said}",
                view.state,
                view.members()
            ),
            None => format!(
                "joining the group {group} does not come to an end (librdkafka: {}, {}){said}",
                self.report.join_state, self.report.rebalance_reason
            ),
        }
    }

    fn explain(&self, code: RDKafkaErrorCode, text: &str, now: Instant) -> Option<String> {
        let group = &self.group;
        Some(match code {
            RDKafkaErrorCode::InconsistentGroupProtocol => {
                let others = self.fresh_view(now).filter(|view| !view.members.is_empty());
                let others = others.map(|view| format!(" ({}; {})", view.members(), view.protocol)).unwrap_or_default();
                format!(
                    "another client is in the group {group}{others} and assigns partitions in another way than \
                     cooperative-sticky: end that client, or give it a group of its own"
                )
            }
            RDKafkaErrorCode::GroupAuthorizationFailed => {
                format!("the login may not read as the group {group}: grant it READ on the group ({text})")
            }
            RDKafkaErrorCode::TopicAuthorizationFailed => {
                format!("the login may not read a topic: grant it READ and DESCRIBE ({text})")
            }
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic => {
                format!("a topic is not there: run `surgetank apply` ({text})")
            }
            RDKafkaErrorCode::InvalidSessionTimeout => format!(
                "the brokers do not allow log.kafka.session_timeout: set it between their \
                 group.min.session.timeout.ms and group.max.session.timeout.ms ({text})"
            ),
            RDKafkaErrorCode::GroupMaxSizeReached => {
                format!("the group {group} has as many members as the brokers allow (group.max.size; {text})")
            }
            _ => return None,
        })
    }
}

// === impl GroupView ===

impl GroupView {
    fn members(&self) -> String {
        let names: Vec<_> = self.members.iter().take(MAX_NAMED).map(ToString::to_string).collect();
        names.join(", ")
    }
}

impl fmt::Display for GroupMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.client_id, self.host)
    }
}

/// Partitions for people.
pub(super) fn named(partitions: &[TopicPartition]) -> String {
    let names: Vec<_> = partitions.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = partitions.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::health::Verdict;

    fn report(state: &str, join_state: &str) -> GroupStatistics {
        GroupStatistics { state: state.to_owned(), join_state: join_state.to_owned(), ..GroupStatistics::default() }
    }

    fn health(now: Instant) -> GroupHealth {
        let topics = [TopicSpec { name: "orders".into(), num_partitions: 2 }];
        GroupHealth::new("fleet", &topics, now)
    }

    fn view(held: &[u32]) -> GroupView {
        held_by(CLIENT_ID, held)
    }

    fn held_by(client_id: &str, held: &[u32]) -> GroupView {
        let held = held.iter().map(|partition| TopicPartition { topic: "orders".into(), partition: *partition });
        let (client_id, host) = (client_id.to_owned(), "/10.0.0.7".to_owned());
        let members = vec![GroupMember { client_id, host, held: held.collect() }];
        GroupView { state: "Stable".to_owned(), protocol: "cooperative-sticky".to_owned(), members }
    }

    fn only(health: &GroupHealth, now: Instant) -> Condition {
        let mut conditions = health.conditions(now);
        assert_eq!(conditions.len(), 1, "{conditions:?}");
        conditions.remove(0)
    }

    #[test]
    fn test_a_normal_join_is_nothing_and_one_that_does_not_end_is_failing() {
        let start = Instant::now();
        let mut health = health(start);
        health.on_report(&report("up", "wait-join"), 0, true, start + Duration::from_secs(5));
        assert_eq!(health.conditions(start + Duration::from_secs(5)), []);
        let condition = only(&health, start + PATIENCE);
        assert_eq!((condition.code, condition.verdict), ("not_consuming", Verdict::Failing));
        assert!(condition.detail.contains("wait-join"), "{}", condition.detail);
        health.on_report(&report("up", "steady"), 2, true, start + PATIENCE);
        assert_eq!(health.conditions(start + PATIENCE), []);
    }

    #[test]
    fn test_the_reason_says_what_to_do_and_an_error_is_news_once() {
        let start = Instant::now();
        let mut health = health(start);
        let now = start + PATIENCE;
        health.on_report(&report("up", "init"), 0, true, now);
        assert!(health.on_error(RDKafkaErrorCode::InconsistentGroupProtocol, "inconsistent", now));
        assert!(!health.on_error(RDKafkaErrorCode::InconsistentGroupProtocol, "inconsistent", now));
        health.on_view(GroupView { protocol: "range".to_owned(), ..held_by("report-job", &[0, 1]) }, now);
        assert!(!health.is_spare(now), "others have all partitions, but whoever may not join is no spare member");
        let detail = health.reason(now);
        assert!(detail.contains("report-job at /10.0.0.7") && detail.contains("range"), "{detail}");
        health.on_error(RDKafkaErrorCode::GroupAuthorizationFailed, "not authorized", now);
        assert!(health.reason(now).contains("READ on the group"));
        assert!(health.on_error(RDKafkaErrorCode::GroupAuthorizationFailed, "x", now + NEWS_AFTER));
    }

    #[test]
    fn test_a_member_too_many_is_well_and_a_partition_that_nobody_has_is_not() {
        let start = Instant::now();
        let mut health = health(start);
        let now = start + PATIENCE;
        health.on_report(&report("up", "steady"), 0, true, now);
        assert!(health.wants_view(now) && !health.wants_view(now), "not asked over and over");
        health.on_view(view(&[0, 1]), now);
        assert!(health.is_spare(now));
        assert_eq!(health.conditions(now), []);
        health.on_view(view(&[0]), now);
        assert!(!health.is_spare(now));
        assert!(only(&health, now).detail.contains("orders/1 to nobody"));
        // The same seen by the member that has the other one.
        health.on_report(&report("up", "steady"), 1, true, now);
        assert_eq!(health.conditions(now), [], "a rebalance may be under way");
        let condition = only(&health, now + PATIENCE);
        assert_eq!((condition.code, condition.verdict), ("partitions_not_consumed", Verdict::Failing));
        health.on_view(view(&[0, 1]), now + PATIENCE);
        assert_eq!(health.conditions(now + PATIENCE), []);
        assert_eq!(health.conditions(now + 2 * ANSWER_HOLDS), []);
    }

    #[test]
    fn test_another_application_in_the_group_takes_records_away() {
        let start = Instant::now();
        let mut health = health(start);
        health.on_report(&report("up", "steady"), 1, true, start);
        health.on_view(held_by("report-job", &[0, 1]), start);
        assert_eq!(health.conditions(start), []);
        let condition = only(&health, start + PATIENCE);
        assert_eq!((condition.code, condition.verdict), ("foreign_member", Verdict::Failing));
        assert!(condition.detail.contains("report-job at /10.0.0.7"), "{}", condition.detail);
        health.on_report(&report("up", "steady"), 2, true, start + PATIENCE);
        assert_eq!(health.conditions(start + PATIENCE), []);
    }

    #[test]
    fn test_a_missing_coordinator_is_told_and_the_client_made_anew_within_bounds() {
        let start = Instant::now();
        let mut health = health(start);
        health.on_report(&report("up", "steady"), 2, true, start);
        health.on_report(&report("wait-broker-transport", "steady"), 2, true, start);
        assert!(!health.wants_new_client(start + PATIENCE));
        let condition = only(&health, start + PATIENCE);
        assert_eq!((condition.code, condition.verdict), ("no_coordinator", Verdict::Degraded));
        let now = start + RENEW_AFTER;
        health.on_report(&report("wait-broker-transport", "init"), 0, false, now);
        assert!(!health.wants_new_client(now), "no broker at all: a new client would not find one");
        health.on_report(&report("wait-broker-transport", "init"), 0, true, now);
        assert!(health.wants_new_client(now) && !health.wants_new_client(now));
        assert!(health.wants_new_client(now + RENEW_AFTER));
        assert_eq!(only(&health, now + PATIENCE).code, "not_consuming");
    }

    #[test]
    fn test_commits_that_are_refused_are_told_until_one_is_taken() {
        let start = Instant::now();
        let mut health = health(start);
        health.on_report(&report("up", "steady"), 2, true, start);
        health.on_commit(Err("unknown topic".to_owned()), start);
        assert_eq!(health.conditions(start), []);
        assert_eq!(only(&health, start + PATIENCE).code, "commits_refused");
        health.on_commit(Ok(()), start + PATIENCE);
        assert_eq!(health.conditions(start + PATIENCE), []);
    }
}
