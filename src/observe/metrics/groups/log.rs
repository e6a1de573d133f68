//! The log, and how far it is consumed.

use crate::observe::metrics::registry::{Group, counter, gauge};
use crate::telemetry::family::Volume;

/// When there are series of what is told of a partition.
const OF_PARTITIONS: &str = "for partitions that this pod has, or should have";

pub(super) const GROUP: Group = Group {
    title: "Log and consumption",
    metrics: &[
        gauge(
            "surgetank_consumer_lag_records",
            &["topic", "partition"],
            "Records from the committed offset to the end of the partition, for each partition that this pod consumes; NaN \
             while it is unknown.",
            |scrape, out| {
                scrape.partitions(|labels, lag| out.put(labels, lag.records));
            },
        )
        .only(OF_PARTITIONS),
        gauge(
            "surgetank_consumer_lag_seconds",
            &["topic", "partition"],
            "The age of the oldest record that is not settled, by the log's timestamps: exact for one that was read, rather \
             too high than too low for others; 0 if all are settled, NaN while it is unknown.",
            |scrape, out| scrape.partitions(|labels, lag| out.put(labels, lag.age.map(|age| age.as_secs_f64()))),
        )
        .only(OF_PARTITIONS),
        gauge(
            "surgetank_consumer_committed_offset",
            &["topic", "partition"],
            "Every record below this offset is settled; the log is told within a second. NaN while it is unknown.",
            |scrape, out| scrape.partitions(|labels, lag| out.put(labels, lag.committed)),
        )
        .only(OF_PARTITIONS),
        gauge(
            "surgetank_log_end_offset",
            &["topic", "partition"],
            "The offset after the last record that may be read, as far as this pod knows; NaN while it is unknown.",
            |scrape, out| scrape.partitions(|labels, lag| out.put(labels, lag.end)),
        )
        .only(OF_PARTITIONS),
        gauge(
            "surgetank_consumer_last_progress_timestamp_seconds",
            &["topic", "partition"],
            "When records of the partition were last settled, or its consumption here began; NaN while it is not consumed.",
            |scrape, out| {
                scrape.partitions(|labels, lag| out.put(labels, lag.progressed_ms.map(|ms| ms as f64 / 1e3)));
            },
        )
        .only(OF_PARTITIONS),
        counter(
            "surgetank_log_appended_records_total",
            &["topic"],
            "Records that the log has confirmed, dead letters too.",
            |scrape, out| {
                let topics = scrape.view.telemetry.counters.appended.map(Volume::records);
                topics.iter().for_each(|(topic, count)| out.put(&[topic], *count));
            },
        ),
        counter(
            "surgetank_log_appended_bytes_total",
            &["topic"],
            "Bytes of keys and values of those, before compression.",
            |scrape, out| {
                let topics = scrape.view.telemetry.counters.appended.map(Volume::bytes);
                topics.iter().for_each(|(topic, count)| out.put(&[topic], *count));
            },
        ),
        counter(
            "surgetank_log_read_records_total",
            &["topic", "partition"],
            "Records that were read to be stored; one that is read again after a restart counts again.",
            |scrape, out| {
                let read = scrape.view.telemetry.counters.read.map(Volume::records);
                read.iter().for_each(|((topic, number), count)| out.put(&[topic, &number.to_string()], *count));
            },
        )
        .only("for partitions that this pod has consumed"),
        counter(
            "surgetank_log_read_bytes_total",
            &["topic", "partition"],
            "Bytes of keys and values of those.",
            |scrape, out| {
                let read = scrape.view.telemetry.counters.read.map(Volume::bytes);
                read.iter().for_each(|((topic, number), count)| out.put(&[topic, &number.to_string()], *count));
            },
        )
        .only("for partitions that this pod has consumed"),
        counter(
            "surgetank_lost_records_total",
            &[],
            "Acknowledged records, and records of topics of others, that were removed before they were read, each counted once.",
            |scrape, out| out.put(&[], scrape.counters.lost_records),
        ),
        counter(
            "surgetank_log_removed_records_total",
            &[],
            "Records that retention has removed from the embedded log.",
            |scrape, out| out.put(&[], scrape.counters.log_removed),
        ),
        gauge(
            "surgetank_log_unread_bytes",
            &[],
            "What the embedded log keeps for records that are not stored yet.",
            |scrape, out| scrape.gauge("log_unread_bytes").into_iter().for_each(|bytes| out.put(&[], bytes)),
        )
        .only("with the embedded log, while it is open"),
        gauge(
            "surgetank_log_disk_free_bytes",
            &[],
            "Room on the disk of the embedded log.",
            |scrape, out| scrape.gauge("log_disk_free_bytes").into_iter().for_each(|bytes| out.put(&[], bytes)),
        )
        .only("with the embedded log, while it is open"),
        counter(
            "surgetank_registry_requests_total",
            &["outcome"],
            "Requests to the schema registry: found, not_avro, missing, refused (the login), unavailable.",
            |scrape, out| {
                let requests = scrape.view.telemetry.counters.registry_requests.read();
                requests.iter().for_each(|(outcome, count)| out.put(&[outcome], *count));
            },
        )
        .only("with a schema registry"),
        counter(
            "surgetank_schemas_restored_total",
            &[],
            "Schemas that were missing in the log and are there again.",
            |scrape, out| out.put(&[], scrape.counters.schemas_restored),
        ),
    ],
};
