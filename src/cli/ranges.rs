//! Ranges of a topic for commands: partition by partition, record by record.

use std::ops::ControlFlow;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::output::tell;
use crate::log::{RangeEnd, RangeError, RangeStart, Ranges, ReadLimit, TopicPartition, TopicSpec};

/// How much is in memory at once.
const READ: ReadLimit = ReadLimit { max_records: 4096, max_bytes: 1 << 20 };

/// A place in the log, as it is typed: an offset, or a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    Offset(u64),
    TimeMs(u64),
}

/// What of a topic is read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Selection {
    /// This one only.
    pub partition: Option<u32>,
    pub from: RangeStart,
    pub to: RangeEnd,
}

/// Takes a record: its place and its value. `Break` ends the reading.
pub(super) type Visit<'a> = dyn FnMut(&TopicPartition, u64, &[u8]) -> ControlFlow<()> + Send + 'a;

// === impl Selection ===

impl Selection {
    /// All that is there.
    pub(super) const ALL: Self = Self { partition: None, from: RangeStart::Earliest, to: RangeEnd::Now };
}

/// Reads what is selected of a topic, partition by partition. Records that are removed while it reads are told of, and passed
/// over; those that were removed before they were asked for are an error.
pub(super) async fn read_topic(
    ranges: &dyn Ranges,
    topic: &TopicSpec,
    selection: Selection,
    visit: &mut Visit<'_>,
) -> Result<(), RangeError> {
    let partitions = match selection.partition {
        Some(partition) => partition..partition.saturating_add(1),
        None => 0..topic.num_partitions,
    };
    for partition in partitions {
        let id = TopicPartition { topic: topic.name.clone(), partition };
        if read_partition(ranges, &id, selection, visit).await?.is_break() {
            break;
        }
    }
    Ok(())
}

async fn read_partition(
    ranges: &dyn Ranges,
    id: &TopicPartition,
    selection: Selection,
    visit: &mut Visit<'_>,
) -> Result<ControlFlow<()>, RangeError> {
    let mut range = ranges.read_range(id, selection.from, selection.to).await?;
    let end = range.offsets().end;
    loop {
        match range.read(READ).await {
            Ok(None) => return Ok(ControlFlow::Continue(())),
            Ok(Some(batch)) => {
                for record in &batch.records {
                    if visit(id, record.offset, record.value(&batch.data)).is_break() {
                        return Ok(ControlFlow::Break(()));
                    }
                }
            }
            Err(RangeError::Gone { from, first, .. }) => {
                tell!("surgetank: {id}: offsets {from} to {} were removed from the log meanwhile", first - 1);
                if first >= end {
                    return Ok(ControlFlow::Continue(()));
                }
                range = ranges.read_range(id, RangeStart::Offset(first), RangeEnd::Offset(end)).await?;
            }
            Err(error) => return Err(error),
        }
    }
}

/// An offset, or a time as RFC 3339 text in UTC.
pub(super) fn place(text: &str) -> Result<Place, String> {
    if let Ok(offset) = text.parse() {
        return Ok(Place::Offset(offset));
    }
    let time = humantime::parse_rfc3339_weak(text)
        .map_err(|_| "neither an offset nor a time such as 2026-11-30T06:15:00Z".to_owned())?;
    millis(time).map(Place::TimeMs)
}

/// The time so long ago.
pub(super) fn ago(age: Duration) -> Result<u64, String> {
    SystemTime::now().checked_sub(age).ok_or_else(|| "longer than there is time".to_owned()).and_then(millis)
}

fn millis(time: SystemTime) -> Result<u64, String> {
    let since = time.duration_since(UNIX_EPOCH).map_err(|_| "a time before 1970".to_owned())?;
    u64::try_from(since.as_millis()).map_err(|_| "a time too far ahead".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_place_is_an_offset_or_a_time() {
        assert_eq!(place("0"), Ok(Place::Offset(0)));
        assert_eq!(place("1970-01-01T00:01:00.5Z"), Ok(Place::TimeMs(60_500)));
        assert_eq!(place("1970-01-01 00:01:00"), Ok(Place::TimeMs(60_000)));
        for wrong in ["", "-1", "yesterday", "18446744073709551616"] {
            assert!(place(wrong).is_err(), "{wrong}");
        }
    }
}
