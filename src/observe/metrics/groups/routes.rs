//! What routes make of records.

use std::sync::atomic::Ordering;

use crate::observe::metrics::registry::{Group, counter};

pub(super) const GROUP: Group = Group {
    title: "Routes",
    metrics: &[
        counter(
            "surgetank_route_rows_total",
            &["route"],
            "Rows of a route that the store has confirmed; one that is written again counts again. Rows of all tables are in \
             surgetank_store_rows_total, too.",
            |scrape, out| {
                let rows = scrape.view.telemetry.counters.routes.map(|route| route.rows.load(Ordering::Relaxed));
                rows.iter().for_each(|(route, count)| out.put(&[route], *count));
            },
        )
        .only("with routes"),
        counter(
            "surgetank_route_deleted_total",
            &["route"],
            "Rows of a route of which the store has confirmed that they are deleted.",
            |scrape, out| {
                let deleted = scrape.view.telemetry.counters.routes.map(|route| route.deleted.load(Ordering::Relaxed));
                deleted.iter().for_each(|(route, count)| out.put(&[route], *count));
            },
        )
        .only("with routes"),
        counter(
            "surgetank_route_skipped_total",
            &["route", "reason"],
            "Records that a route passed over, counted once they are settled: filter, tombstone (its rule for records without a \
             value), expired (their time to live is over).",
            |scrape, out| {
                let skipped = scrape.view.telemetry.counters.routes.map(|route| route.skipped.read());
                for (route, reasons) in &skipped {
                    reasons.iter().for_each(|(reason, count)| out.put(&[route, reason], *count));
                }
            },
        )
        .only("with routes"),
        counter(
            "surgetank_route_rejected_total",
            &["route", "reason"],
            "Records of which a route made no row that the store took, counted once their dead letters are confirmed.",
            |scrape, out| {
                let rejected = scrape.view.telemetry.counters.routes.map(|route| route.rejected.read());
                for (route, reasons) in &rejected {
                    reasons.iter().for_each(|(reason, count)| out.put(&[route, reason], *count));
                }
            },
        )
        .only("with routes"),
        counter(
            "surgetank_unrouted_records_total",
            &["topic"],
            "Records of topics of others that were settled without a row because no route takes their topic.",
            |scrape, out| {
                let unrouted = scrape.view.telemetry.counters.unrouted.read();
                unrouted.iter().for_each(|(topic, count)| out.put(&[topic], *count));
            },
        )
        .only("with topics of others that no route takes"),
    ],
};
