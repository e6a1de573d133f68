//! Reading the keys of a whole table: token range by token range, page by page.

use std::sync::Arc;
use std::time::Duration;

use futures_util::TryStreamExt;
use scylla::client::session::Session;
use scylla::policies::retry::DefaultRetryPolicy;
use scylla::value::CqlTimestamp;
use tokio::sync::mpsc;

use super::failed;
use super::schema::quoted;
use crate::schema::identity::{BUCKET, DEVICE_ID, EVENT_TIME, SEQUENCE};
use crate::store::scan::{Chunk, NUM_KEYS_PER_CHUNK};
use crate::store::{RowKey, StoreError};

/// Token ranges, one after the other: each is a short question, so that none runs into a time limit.
const NUM_RANGES: i128 = 64;

/// Longer than the server's own limit for reading a range.
const PAGE_TIMEOUT: Duration = Duration::from_secs(15);

/// Sends all keys of a table and how the reading ended. Ends early when nobody listens.
pub(super) async fn send_keys(session: &Session, keyspace: &str, table: &str, chunks: mpsc::Sender<Chunk>) {
    let outcome = read_keys(session, keyspace, table, &chunks).await;
    let _ = chunks.send(Chunk::End(outcome)).await;
}

async fn read_keys(
    session: &Session,
    keyspace: &str,
    table: &str,
    chunks: &mpsc::Sender<Chunk>,
) -> Result<(), StoreError> {
    let context = || format!("reading table {keyspace}.{table}");
    let cql = format!(
        "SELECT {DEVICE_ID}, {EVENT_TIME}, {SEQUENCE} FROM {}.{} \
         WHERE token({DEVICE_ID}, {BUCKET}) > ? AND token({DEVICE_ID}, {BUCKET}) <= ?",
        quoted(keyspace),
        quoted(table),
    );
    let mut select = session.prepare(cql).await.map_err(|error| failed(context(), error))?;
    select.set_is_idempotent(true);
    select.set_request_timeout(Some(PAGE_TIMEOUT));
    // Reads for a ledger are no load to be limited; the driver may try another node.
    select.set_retry_policy(Some(Arc::new(DefaultRetryPolicy::new())));
    for (after, last) in ranges() {
        let mut rows = session
            .execute_iter(select.clone(), (after, last))
            .await
            .map_err(|error| failed(context(), error))?
            .rows_stream::<(String, CqlTimestamp, i64)>()
            .map_err(|error| failed(context(), error))?;
        let mut chunk = Vec::new();
        while let Some((device_id, event_time, sequence)) =
            rows.try_next().await.map_err(|error| failed(context(), error))?
        {
            let out_of_range =
                |what: &str| failed(context(), format!("{what} of a row of {device_id} is negative or too large"));
            let event_time_ms = u64::try_from(event_time.0).map_err(|_| out_of_range(EVENT_TIME))?;
            let sequence = u32::try_from(sequence).map_err(|_| out_of_range(SEQUENCE))?;
            chunk.push(RowKey { device_id, event_time_ms, sequence });
            if chunk.len() == NUM_KEYS_PER_CHUNK && chunks.send(Chunk::Keys(std::mem::take(&mut chunk))).await.is_err()
            {
                return Ok(());
            }
        }
        if chunks.send(Chunk::Keys(chunk)).await.is_err() {
            return Ok(());
        }
    }
    Ok(())
}

/// All tokens, cut into equal ranges, each without its first and with its last. No row has the smallest token.
fn ranges() -> impl Iterator<Item = (i64, i64)> {
    let width = (i128::from(i64::MAX) - i128::from(i64::MIN)) / NUM_RANGES;
    let bound = move |index: i128| {
        let token = if index == NUM_RANGES { i128::from(i64::MAX) } else { i128::from(i64::MIN) + index * width };
        let Ok(token) = i64::try_from(token) else { unreachable!("{token} is no token") };
        token
    };
    (0..NUM_RANGES).map(move |index| (bound(index), bound(index + 1)))
}

#[cfg(test)]
mod tests {
    use super::ranges;

    #[test]
    fn test_ranges_cover_all_tokens_once() {
        let ranges: Vec<_> = ranges().collect();
        assert_eq!(ranges.first().map(|range| range.0), Some(i64::MIN));
        assert_eq!(ranges.last().map(|range| range.1), Some(i64::MAX));
        assert!(ranges.windows(2).all(|pair| pair[0].1 == pair[1].0 && pair[0].0 < pair[0].1));
    }
}
