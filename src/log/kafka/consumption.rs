//! What is known of consumption as a whole: the membership, the partitions and what was lost, and what is wrong with them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::acked::Acked;
use super::assigned::{Held, Standing};
use super::assignment::Assignments;
use super::brokers::Statistics;
use super::group_health::GroupHealth;
use super::named::{MAX_NAMED, named};
use super::progress::Gone;
use crate::flow::health::{Condition, Part};
use crate::log::TopicPartition;

/// Reading that stands for this long, and a lag that is unknown for this long, are told.
const PATIENCE: Duration = Duration::from_secs(12);

/// Shared by the driver, the callbacks and whoever asks for the health.
#[derive(Default)]
pub(super) struct Consumption {
    /// The partitions that are ours.
    pub assignments: Arc<Assignments>,
    /// The membership; nothing before there is one, and after it has ended.
    group: Mutex<Option<GroupHealth>>,
}

// === impl Consumption ===

impl Consumption {
    /// Of a process whose own appends tell this of the ends of partitions.
    pub(super) fn new(acked: Arc<Acked>) -> Self {
        Self { assignments: Arc::new(Assignments::new(acked)), group: Mutex::default() }
    }

    /// A membership begins.
    pub(super) fn begin(&self, group: GroupHealth) {
        *self.group.lock() = Some(group);
    }

    /// The membership has ended in good order: nothing is expected any more.
    pub(super) fn end(&self) {
        *self.group.lock() = None;
    }

    /// Looks at the membership, if there is one.
    pub(super) fn with_group<R>(&self, look: impl FnOnce(&mut GroupHealth) -> R) -> Option<R> {
        self.group.lock().as_mut().map(look)
    }

    /// Takes in a report of the client's.
    pub(super) fn on_statistics(&self, statistics: &Statistics) {
        self.assignments.on_statistics(statistics, Instant::now());
        if let Some(report) = &statistics.cgrp {
            let num_assigned = self.assignments.len();
            let has_broker = statistics.has_a_broker_up();
            self.with_group(|group| group.on_report(report, num_assigned, has_broker, Instant::now()));
        }
    }

    /// Whether it is right that nothing is assigned.
    pub(super) fn is_spare(&self) -> bool {
        self.with_group(|group| group.is_spare(Instant::now())).unwrap_or(false)
    }

    /// Everything that is wrong.
    pub(super) fn conditions(&self, now: Instant) -> Vec<Condition> {
        let mut conditions = self.with_group(|group| group.conditions(now)).unwrap_or_default();
        conditions.extend(of_partitions(&self.assignments.standings(now)));
        conditions.extend(self.assignments.losses().lock().conditions(now));
        conditions
    }
}

/// What is wrong with partitions, by topic.
fn of_partitions(standings: &[Standing]) -> Vec<Condition> {
    let mut by_topic = BTreeMap::<&str, Vec<&Standing>>::new();
    for standing in standings {
        by_topic.entry(&standing.id.topic).or_default().push(standing);
    }
    let of_topic = |(topic, standings): (&str, Vec<&Standing>)| {
        let is_of_others = standings.iter().any(|standing| standing.is_of_others);
        if let Some(gone_for) = standings.iter().filter_map(|standing| standing.gone_for).max() {
            return vec![(gone_for >= PATIENCE).then(|| topic_gone(topic, is_of_others, gone_for))];
        }
        if let Some(refused_for) = standings.iter().filter_map(|standing| standing.refused_for).max() {
            return vec![(refused_for >= PATIENCE).then(|| topic_refused(topic, refused_for))];
        }
        let (held, standings): (Vec<_>, Vec<_>) = standings.into_iter().partition(|standing| standing.held.is_some());
        let starving = standings.iter().filter(|standing| standing.starves_for.is_some_and(|lasts| lasts >= PATIENCE));
        let (held_back, standing): (Vec<_>, Vec<_>) =
            starving.copied().partition(|standing| standing.num_behind_transaction > 0);
        let unknown = standings.iter().filter(|standing| !standing.is_lag_known && standing.assigned_for >= PATIENCE);
        let unknown: Vec<_> = unknown.copied().collect();
        vec![
            gap(topic, &held),
            open_transaction(topic, &held_back),
            reading_stands(topic, &standing),
            lag_unknown(topic, &unknown),
        ]
    };
    by_topic.into_iter().flat_map(of_topic).flatten().collect()
}

fn topic_gone(topic: &str, is_of_others: bool, gone_for: Duration) -> Condition {
    let remedy = match is_of_others {
        true => "whoever fills it has to make it again, or take it out of the config",
        false => "run `surgetank apply` to make it again",
    };
    let detail = format!(
        "the topic {topic} was deleted {} s ago: there is nothing to read, and what was not read of it is lost; {remedy}",
        gone_for.as_secs()
    );
    Condition::failing(Part::Consume, "topic_gone", topic, detail)
}

