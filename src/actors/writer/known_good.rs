//! A row that the store has confirmed, kept to be written again when another is refused: if the store refuses this one,
//! too, it is not the rows that are at fault.
//!
//! It is written with its own cells and its own write timestamp, so that this changes nothing, but for its time to live:
//! Cassandra counts that from the newest write. So only a row that was confirmed lately is used ([`KnownGood::get`]):
//! at worst it lives that much longer, and one that has expired does not come back. Where the database's time decides which
//! of two writes is the newer one, none is kept: written again, it would replace what came after it.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::actors::routing::is_in_order;
use crate::schema::row::{Cell, RowGroup, RowOp, Span};

/// A newer row replaces the one that is kept after this long: copying one is not for every write.
const KEEP_INTERVAL: Duration = Duration::from_secs(10);

/// The longest that a row is used for. An operator may have deleted it meanwhile; its deletion wins over it for as long as
/// the database remembers that, which is far longer.
const MAX_AGE: Duration = Duration::from_secs(600);

/// The same for tables of routes.
const MAX_ROUTED_AGE: Duration = Duration::from_secs(30);

/// The longest that a row is used for, where rows live for so long themselves.
pub(super) fn max_age(ttl_opt: Option<Duration>) -> Duration {
    ttl_opt.map_or(MAX_AGE, |ttl| (ttl / 2).min(MAX_AGE))
}

/// The row that is kept for one table and column set.
#[derive(Debug, Default)]
pub(super) struct KnownGood {
    /// The row, and when it was confirmed.
    row: Option<(Arc<RowGroup>, Duration)>,
}

// === impl KnownGood ===

impl KnownGood {
    /// Keeps a row of a group that was confirmed at `now`; says when the next is wanted.
    pub(super) fn keep(&mut self, group: &RowGroup, row: usize, now: Duration) -> Duration {
        if let Some(row) = group.rows().nth(row).filter(|row| may_be_kept(group, row)) {
            self.row = Some((Arc::new(copied(group, row)), now));
        }
        now + KEEP_INTERVAL
    }

    /// The row, if it was confirmed less than `max_age` ago.
    pub(super) fn get(&self, max_age: Duration, now: Duration) -> Option<Arc<RowGroup>> {
        let (row, at) = self.row.as_ref()?;
        // The database may give rows of a route's table a life of its own, which is not known here.
        let max_age = if row.table.routed.is_some() { max_age.min(MAX_ROUTED_AGE) } else { max_age };
        (now.saturating_sub(*at) < max_age).then(|| Arc::clone(row))
    }
}

/// Whether a row can be written again later without a change.
fn may_be_kept(group: &RowGroup, row: &[Cell]) -> bool {
    let lives_long = |seconds: &Cell| !matches!(seconds, Cell::Int(seconds) if *seconds < MAX_AGE.as_secs() as i32 * 2);
    !is_in_order(&group.table)
        && group.op == RowOp::Upsert
        && group.table.ttl_cell().is_none_or(|ttl| lives_long(&row[ttl]))
}

/// A row with data of its own: that of its group is a whole batch.
fn copied(group: &RowGroup, row: &[Cell]) -> RowGroup {
    let mut data = Vec::new();
    let cells = row.iter().map(|cell| copied_cell(cell, &group.data, &mut data)).collect();
    RowGroup { table: Arc::clone(&group.table), op: group.op, data: Bytes::from(data), cells }
}

