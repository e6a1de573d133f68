//! The table of a type: the identity columns, then one column per field, nested groups flattened.

use super::identity::IdentityColumn;
use super::shape::{RecordShape, Shape};
use crate::schema::row::{Column, ColumnKind, ScalarKind, Table};

/// The table of a type. `Err` names a column that two fields would share.
pub(crate) fn table_of(type_name: &str, record: &RecordShape) -> Result<Table, String> {
    let mut columns: Vec<Column> = IdentityColumn::ALL
        .iter()
        .map(|column| Column { name: column.name().to_owned(), kind: ColumnKind::Scalar(column.kind()) })
        .collect();
    add_columns("", record, &mut columns);
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    match names.iter().zip(names.iter().skip(1)).find(|(name, next)| name == next) {
        Some((name, _)) => Err((*name).to_owned()),
        None => Ok(Table { name: type_name.to_owned(), columns }),
    }
}

fn add_columns(prefix: &str, record: &RecordShape, columns: &mut Vec<Column>) {
    for field in &record.fields {
        let name = format!("{prefix}{}", field.name);
        let kind = match &field.shape {
            Shape::Record(record) => {
                add_columns(&format!("{name}_"), record, columns);
                continue;
            }
            Shape::Array(item) => scalar_kind(item).map_or(ColumnKind::Json, ColumnKind::List),
            scalar => scalar_kind(scalar).map_or(ColumnKind::Json, ColumnKind::Scalar),
        };
        columns.push(Column { name, kind });
    }
}

/// The kind of a single value; none for groups and arrays.
fn scalar_kind(shape: &Shape) -> Option<ScalarKind> {
    Some(match shape {
        Shape::Bool => ScalarKind::Bool,
        Shape::Int => ScalarKind::Int,
        // Tables keep times in milliseconds; finer ones stay integers rather than lose digits.
        Shape::Long | Shape::TimestampMicros => ScalarKind::Long,
        Shape::Unsigned => ScalarKind::Unsigned,
        Shape::Float => ScalarKind::Float,
        Shape::Double => ScalarKind::Double,
        Shape::TimestampMillis => ScalarKind::Timestamp,
        Shape::Bytes => ScalarKind::Bytes,
        Shape::Text | Shape::Enum(_) => ScalarKind::Text,
        Shape::Array(_) | Shape::Record(_) => return None,
    })
}
