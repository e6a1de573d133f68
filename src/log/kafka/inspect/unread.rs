//! Rules: retention that comes near to what has not been read. Kafka removes the oldest segments of a partition by age and
//! by size, whether a group has read them or not; this says so while there is still time.

use std::time::Duration;

use super::facts::{Extent, Role, TopicFacts};
use super::numbers;
use crate::flow::health::{Condition, Part};

/// What a topic keeps; `None`: without bound.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Retention {
    /// By age: `retention.ms`.
    pub age: Option<Duration>,
    /// By the size of a partition, as it is stored: `retention.bytes`.
    pub num_bytes: Option<u64>,
}

/// What is unread of one partition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Unread {
    /// Its number.
    pub partition: u32,
    /// Where it begins and ends, and what is done.
    pub extent: Extent,
    /// The offset of the first record that has more than half of its time left; `None`: not asked.
    pub fresh_from: Option<i64>,
    /// The offset of the first record that has any time left; `None`: not asked.
    pub kept_from: Option<i64>,
}

/// How far retention has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    /// Half of the time, or of the room, that unread records have is used up.
    Near,
    /// They may be removed at any moment.
    Passed,
}

// === impl Retention ===

impl Retention {
    /// The retention of a topic. `None` while its settings are not known, or if it never deletes.
    pub(super) fn of(topic: &TopicFacts) -> Option<Self> {
        let deletes = topic.config.as_ref()?.lists("cleanup.policy", "delete");
        let bound = |key| topic.number(key).and_then(|number| u64::try_from(number).ok());
        let (age, num_bytes) = (bound("retention.ms").map(Duration::from_millis), bound("retention.bytes"));
        (deletes && (age.is_some() || num_bytes.is_some())).then_some(Self { age, num_bytes })
    }
}

/// What is wrong with the retention of a topic, given what is unread. `record_bytes`: how much a record takes, about.
pub(super) fn judge(
    topic: &TopicFacts,
    retention: Retention,
    unread: &[Unread],
    record_bytes: Option<f64>,
) -> Option<Condition> {
    let name = &topic.spec.name;
    let found: Vec<_> = unread
        .iter()
        .filter_map(|unread| Some((unread, unread.by_age().max(unread.by_size(retention, record_bytes))?)))
        .collect();
    let worst = found.iter().map(|(_, nearness)| *nearness).max()?;
    let affected = || found.iter().filter(|(_, nearness)| *nearness == worst).map(|(unread, _)| unread);
    let num_records: u64 = affected().map(|unread| unread.extent.num_unread()).sum();
    let bounds = [
        retention.age.map(|age| format!("retention.ms={}", age.as_millis())),
        retention.num_bytes.map(|num_bytes| format!("retention.bytes={num_bytes}")),
    ];
    let bounds = bounds.into_iter().flatten().collect::<Vec<_>>().join(" and ");
    let place = format!("{} of topic {name} ({bounds})", numbers(affected().map(|unread| unread.partition)));
    let advice = "Raise its retention now (kafka-configs), and find out what keeps records from the store";
    Some(match worst {
        // How long they are kept is for those to say who fill the topic.
        Nearness::Passed if topic.role == Role::Others => {
            let detail = format!(
                "{num_records} records are not yet rows in {place}, which others fill, and retention may remove the oldest of them \
                 at any moment. {advice}"
            );
            Condition::degraded(Part::Consume, "retention_passed", &**name, detail)
        }
        Nearness::Near => {
            let detail = format!(
                "{num_records} records are not yet rows in {place}, and for the oldest of them more than half of what retention \
                 leaves them is used up. {advice}"
            );
            Condition::degraded(Part::Consume, "retention_near", &**name, detail)
        }
        Nearness::Passed => {
            let detail = format!(
                "{num_records} records are not yet rows in {place}, and retention may remove the oldest of them at any moment: \
                 they were acknowledged and would be lost. {advice}"
            );
            Condition::failing(Part::Consume, "retention_passed", &**name, detail)
        }
    })
}

// === impl Unread ===

impl Unread {
    fn by_age(&self) -> Option<Nearness> {
        let is_unread_below = |offset: Option<i64>| {
            offset.is_some_and(|offset| self.extent.num_unread() > 0 && self.extent.next() < offset)
        };
        match () {
            () if is_unread_below(self.kept_from) => Some(Nearness::Passed),
            () if is_unread_below(self.fresh_from) => Some(Nearness::Near),
            () => None,
        }
    }

