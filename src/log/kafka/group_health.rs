//! Whether this process consumes what it should: the rules, fed with reports, errors and time. What follows from them is
//! put into words in `conditions`.
//!
//! A member without partitions is not always ill: a group gives nothing to those that are more than its partitions. So
//! the group is asked who has what, and only a partition that nobody has counts.

mod conditions;
#[cfg(test)]
mod tests;

use std::time::{Duration, Instant};

use rdkafka::error::RDKafkaErrorCode;

use super::brokers::GroupStatistics;
use super::group_view::GroupView;
use super::settings::CLIENT_ID;
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

    /// These partitions are there to be read.
    pub(super) fn set_wanted(&mut self, wanted: Vec<TopicPartition>) {
        self.wanted = wanted;
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
        // Where nothing is there to be read, nothing is missed.
        if num_assigned > 0 || self.wanted.is_empty() {
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
}
