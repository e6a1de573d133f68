//! What makes two events the same one.

use xxhash_rust::xxh3::{xxh3_64_with_seed, xxh3_128};

use crate::protocol::device_id::MAX_DEVICE_ID_LEN;

/// Stands for device, event time and sequence of an event. 96 bits: among a hundred million events of one request the
/// odds that two different ones share it are less than one in 10¹².
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EventKey([u32; 3]);

// === impl EventKey ===

impl EventKey {
    /// The key of an event.
    ///
    /// # Panics
    /// If the id is longer than ids of devices are.
    pub fn new(device_id: &str, event_time_ms: u64, sequence: u32) -> Self {
        let mut bytes = [0; MAX_DEVICE_ID_LEN + 12];
        let numbers = event_time_ms.to_le_bytes().into_iter().chain(sequence.to_le_bytes());
        let len = device_id.len() + 12;
        for (to, from) in bytes.iter_mut().zip(numbers.chain(device_id.bytes())) {
            *to = from;
        }
        let hash = xxh3_128(&bytes[..len]);
        Self([hash as u32, (hash >> 32) as u32, (hash >> 64) as u32])
    }
}

/// The sequence of an event that has none of its own: the same for the same place in a request with the same
/// `Idempotency-Key`, so that a request that is sent again makes the same rows.
pub fn derived_sequence(idempotency_key: &[u8], index: u32) -> u32 {
    let hash = xxh3_64_with_seed(idempotency_key, index.into());
    (hash ^ hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn test_events_that_differ_have_different_keys() {
        let mut keys = HashSet::new();
        for device_id in ["a", "b", "truck-000001"] {
            for time in [0, 1, 2, 1 << 32, 1_760_000_000_000, (1 << 48) - 1] {
                for sequence in [0, 1, 2, u32::MAX] {
                    assert!(keys.insert(EventKey::new(device_id, time, sequence)));
                    assert_eq!(EventKey::new(device_id, time, sequence), EventKey::new(device_id, time, sequence));
                }
            }
        }
    }

    #[test]
    fn test_derived_sequences_depend_on_key_and_place_alone() {
        let sequences: HashSet<u32> = (0..1000).map(|index| derived_sequence(b"order-1", index)).collect();
        assert_eq!(sequences.len(), 1000);
        assert_eq!(derived_sequence(b"order-1", 7), derived_sequence(b"order-1", 7));
        assert_ne!(derived_sequence(b"order-1", 7), derived_sequence(b"order-2", 7));
    }
}