fn copied_cell(cell: &Cell, from: &[u8], to: &mut Vec<u8>) -> Cell {
    let mut copied_span = |span: &Span| {
        let start = to.len() as u32;
        to.extend_from_slice(span.of(from));
        Span { start, end: to.len() as u32 }
    };
    match cell {
        Cell::Text(span) => Cell::Text(copied_span(span)),
        Cell::Bytes(span) => Cell::Bytes(copied_span(span)),
        Cell::List(items) => Cell::List(items.iter().map(|item| copied_cell(item, from, to)).collect()),
        Cell::Map(items) => Cell::Map(
            items.iter().map(|(key, item)| (copied_cell(key, from, to), copied_cell(item, from, to))).collect(),
        ),
        other => other.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::row::{Column, ColumnKind, Key, Routed, ScalarKind, Table, WriteTime};

    fn group() -> RowGroup {
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        let columns = vec![
            column("device_id", ColumnKind::Scalar(ScalarKind::Text)),
            column("words", ColumnKind::List(ScalarKind::Text)),
        ];
        let span = |start, end| Span { start, end };
        let cells = vec![
            Cell::Text(span(4, 6)),
            Cell::List(vec![Cell::Text(span(6, 7)), Cell::Symbol("OPEN".into())]),
            Cell::Text(span(0, 1)),
            Cell::Null,
        ];
        let table = Arc::new(Table::of_type("t", columns));
        RowGroup { table, op: RowOp::Upsert, data: Bytes::from_static(b"0123abc"), cells }
    }

    #[test]
    fn test_a_row_is_kept_with_its_own_data_and_used_while_it_is_recent() {
        let (mut known, second) = (KnownGood::default(), Duration::from_secs(1));
        assert!(known.get(MAX_AGE, second).is_none());
        assert_eq!(known.keep(&group(), 0, second), second + KEEP_INTERVAL);
        let row = known.get(MAX_AGE, MAX_AGE).unwrap();
        assert_eq!((row.num_rows(), &row.data[..]), (1, &b"abc"[..]));
        let [Cell::Text(device), Cell::List(words)] = &row.cells[..] else { panic!("{row:?}") };
        assert_eq!(device.text_of(&row.data), "ab");
        assert!(matches!(&words[0], Cell::Text(word) if word.text_of(&row.data) == "c"));
        assert!(known.get(MAX_AGE, MAX_AGE + second).is_none(), "too old");
    }

    #[test]
    fn test_no_row_of_a_route_is_kept_that_would_change_something_when_written_again() {
        let kept = |timestamp, op, ttl: Cell| {
            let routed =
                Routed { route: "r".to_owned(), timestamp, has_ttl: true, consistency: None, is_created: false };
            let columns = vec![Column { name: "id".to_owned(), kind: ColumnKind::Scalar(ScalarKind::Int) }];
            let key = Key { num_partition: 1, num_clustering: 0 };
            let table = Table { keyspace: None, name: "t".to_owned(), columns, key, routed: Some(routed) };
            let mut cells = vec![Cell::Int(1), Cell::Long(1), ttl];
            if timestamp == WriteTime::Server {
                cells.remove(1);
            }
            let group = RowGroup { table: Arc::new(table), op, data: Bytes::new(), cells };
            let mut known = KnownGood::default();
            known.keep(&group, 0, Duration::ZERO);
            known.get(MAX_AGE, Duration::ZERO).is_some()
        };
        assert!(kept(WriteTime::Cell, RowOp::Upsert, Cell::Null));
        assert!(kept(WriteTime::Cell, RowOp::Upsert, Cell::Int(86_400)));
        assert!(!kept(WriteTime::Cell, RowOp::Upsert, Cell::Int(60)), "it would live longer");
        assert!(!kept(WriteTime::Cell, RowOp::Delete, Cell::Null));
        assert!(!kept(WriteTime::Server, RowOp::Upsert, Cell::Null), "it would be the newest");
    }

    #[test]
    fn test_a_row_of_a_route_is_used_for_a_short_time_only() {
        let (mut known, second) = (KnownGood::default(), Duration::from_secs(1));
        let mut group = group();
        let routed = Routed {
            route: "r".to_owned(),
            timestamp: WriteTime::Cell,
            has_ttl: false,
            consistency: None,
            is_created: false,
        };
        group.table = Arc::new(Table { routed: Some(routed), ..Table::clone(&group.table) });
        group.cells.insert(2, Cell::Long(1));
        group.cells.push(Cell::Long(1));
        known.keep(&group, 0, second);
        assert!(known.get(MAX_AGE, second + MAX_ROUTED_AGE / 2).is_some());
        assert!(known.get(MAX_AGE, second + MAX_ROUTED_AGE).is_none());
    }

    #[test]
    fn test_no_row_is_used_that_may_have_expired() {
        let minute = Duration::from_secs(60);
        assert_eq!(max_age(Some(minute)), minute / 2);
        assert_eq!(max_age(Some(minute * 60 * 24)), MAX_AGE);
        assert_eq!(max_age(None), MAX_AGE);
    }
}
