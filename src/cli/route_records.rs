//! Records to try a route with: the newest ones of a topic, or the lines of a file. Read beside the group.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::Failure;
use crate::log::{
    RangeEnd, RangeError, RangeStart, Ranges, ReadLimit, RecordBatch, RecordMeta, RecordRef, TopicPartition,
};
use crate::telemetry::now_us;

/// How much is in memory at once.
const READ: ReadLimit = ReadLimit { max_records: 4096, max_bytes: 4 << 20 };

/// No topic has more partitions.
const MAX_PARTITIONS: u32 = 100_000;

/// The newest records of a topic, `count` of all partitions together, about as many of each; what one partition lacks comes
/// from the others.
pub(super) async fn newest(
    ranges: &dyn Ranges,
    topic: &str,
    count: u64,
) -> Result<Vec<(TopicPartition, RecordBatch)>, Failure> {
    let topic: Arc<str> = topic.into();
    let mut partitions = Vec::new();
    for partition in 0..MAX_PARTITIONS {
        let id = TopicPartition { topic: Arc::clone(&topic), partition };
        match ranges.read_range(&id, RangeStart::Earliest, RangeEnd::Now).await {
            Ok(range) => partitions.push((id, range.offsets())),
            Err(RangeError::NoSuchPartition(_)) if partition > 0 => break,
            Err(error) => return Err(Failure::job(error)),
        }
    }
    let there: Vec<u64> = partitions.iter().map(|(_, offsets)| offsets.end.saturating_sub(offsets.start)).collect();
    let mut batches = Vec::new();
    for ((id, offsets), share) in partitions.into_iter().zip(shares(&there, count)) {
        let (first, to) = (offsets.end - share, RangeEnd::Offset(offsets.end));
        let mut range = ranges.read_range(&id, RangeStart::Offset(first), to).await.map_err(Failure::job)?;
        while let Some(batch) = range.read(READ).await.map_err(Failure::job)? {
            batches.push((id.clone(), batch));
        }
    }
    Ok(batches)
}

/// How many records are read of each partition, of those that are there.
fn shares(there: &[u64], count: u64) -> Vec<u64> {
    let (mut shares, mut left) = (vec![0; there.len()], count);
    loop {
        let open: Vec<usize> = (0..there.len()).filter(|index| shares[*index] < there[*index]).collect();
        if left == 0 || open.is_empty() {
            return shares;
        }
        let fair = (left / open.len() as u64).max(1);
        for index in open {
            let more = fair.min(there[index] - shares[index]).min(left);
            shares[index] += more;
            left -= more;
        }
    }
}

/// Each line of a file as a record without a key, of this moment; offsets are the lines' numbers, from 1. Empty lines are
/// passed over.
pub(super) fn of_file(path: &Path, topic: &str, count: u64) -> Result<(TopicPartition, RecordBatch), Failure> {
    let text =
        std::fs::read(path).map_err(|error| Failure::Usage(format!("cannot read {}: {error}", path.display())))?;
    if u32::try_from(text.len()).is_err() {
        return Err(Failure::Usage(format!("{} is larger than 4 GiB", path.display())));
    }
    let (mut records, mut meta) = (Vec::new(), Vec::new());
    let mut start = 0;
    for (number, line) in (1..).zip(text.split(|byte| *byte == b'\n')) {
        let end = start + line.len();
        let line_end = if line.ends_with(b"\r") { end - 1 } else { end };
        if line_end > start && (records.len() as u64) < count {
            let (value_start, value_end) = (start as u32, line_end as u32);
            records.push(RecordRef { offset: number, key_start: value_start, value_start, value_end });
            meta.push(RecordMeta {
                timestamp_ms: Some((now_us() / 1000) as i64),
                has_key: false,
                has_value: true,
                headers_end: value_end,
            });
        }
        start = end + 1;
    }
    let next_offset = records.last().map_or(1, |record| record.offset + 1);
    let batch = RecordBatch { data: Bytes::from(text), records, next_offset, first_written_ms: None, meta };
    Ok((TopicPartition { topic: topic.into(), partition: 0 }, batch))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_what_one_partition_lacks_comes_from_the_others() {
        for (there, count, expected) in [
            (vec![100, 100], 10, vec![5, 5]),
            (vec![0, 3, 0], 5, vec![0, 3, 0]),
            (vec![1, 100, 100], 11, vec![1, 5, 5]),
            (vec![9, 9, 9, 9], 3, vec![1, 1, 1, 0]),
            (vec![2, 0, 7], 8, vec![2, 0, 6]),
            (vec![], 8, vec![]),
        ] {
            assert_eq!(shares(&there, count), expected, "{there:?}");
        }
    }

    #[test]
    fn test_each_line_is_a_record_and_its_offset_is_its_number() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lines");
        std::fs::write(&path, "{\"a\":1}\n\n{\"a\":2}\r\n3").unwrap();
        let (from, batch) = of_file(&path, "events", 100).unwrap();
        let lines: Vec<(u64, &[u8])> =
            batch.records.iter().map(|record| (record.offset, record.value(&batch.data))).collect();
        assert_eq!(lines, [(1, &b"{\"a\":1}"[..]), (3, b"{\"a\":2}"), (4, b"3")]);
        assert_eq!(&*from.topic, "events");
        assert!(batch.headers(0).next().is_none());
        assert_eq!(of_file(&path, "events", 2).unwrap().1.records.len(), 2);
    }
}
