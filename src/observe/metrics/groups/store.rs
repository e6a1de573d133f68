//! The store.

use crate::observe::metrics::registry::{Group, counter, gauge};

pub(super) const GROUP: Group = Group {
    title: "Store",
    metrics: &[
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
