//! What is shown from the start, be it with 0: counters whose labels the config or the program knows. A rate over a counter
//! that appears with its first event would miss that event.

use std::sync::Arc;

use super::backends::{dead_letter_topic, record_topics, tables};
use crate::actors::writer::{DEAD_LETTER_REASONS, GAVE_UP, REFUSED, SKIP_REASONS};
use crate::codec::Codecs;
use crate::config::Config;
use crate::protocol::reason::RejectReason;
use crate::routes::REJECT_CODES;
use crate::schema::row::TableName;
use crate::store::RETRY_REASONS;
use crate::telemetry::Counters;

/// Shows them from now on.
pub(super) fn expect(config: &Config, codecs: &Codecs, counters: &Counters) {
    let appended = record_topics(config).into_iter().chain([dead_letter_topic(config)]);
    counters.appended.expect(appended.map(|topic| topic.name));
    let own = tables(config, codecs.catalog());
    counters.tables.expect(own.iter().map(|table| Arc::from(table.name.as_str())));
    for spec in &config.routes {
        let route = counters.routes.of(&Arc::from(spec.name.as_str()));
        route.skipped.expect(SKIP_REASONS);
        route.rejected.expect(REJECT_CODES.into_iter().chain([REFUSED, GAVE_UP]));
        counters.tables.expect([Arc::from(full_name(&spec.table))]);
    }
    let of_routes = REJECT_CODES.into_iter().filter(|_| !config.routes.is_empty());
    let at_the_edge = RejectReason::ALL.iter().filter(|reason| **reason != RejectReason::Other);
    counters.dead_letters.expect(at_the_edge.map(|reason| reason.name()).chain(DEAD_LETTER_REASONS).chain(of_routes));
    counters.write_retries.expect(RETRY_REASONS);
}

fn full_name(TableName { keyspace, name }: &TableName) -> String {
    keyspace.as_ref().map_or_else(|| name.clone(), |keyspace| format!("{keyspace}.{name}"))
}
