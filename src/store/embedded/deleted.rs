//! Rows of routes that were deleted lately: a write that is older than that comes too late.
//!
//! Writes of one row may overtake each other on the way to the store. Where rows keep the time of their write, the newer one
//! wins in either order; a deleted row keeps nothing, so the time is kept here. In memory that is enough: what comes late is
//! in flight or tried again by this process, and after a restart both are read again. Only a row that comes late after
//! [`MAX_ROWS`] others were deleted is back.

use std::collections::{HashMap, VecDeque};

use xxhash_rust::xxh3::Xxh3;

use crate::schema::cell_text::CellText;
use crate::schema::row::{Cell, Table};

/// How many rows are remembered; the one that was deleted first is forgotten.
const MAX_ROWS: usize = 32_768;

/// Times of deletions, in microseconds since the Unix epoch.
#[derive(Debug, Default)]
pub(super) struct Deleted {
    times: HashMap<u128, i64>,
    /// The rows in the order in which they were first deleted.
    order: VecDeque<u128>,
}

// === impl Deleted ===

impl Deleted {
    /// A row was deleted by a write of this time.
    pub(super) fn note(&mut self, table: &Table, key: &[Cell], data: &[u8], written_at_us: i64) {
        let row = row_of(table, key, data);
        if let Some(time) = self.times.get_mut(&row) {
            *time = written_at_us.max(*time);
            return;
        }
        if self.order.len() == MAX_ROWS
            && let Some(first) = self.order.pop_front()
        {
            self.times.remove(&first);
        }
        self.order.push_back(row);
        self.times.insert(row, written_at_us);
    }

    /// Whether a row was deleted by a newer write than that of this time.
    pub(super) fn is_newer(&self, table: &Table, key: &[Cell], data: &[u8], written_at_us: i64) -> bool {
        !self.times.is_empty()
            && self.times.get(&row_of(table, key, data)).is_some_and(|deleted_at_us| *deleted_at_us > written_at_us)
    }
}

/// Stands for a row. Among as many rows as are remembered two that differ do not share it.
fn row_of(table: &Table, key: &[Cell], data: &[u8]) -> u128 {
    let mut hash = Xxh3::new();
    let mut add = |text: String| {
        hash.update(&(text.len() as u64).to_le_bytes());
        hash.update(text.as_bytes());
    };
    add(table.full_name());
    key.iter().for_each(|cell| add(CellText { cell, data }.to_string()));
    hash.digest128()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_the_newest_deletion_of_a_row_counts_and_the_oldest_rows_are_forgotten() {
        let (table, other) = (Table::of_type("a", Vec::new()), Table::of_type("b", Vec::new()));
        let mut deleted = Deleted::default();
        let key = |number: usize| [Cell::OwnText("x".into()), Cell::Long(number as i64)];
        deleted.note(&table, &key(0), b"", 20);
        deleted.note(&table, &key(0), b"", 10);
        let times = [19, 20, 21].map(|time| deleted.is_newer(&table, &key(0), b"", time));
        assert_eq!(times, [true, false, false]);
        assert!(!deleted.is_newer(&other, &key(0), b"", 0) && !deleted.is_newer(&table, &key(1), b"", 0));
        (1..MAX_ROWS).for_each(|number| deleted.note(&table, &key(number), b"", 5));
        assert!(deleted.is_newer(&table, &key(0), b"", 0));
        deleted.note(&table, &key(MAX_ROWS), b"", 5);
        assert!(!deleted.is_newer(&table, &key(0), b"", 0));
        assert!(deleted.is_newer(&table, &key(1), b"", 0) && deleted.is_newer(&table, &key(MAX_ROWS), b"", 0));
        assert_eq!((deleted.times.len(), deleted.order.len()), (MAX_ROWS, MAX_ROWS));
    }
}
