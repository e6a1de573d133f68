//! Whether a statement was prepared for the types that it is meant for.

use scylla::cluster::metadata::{CollectionType, ColumnType, NativeType};
use scylla::statement::prepared::PreparedStatement;

use crate::schema::cql::type_text;
use crate::schema::row::{ColumnKind, ScalarKind, Table};
use crate::store::StoreError;

/// Checks the types that the server has prepared a statement for: those of the moment, whatever was read before.
pub(super) fn check_prepared(statement: &PreparedStatement, keyspace: &str, table: &Table) -> Result<(), StoreError> {
    // The last marker is the write timestamp.
    let markers = statement.get_variable_col_specs();
    for (position, column) in table.columns.iter().enumerate() {
        let found = markers.get_by_index(position).map(|marker| marker.typ());
        if !found.is_some_and(|typ| is_exactly(column.kind, typ)) {
            return Err(StoreError::Conflict {
                what: format!("column {keyspace}.{}.{}", table.name, column.name),
                actual: found.map_or_else(|| "missing".to_owned(), |typ| format!("{typ:?}")),
                expected: type_text(column.kind),
            });
        }
    }
    Ok(())
}

/// What a server says of markers does not tell whether a list is frozen; the text of the statement does.
fn is_exactly(kind: ColumnKind, typ: &ColumnType<'_>) -> bool {
    match (kind, typ) {
        (ColumnKind::Scalar(kind), ColumnType::Native(found)) => native(kind) == *found,
        (ColumnKind::Json, ColumnType::Native(found)) => *found == NativeType::Text,
        (ColumnKind::List(kind), ColumnType::Collection { typ: CollectionType::List(item), .. }) => {
            **item == ColumnType::Native(native(kind))
        }
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
