//! How long the stages of the path take, and how much they do at once.

use crate::observe::metrics::registry::{Group, histogram};

pub(super) const GROUP: Group = Group {
    title: "Latencies and sizes",
    metrics: &[
        histogram("surgetank_decode_seconds", &[], "Unpacking one package.", |scrape, out| {
            out.times(&scrape.view.telemetry.decode);
        }),
        histogram(
            "surgetank_log_append_seconds",
            &[],
            "From handing a batch to the log until it is durable.",
            |scrape, out| out.times(&scrape.view.telemetry.append),
        ),
        histogram(
            "surgetank_acknowledge_seconds",
            &[],
            "From reading a package off its socket until its receipt is given to the connection; for HTTP, the request.",
            |scrape, out| out.times(&scrape.view.telemetry.acknowledge),
        ),
        histogram(
            "surgetank_gate_wait_seconds",
            &[],
            "From asking the gate for a write until it is permitted.",
            |scrape, out| out.times(&scrape.view.telemetry.admission),
        ),
        histogram(
            "surgetank_store_write_seconds",
            &[],
            "One write to the store, from call to confirmation; confirmed ones only.",
            |scrape, out| out.times(&scrape.view.telemetry.store_write),
        ),
        histogram(
            "surgetank_receive_to_row_seconds",
            &[],
            "For each row: from reading its message off the socket until the store has confirmed it; of a topic of others, from its \
             record's timestamp in Kafka.",
            |scrape, out| out.times(&scrape.view.telemetry.receive_to_row),
        ),
        histogram(
            "surgetank_device_to_row_seconds",
            &[],
            "For each row of a message type's table: from the event time by the device's clock until the store has confirmed it.",
            |scrape, out| out.times(&scrape.view.telemetry.device_to_row),
        ),
        histogram("surgetank_read_records", &[], "Records in one batch of a partition.", |scrape, out| {
            out.counts(&scrape.view.telemetry.read_records);
        }),
        histogram("surgetank_write_rows", &[], "Rows in one confirmed write to the store.", |scrape, out| {
            out.counts(&scrape.view.telemetry.write_rows);
        }),
    ],
};
