//! Whether a statement was prepared for the types that it is meant for.

use scylla::cluster::metadata::{CollectionType, ColumnType, NativeType};
use scylla::statement::prepared::PreparedStatement;

use super::routed;
use crate::schema::cql::type_text;
use crate::schema::row::{Collection, Column, ColumnKind, Items, ScalarKind, Table};
use crate::store::StoreError;

/// Checks the types that the server has prepared a statement for: those of the moment, whatever was read before. The
/// markers of these columns come one after the other, from `first` on.
pub(super) fn check_prepared(
    statement: &PreparedStatement,
    keyspace: &str,
    table: &Table,
    columns: &[Column],
    first: usize,
) -> Result<(), StoreError> {
    let markers = statement.get_variable_col_specs();
    for (position, column) in (first..).zip(columns) {
        let found = markers.get_by_index(position).map(|marker| marker.typ());
        if found.is_some_and(|typ| is_exactly(column.kind, typ)) {
            continue;
        }
        let actual = found.map_or_else(|| "missing".to_owned(), |typ| format!("{typ:?}"));
        return Err(match &table.routed {
            Some(routed) => routed::differs(keyspace, table, routed, column, &actual),
            None => {
                let what = format!("column {keyspace}.{}.{}", table.name, column.name);
                StoreError::Conflict { what, actual, expected: type_text(column.kind) }
            }
        });
    }
    Ok(())
}

/// What a server says of markers does not tell whether a collection is frozen; the text of the statement does.
fn is_exactly(kind: ColumnKind, typ: &ColumnType<'_>) -> bool {
    match (kind, typ) {
        (ColumnKind::Scalar(kind), ColumnType::Native(found)) => native(kind) == *found,
        (ColumnKind::Json, ColumnType::Native(found)) => *found == NativeType::Text,
        (ColumnKind::List(kind), ColumnType::Collection { typ: CollectionType::List(item), .. }) => {
            **item == ColumnType::Native(native(kind))
        }
        (ColumnKind::Collection(Collection { items, .. }), ColumnType::Collection { typ, .. }) => match (items, typ) {
            (Items::List(kind), CollectionType::List(item)) | (Items::Set(kind), CollectionType::Set(item)) => {
                **item == ColumnType::Native(native(kind))
            }
            (Items::Map(key_kind, kind), CollectionType::Map(key, value)) => {
                **key == ColumnType::Native(native(key_kind)) && **value == ColumnType::Native(native(kind))
            }
            _ => false,
        },
        _ => false,
    }
}

fn native(kind: ScalarKind) -> NativeType {
    match kind {
        ScalarKind::Bool => NativeType::Boolean,
        ScalarKind::Int => NativeType::Int,
        ScalarKind::Long => NativeType::BigInt,
        ScalarKind::Unsigned => NativeType::Varint,
        ScalarKind::Float => NativeType::Float,
        ScalarKind::Double => NativeType::Double,
        ScalarKind::Text => NativeType::Text,
        ScalarKind::Bytes => NativeType::Blob,
        ScalarKind::Timestamp => NativeType::Timestamp,
        ScalarKind::Ascii => NativeType::Ascii,
        ScalarKind::TinyInt => NativeType::TinyInt,
        ScalarKind::SmallInt => NativeType::SmallInt,
        ScalarKind::Varint => NativeType::Varint,
        ScalarKind::Decimal => NativeType::Decimal,
        ScalarKind::Uuid => NativeType::Uuid,
        ScalarKind::TimeUuid => NativeType::Timeuuid,
        ScalarKind::Inet => NativeType::Inet,
        ScalarKind::Date => NativeType::Date,
        ScalarKind::Time => NativeType::Time,
        ScalarKind::Duration => NativeType::Duration,
    }
}
