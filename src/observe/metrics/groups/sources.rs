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
            "Connections of devices that were accepted, as far as there was room for them, before their Hello was read: those \
             that are refused for it count too.",
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
            "Requests without a valid token, to HTTP ingest and to the operators' address.",
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
            "Messages by what their sender was told: accepted (durable in the log), duplicate, rejected (not valid: those of \
             packages are kept as dead letters, single events over HTTP by their sender alone), retry_later.",
            |scrape, out| {
                out.put(&["accepted"], scrape.counters.accepted);
                out.put(&["duplicate"], scrape.counters.duplicates);
                out.put(&["rejected"], scrape.counters.rejected);
                out.put(&["retry_later"], scrape.counters.retry_later);
            },
        ),
        counter(
            "surgetank_packages_total",
            &["outcome"],
            "Packages, and chunks of requests, by what their sender was told: retry_later if that was said of any message, \
             else rejected if any was, else accepted.",
            |scrape, out| {
                let packages = scrape.view.telemetry.counters.packages.read();
                packages.iter().for_each(|(outcome, count)| out.put(&[outcome], *count));
            },
        ),
        counter(
            "surgetank_received_bytes_total",
            &["source"],
            "Bytes taken in as they came: packages of devices (without their frames), and bodies of requests that were let in.",
            |scrape, out| {
                let received = scrape.view.telemetry.counters.received.read();
                received.iter().for_each(|(source, count)| out.put(&[source], *count));
            },
        ),
        counter(
            "surgetank_ingest_requests_total",
            &["endpoint", "status"],
            "Requests to HTTP ingest by what was asked (events, packages, other) and the status of the answer.",
            |scrape, out| {
                for (endpoint, status, count) in scrape.view.telemetry.counters.requests.read() {
                    out.put(&[endpoint.name(), status], count);
                }
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
