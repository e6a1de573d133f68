//! Topics that the config no longer names while records of theirs are not yet rows: nobody reads those any more.

use crate::flow::health::{Condition, Part};

/// What is wrong with a topic that has so many records that are not done and that nobody reads. `until`: what becomes of
/// them.
pub(super) fn condition(topic: &str, num_unread: u64, until: &str) -> Condition {
    let detail = format!(
        "topic {topic} is not in the config any more, but {num_unread} records of it were acknowledged and are not yet rows: \
         nobody reads them, and {until}. Give it a section [topics.{topic}] again until they are rows"
    );
    Condition::degraded(Part::Consume, "topic_abandoned", topic, detail)
}