fn topic_refused(topic: &str, refused_for: Duration) -> Condition {
    let detail = format!(
        "reading stands in {topic}, because this login has not been allowed to look at the topic for {} s: grant it Describe \
         and Read on the topic; its records wait in the log",
        refused_for.as_secs()
    );
    Condition::failing(Part::Consume, "reading_stands", topic, detail)
}

/// Records that were to be read next are gone, and the config says that reading stands then.
fn gap(topic: &str, partitions: &[&Standing]) -> Option<Condition> {
    if partitions.is_empty() {
        return None;
    }
    let range = |standing: &&Standing| match standing.held {
        Some(Held::Removed(Gone { from, to })) => {
            Some(format!("{} {from} to {} ({} records)", standing.id, to - 1, to - from))
        }
        Some(Held::Anew) => Some(format!("{}, whose offsets began anew", standing.id)),
        None => None,
    };
    let ranges: Vec<String> = partitions.iter().take(MAX_NAMED).filter_map(range).collect();
    let more = partitions.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more partitions") } else { String::new() };
    let detail = format!(
        "reading stands in topic {topic}, because what was to be read next is gone, and topics.NAME.on_gap is stop: {}{more}. \
         Find out why it was removed; then stop all pods and set the group's offsets (kafka-consumer-groups \
         --reset-offsets), or set on_gap to earliest or latest and restart",
        ranges.join(", ")
    );
    Some(Condition::failing(Part::Consume, "gap", topic, detail))
}

fn open_transaction(topic: &str, partitions: &[&Standing]) -> Option<Condition> {
    let longest = longest(partitions)?;
    let detail = format!(
        "reading stands for {} s in {}: another producer has an open transaction at offset {} of {}, and {} records wait \
         behind it; end that producer or its transaction",
        longest.starves_for.unwrap_or_default().as_secs(),
        names(partitions),
        longest.position.unwrap_or(0),
        longest.id,
        partitions.iter().map(|standing| standing.num_behind_transaction).sum::<u64>(),
    );
    Some(Condition::degraded(Part::Consume, "open_transaction", topic, detail))
}

fn reading_stands(topic: &str, partitions: &[&Standing]) -> Option<Condition> {
    let longest = longest(partitions)?;
    let detail = format!(
        "reading stands for {} s in {}, with {} records to read, because {}",
        longest.starves_for.unwrap_or_default().as_secs(),
        names(partitions),
        partitions.iter().map(|standing| standing.num_unread).sum::<u64>(),
        longest.reason,
    );
    Some(Condition::failing(Part::Consume, "reading_stands", topic, detail))
}

fn lag_unknown(topic: &str, partitions: &[&Standing]) -> Option<Condition> {
    let first = partitions.first()?;
    let detail = format!("how far {} lag behind is unknown, because {}", names(partitions), first.reason);
    Some(Condition::degraded(Part::Consume, "lag_unknown", topic, detail))
}

fn longest<'a>(partitions: &[&'a Standing]) -> Option<&'a Standing> {
    partitions.iter().copied().max_by_key(|standing| standing.starves_for)
}

