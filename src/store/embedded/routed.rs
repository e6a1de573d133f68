//! Tables of routes in the embedded store: how they are described, created and checked.
//!
//! A table is made by its route, or by somebody with the `sqlite3` program. It has to be `STRICT`, as our own are, and to
//! have a primary key. SQLite knows no keyspaces: `app.user_events` is the name of the table, as a whole.

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior};

use super::declared::Declared;
use super::failed;
use super::schema::declared_type;
use super::statements::{WRITTEN_AT, name_of, names, quoted};
use crate::flow::health::{Condition, Part};
use crate::schema::row::{
    ColumnKind, ColumnPlace, DescribedColumn, Routed, ScalarKind, Table, TableDescription, TableName,
};
use crate::store::StoreError;

/// A table as it is.
struct Existing {
    is_strict: bool,
    columns: Vec<ExistingColumn>,
}

struct ExistingColumn {
    name: String,
    /// The declared type.
    declared: String,
    /// Position in the primary key from 1, or 0.
    key_position: usize,
}

/// What there is of a table; `None` if there is no such table.
pub(super) fn describe(connection: &Connection, table: &TableName) -> Result<Option<TableDescription>, StoreError> {
    let name = match &table.keyspace {
        Some(keyspace) => format!("{keyspace}.{}", table.name),
        None => table.name.clone(),
    };
    let Some(Existing { is_strict, mut columns }) = existing(connection, &name)? else { return Ok(None) };
    // One that somebody else has made in the place of a route's has only the name of that.
    let is_made_by_route = columns.iter().any(|column| column.name == WRITTEN_AT);
    let declared = if is_made_by_route { Declared::of(connection, &name) } else { Ok(Declared::default()) };
    let declared = declared.map_err(|error| failed(format!("reading what was declared of table {name}"), error))?;
    columns.retain(|column| column.name != WRITTEN_AT);
    columns.sort_by_key(|column| if column.key_position == 0 { usize::MAX } else { column.key_position });
    let keys = columns.iter().take_while(|column| column.key_position > 0);
    let num_keys = keys.clone().count();
    let num_partition = keys.take_while(|column| declared.is_in_partition_key(&column.name)).count().max(1);
    let unfit = match num_keys {
        _ if !is_strict => Some("of a table that is not STRICT"),
        0 => Some("of a table without a primary key"),
        _ => None,
    };
    let describe = |ExistingColumn { name, declared: found, key_position }| {
        let own = || kind_of(&found).map(|kind| (found.as_str(), kind));
        let known = declared.kind_of(&name, &found).or_else(own);
        let (type_text, kind) = match (unfit, known) {
            (Some(unfit), _) => (format!("{found} {unfit}"), None),
            (None, Some((type_text, kind))) => (type_text.to_owned(), Some(kind)),
            (None, None) => (found.clone(), None),
        };
        let place = match key_position {
            0 => ColumnPlace::Regular,
            position if position <= num_partition => ColumnPlace::Partition(position - 1),
            position => ColumnPlace::Clustering(position - 1 - num_partition),
        };
        DescribedColumn { name, type_text, kind, place }
    };
    Ok(Some(TableDescription { columns: columns.into_iter().map(describe).collect() }))
}

/// What a column of this type holds.
fn kind_of(declared: &str) -> Option<ColumnKind> {
    let kind = match &*declared.to_ascii_uppercase() {
        "INTEGER" | "INT" => ScalarKind::Long,
        "REAL" => ScalarKind::Double,
        "TEXT" | "ANY" => ScalarKind::Text,
        "BLOB" => ScalarKind::Bytes,
        _ => return None,
    };
    Some(ColumnKind::Scalar(kind))
}

/// Creates the table if it is missing and the route says what it looks like.
pub(super) fn apply(connection: &Connection, table: &Table, route: &Routed) -> Result<Option<String>, StoreError> {
    if !route.is_created || existing(connection, &table.full_name())?.is_some() {
        return check(connection, table, route).map(|()| None);
    }
    refuse_unfit(table, route)?;
    create(connection, table).map_err(|error| failed(create_sql(table), error))?;
    Ok(Some(format!("created table {}", table.full_name())))
}

/// Checks that the table is there and takes rows of the route.
pub(super) fn check(connection: &Connection, table: &Table, route: &Routed) -> Result<(), StoreError> {
    refuse_unfit(table, route)?;
    match flaw(existing(connection, &table.full_name())?.as_ref(), table, route) {
        None => Ok(()),
        Some(("table_missing", _)) if route.is_created => {
            Err(StoreError::Missing { what: format!("table {}", table.full_name()) })
        }
        Some((code, reason)) => Err(StoreError::RouteTable { table: table.full_name(), code, reason }),
    }
}

/// What is wrong with the table, if another program has changed it; an error if it cannot be looked at. The rest of the
/// engine goes on.
pub(super) fn condition(
    connection: &Connection,
    table: &Table,
    route: &Routed,
) -> Result<Option<Condition>, StoreError> {
    let name = table.full_name();
    let flaw = flaw(existing(connection, &name)?.as_ref(), table, route);
    Ok(flaw.map(|(code, reason)| Condition::failing(Part::Store, code, name, reason)))
}

