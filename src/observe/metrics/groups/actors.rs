//! The actors and the queues into them.

use crate::observe::metrics::registry::{Group, counter, gauge};

pub(super) const GROUP: Group = Group {
    title: "Actors",
    metrics: &[
        gauge("surgetank_actors_alive", &["group"], "Actors that take messages.", |scrape, out| {
            scrape.actors.iter().for_each(|group| out.put(&[group.name], group.num_alive));
        }),
        counter("surgetank_actor_restarts_total", &["group"], "Actors that were started again.", |scrape, out| {
            scrape.actors.iter().for_each(|group| out.put(&[group.name], group.num_restarts));
        }),
        counter("surgetank_actor_panics_total", &["group"], "Actors that ended by a panic.", |scrape, out| {
            scrape.actors.iter().for_each(|group| out.put(&[group.name], group.num_panics));
        }),
        gauge(
            "surgetank_mailbox_depth",
            &["group", "actor"],
            "Messages that are queued for the actor or in its work.",
            |scrape, out| scrape.mailboxes(|labels, edge| out.put(labels, edge.depth)),
        ),
        gauge(
            "surgetank_mailbox_bound",
            &["group", "actor"],
            "How many of those there may be; further senders wait.",
            |scrape, out| scrape.mailboxes(|labels, edge| out.put(labels, edge.bound)),
        ),
        counter(
            "surgetank_mailbox_waits_total",
            &["group", "actor"],
            "How often a sender had to wait for room.",
            |scrape, out| scrape.mailboxes(|labels, edge| out.put(labels, edge.num_waits)),
        ),
        counter(
            "surgetank_mailbox_wait_seconds_total",
            &["group", "actor"],
            "How long all senders together have waited for room.",
            |scrape, out| scrape.mailboxes(|labels, edge| out.put(labels, edge.waited_us as f64 / 1e6)),
        ),
    ],
};
