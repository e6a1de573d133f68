//! Who is admitted, and what is taken in.

use crate::observe::metrics::registry::{Group, counter, gauge};

/// The group of the actors that are connections of devices.
const CONNECTIONS: &str = "connection";

pub(super) const GROUP: Group = Group {
    title: "Sources and intake",
    metrics: &[
        gauge("surgetank_connections", &[], "Connections of devices.", |scrape, out| {
            out.put(&[], scrape.group(CONNECTIONS).map_or(0, |group| group.num_alive));
        }),
        gauge(
            "surgetank_connections_max",
            &[],
            "How many connections of devices there may be: devices.max_connections, or fewer if the limit of open files is \
             lower.",
            |scrape, out| out.put(&[], scrape.group(CONNECTIONS).and_then(|group| group.bound)),
        ),
        counter(
            "surgetank_connections_opened_total",
            &[],
            "Connections of devices that were let in.",
            |scrape, out| out.put(&[], scrape.group(CONNECTIONS).and_then(|group| group.num_started).unwrap_or(0)),
        ),
        counter(
            "surgetank_connections_refused_total",
            &["reason"],
            "Connections of devices that were refused, or ended with a reason that the device was told.",
            |scrape, out| scrape.view.admission.refusals().for_each(|(reason, count)| out.put(&[reason], count)),
        ),
        counter(
            "surgetank_accept_pauses_total",
            &[],
            "How often no device was accepted for a moment, because file descriptors or memory had run out.",
            |scrape, out| out.put(&[], scrape.admission.accept_pauses),
        ),
        counter(
            "surgetank_failed_requests_total",
            &[],
            "Requests to HTTP ingest without a valid token.",
            |scrape, out| out.put(&[], scrape.admission.failed_requests),
        ),
        counter(
            "surgetank_packages_over_rate_total",
            &["limit"],
            "Packages and requests sent back because their device or token (device), or their address, sent too many.",
            |scrape, out| {
                out.put(&["device"], scrape.admission.over_device_rate);
                out.put(&["address"], scrape.admission.over_address_rate);
            },
        ),
        counter(
            "surgetank_messages_total",
            &["outcome"],
            "Messages by what their sender was told: accepted (durable in the log), duplicate, rejected (kept as a dead \
             letter), retry_later.",
            |scrape, out| {
                out.put(&["accepted"], scrape.counters.accepted);
                out.put(&["duplicate"], scrape.counters.duplicates);
                out.put(&["rejected"], scrape.counters.rejected);
                out.put(&["retry_later"], scrape.counters.retry_later);
            },
        ),
        gauge(
            "surgetank_memory_bytes",
            &["use"],
            "What counts against memory.budget: packages without a receipt, batches that are not stored yet, and what the \
             log's own buffers hold (outside).",
            |scrape, out| {
                out.put(&["packages"], scrape.memory.packages_bytes);
                out.put(&["batches"], scrape.memory.batches_bytes);
                out.put(&["outside"], scrape.memory.outside_bytes);
            },
        ),
        gauge("surgetank_memory_budget_bytes", &[], "memory.budget.", |scrape, out| {
            out.put(&[], scrape.memory.budget_bytes);
        }),
        counter(
            "surgetank_memory_refused_packages_total",
            &[],
            "Packages for which the budget had no room; their senders were told to send them again.",
            |scrape, out| out.put(&[], scrape.memory.refused_packages),
        ),
    ],
};
