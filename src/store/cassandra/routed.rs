//! Tables of routes: they belong to others. Created only if the route declares all of it, never altered, and checked for
//! what the route needs of them alone; columns that it does not fill may be anything.

use super::columns::Columns;
use super::schema::{key_text, needed_key, quoted};
use crate::schema::cql::{parse_type, type_text};
use crate::schema::rewrites::Rewrite;
use crate::schema::row::{Column, Routed, Table};
use crate::store::StoreError;

/// Why there is no table: it is created if its route declares that, and its keyspace is there.
pub(super) fn missing(
    keyspace: &str,
    is_own_keyspace: bool,
    has_keyspace: bool,
    table: &Table,
    routed: &Routed,
) -> StoreError {
    let (name, route) = (&table.name, &routed.route);
    if !has_keyspace && !is_own_keyspace {
        let reason = format!(
            "keyspace {keyspace} of route {route} is missing: create it (CREATE KEYSPACE {} WITH replication = \
             {{'class': 'NetworkTopologyStrategy', 'replication_factor': 3}}), or correct routes.{route}.table",
            bare(keyspace)
        );
        return error(keyspace, table, "keyspace_missing", reason);
    }
    if routed.is_created {
        return StoreError::Missing { what: format!("table {keyspace}.{name} of route {route}") };
    }
    let reason = format!(
        "table {keyspace}.{name} of route {route} is missing: create it, correct routes.{route}.table, or let the route create it \
         with routes.{route}.key and a type for each column"
    );
    error(keyspace, table, "table_missing", reason)
}

/// Whether a table is as its route needs it.
///
/// # Errors
/// The first thing that is wrong.
pub(super) fn check(keyspace: &str, table: &Table, routed: &Routed, columns: &Columns) -> Result<(), StoreError> {
    let route = &routed.route;
    let name = format!("{keyspace}.{}", table.name);
    for column in &table.columns {
        let column_name = &column.name;
        let Some(found) = columns.get(column_name) else {
            let reason = format!(
                "column {name}.{column_name}, which route {route} fills, is missing: ALTER TABLE {}.{} ADD {} {}, or take it out \
                 of the route",
                bare(keyspace),
                bare(&table.name),
                bare(column_name),
                type_text(column.kind),
            );
            return Err(error(keyspace, table, "column_missing", reason));
        };
        if !is_type(column, &found.type_text) {
            return Err(differs(keyspace, table, routed, column, &found.type_text));
        }
    }
    let (found, needed) = (columns.key(), needed_key(table));
    if found != needed {
        let reason = format!(
            "table {name} has the primary key {}, but route {route} was made for {}: let it fill exactly the columns of the key, \
             and restart the engine if the table was made anew",
            key_text(&found),
            key_text(&needed),
        );
        return Err(error(keyspace, table, "table_differs", reason));
    }
    match table.rewrites().into_iter().find(|rewrite| matches!(rewrite, Rewrite::ListDoubles(_))) {
        Some(doubles) => {
            let reason = format!("table {name}, route {route}: {doubles}");
            Err(error(keyspace, table, "list_doubles", reason))
        }
        None => Ok(()),
    }
}

/// A column has another type than the one that rows are made for.
pub(super) fn differs(keyspace: &str, table: &Table, routed: &Routed, column: &Column, found: &str) -> StoreError {
    let (expected, route) = (type_text(column.kind), &routed.route);
    let reason = format!(
        "column {keyspace}.{}.{} is {found}, but route {route} makes {expected}: give it that type again, or restart the \
         engine so that the route is made for the table as it is",
        table.name, column.name
    );
    error(keyspace, table, "table_differs", reason)
}

/// The statement that creates a table, whose columns are all declared.
pub(super) fn create_cql(keyspace: &str, table: &Table) -> String {
    let columns = table.columns.iter().map(|column| format!("{} {}", quoted(&column.name), type_text(column.kind)));
    let names = table.columns.iter().map(|column| quoted(&column.name)).collect::<Vec<_>>();
    let (partition, rest) = names.split_at(table.key.num_partition);
    let clustering = rest.iter().take(table.key.num_clustering).map(|name| format!(", {name}"));
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{} ({}, PRIMARY KEY (({}){}))",
        quoted(keyspace),
        quoted(&table.name),
        columns.collect::<Vec<_>>().join(", "),
        partition.join(", "),
        clustering.collect::<String>(),
    )
}

/// Servers differ in spaces alone.
fn is_type(column: &Column, found: &str) -> bool {
    let expected = type_text(column.kind);
    found == expected || parse_type(found).is_some_and(|kind| type_text(kind) == expected)
}

fn error(keyspace: &str, table: &Table, code: &'static str, reason: String) -> StoreError {
    StoreError::RouteTable { table: format!("{keyspace}.{}", table.name), code, reason }
}

/// A name as an operator would type it: in quotes if it needs them.
fn bare(name: &str) -> String {
    let mut letters = name.chars();
    let is_plain = letters.next().is_some_and(|letter| letter.is_ascii_lowercase())
        && letters.all(|letter| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_');
    if is_plain { name.to_owned() } else { quoted(name) }
}
#[cfg(test)]
mod tests;
