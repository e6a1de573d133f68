//! Groups the rows of one route: by the key of their database partition, compared by value, and by what is done with them.
//!
//! Rows whose records say which of two writes is the newer one may come to the store in any order. Where the database's
//! time says so ([`is_in_order`]), rows of one database partition come in the order of their records: their groups are
//! written one after the other, and no group has two rows of one key, because a batch of the database is of one time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::grouping::DecodedWrite;
use super::row_key::{encode, size_behind};
use crate::actors::routing::is_in_order;
use crate::schema::row::{Cell, RowGroup, RowOp, Table};
use crate::store::Grouping;

/// Groups of one route that are written one after the other.
pub(super) type Chain = Vec<DecodedWrite>;

/// Collects the rows of one route.
pub(super) struct RouteGrouper {
    table: Arc<Table>,
    is_in_order: bool,
    by_partition: bool,
    max_rows: usize,
    max_bytes: usize,
    open: Vec<Open>,
    index: HashMap<Box<[u8]>, usize>,
    last: usize,
    done: Vec<Chain>,
    num_bytes: usize,
    key: Vec<u8>,
}

/// Rows of one place.
struct Open {
    place: Box<[u8]>,
    op: RowOp,
    records: Vec<u32>,
    cells: Vec<Cell>,
    num_bytes: usize,
    /// Keys of the rows; only where no two may be the same.
    keys: HashSet<Box<[u8]>>,
    /// Those that come before.
    before: Chain,
}

// === impl RouteGrouper ===

impl RouteGrouper {
    pub(super) fn new(table: &Arc<Table>, grouping: Grouping) -> Self {
        let (by_partition, max_rows, max_bytes) = match grouping {
            Grouping::ByPartition { max_rows, max_bytes } => (true, max_rows, max_bytes),
            Grouping::ByTable { max_rows } => (false, max_rows, usize::MAX),
        };
        Self {
            table: Arc::clone(table),
            is_in_order: is_in_order(table),
            by_partition,
            max_rows,
            max_bytes,
            open: Vec::new(),
            index: HashMap::new(),
            last: 0,
            done: Vec::new(),
            num_bytes: 0,
            key: Vec::new(),
        }
    }

    /// Adds a row, whose cells it takes out of the vector. `data` is what they point into.
    pub(super) fn add(&mut self, record: u32, op: RowOp, cells: &mut Vec<Cell>, data: &Bytes) {
        assert_eq!(cells.len(), self.table.row_len(), "a row has all cells of its table");
        let slot = self.slot_of(op, cells, data);
        let num_bytes: usize = cells.iter().map(size_behind).sum();
        // SQLite takes the rows of a group one after the other; a batch of Cassandra has one time for all.
        let key = (self.is_in_order && self.by_partition).then(|| {
            self.key.clear();
            encode(&cells[..self.table.key.len()], data, &mut self.key);
            Box::from(self.key.as_slice())
        });
        let open = &mut self.open[slot];
        let is_full = open.records.len() >= self.max_rows || open.num_bytes + num_bytes > self.max_bytes;
        let is_there = key.as_ref().is_some_and(|key| open.keys.contains(key));
        if !open.records.is_empty() && (is_full || is_there || open.op != op) {
            let write = open.close(&self.table, data);
            if self.is_in_order {
                open.before.push(write);
            } else {
                self.done.push(vec![write]);
            }
        }
        open.op = op;
        open.keys.extend(key);
        open.records.push(record);
        open.num_bytes += num_bytes;
        open.cells.append(cells);
        self.num_bytes += num_bytes + self.table.row_len() * size_of::<Cell>();
        self.last = slot;
    }

    /// What all rows take so far, in bytes, about.
    pub(super) fn num_bytes(&self) -> usize {
        self.num_bytes
    }

    /// Everything, to be written.
    pub(super) fn finish(mut self, data: &Bytes) -> Vec<Chain> {
        for mut open in self.open {
            let last = open.close(&self.table, data);
            open.before.push(last);
            self.done.push(open.before);
        }
        self.done
    }

    fn slot_of(&mut self, op: RowOp, cells: &[Cell], data: &[u8]) -> usize {
        self.key.clear();
        if self.by_partition {
            encode(&cells[..self.table.key.num_partition], data, &mut self.key);
        }
        if !self.is_in_order {
            self.key.push(u8::from(op == RowOp::Delete));
        }
        if self.open.get(self.last).is_some_and(|open| *open.place == *self.key) {
            return self.last;
        }
        if let Some(slot) = self.index.get(self.key.as_slice()) {
            return *slot;
        }
        let place: Box<[u8]> = Box::from(self.key.as_slice());
        self.index.insert(place.clone(), self.open.len());
        self.open.push(Open {
            place,
            op,
            records: Vec::new(),
            cells: Vec::new(),
            num_bytes: 0,
            keys: HashSet::new(),
            before: Vec::new(),
        });
        self.open.len() - 1
    }
}

// === impl Open ===