/// Whether the table keeps the write timestamp of each row.
pub(super) fn has_written_at(connection: &Connection, table: &Table) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS(SELECT 1 FROM pragma_table_info(?1) WHERE name = ?2 AND type IN ('INTEGER', 'INT'))";
    connection.prepare_cached(sql)?.query_row([&table.full_name(), WRITTEN_AT], |row| row.get(0))
}

/// What no table here can hold.
fn refuse_unfit(table: &Table, route: &Routed) -> Result<(), StoreError> {
    if route.has_ttl {
        return Err(unfit(
            table,
            format!(
                "route {} gives its rows a ttl, and the embedded store keeps rows of routes for ever: remove the route's ttl, or \
             use store.kind = \"cassandra\"",
                route.route,
            ),
        ));
    }
    if table.columns.iter().any(|column| column.name.eq_ignore_ascii_case(WRITTEN_AT)) {
        return Err(unfit(
            table,
            format!(
                "route {} fills a column {WRITTEN_AT}, in which the embedded store keeps the write timestamp: give it another name",
                route.route,
            ),
        ));
    }
    Ok(())
}

fn unfit(table: &Table, reason: String) -> StoreError {
    StoreError::RouteTable { table: table.full_name(), code: "table_differs", reason }
}

/// What keeps rows of a route from being written into a table: in a word, and for people.
fn flaw(existing: Option<&Existing>, table: &Table, route: &Routed) -> Option<(&'static str, String)> {
    let (name, route) = (table.full_name(), &route.route);
    let flaw = |code, what: String| Some((code, format!("{what}; route {route} writes no row to it")));
    let Some(Existing { is_strict, columns }) = existing else {
        return flaw("table_missing", format!("table {name} is missing"));
    };
    if !is_strict {
        return flaw("table_differs", format!("table {name} is not declared STRICT"));
    }
    for column in &table.columns {
        let needed = declared_type(column.kind);
        let Some(found) = columns.iter().find(|found| found.name == column.name) else {
            return flaw("column_missing", format!("column {name}.{} is missing", column.name));
        };
        let is_same = |declared| found.declared.eq_ignore_ascii_case(declared);
        if !(is_same(needed) || (needed == "INTEGER" && is_same("INT")) || (needed == "TEXT" && is_same("ANY"))) {
            let (column, declared) = (&column.name, &found.declared);
            return flaw("table_differs", format!("column {name}.{column} is {declared} and was {needed}"));
        }
    }
    let mut keys: Vec<&ExistingColumn> = columns.iter().filter(|column| column.key_position > 0).collect();
    keys.sort_by_key(|column| column.key_position);
    let needed = table.columns.iter().take(table.key.len());
    if !keys.iter().map(|column| &column.name).eq(needed.map(|column| &column.name)) {
        let keys = keys.iter().map(|column| column.name.as_str()).collect::<Vec<_>>().join(", ");
        return flaw("table_differs", format!("the primary key of table {name} is ({keys}), which it was not"));
    }
    None
}

/// At once or not at all.
fn create(connection: &Connection, table: &Table) -> rusqlite::Result<()> {
    let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
    connection.execute_batch(&create_sql(table))?;
    Declared::keep(connection, table)?;
    transaction.commit()
}

fn create_sql(table: &Table) -> String {
    let num_keys = table.key.len();
    let columns = names(table).zip(&table.columns).enumerate().map(|(position, (name, column))| {
        let not_null = if position < num_keys { " NOT NULL" } else { "" };
        format!("{name} {}{not_null}", declared_type(column.kind))
    });
    let columns: Vec<String> = columns.chain([format!("{} INTEGER", quoted(WRITTEN_AT))]).collect();
    let keys: Vec<String> = names(table).take(num_keys).collect();
    let (name, columns, keys) = (name_of(table), columns.join(", "), keys.join(", "));
    format!("CREATE TABLE {name}({columns}, PRIMARY KEY({keys})) STRICT, WITHOUT ROWID")
}

/// The table of this name; `None` if there is none. A view is none.
fn existing(connection: &Connection, name: &str) -> Result<Option<Existing>, StoreError> {
    let read = || -> rusqlite::Result<Option<Existing>> {
        let list = "SELECT strict FROM pragma_table_list WHERE schema = 'main' AND type = 'table' AND name = ?1 COLLATE NOCASE";
        let is_strict = connection.prepare_cached(list)?.query_row([name], |row| row.get(0)).optional()?;
        let Some(is_strict) = is_strict else { return Ok(None) };
        let mut statement = connection.prepare_cached("SELECT name, type, pk FROM pragma_table_info(?1)")?;
        let columns = statement.query_map([name], |row| {
            Ok(ExistingColumn { name: row.get(0)?, declared: row.get(1)?, key_position: row.get(2)? })
        })?;
        Ok(Some(Existing { is_strict, columns: columns.collect::<rusqlite::Result<_>>()? }))
    };
    read().map_err(|error| failed(format!("reading the columns of table {name}"), error))
}
