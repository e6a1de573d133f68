//! Partitions in texts for people.

use crate::log::TopicPartition;

/// How many partitions or members are named.
pub(super) const MAX_NAMED: usize = 8;

/// Partitions for people.
pub(super) fn named(partitions: &[TopicPartition]) -> String {
    let names: Vec<_> = partitions.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    let more = partitions.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("{}{more}", names.join(", "))
}
