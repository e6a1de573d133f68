//! The log, and how far it is consumed.

use crate::observe::metrics::registry::{Group, counter, gauge};

pub(super) const GROUP: Group = Group {
    title: "Log and consumption",
    metrics: &[
        gauge(
            "surgetank_consumer_lag_records",
            &["topic", "partition"],
            "Records from the committed offset to the end of the partition, for each partition that this pod consumes; NaN \
             while it is unknown.",
            |scrape, out| {
                for (partition, lag) in scrape.view.lags.read() {
                    out.put(&[&partition.topic, &partition.partition.to_string()], lag);
                }
            },
        )
        .only("for partitions that this pod has, or should have"),
        counter(
            "surgetank_lost_records_total",
            &[],
            "Acknowledged records that the log removed before they were read, each counted once.",
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
            "surgetank_schemas_restored_total",
            &[],
            "Schemas that were missing in the log and are there again.",
            |scrape, out| out.put(&[], scrape.counters.schemas_restored),
        ),
    ],
};
