//! The table of a type: the identity columns, then one column per field, nested groups flattened.

use super::identity::IdentityColumn;
use super::shape::{RecordShape, Shape};
use crate::schema::row::{Column, Table};

/// The table of a type. `Err` names a column that two fields would share.
pub(crate) fn table_of(type_name: &str, record: &RecordShape) -> Result<Table, String> {
    let mut columns: Vec<Column> = IdentityColumn::ALL
        .iter()
        .map(|column| Column { name: column.name().to_owned(), kind: column.kind() })
        .collect();
    add_columns("", record, &mut columns);
    let mut names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    names.sort_unstable();
    match names.iter().zip(names.iter().skip(1)).find(|(name, next)| name == next) {
        Some((name, _)) => Err((*name).to_owned()),
        None => Ok(Table::of_type(type_name, columns)),
    }
}

fn add_columns(prefix: &str, record: &RecordShape, columns: &mut Vec<Column>) {
    for field in &record.fields {
        let name = format!("{prefix}{}", field.name);
        match (&field.shape, field.shape.column()) {
            (Shape::Record(record), _) => add_columns(&format!("{name}_"), record, columns),
            (_, Some(kind)) => columns.push(Column { name, kind }),
            (shape, None) => unreachable!("{} has a column, or its fields have", shape.name()),
        }
    }
}
