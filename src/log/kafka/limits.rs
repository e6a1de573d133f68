//! What a topic takes, as far as is known: asked of the brokers, and learnt from what they refuse.
//!
//! Sizes are counted before compression. A batch that does not shrink is sent as it is, so what fits uncompressed fits in
//! any case, and whether a record is taken does not hang on what it is sent together with.

use std::time::{Duration, Instant};

use super::describe::TopicConfig;

/// What Kafka's topics take in one batch unless they are told otherwise, in bytes.
pub(super) const DEFAULT_BATCH_BYTES: usize = 1_048_588;
/// A record alone in a batch: 61 bytes of the batch's header, and the most that the record's own fields take beside key
/// and value (five varints of up to 5 bytes, attributes, count of headers), rounded up.
pub(super) const RECORD_OVERHEAD: usize = 96;
/// Batches are never made smaller than this: what is larger travels alone.
const LEAST_BATCH_BYTES: usize = 1024;
/// For so long something that was learnt from a refusal is believed although the topic's settings say otherwise.
const BELIEF: Duration = Duration::from_secs(60);

/// What one topic takes.
#[derive(Debug, Default)]
pub(super) struct TopicLimit {
    /// What the brokers say; `None` while they have not been asked, or do not tell.
    described: Option<usize>,
    /// Batches up to this size, although the brokers said more and then refused one.
    assumed: Option<(usize, Instant)>,
    /// Bytes of the smallest record that was refused although it came alone.
    refused: Option<(usize, Instant)>,
}

/// What a producer is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sizes {
    /// Bytes of the largest batch.
    pub batch: usize,
    /// Bytes of the largest batch that is one record: more than the other while that is assumed.
    pub single: usize,
}

// === impl TopicLimit ===

impl TopicLimit {
    /// The largest batch, in bytes before compression.
    pub(super) fn batch_bytes(&self) -> usize {
        let described = self.described.unwrap_or(DEFAULT_BATCH_BYTES);
        self.assumed.map_or(described, |(assumed, _)| described.min(assumed))
    }

    /// What the topic's producer is made for.
    pub(super) fn sizes(&self) -> Sizes {
        Sizes { batch: self.batch_bytes(), single: self.described.unwrap_or(DEFAULT_BATCH_BYTES) }
    }

    /// The largest record, in bytes of key and value.
    pub(super) fn record_bytes(&self) -> usize {
        let described = self.described.unwrap_or(DEFAULT_BATCH_BYTES).saturating_sub(RECORD_OVERHEAD);
        self.refused.map_or(described, |(refused, _)| described.min(refused.saturating_sub(1)))
    }

    /// Takes in what the brokers say. Another value ends all that was assumed, and time does.
    pub(super) fn describe(&mut self, max_bytes: usize, now: Instant) {
        if self.described.replace(max_bytes) != Some(max_bytes) {
            (self.assumed, self.refused) = (None, None);
        }
        self.forget(now);
    }

    /// Ends what was assumed long ago: the topic may take more by now.
    pub(super) fn forget(&mut self, now: Instant) {
        let holds = |learnt: &(usize, Instant)| now.saturating_duration_since(learnt.1) < BELIEF;
        self.assumed = self.assumed.filter(holds);
        self.refused = self.refused.filter(holds);
    }

    /// Whether batches are smaller than the brokers say that the topic takes.
    pub(super) fn is_assumed(&self) -> bool {
        self.assumed.is_some()
    }

    /// Whether a refusal is out of date: the producer was made for a topic that took less, and did not send what the topic
    /// takes by now. Then it is to be tried again.
    pub(super) fn is_outdated(&self, single_bytes: usize) -> bool {
        single_bytes < self.sizes().single
    }

    /// A record was refused that was alone in its batch.
    pub(super) fn record_refused(&mut self, num_bytes: usize, now: Instant) {
        let smallest = self.refused.map_or(num_bytes, |(known, _)| known.min(num_bytes));
        self.refused = Some((smallest, now));
    }

