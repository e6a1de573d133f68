//! All metrics, by group. To add one, add an entry to the list of its group; to add a group, add a file and its line here.

mod actors;
mod cluster;
mod gate;
mod latencies;
mod log;
mod process;
mod routes;
mod sources;
mod state;
mod store;

use super::registry::Group;

/// The groups, in the order in which they are shown.
pub const GROUPS: &[Group] = &[
    state::GROUP,
    sources::GROUP,
    latencies::GROUP,
    log::GROUP,
    gate::GROUP,
    store::GROUP,
    routes::GROUP,
    cluster::GROUP,
    actors::GROUP,
    process::GROUP,
];