impl Open {
    fn close(&mut self, table: &Arc<Table>, data: &Bytes) -> DecodedWrite {
        self.num_bytes = 0;
        self.keys.clear();
        let cells = std::mem::take(&mut self.cells);
        let group = RowGroup { table: Arc::clone(table), op: self.op, data: data.clone(), cells };
        DecodedWrite { group: Arc::new(group), records: std::mem::take(&mut self.records) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::row::{Column, ColumnKind, Key, Routed, ScalarKind, Span, WriteTime};

    const BY_PARTITION: Grouping = Grouping::ByPartition { max_rows: 3, max_bytes: 1 << 20 };

    /// `user`, `event` are the key, `value` is not.
    fn table(timestamp: WriteTime) -> Arc<Table> {
        let column = |name: &str, kind| Column { name: name.to_owned(), kind: ColumnKind::Scalar(kind) };
        let routed = Routed { route: "r".to_owned(), timestamp, has_ttl: false, consistency: None, is_created: false };
        Arc::new(Table {
            keyspace: None,
            name: "t".to_owned(),
            columns: vec![
                column("user", ScalarKind::Text),
                column("event", ScalarKind::Int),
                column("value", ScalarKind::Int),
            ],
            key: Key { num_partition: 1, num_clustering: 1 },
            routed: Some(routed),
        })
    }

    /// What becomes of rows of user, event, and what is done: for each write in its chain its operation and records.
    fn grouped(timestamp: WriteTime, grouping: Grouping, rows: &[(&str, i32, RowOp)]) -> Vec<Vec<(RowOp, Vec<u32>)>> {
        let mut data = Vec::new();
        let spans: Vec<Span> = rows
            .iter()
            .map(|(user, ..)| {
                let start = data.len() as u32;
                data.extend_from_slice(user.as_bytes());
                Span { start, end: data.len() as u32 }
            })
            .collect();
        let data = Bytes::from(data);
        let mut grouper = RouteGrouper::new(&table(timestamp), grouping);
        for (record, ((_, event, op), span)) in (0..).zip(rows.iter().zip(spans)) {
            let mut cells = vec![Cell::Text(span), Cell::Int(*event), Cell::Int(record as i32)];
            if timestamp == WriteTime::Cell {
                cells.push(Cell::Long(1));
            }
            grouper.add(record, *op, &mut cells, &data);
            assert!(cells.is_empty());
        }
        let chains = grouper.finish(&data);
        for write in chains.iter().flatten() {
            // Each row is that of its record.
            let values = write.group.rows().map(|row| row[2].clone());
            assert!(values.eq(write.records.iter().map(|record| Cell::Int(*record as i32))));
        }
        let mut told: Vec<Vec<_>> = chains
            .iter()
            .map(|chain| chain.iter().map(|write| (write.group.op, write.records.clone())).collect())
            .collect();
        told.sort_by_key(|chain| chain[0].1[0]);
        told
    }

    use RowOp::{Delete, Upsert};

    #[test]
    fn test_rows_of_one_partition_travel_together_wherever_their_texts_are() {
        let rows = [("a", 1, Upsert), ("b", 1, Upsert), ("a", 2, Upsert), ("a", 1, Delete), ("a", 3, Upsert)];
        let told = grouped(WriteTime::Cell, BY_PARTITION, &rows);
        assert_eq!(told, [vec![(Upsert, vec![0, 2, 4])], vec![(Upsert, vec![1])], vec![(Delete, vec![3])]]);
    }

    #[test]
    fn test_a_group_keeps_to_the_bounds_of_its_store() {
        let rows = [("a", 1, Upsert); 7];
        let told = grouped(WriteTime::Cell, BY_PARTITION, &rows);
        assert_eq!(told, [vec![(Upsert, vec![0, 1, 2])], vec![(Upsert, vec![3, 4, 5])], vec![(Upsert, vec![6])]]);
        let few_bytes = Grouping::ByPartition { max_rows: 100, max_bytes: 5 };
        let rows = [("abc", 1, Upsert), ("abc", 2, Upsert), ("abcdefghi", 3, Upsert)];
        assert_eq!(grouped(WriteTime::Cell, few_bytes, &rows).len(), 3, "one row may exceed it alone");
        let by_table = Grouping::ByTable { max_rows: 5 };
        let rows = [("a", 1, Upsert), ("b", 1, Upsert), ("c", 2, Upsert)];
        assert_eq!(grouped(WriteTime::Cell, by_table, &rows), [vec![(Upsert, vec![0, 1, 2])]]);
    }

    #[test]
    fn test_by_the_time_of_the_database_the_rows_of_a_partition_come_in_order() {
        let rows = [
            ("a", 1, Upsert),
            ("a", 2, Upsert),
            ("a", 1, Upsert), // the same key again
            ("b", 1, Upsert),
            ("a", 1, Delete),
            ("a", 1, Upsert),
            ("a", 2, Upsert),
        ];
        let told = grouped(WriteTime::Server, BY_PARTITION, &rows);
        let of_a = vec![(Upsert, vec![0, 1]), (Upsert, vec![2]), (Delete, vec![4]), (Upsert, vec![5, 6])];
        assert_eq!(told, [of_a, vec![(Upsert, vec![3])]]);
        let by_table = Grouping::ByTable { max_rows: 3 };
        let in_order = vec![(Upsert, vec![0, 1, 2]), (Upsert, vec![3]), (Delete, vec![4]), (Upsert, vec![5, 6])];
        assert_eq!(grouped(WriteTime::Server, by_table, &rows), [in_order]);
    }
}
