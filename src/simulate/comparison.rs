//! A ledger against the store: is everything there that was acknowledged, and nothing that was never sent?

use std::collections::HashMap;

use super::ledger::{Ledger, LedgerEntry};
use crate::schema::TypeId;
use crate::store::RowKey;

/// How many lost messages are named, so that there is something to look for.
const MAX_EXAMPLES: usize = 10;

/// What came of comparing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Messages that the server acknowledged.
    pub acked: u64,
    /// Rows in the store, whoever sent them.
    pub stored: u64,
    /// Records in the dead-letter topic, whoever sent them.
    pub dead_lettered: u64,
    /// Acknowledged messages that are in neither. Has to be 0.
    pub lost: u64,
    /// Rows that no device of the ledger sent.
    pub unknown_rows: u64,
    /// Rows beyond the first of one identity.
    pub duplicate_rows: u64,
    /// Some of the lost, as device, type and identity.
    pub lost_examples: Vec<(String, LedgerEntry)>,
}

/// Takes in rows and dead letters in any order, and compares at the end. Three bytes per message on top of the ledger.
#[derive(Debug)]
pub struct Comparer {
    devices: HashMap<String, Device>,
    comparison: Comparison,
}

#[derive(Debug, Default)]
struct Device {
    /// Sorted, each once.
    entries: Vec<LedgerEntry>,
    marks: Vec<Marks>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Marks {
    acked: bool,
    stored: bool,
    dead: bool,
}

// === impl Ledger ===

impl Ledger {
    /// Compares with all rows, each with the type whose table it is in, and all dead letters.
    pub fn compare(
        self,
        stored: impl IntoIterator<Item = (TypeId, RowKey)>,
        dead: impl IntoIterator<Item = (TypeId, RowKey)>,
    ) -> Comparison {
        let mut comparer = Comparer::new(self);
        for (type_id, key) in stored {
            comparer.stored(type_id, &key);
        }
        for (type_id, key) in dead {
            comparer.dead_lettered(type_id, &key);
        }
        comparer.finish()
    }
}

// === impl Comparer ===

impl Comparer {
    /// Takes the ledger, because what it holds is sorted in place.
    pub fn new(ledger: Ledger) -> Self {
        let mut devices = HashMap::with_capacity(ledger.devices.len());
        for device in ledger.devices {
            // The same device may stand in a ledger more than once if ledgers were joined.
            let known = devices.entry(device.device_id).or_insert_with(Device::default);
            known.add(device.acked, true);
            known.add(device.rejected, false);
            known.add(device.open, false);
        }
        Self { devices, comparison: Comparison::default() }
    }

    /// Takes in a row of the table of a type.
    pub fn stored(&mut self, type_id: TypeId, key: &RowKey) {
        self.comparison.stored += 1;
        match self.find(type_id, key) {
            None => self.comparison.unknown_rows += 1,
            Some(marks) if marks.stored => self.comparison.duplicate_rows += 1,
            Some(marks) => marks.stored = true,
        }
    }

    /// Takes in a record of the dead-letter topic. Delivery there is at least once: repeats are no fault.
    pub fn dead_lettered(&mut self, type_id: TypeId, key: &RowKey) {
        self.comparison.dead_lettered += 1;
        if let Some(marks) = self.find(type_id, key) {
            marks.dead = true;
        }
    }

    /// The result.
    pub fn finish(self) -> Comparison {
        let mut comparison = self.comparison;
        for (device_id, device) in &self.devices {
            for (entry, marks) in device.entries.iter().zip(&device.marks) {
                comparison.acked += u64::from(marks.acked);
                if marks.acked && !marks.stored && !marks.dead {
                    comparison.lost += 1;
                    if comparison.lost_examples.len() < MAX_EXAMPLES {
                        comparison.lost_examples.push((device_id.clone(), *entry));
                    }
                }
            }
        }
        comparison
    }

    fn find(&mut self, type_id: TypeId, key: &RowKey) -> Option<&mut Marks> {
        let entry = LedgerEntry { event_time_ms: key.event_time_ms, sequence: key.sequence, type_id };
        let device = self.devices.get_mut(&key.device_id)?;
        let position = device.entries.binary_search(&entry).ok()?;
        device.marks.get_mut(position)
    }
}

// === impl Device ===

impl Device {
    fn add(&mut self, mut entries: Vec<LedgerEntry>, acked: bool) {
        if entries.is_empty() {
            return;
        }
        entries.sort_unstable();
        entries.dedup();
        if self.entries.is_empty() {
            self.marks = vec![Marks { acked, ..Marks::default() }; entries.len()];
            self.entries = entries;
            return;
        }
        let mut merged: Vec<(LedgerEntry, Marks)> =
            std::mem::take(&mut self.entries).into_iter().zip(std::mem::take(&mut self.marks)).collect();
        merged.extend(entries.into_iter().map(|entry| (entry, Marks { acked, ..Marks::default() })));
        // Acknowledged first, so that it is the one that is kept of a message that is listed twice.
        merged.sort_unstable_by_key(|(entry, marks)| (*entry, !marks.acked));
        merged.dedup_by_key(|(entry, _)| *entry);
        (self.entries, self.marks) = merged.into_iter().unzip();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::simulate::ledger::DeviceLedger;

    fn entry(sequence: u32) -> LedgerEntry {
        LedgerEntry { event_time_ms: 1000 + u64::from(sequence), sequence, type_id: 1 }
    }

    fn row(device_id: &str, sequence: u32) -> (TypeId, RowKey) {
        (1, RowKey { device_id: device_id.to_owned(), event_time_ms: 1000 + u64::from(sequence), sequence })
    }

    fn ledger() -> Ledger {
        Ledger {
            devices: vec![DeviceLedger {
                device_id: "a".to_owned(),
                acked: vec![entry(3), entry(1), entry(2)],
                rejected: vec![entry(4)],
                open: vec![entry(5)],
            }],
        }
    }

    #[test]
    fn test_comparison_of_a_complete_store() {
        let comparison = ledger().compare([row("a", 1), row("a", 2), row("a", 5)], [row("a", 3), row("a", 4)]);
        let expected = Comparison { acked: 3, stored: 3, dead_lettered: 2, ..Comparison::default() };
        assert_eq!(comparison, expected);
    }

    #[test]
    fn test_comparison_finds_a_loss_that_counts_would_hide() {
        let comparison = ledger().compare([row("a", 1), row("a", 2), row("b", 3)], []);
        assert_eq!((comparison.acked, comparison.stored), (3, 3));
        assert_eq!((comparison.lost, comparison.unknown_rows), (1, 1));
        assert_eq!(comparison.lost_examples, [("a".to_owned(), entry(3))]);
    }

    #[test]
    fn test_comparison_tells_types_and_repeated_rows_apart() {
        let other_type = (2, row("a", 1).1);
        let comparison = ledger().compare([row("a", 1), row("a", 1), row("a", 2), row("a", 3), other_type], []);
        assert_eq!((comparison.lost, comparison.unknown_rows, comparison.duplicate_rows), (0, 1, 1));
    }

    #[test]
    fn test_comparison_of_joined_ledgers_keeps_acknowledged_over_open() {
        let mut joined = ledger();
        let again = DeviceLedger { device_id: "a".to_owned(), acked: vec![entry(5)], ..DeviceLedger::default() };
        joined.devices.push(again);
        let comparison = joined.compare([], []);
        assert_eq!((comparison.acked, comparison.lost), (4, 4));
    }
}
