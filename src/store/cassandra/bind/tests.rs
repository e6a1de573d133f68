//! Rows of routes: which value stands where, and which rows cannot be written.

use std::sync::Arc;

use bytes::Bytes;
use scylla::cluster::metadata::{ColumnType, NativeType};
use scylla::frame::response::result::{ColumnSpec, TableSpec};

use super::*;
use crate::schema::row::{ColumnKind, Key, ScalarKind, Table};

/// A table with the key (a, b) and the columns c and d.
fn table(timestamp: WriteTime, has_ttl: bool) -> Table {
    let column = |name: &str| Column { name: name.to_owned(), kind: ColumnKind::Scalar(ScalarKind::TinyInt) };
    Table {
        keyspace: None,
        name: "t".to_owned(),
        columns: ["a", "b", "c", "d"].map(column).into(),
        key: Key { num_partition: 1, num_clustering: 1 },
        routed: Some(Routed { route: "r".to_owned(), timestamp, has_ttl, consistency: None, is_created: false }),
    }
}

/// The values of a row as the statement with so many markers gets them: as many bytes as the value has.
fn bound(table: Table, op: RowOp, num_markers: usize, cells: Vec<Cell>) -> Result<Vec<Option<Vec<u8>>>, String> {
    let specs: Vec<ColumnSpec<'_>> = (0..num_markers)
        .map(|_| ColumnSpec::borrowed("x", ColumnType::Native(NativeType::TinyInt), TableSpec::borrowed("k", "t")))
        .collect();
    let group = RowGroup { table: Arc::new(table), op, data: Bytes::new(), cells };
    let (context, mut bytes) = (RowSerializationContext::from_specs(&specs), Vec::new());
    let row = BoundRow { group: &group, row: &group.cells };
    row.serialize(&context, &mut RowWriter::new(&mut bytes)).map_err(|error| error.to_string())?;
    let (mut values, mut rest) = (Vec::new(), bytes.as_slice());
    while let Some((len, after)) = rest.split_first_chunk() {
        let len = i32::from_be_bytes(*len);
        rest = after;
        values.push(match len {
            // Null and unset.
            -1 => None,
            -2 => Some(b"unset".to_vec()),
            len => {
                let (value, after) = rest.split_at(len as usize);
                rest = after;
                Some(value.to_vec())
            }
        });
    }
    Ok(values)
}

fn long(value: i64) -> Option<Vec<u8>> {
    Some(value.to_be_bytes().to_vec())
}

fn unset() -> Option<Vec<u8>> {
    Some(b"unset".to_vec())
}

#[test]
fn test_a_row_has_its_columns_then_its_time_then_its_time_to_live() {
    let cells = [Cell::Int(1), Cell::Int(2), Cell::Clear, Cell::Null];
    let key = [Some(vec![1]), Some(vec![2]), None, unset()];
    let with = |behind: &[Cell]| [&cells[..], behind].concat();
    let bound = |timestamp, has_ttl, cells: Vec<Cell>| {
        let num_markers = cells.len();
        bound(table(timestamp, has_ttl), RowOp::Upsert, num_markers, cells).unwrap()
    };
    assert_eq!(bound(WriteTime::Server, false, with(&[])), key);
    let timed = bound(WriteTime::Cell, false, with(&[Cell::Long(-9)]));
    assert_eq!(timed, [&key[..], &[long(-9)]].concat());
    let expiring = bound(WriteTime::Server, true, with(&[Cell::Int(60)]));
    assert_eq!(expiring, [&key[..], &[Some(60_i32.to_be_bytes().to_vec())]].concat());
    let both = bound(WriteTime::Cell, true, with(&[Cell::Long(7), Cell::Null]));
    assert_eq!(both, [&key[..], &[long(7), unset()]].concat());
}

#[test]
fn test_a_deletion_has_its_time_then_its_key() {
    let cells = |behind: &[Cell]| [&[Cell::Int(1), Cell::Int(2), Cell::Null, Cell::Clear][..], behind].concat();
    let (server, timed) = (table(WriteTime::Server, false), table(WriteTime::Cell, true));
    assert_eq!(bound(server, RowOp::Delete, 2, cells(&[])).unwrap(), [Some(vec![1]), Some(vec![2])]);
    let deletion = bound(timed, RowOp::Delete, 3, cells(&[Cell::Long(5), Cell::Null])).unwrap();
    assert_eq!(deletion, [long(5), Some(vec![1]), Some(vec![2])]);
}

#[test]
fn test_rows_that_cannot_be_written_say_why() {
    let one = |place: usize, cell: Cell| {
        let mut cells = vec![Cell::Int(1), Cell::Int(2), Cell::Int(3), Cell::Int(4), Cell::Long(5), Cell::Int(6)];
        cells[place] = cell;
        cells
    };
    for (cells, expected) in [
        (one(0, Cell::Null), "key column a has no value"),
        (one(1, Cell::Clear), "key column b has no value"),
        (one(2, Cell::Long(3)), "the value of column c is of another kind"),
        (one(3, Cell::Int(300)), "the value of column d is not in the range of its type"),
        (one(4, Cell::Null), "the row has no write timestamp"),
        (one(5, Cell::Long(1)), "the time to live is no number of seconds"),
        (one(5, Cell::Int(1))[..5].to_vec(), "the row has 6 columns but the statement 6"),
    ] {
        let refused = bound(table(WriteTime::Cell, true), RowOp::Upsert, 6, cells.clone()).unwrap_err();
        assert!(refused.contains(expected), "{refused}: {cells:?}");
    }
    let refused = bound(table(WriteTime::Cell, true), RowOp::Delete, 3, one(1, Cell::Null)).unwrap_err();
    assert!(refused.contains("key column b has no value"), "{refused}");
    assert!(bound(table(WriteTime::Cell, true), RowOp::Delete, 6, one(1, Cell::Int(2))).is_err(), "other markers");
}
