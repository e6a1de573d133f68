//! Compares what devices were told with what is in the store and the dead-letter topic, by identity.

use std::ops::ControlFlow;

use super::ranges::{Selection, read_topic};
use crate::codec::avro::OwnedDeadLetter;
use crate::engine::ReadableStore;
use crate::log::{Ranges, TopicSpec};
use crate::schema::Catalog;
use crate::simulate::{Comparer, Comparison, Ledger};
use crate::store::RowKey;

/// Reads every row key and every dead letter, and strikes them off the ledger.
pub(super) async fn reconcile(
    ledger: Ledger,
    catalog: &Catalog,
    log: &dyn Ranges,
    dead_letters: &TopicSpec,
    store: &ReadableStore,
) -> Result<Comparison, String> {
    let mut comparer = Comparer::new(ledger);
    for message_type in catalog.types() {
        let id = message_type.id;
        let mut visit = |key: RowKey| comparer.stored(id, &key);
        store.scan(&message_type.table, &mut visit).await.map_err(|error| error.to_string())?;
    }
    let mut visit = |_: &crate::log::TopicPartition, _: u64, value: &[u8]| {
        // Letters without an identity (a package that could not be read) stand for nothing that was acknowledged.
        if let Ok(letter) = OwnedDeadLetter::decode(value)
            && let (Some(type_id), Some(event_time_ms), Some(sequence)) =
                (letter.type_id, letter.event_time_ms, letter.sequence)
        {
            comparer.dead_lettered(type_id, &RowKey { device_id: letter.device_id, event_time_ms, sequence });
        }
        ControlFlow::Continue(())
    };
    read_topic(log, dead_letters, Selection::ALL, &mut visit).await.map_err(|error| error.to_string())?;
    Ok(comparer.finish())
}
