//! What is wrong with the membership, in words for operators: what is not done, why, and what to do.

use std::time::Instant;

use rdkafka::error::RDKafkaErrorCode;

use super::{GroupHealth, PATIENCE};
use crate::flow::health::{Condition, Part};
use crate::log::kafka::group_view::foreign_member;
use crate::log::kafka::named::named;

// === impl GroupHealth ===

impl GroupHealth {
    /// What is wrong now.
    pub(in crate::log::kafka) fn conditions(&self, now: Instant) -> Vec<Condition> {
        let lasting = |since: Option<Instant>| {
            since.map(|at| now.saturating_duration_since(at)).filter(|lasted| *lasted >= PATIENCE)
        };
        let mut conditions = Vec::new();
        if let Some(lasted) = lasting(self.idle_since).filter(|_| !self.is_spare(now)) {
            let detail = format!(
                "nothing is consumed since {} s, because {}; records wait in the log",
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
                "no member of the group {} has {}, because {}; records wait there",
                self.group,
                named(missing),
                self.reason(now)
            );
            conditions.push(Condition::failing(Part::Consume, "partitions_not_consumed", "", detail));
        }
        if let Some((partitions, who, since)) = &self.foreign
            && lasting(Some(*since)).is_some()
        {
            conditions.push(foreign_member(&self.group, who, partitions));
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

    /// Why nothing is assigned, or nothing can be told.
    pub(super) fn reason(&self, now: Instant) -> String {
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
