//! Asks a consumer group who is in it and which partitions each member has.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::client::{Client, ClientContext};
use rdkafka::error::KafkaResult;

use super::assignment::id_of;
use super::named::{MAX_NAMED, named};
use super::settings::CLIENT_ID;
use crate::flow::health::{Condition, Part};
use crate::log::TopicPartition;

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

/// Asks the brokers. Blocks for up to `timeout`. `None`: nobody knows the group.
pub(super) fn ask<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    timeout: Duration,
) -> KafkaResult<Option<GroupView>> {
    let groups = client.fetch_group_list(Some(group), timeout)?;
    let found = groups.groups().iter().find(|info| info.name() == group);
    Ok(found.map(|info| {
        let members = info.members().iter().map(|member| GroupMember {
            client_id: member.client_id().to_owned(),
            host: member.client_host().to_owned(),
            // What cannot be read of another program's member is nothing that it is known to hold.
            held: member.assignment().and_then(partitions).unwrap_or_default(),
        });
        let members = members.collect();
        GroupView { state: info.state().to_owned(), protocol: info.protocol().to_owned(), members }
    }))
}

/// The partitions of a member, in the form that Kafka's own clients share: a version, then topics with partition numbers.
fn partitions(assignment: &[u8]) -> Option<HashSet<TopicPartition>> {
    let mut rest = assignment.get(2..)?;
    let mut held = HashSet::new();
    for _ in 0..number(&mut rest)? {
        let length = usize::from(u16::from_be_bytes(take(&mut rest, 2)?.try_into().ok()?));
        let topic = std::str::from_utf8(take(&mut rest, length)?).ok()?;
        for _ in 0..number(&mut rest)? {
            held.insert(id_of(topic, number(&mut rest)?));
        }
    }
    Some(held)
}

fn number(bytes: &mut &[u8]) -> Option<i32> {
    Some(i32::from_be_bytes(take(bytes, 4)?.try_into().ok()?))
}

fn take<'a>(bytes: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, rest) = bytes.split_at_checked(length)?;
    *bytes = rest;
    Some(taken)
}

/// Another program has partitions that are ours to read.
pub(super) fn foreign_member(group: &str, who: &str, partitions: &[TopicPartition]) -> Condition {
    let detail = format!(
        "{who} is in the group {group} too and has {}: what it reads and commits there never becomes a row; end it, or give \
         it a group of its own",
        named(partitions)
    );
    Condition::failing(Part::Consume, "foreign_member", "", detail)
}

// === impl GroupView ===

impl GroupView {
    /// Partitions of these topics that another program has: what it reads never becomes a row.
    pub(super) fn foreign(&self, group: &str, topics: &[Arc<str>]) -> Option<Condition> {
        let others = self.members.iter().filter(|member| member.client_id != CLIENT_ID);
        let mut taken = others.filter_map(|member| {
            let mut held: Vec<_> = member.held.iter().filter(|id| topics.contains(&id.topic)).cloned().collect();
            held.sort();
            (!held.is_empty()).then(|| foreign_member(group, &member.to_string(), &held))
        });
        taken.next()
    }

    /// Who they are.
    pub(super) fn members(&self) -> String {
        let names: Vec<_> = self.members.iter().take(MAX_NAMED).map(ToString::to_string).collect();
        names.join(", ")
    }
}

// === impl GroupMember ===

impl fmt::Display for GroupMember {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {}", self.client_id, self.host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_an_assignment_is_read_and_garbage_is_nothing() {
        let assignment =
            b"\0\x01\0\0\0\x02\0\x01a\0\0\0\x02\0\0\0\0\0\0\0\x05\0\x02bc\0\0\0\x01\0\0\0\x07\xff\xff\xff\xff";
        let held = partitions(assignment).unwrap();
        assert_eq!(held, [id_of("a", 0), id_of("a", 5), id_of("bc", 7)].into());
        for length in 0..assignment.len() - 4 {
            assert_eq!(partitions(&assignment[..length]), None, "{length}");
        }
    }
}