    /// A batch of at most `max_bytes` was refused. Unless the brokers have said meanwhile that they take less, half of it
    /// is tried. `false` if that is too little for anything.
    pub(super) fn batch_refused(&mut self, max_bytes: usize, now: Instant) -> bool {
        if self.batch_bytes() < max_bytes {
            return true;
        }
        self.assumed = Some(((max_bytes / 2).max(LEAST_BATCH_BYTES), now));
        max_bytes > LEAST_BATCH_BYTES
    }
}

/// The largest batch that a topic with these settings takes: a batch also has to fit into a segment.
pub(super) fn batch_bytes_of(config: &TopicConfig) -> Option<usize> {
    let sizes = ["max.message.bytes", "segment.bytes"].into_iter().filter_map(|key| config.number(key));
    sizes.filter_map(|size| usize::try_from(size).ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_limits_are_kafkas_own_until_the_brokers_tell() {
        let (mut limit, now) = (TopicLimit::default(), Instant::now());
        assert_eq!((limit.batch_bytes(), limit.record_bytes()), (1_048_588, 1_048_492));
        limit.describe(16_384, now);
        assert_eq!((limit.batch_bytes(), limit.record_bytes()), (16_384, 16_288));
        limit.describe(10, now);
        assert_eq!(limit.record_bytes(), 0, "nothing fits");
    }

    #[test]
    fn test_a_refused_batch_is_halved_until_the_brokers_say_more() {
        let (mut limit, now) = (TopicLimit::default(), Instant::now());
        assert!(limit.batch_refused(1_000_000, now));
        assert_eq!(limit.sizes(), Sizes { batch: 500_000, single: DEFAULT_BATCH_BYTES });
        assert_eq!(limit.record_bytes(), 1_048_492, "a record that is alone is still tried");
        assert!(limit.batch_refused(1_000_000, now), "one more that was on its way");
        assert_eq!(limit.batch_bytes(), 500_000);
        limit.describe(16_384, now);
        assert!(limit.batch_refused(500_000, now), "the brokers have said why");
        assert_eq!(limit.batch_bytes(), 16_384);
        limit.describe(2_000_000, now);
        assert_eq!(limit.batch_bytes(), 2_000_000);
    }

    #[test]
    fn test_halving_ends() {
        let (mut limit, now) = (TopicLimit::default(), Instant::now());
        let mut max_bytes = 1_000_000;
        let mut num_rounds = 0;
        while limit.batch_refused(max_bytes, now) {
            assert!(limit.batch_bytes() < max_bytes);
            max_bytes = limit.batch_bytes();
            num_rounds += 1;
        }
        assert!(num_rounds <= 10, "{num_rounds}");
    }

    #[test]
    fn test_what_was_learnt_from_a_refusal_is_believed_for_a_minute() {
        let (mut limit, now) = (TopicLimit::default(), Instant::now());
        limit.describe(100_000, now);
        limit.record_refused(60_000, now);
        limit.record_refused(80_000, now);
        limit.describe(100_000, now + BELIEF / 2);
        assert_eq!(limit.record_bytes(), 59_999);
        limit.describe(100_000, now + BELIEF);
        assert_eq!(limit.record_bytes(), 100_000 - RECORD_OVERHEAD);
    }

    #[test]
    fn test_a_refusal_from_before_the_limit_was_raised_is_out_of_date() {
        let (mut limit, now) = (TopicLimit::default(), Instant::now());
        limit.describe(16_384, now);
        let before = limit.sizes();
        assert!(!limit.is_outdated(before.single));
        limit.describe(1_000_000, now);
        assert!(limit.is_outdated(before.single));
        limit.describe(10_000, now);
        assert!(!limit.is_outdated(before.single), "lowered, it is the brokers' last word");
    }

    #[test]
    fn test_a_batch_has_to_fit_into_a_segment() {
        let config = |text: &[(&str, &str)]| TopicConfig::from_iter(text.iter().copied());
        assert_eq!(batch_bytes_of(&config(&[("max.message.bytes", "1000"), ("segment.bytes", "500")])), Some(500));
        assert_eq!(batch_bytes_of(&config(&[("max.message.bytes", "1000")])), Some(1000));
        assert_eq!(batch_bytes_of(&config(&[])), None);
    }
}