    /// A size is told by nobody but the brokers' disks. It is reckoned from what was appended lately; or else, once
    /// something has been removed, from the part of the partition that is unread.
    fn by_size(&self, retention: Retention, record_bytes: Option<f64>) -> Option<Nearness> {
        let (bound, num_unread) = (retention.num_bytes? as f64, self.extent.num_unread() as f64);
        let used = match record_bytes {
            Some(record_bytes) => num_unread * record_bytes / bound.max(1.0),
            None if self.extent.start > 0 => num_unread / (self.extent.end - self.extent.start).max(1) as f64,
            None => return None,
        };
        match used {
            used if num_unread == 0.0 || used <= 0.5 => None,
            // Without a size in bytes, "all that is there is unread" does not say that any of it is about to go.
            used if used > 1.0 => Some(Nearness::Passed),
            _ => Some(Nearness::Near),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::facts::Role;
    use super::super::tests::{codes, topic, with_config};
    use super::*;

    const HOUR: Retention = Retention { age: Some(Duration::from_secs(3600)), num_bytes: None };

    fn judged(retention: Retention, unread: Unread, record_bytes: Option<f64>) -> Vec<String> {
        codes(&Vec::from_iter(judge(&topic(Role::Consumed, 1), retention, &[unread], record_bytes)))
    }

    fn committed(committed: i64) -> Unread {
        let extent = Extent { start: 100, end: 1000, committed: Some(committed) };
        Unread { partition: 0, extent, fresh_from: Some(500), kept_from: Some(300) }
    }

    #[test]
    fn test_retention_is_read_from_the_settings() {
        let of = |config: &[(&str, &str)]| Retention::of(&with_config(topic(Role::Consumed, 1), config));
        let expected = Retention { age: Some(Duration::from_secs(60)), num_bytes: None };
        let both = [("retention.ms", "60000"), ("retention.bytes", "-1")];
        assert_eq!(of(&[("cleanup.policy", "delete"), both[0], both[1]]), Some(expected));
        assert_eq!(of(&[("cleanup.policy", "compact"), both[0], both[1]]), None);
        assert_eq!(of(&[("cleanup.policy", "delete"), ("retention.ms", "-1"), both[1]]), None);
    }

    #[test]
    fn test_old_unread_records_warn_at_half_of_the_retention_and_fail_past_it() {
        assert_eq!(judged(HOUR, committed(500), None), [""; 0]);
        assert_eq!(judged(HOUR, committed(499), None), ["degraded retention_near"]);
        assert_eq!(judged(HOUR, committed(299), None), ["failing retention_passed"]);
        let none = Unread { extent: Extent { committed: None, ..committed(0).extent }, ..committed(0) };
        assert_eq!(judged(HOUR, none, None), ["failing retention_passed"], "nothing committed: all is unread");
        assert_eq!(judged(HOUR, Unread { kept_from: Some(2000), ..committed(1000) }, None), [""; 0], "all is read");
    }

    #[test]
    fn test_a_commit_of_an_earlier_topic_of_that_name_counts_as_none() {
        assert_eq!(committed(5000).extent.next(), 100);
        assert_eq!(judged(HOUR, committed(5000), None), ["failing retention_passed"]);
    }

    #[test]
    fn test_unread_bytes_warn_at_half_of_the_bound_and_fail_past_it() {
        let retention = Retention { age: None, num_bytes: Some(10_000) };
        let unread = |num: i64| Unread { fresh_from: None, kept_from: None, ..committed(1000 - num) };
        assert_eq!(judged(retention, unread(49), Some(100.0)), [""; 0]);
        assert_eq!(judged(retention, unread(51), Some(100.0)), ["degraded retention_near"]);
        assert_eq!(judged(retention, unread(101), Some(100.0)), ["failing retention_passed"]);
        // Nothing is known of sizes: once something was removed, the partition is at its bound.
        assert_eq!(judged(retention, unread(460), None), ["degraded retention_near"]);
        assert_eq!(judged(retention, unread(440), None), [""; 0]);
        let whole = Unread { extent: Extent { start: 0, ..unread(1000).extent }, ..unread(1000) };
        assert_eq!(judged(retention, whole, None), [""; 0], "nothing was ever removed");
    }

    #[test]
    fn test_the_detail_tells_the_worst_partitions_and_how_many_records() {
        let (near, passed) = (committed(400), Unread { partition: 2, ..committed(200) });
        let condition = judge(&topic(Role::Consumed, 3), HOUR, &[near, passed], None).unwrap();
        assert!(
            condition
                .detail
                .starts_with("800 records are not yet rows in partition 2 of topic t (retention.ms=3600000)")
        );
    }
}
