//! What is shown from the start, be it with 0: counters whose labels the config or the program knows. A rate over a counter
//! that appears with its first event would miss that event.

use std::sync::Arc;

use super::backends::{dead_letter_topic, record_topics, tables};
use crate::actors::writer::DEAD_LETTER_REASONS;
use crate::codec::Codecs;
use crate::config::Config;
use crate::protocol::reason::RejectReason;
use crate::store::RETRY_REASONS;
use crate::telemetry::Counters;

/// Shows them from now on.
pub(super) fn expect(config: &Config, codecs: &Codecs, counters: &Counters) {
    let appended = record_topics(config).into_iter().chain([dead_letter_topic(config)]);
    counters.appended.expect(appended.map(|topic| topic.name));
    counters.tables.expect(tables(codecs.catalog()).iter().map(|table| Arc::from(table.name.as_str())));
    let at_the_edge = RejectReason::ALL.iter().filter(|reason| **reason != RejectReason::Other);
    counters.dead_letters.expect(at_the_edge.map(|reason| reason.name()).chain(DEAD_LETTER_REASONS));
    counters.write_retries.expect(RETRY_REASONS);
}
