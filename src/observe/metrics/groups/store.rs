//! The store.

use std::sync::atomic::Ordering;

use crate::observe::metrics::registry::{Group, counter, gauge};

pub(super) const GROUP: Group = Group {
    title: "Store",
    metrics: &[
        counter(
            "surgetank_store_rows_total",
            &["table"],
            "Rows that the store has confirmed; one that is written again counts again.",
            |scrape, out| {
                let rows = scrape.view.telemetry.counters.tables.map(|table| table.rows.load(Ordering::Relaxed));
                rows.iter().for_each(|(table, count)| out.put(&[table], *count));
            },
        ),
        counter(
            "surgetank_store_rows_refused_total",
            &["table"],
            "Rows that the store refused for what they hold, counted once their dead letters are confirmed.",
            |scrape, out| {
                let refused = scrape.view.telemetry.counters.tables.map(|table| table.refused.load(Ordering::Relaxed));
                refused.iter().for_each(|(table, count)| out.put(&[table], *count));
            },
        ),
        counter(
            "surgetank_store_write_retries_total",
            &["reason"],
            "Writes that were tried again because the store did not confirm them: timeout, overloaded, unavailable (too few \
             replicas), connection, row_limited (a database partition takes no more for now), or table (it takes nothing as it \
             is).",
            |scrape, out| {
                let retries = scrape.view.telemetry.counters.write_retries.read();
                retries.iter().for_each(|(reason, count)| out.put(&[reason], *count));
            },
        ),
        counter(
            "surgetank_dead_letters_total",
            &["reason"],
            "Messages and records that the log has confirmed as dead letters, one in parts once.",
            |scrape, out| {
                let letters = scrape.view.telemetry.counters.dead_letters.read();
                letters.iter().for_each(|(reason, count)| out.put(&[reason], *count));
            },
        ),
        gauge(
            "surgetank_dead_letters_retained",
            &["topic"],
            "Records in the topic of dead letters, those of all pods, asked of the log once a minute; NaN before, and while the \
             condition dead_letters_unknown says why it does not answer.",
            |scrape, out| {
                let retained = &scrape.view.retained;
                out.put(&[&retained.topic], retained.get().map(|letters| letters.records));
            },
        ),
        gauge(
            "surgetank_dead_letters_oldest_age_seconds",
            &[],
            "The age of the oldest of them; 0 if there is none, NaN if that is not known.",
            |scrape, out| {
                let age = scrape.view.retained.get().and_then(|letters| letters.age(scrape.view.lags.now_ms()));
                out.put(&[], age.map(|age| age.as_secs_f64()));
            },
        ),
        counter(
            "surgetank_store_writes_total",
            &[],
            "Writes that the store has confirmed; one may have many rows.",
            |scrape, out| out.put(&[], scrape.view.telemetry.store_write.num_recorded()),
        ),
        counter(
            "surgetank_store_rows_expired_total",
            &[],
            "Rows that the embedded store has deleted because they were older than store.ttl.",
            |scrape, out| out.put(&[], scrape.counters.rows_expired),
        ),
        gauge("surgetank_store_wal_bytes", &[], "SQLite's write-ahead log.", |scrape, out| {
            scrape.gauge("store_wal_bytes").into_iter().for_each(|bytes| out.put(&[], bytes));
        })
        .only("with the embedded store, while it is open"),
        gauge("surgetank_store_disk_free_bytes", &[], "Room on the disk of the embedded store.", |scrape, out| {
            scrape.gauge("store_disk_free_bytes").into_iter().for_each(|bytes| out.put(&[], bytes));
        })
        .only("with the embedded store, while it is open"),
    ],
};
