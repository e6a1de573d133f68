//! Records as they come out of a queue of Kafka's client, made into a batch: key, value, and what is to be kept beside them.
//!
//! Records of others keep all of it. Of our own, nobody looks at more than the trace that a few have, and the client takes
//! some allocations to say that a record has no headers at all. They lie behind the value in the buffer that the client has
//! received, so that a value which is followed closely by the next record's key has no room for a trace behind it: most
//! records are not asked.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rdkafka::Message;
use rdkafka::message::{BorrowedMessage, Headers};

use super::written_ms;
use crate::flow::trace::{PARENT_LEN, TRACEPARENT, TRACESTATE};
use crate::log::{RecordBatch, RecordMeta, RecordRef, write_header};

/// Bytes of headers with a trace in them, at least: how many there are, a name, a value, and the lengths of both.
const LEAST_TRACE_BYTES: usize = 3 + TRACEPARENT.len() + PARENT_LEN;

/// Records that were taken out of a queue.
pub(super) struct Taken<'q> {
    /// The records; their data is still to come.
    pub(super) batch: RecordBatch,
    has_meta: bool,
    data: Vec<u8>,
    /// The last record, of which it is not known yet whether it has a trace.
    last: Option<BorrowedMessage<'q>>,
    num_unreadable: usize,
}

// === impl Taken ===

impl<'q> Taken<'q> {
    /// Nothing yet. With `has_meta`, everything that records say is kept ([`RecordBatch::meta`]).
    pub(super) fn new(has_meta: bool) -> Self {
        Self { batch: RecordBatch::default(), has_meta, data: Vec::new(), last: None, num_unreadable: 0 }
    }

    /// Bytes so far.
    pub(super) fn num_bytes(&self) -> usize {
        self.data.len()
    }

    /// Adds the next record.
    pub(super) fn push(&mut self, message: BorrowedMessage<'q>) {
        let (key, value) = (message.key(), message.payload());
        self.settle_last(key);
        if self.batch.records.is_empty() {
            self.batch.first_written_ms = written_ms(&message);
        }
        let offset = message.offset() as u64;
        let key_start = self.data.len() as u32;
        self.data.extend_from_slice(key.unwrap_or_default());
        let value_start = self.data.len() as u32;
        self.data.extend_from_slice(value.unwrap_or_default());
        let value_end = self.data.len() as u32;
        self.batch.records.push(RecordRef { offset, key_start, value_start, value_end });
        self.batch.next_offset = offset + 1;
        // Other programs' records may lack either; they become dead letters, not holes.
        if self.has_meta || !self.batch.meta.is_empty() || key.is_none() || value.is_none() {
            self.add_meta(&message);
        }
        if self.has_meta {
            self.keep_headers(&message, |_| true);
        } else {
            self.last = Some(message);
        }
    }

    /// The batch, and how many headers were left out since nobody can read their names.
    pub(super) fn finish(mut self) -> (RecordBatch, usize) {
        self.settle_last(None);
        self.batch.data = self.data.into();
        (self.batch, self.num_unreadable)
    }

    /// Keeps the trace of the last record, if it has one.
    fn settle_last(&mut self, next_key: Option<&[u8]>) {
        let Some(message) = self.last.take() else { return };
        let value = message.payload();
        if value.zip(next_key).is_some_and(|(value, next_key)| has_no_room_for_trace(value, next_key)) {
            return;
        }
        if message.headers().is_some_and(|headers| {
            (0..headers.count()).any(|index| header(headers, index).is_some_and(|(name, _)| name == TRACEPARENT))
        }) {
            if self.batch.meta.is_empty() {
                self.add_meta(&message);
            }
            self.keep_headers(&message, |name| [TRACEPARENT, TRACESTATE].contains(&name));
        }
    }

    /// Notes what the last record says of itself; those before it said nothing if they have no meta yet.
    fn add_meta(&mut self, message: &BorrowedMessage<'_>) {
        let RecordBatch { records, meta, .. } = &mut self.batch;
        let Some((last, before)) = records.split_last() else { unreachable!("a record was added") };
        meta.extend(before.iter().skip(meta.len()).map(RecordMeta::bare));
        meta.push(RecordMeta {
            timestamp_ms: message.timestamp().to_millis(),
            has_key: message.key().is_some(),
            has_value: message.payload().is_some(),
            headers_end: last.value_end,
        });
    }

    /// Adds headers of the last record behind its value.
    fn keep_headers(&mut self, message: &BorrowedMessage<'_>, is_kept: impl Fn(&str) -> bool) {
        let Some(headers) = message.headers() else { return };
        for index in 0..headers.count() {
            match header(headers, index) {
                Some((name, value)) if is_kept(name) => write_header(name.as_bytes(), value, &mut self.data),
                Some(_) => {}
                None => self.num_unreadable += 1,
            }
        }
        let Some(meta) = self.batch.meta.last_mut() else { unreachable!("a record with headers has meta") };
        meta.headers_end = self.data.len() as u32;
    }
}

/// Whether there are too few bytes between a value and the key of a later record for a trace. Both records are still there,
/// so that what lies behind the value is the record's own: its headers end before the other's key begins.
fn has_no_room_for_trace(value: &[u8], next_key: &[u8]) -> bool {
    let (end, start) = (value.as_ptr_range().end as usize, next_key.as_ptr() as usize);
    start.checked_sub(end).is_some_and(|num_between| num_between < LEAST_TRACE_BYTES)
}

/// A header; `None` if its name is no UTF-8, which the library takes for a defect of its own.
fn header(headers: &impl Headers, index: usize) -> Option<(&str, Option<&[u8]>)> {
    let read = catch_unwind(AssertUnwindSafe(|| headers.try_get(index)));
    read.ok().flatten().map(|header| (header.key, header.value))
}

#[cfg(test)]
mod tests {
    use rdkafka::message::Header;

    use super::*;

    /// The first is what it should be, the name of the second is no text.
    struct Fake;

    impl Headers for Fake {
        fn count(&self) -> usize {
            2
        }

        fn try_get(&self, index: usize) -> Option<Header<'_, &[u8]>> {
            let name: &[u8] = if index == 0 { b"name" } else { &[0xff] };
            Some(Header { key: std::str::from_utf8(name).unwrap(), value: Some(b"value") })
        }
    }

    #[test]
    fn test_a_header_whose_name_is_no_text_is_left_out() {
        assert_eq!(header(&Fake, 0), Some(("name", Some(&b"value"[..]))));
        assert_eq!(header(&Fake, 1), None);
    }

    #[test]
    fn test_between_a_value_and_a_key_close_by_there_is_no_trace() {
        let buffer = [0u8; 200];
        let has_no_room = |end: usize, start: usize| has_no_room_for_trace(&buffer[10..end], &buffer[start..start + 5]);
        assert!(has_no_room(50, 50) && has_no_room(50, 50 + LEAST_TRACE_BYTES - 1));
        assert!(!has_no_room(50, 50 + LEAST_TRACE_BYTES), "it may have one");
        assert!(!has_no_room(50, 45), "another buffer");
    }
}
