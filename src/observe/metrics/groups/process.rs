//! The process.

use crate::observe::metrics::registry::{Group, counter, gauge};

pub(super) const GROUP: Group = Group {
    title: "Process",
    metrics: &[
        gauge("surgetank_build_info", &["version", "revision"], "1; the labels say which build this is.", |_, out| {
            out.put(&[env!("CARGO_PKG_VERSION"), env!("SURGETANK_COMMIT")], true)
        }),
        gauge("process_resident_memory_bytes", &[], "Memory in use.", |scrape, out| {
            out.put(&[], scrape.process.resident_bytes);
        }),
        gauge("process_virtual_memory_bytes", &[], "Addresses in use.", |scrape, out| {
            out.put(&[], scrape.process.virtual_bytes);
        }),
        counter(
            "process_cpu_seconds_total",
            &[],
            "Time that the threads of the process have run, in the system too.",
            |scrape, out| out.put(&[], scrape.process.cpu_seconds),
        ),
        gauge("process_open_fds", &[], "Open file descriptors.", |scrape, out| out.put(&[], scrape.process.num_fds)),
        gauge("process_max_fds", &[], "How many of those there may be.", |scrape, out| {
            out.put(&[], scrape.process.max_fds);
        }),
        gauge("process_threads", &[], "Threads.", |scrape, out| out.put(&[], scrape.process.num_threads)),
        gauge("process_start_time_seconds", &[], "When the process began, since the Unix epoch.", |scrape, out| {
            out.put(&[], scrape.process.started_at);
        }),
    ],
};
