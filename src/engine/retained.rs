//! Looks once a minute how many dead letters the log keeps, and how old the oldest is: by a range read beside the consumers,
//! one record of each partition.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, timeout};

use crate::flow::health::{Condition, Part};
use crate::log::{Log, RangeEnd, RangeStart, ReadLimit, TopicPartition, TopicSpec};
use crate::observe::{RetainedLetters, View};

const INTERVAL: Duration = Duration::from_secs(60);

/// After a failure it is tried again sooner.
const AGAIN: Duration = Duration::from_secs(10);

/// One look at a partition may take as long as this.
const PATIENCE: Duration = Duration::from_secs(20);

const ONE_RECORD: ReadLimit = ReadLimit { max_records: 1, max_bytes: 1 };

/// Keeps looking until it is aborted. While it is not known the metrics have no value, and a condition says why.
pub(super) async fn watch(view: View, log: Arc<dyn Log>, topic: TopicSpec) {
    let trouble: Arc<Mutex<Option<String>>> = Arc::default();
    let (watched, name) = (Arc::clone(&trouble), Arc::clone(&topic.name));
    view.status.watch(move || watched.lock().as_deref().map(|reason| unknown(&name, reason)).into_iter().collect());
    let mut ticks = tokio::time::interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match look(&*log, &topic).await {
            Ok(retained) => {
                *trouble.lock() = None;
                view.retained.set(Some(retained));
            }
            Err(reason) => {
                *trouble.lock() = Some(reason);
                view.retained.set(None);
                ticks.reset_after(AGAIN);
            }
        }
    }
}

fn unknown(topic: &str, reason: &str) -> Condition {
    let detail = format!(
        "how many dead letters topic {topic} keeps cannot be found out: {reason}; the metrics about them have no value \
         until it can"
    );
    Condition::degraded(Part::Log, "dead_letters_unknown", topic, detail)
}

async fn look(log: &dyn Log, topic: &TopicSpec) -> Result<RetainedLetters, String> {
    let mut retained = RetainedLetters::default();
    for partition in 0..topic.num_partitions {
        let partition = TopicPartition { topic: Arc::clone(&topic.name), partition };
        let looking = look_at(log, &partition);
        let (records, oldest_ms) = timeout(PATIENCE, looking)
            .await
            .map_err(|_| format!("{partition} did not answer within {} s", PATIENCE.as_secs()))??;
        retained.records += records;
        retained.oldest_ms = [retained.oldest_ms, oldest_ms].into_iter().flatten().min();
    }
    Ok(retained)
}

/// How many offsets the partition has, and when its first record was written.
async fn look_at(log: &dyn Log, partition: &TopicPartition) -> Result<(u64, Option<u64>), String> {
    let told = |error: crate::log::RangeError| error.to_string();
    let mut range = log.read_range(partition, RangeStart::Earliest, RangeEnd::Now).await.map_err(told)?;
    let offsets = range.offsets();
    let first = range.read(ONE_RECORD).await.map_err(told)?;
    Ok((offsets.end - offsets.start, first.and_then(|batch| batch.first_written_ms)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::embedded::{EmbeddedLog, EmbeddedLogSettings};
    use crate::log::{AppendBatch, Completion, Keys};

    #[tokio::test]
    async fn test_letters_of_all_partitions_are_counted_and_the_oldest_is_found() {
        let directory = tempfile::tempdir().unwrap();
        let settings = EmbeddedLogSettings {
            directory: directory.path().join("log"),
            retention: Duration::from_secs(3600),
            retention_bytes: 1 << 30,
            disk_budget: 1 << 30,
            write_buffer: 1 << 20,
            tail_cache: 1 << 20,
        };
        let topic = TopicSpec::own("dead", 2);
        let log = EmbeddedLog::open(settings, std::slice::from_ref(&topic)).unwrap();
        assert!(look(&log, &topic).await.is_err(), "there is no such topic yet");
        log.apply(std::slice::from_ref(&topic)).await.unwrap();
        let none = look(&log, &topic).await.unwrap();
        assert_eq!((none, none.age(log.now_ms())), (RetainedLetters::default(), Some(Duration::ZERO)));
        let before_ms = log.now_ms();
        for (partition, count) in [(1, 3), (0, 1), (1, 2)] {
            let (answer, answered) = tokio::sync::oneshot::channel();
            let ends = (1..=count).collect();
            let values = vec![7; count as usize].into();
            let batch =
                AppendBatch { keys: Keys::Same(bytes::Bytes::from_static(b"truck")), values, ends, trace: None };
            let to = TopicPartition { topic: "dead".into(), partition };
            log.append(&to, batch, Completion::new(move |outcome| answer.send(outcome).unwrap()));
            answered.await.unwrap().unwrap();
        }
        let retained = look(&log, &topic).await.unwrap();
        assert_eq!(retained.records, 6);
        assert!((before_ms..=log.now_ms()).contains(&retained.oldest_ms.unwrap()), "{retained:?} {before_ms}");
        log.close().await;
    }
}
