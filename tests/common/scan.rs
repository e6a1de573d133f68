//! Everything that a topic holds, for tests.

use surgetank::log::{Log, RangeEnd, RangeStart, ReadLimit, TopicPartition, TopicSpec};

/// Calls `visit` for every record of a topic, partition by partition, up to the end that each has at present. Waits on a
/// thread of its own, so that tests may call it where nothing can be awaited.
pub fn scan(log: &dyn Log, topic: &TopicSpec, mut visit: impl FnMut(&TopicPartition, u64, &[u8], &[u8]) + Send) {
    let limit = ReadLimit { max_records: 1000, max_bytes: 1 << 20 };
    let reading = async {
        for partition in 0..topic.num_partitions {
            let id = TopicPartition { topic: topic.name.clone(), partition };
            let mut range = log.read_range(&id, RangeStart::Earliest, RangeEnd::Now).await.unwrap();
            while let Some(batch) = range.read(limit).await.unwrap() {
                for record in &batch.records {
                    visit(&id, record.offset, record.key(&batch.data), record.value(&batch.data));
                }
            }
        }
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    std::thread::scope(|scope| scope.spawn(move || runtime.block_on(reading)).join().unwrap());
}