fn names(partitions: &[&Standing]) -> String {
    named(&partitions.iter().map(|standing| standing.id.clone()).collect::<Vec<TopicPartition>>())
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::log::kafka::assignment::id_of;
    use crate::log::kafka::topic_ids::Told;
    use crate::log::kafka::watermarks::Watermarks;

    fn report(consumption: &Consumption, high: i64, stable: i64) {
        let json = format!(
            r#"{{"topics":{{"t":{{"partitions":{{"0":{{"lo_offset":0,"hi_offset":{high},"ls_offset":{stable},"leader":1,
            "fetch_state":"active"}}}}}}}}}}"#
        );
        consumption.on_statistics(&Statistics::parse(json.as_bytes()).unwrap());
    }

    fn codes(consumption: &Consumption, now: Instant) -> Vec<&'static str> {
        consumption.conditions(now).iter().map(|condition| condition.code).collect()
    }

    #[test]
    fn test_reading_that_stands_is_told_with_its_reason() {
        let (consumption, start) = (Consumption::default(), Instant::now());
        let assigned = consumption.assignments.assign(id_of("t", 0));
        assigned.begin(0);
        assigned.on_nothing(start);
        report(&consumption, 0, 0);
        let now = start + PATIENCE;
        assigned.on_nothing(now);
        assert!(codes(&consumption, now).is_empty(), "there is nothing to read");
        report(&consumption, 50, 50);
        assert_eq!(codes(&consumption, now), ["reading_stands"]);
        report(&consumption, 50, 0);
        let condition = consumption.conditions(now).remove(0);
        assert_eq!(condition.code, "open_transaction");
        assert!(condition.detail.contains("t/0") && condition.detail.contains("50 records"), "{}", condition.detail);
        assert!(codes(&consumption, now + PATIENCE).is_empty(), "a reader that does not look is not hungry");
        assigned.on_records(0, 50);
        assigned.on_nothing(now);
        assert!(codes(&consumption, now).is_empty());
    }

    #[test]
    fn test_an_end_of_before_an_error_is_not_taken_for_an_open_transaction() {
        let (consumption, start) = (Consumption::default(), Instant::now());
        let assigned = consumption.assignments.assign(id_of("t", 0));
        assigned.begin(0);
        assigned.on_records(0, 50);
        report(&consumption, 50, 50);
        assigned.on_error("may not read");
        // It was fetched before the error.
        report(&consumption, 55, 50);
        assigned.on_nothing(start);
        let now = start + PATIENCE;
        assigned.on_nothing(now);
        assigned.on_asked(Watermarks { low: 0, high: 90 }, now);
        let told = consumption.conditions(now).remove(0);
        assert_eq!(told.code, "reading_stands");
        assert!(told.detail.contains("may not read"), "{}", told.detail);
        // Fetching works again, and finds a transaction.
        let json = r#"{"topics":{"t":{"partitions":{"0":{"lo_offset":0,"hi_offset":95,"ls_offset":50,"leader":1,
            "fetch_state":"active"}}}}}"#;
        consumption.assignments.on_statistics(&Statistics::parse(json.as_bytes()).unwrap(), now);
        assert_eq!(codes(&consumption, now), ["open_transaction"]);
    }

    #[test]
    fn test_a_topic_that_was_deleted_is_told_and_has_no_lag() {
        let (consumption, start) = (Consumption::default(), Instant::now());
        let assigned = consumption.assignments.assign(id_of("t", 0));
        assigned.begin(0);
        report(&consumption, 9, 9);
        let there = [("t".to_owned(), Told::test(1))].into();
        consumption.assignments.on_topic_ids(&HashMap::new(), start);
        assert_eq!(assigned.num_behind(), Some(9), "a topic that never had an id may be of brokers that know no ids");
        consumption.assignments.on_topic_ids(&there, start);
        consumption.assignments.on_topic_ids(&HashMap::new(), start);
        assert_eq!(assigned.num_behind(), None);
        assert!(codes(&consumption, start).is_empty());
        assert_eq!(codes(&consumption, start + PATIENCE), ["topic_gone"]);
        consumption.assignments.on_topic_ids(&there, start + PATIENCE);
        assert_eq!((assigned.num_behind(), codes(&consumption, start + PATIENCE)), (Some(9), vec![]));
    }

    #[test]
    fn test_a_topic_that_may_not_be_looked_at_is_not_taken_for_deleted() {
        let (consumption, start) = (Consumption::default(), Instant::now());
        let assigned = consumption.assignments.assign(id_of("t", 0));
        assigned.begin(0);
        report(&consumption, 9, 9);
        let there = [("t".to_owned(), Told::test(1))].into();
        let refused = [("t".to_owned(), Told::Refused)].into();
        consumption.assignments.on_topic_ids(&there, start);
        consumption.assignments.on_topic_ids(&refused, start);
        assert_eq!((assigned.num_behind(), codes(&consumption, start)), (None, vec![]));
        let told = consumption.conditions(start + PATIENCE).remove(0);
        assert_eq!(told.code, "reading_stands");
        assert!(told.detail.contains("grant it Describe"), "{}", told.detail);
        // What is gone now was not gone before.
        consumption.assignments.on_topic_ids(&HashMap::new(), start + PATIENCE);
        assert_eq!(codes(&consumption, start + PATIENCE), Vec::<&str>::new());
        assert_eq!(codes(&consumption, start + PATIENCE * 2), ["topic_gone"]);
        consumption.assignments.on_topic_ids(&refused, start + PATIENCE * 2);
        consumption.assignments.on_topic_ids(&there, start + PATIENCE * 2);
        assert_eq!((assigned.num_behind(), codes(&consumption, start + PATIENCE * 3)), (Some(9), vec![]));
    }

    #[test]
    fn test_a_lag_that_stays_unknown_is_told() {
        let consumption = Consumption::default();
        let assigned = consumption.assignments.assign(id_of("t", 0));
        assigned.begin(0);
        assigned.on_error("not authorized");
        assert!(codes(&consumption, Instant::now()).is_empty());
        let condition = consumption.conditions(Instant::now() + PATIENCE).remove(0);
        assert_eq!(condition.code, "lag_unknown");
        assert!(condition.detail.contains("not authorized"), "{}", condition.detail);
        assigned.on_asked(Watermarks { low: 0, high: 9 }, Instant::now());
        assert!(codes(&consumption, Instant::now() + PATIENCE).is_empty());
    }
}
