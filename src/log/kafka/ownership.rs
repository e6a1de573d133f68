//! Whose commits the group has. Each commit of ours carries a mark that says where its rows go, so that one which somebody
//! else made is seen: what lies below it may never become a row here.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::TopicPartitionList;
use rdkafka::topic_partition_list::TopicPartitionListElem;

/// Marks commits that are about to be told.
pub(super) fn mark(commits: &TopicPartitionList, owner: &str) {
    for mut element in commits.elements() {
        element.set_metadata(owner);
    }
}

/// The mark of a commit; empty if it has none, as those of most clients.
pub(super) fn mark_of(element: &TopicPartitionListElem<'_>) -> String {
    // The client library panics at a mark that is not text, and anybody may have written one.
    catch_unwind(AssertUnwindSafe(|| element.metadata().to_owned())).unwrap_or_else(|_| "no text".to_owned())
}

#[cfg(test)]
mod tests {
    use rdkafka::Offset;

    use super::*;

    #[test]
    fn test_a_mark_reads_back_and_most_commits_have_none() {
        let mut commits = TopicPartitionList::new();
        commits.add_partition_offset("t", 0, Offset::Offset(7)).unwrap();
        assert_eq!(mark_of(&commits.elements()[0]), "");
        mark(&commits, "surgetank cassandra fleet");
        assert_eq!(mark_of(&commits.elements()[0]), "surgetank cassandra fleet");
    }
}
