//! The process.

use crate::observe::metrics::registry::{Group, gauge};

pub(super) const GROUP: Group = Group {
    title: "Process",
    metrics: &[gauge(
        "surgetank_build_info",
        &["version", "revision"],
        "1; the labels say which build this is.",
        |_, out| out.put(&[env!("CARGO_PKG_VERSION"), env!("SURGETANK_COMMIT")], true),
    )],
};
