//! Counters that have a label: one counter for each value of it, found once and kept by who counts.
//!
//! The values come from the config or from this program, never from a sender, so that there are few. A counter stays when
//! what it is of has gone (a partition that others consume by now), since a counter never goes back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::RwLock;

use super::counters::add;

/// One counter for each value of a label.
#[derive(Debug)]
pub struct Family<K, C = AtomicU64>(RwLock<BTreeMap<K, Arc<C>>>);

/// Records, and their bytes.
#[derive(Debug, Default)]
pub struct Volume {
    records: AtomicU64,
    bytes: AtomicU64,
}

// === impl Family ===

impl<K, C> Default for Family<K, C> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<K: Ord + Clone, C: Default> Family<K, C> {
    /// The counter of this value, which is there from now on. Whoever counts often keeps it.
    pub fn of(&self, key: &K) -> Arc<C> {
        if let Some(known) = self.0.read().get(key) {
            return Arc::clone(known);
        }
        Arc::clone(self.0.write().entry(key.clone()).or_default())
    }

    /// Shows these values from now on, be it with 0.
    pub fn expect(&self, keys: impl IntoIterator<Item = K>) {
        let mut known = self.0.write();
        for key in keys {
            known.entry(key).or_default();
        }
    }

    /// Every value that there is with what `read` makes of its counter, in order.
    pub fn map<T>(&self, read: impl Fn(&C) -> T) -> Vec<(K, T)> {
        self.0.read().iter().map(|(key, counter)| (key.clone(), read(counter))).collect()
    }

    /// The sum of what `read` makes of the counters.
    pub fn sum(&self, read: impl Fn(&C) -> u64) -> u64 {
        self.0.read().values().map(|counter| read(counter)).sum()
    }
}

impl<K: Ord + Clone> Family<K> {
    /// Adds to the counter of this value.
    pub fn add(&self, key: &K, count: u64) {
        if count > 0 {
            add(&self.of(key), count);
        }
    }

    /// Every value that there is and its count, in order.
    pub fn read(&self) -> Vec<(K, u64)> {
        self.map(|counter| counter.load(Ordering::Relaxed))
    }

    /// The sum of all counts.
    pub fn total(&self) -> u64 {
        self.sum(|counter| counter.load(Ordering::Relaxed))
    }
}

// === impl Volume ===

impl Volume {
    /// Counts so many records of so many bytes in all.
    pub fn add(&self, num_records: usize, num_bytes: usize) {
        self.records.fetch_add(num_records as u64, Ordering::Relaxed);
        self.bytes.fetch_add(num_bytes as u64, Ordering::Relaxed);
    }

    /// How many records.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    /// How many bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_family_shows_what_is_expected_and_what_was_counted() {
        let family = Family::<&'static str>::default();
        family.expect(["b", "a"]);
        let kept = family.of(&"b");
        add(&kept, 2);
        family.add(&"b", 3);
        family.add(&"c", 1);
        family.add(&"d", 0);
        family.expect(["b"]);
        assert_eq!(family.read(), [("a", 0), ("b", 5), ("c", 1)], "what counted nothing is no value");
        assert_eq!(family.total(), 6);
    }

    #[test]
    fn test_a_volume_counts_records_and_bytes() {
        let family = Family::<u8, Volume>::default();
        family.of(&1).add(3, 300);
        family.of(&1).add(1, 50);
        assert_eq!(family.map(|volume| (volume.records(), volume.bytes())), [(1, (4, 350))]);
        assert_eq!(family.sum(Volume::bytes), 350);
    }
}
