//! Keyspace and tables: what they look like, how they come to be, how they are checked. Tables of routes are checked by
//! [`routed`].

use std::sync::Arc;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;

use super::columns::{self, Columns};
use super::settings::CassandraSettings;
use super::{failed, routed};
use crate::schema::cql::type_text;
use crate::schema::row::{Column, Routed, Table, TableDescription, TableName};
use crate::store::StoreError;

/// Changes of the schema go through the whole cluster, so they get longer than a write.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest time to live that Cassandra takes: 20 years.
const MAX_TTL_SECONDS: u64 = 20 * 365 * 24 * 3600;

/// With a time to live, files hold a window each and are dropped whole; that many windows are a good number of files.
const NUM_COMPACTION_WINDOWS: u64 = 30;

/// A name in double quotes, as CQL wants it if it could be a keyword.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The statement that writes one row, with its timestamp as the last value; of a route, with what [`Routed`] says.
///
/// Each marker says the type of its value. The driver prepares a statement again by itself when a server has forgotten it,
/// as it does when its table was dropped or altered, and then sends bytes that were made for the types of before
/// (scylla-rust-driver#575). With the types in its text, preparing is what fails then, on the server, whoever asks for it.
pub(super) fn insert_cql(keyspace: &str, table: &Table) -> String {
    let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let markers: Vec<String> = table.columns.iter().map(|column| format!("({})?", type_text(column.kind))).collect();
    let has_timestamp = table.routed.is_none() || table.timestamp_cell().is_some();
    let using: Vec<&str> =
        has_timestamp.then_some("TIMESTAMP ?").into_iter().chain(table.ttl_cell().map(|_| "TTL ?")).collect();
    format!(
        "INSERT INTO {}.{} ({}) VALUES ({}){}{}",
        quoted(keyspace),
        quoted(&table.name),
        names.join(", "),
        markers.join(", "),
        if using.is_empty() { "" } else { " USING " },
        using.join(" AND "),
    )
}

/// The statement that deletes one row of a route's table: its timestamp, then its key.
pub(super) fn delete_cql(keyspace: &str, table: &Table) -> String {
    let key = table.columns.iter().take(table.key.len());
    let key: Vec<String> =
        key.map(|column| format!("{} = ({})?", quoted(&column.name), type_text(column.kind))).collect();
    format!(
        "DELETE FROM {}.{}{} WHERE {}",
        quoted(keyspace),
        quoted(&table.name),
        if table.timestamp_cell().is_some() { " USING TIMESTAMP ?" } else { "" },
        key.join(" AND "),
    )
}

/// What the cluster says of a table; `None` if there is no such table.
pub(super) async fn describe(
    session: &Session,
    settings: &CassandraSettings,
    table: &TableName,
) -> Result<Option<TableDescription>, StoreError> {
    let (keyspace, name) = (table.keyspace.as_deref().unwrap_or(&settings.keyspace), &table.name);
    let columns = columns::ask(session, keyspace, name).await?;
    if columns.is_empty() {
        return Ok(None);
    }
    if !columns::is_table(session, keyspace, name).await? {
        let table = format!("{keyspace}.{name}");
        let reason =
            format!("{table} is a view, to which nothing can be written: let the route fill the table below it");
        return Err(StoreError::RouteTable { table, code: "table_differs", reason });
    }
    Ok(Some(TableDescription { columns: columns.into_described() }))
}

/// Creates what is missing and says so, one line each. The driver waits for schema agreement after every change.
pub(super) async fn apply(
    session: &Session,
    settings: &CassandraSettings,
    tables: &[Arc<Table>],
) -> Result<Vec<String>, StoreError> {
    let mut changes = Vec::new();
    let own = &settings.keyspace;
    // What is in keyspaces of others needs none of ours.
    let is_own_needed = tables.is_empty() || tables.iter().any(|table| settings.keyspace_of(table) == own);
    if is_own_needed && !keyspace_exists(session, own).await? {
        let (name, replication) = (quoted(own), &settings.replication);
        change(session, format!("CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {replication}")).await?;
        changes.push(format!("created keyspace {own}"));
    }
    for table in tables {
        match &table.routed {
            None => changes.extend(apply_own(session, settings, table).await?),
            Some(routed) => changes.extend(apply_routed(session, settings, table, routed).await?),
        }
    }
    Ok(changes)
}

async fn apply_own(session: &Session, settings: &CassandraSettings, table: &Table) -> Result<Vec<String>, StoreError> {
    let keyspace = settings.keyspace_of(table);
    let existing = columns::ask(session, keyspace, &table.name).await?;
    if existing.is_empty() {
        change(session, create_cql(settings, table)).await?;
        return Ok(vec![format!("created table {keyspace}.{}", table.name)]);
    }
    check_key(keyspace, table, &existing)?;
    let mut changes = Vec::new();
    for column in &table.columns {
        if let Some(found) = existing.get(&column.name) {
            check_type(keyspace, table, column, &found.type_text)?;
        } else if add_column(session, keyspace, table, column).await? {
            let type_text = type_text(column.kind);
            changes.push(format!("added column {keyspace}.{}.{} {type_text}", table.name, column.name));
        }
    }
    Ok(changes)
}

/// The table of a route is created if that is declared, and is otherwise left as it is.
async fn apply_routed(
    session: &Session,
    settings: &CassandraSettings,
    table: &Table,
    routed: &Routed,
) -> Result<Option<String>, StoreError> {
    match check_routed(session, settings, table, routed).await {
        Err(StoreError::Missing { .. }) => {
            let keyspace = settings.keyspace_of(table);
            change(session, routed::create_cql(keyspace, table)).await?;
            check_routed(session, settings, table, routed).await?;
            Ok(Some(format!("created table {keyspace}.{} of route {}", table.name, routed.route)))
        }
        outcome => outcome.map(|()| None),
    }
}

/// Checks that the keyspace and every table are there, with all columns, each of the right type.
pub(super) async fn check(
    session: &Session,
    settings: &CassandraSettings,
    tables: &[Arc<Table>],
) -> Result<(), StoreError> {
    let is_own = |table: &Arc<Table>| table.routed.is_none();
    if (tables.is_empty() || tables.iter().any(is_own)) && !keyspace_exists(session, &settings.keyspace).await? {
        return Err(StoreError::Missing { what: format!("keyspace {}", settings.keyspace) });
    }
    for table in tables {
        match &table.routed {
            None => check_own(session, settings.keyspace_of(table), table).await?,
            Some(routed) => check_routed(session, settings, table, routed).await?,
        }
    }
    Ok(())
}

async fn check_own(session: &Session, keyspace: &str, table: &Table) -> Result<(), StoreError> {
    let existing = columns::ask(session, keyspace, &table.name).await?;
    if existing.is_empty() {
        return Err(StoreError::Missing { what: format!("table {keyspace}.{}", table.name) });
    }
    for column in &table.columns {
        match existing.get(&column.name) {
            Some(found) => check_type(keyspace, table, column, &found.type_text)?,
            None => {
                let what = format!("column {keyspace}.{}.{}", table.name, column.name);
                return Err(StoreError::Missing { what });
            }
        }
    }
    check_key(keyspace, table, &existing)
}

async fn check_routed(
    session: &Session,
    settings: &CassandraSettings,
    table: &Table,
    routed: &Routed,
) -> Result<(), StoreError> {
    let keyspace = settings.keyspace_of(table);
    let existing = columns::ask(session, keyspace, &table.name).await?;
    if existing.is_empty() {
        let has_keyspace = keyspace_exists(session, keyspace).await?;
        return Err(routed::missing(keyspace, keyspace == settings.keyspace, has_keyspace, table, routed));
    }
    routed::check(keyspace, table, routed, &existing)
}

/// Adds a column; false if somebody else has added it meanwhile. `ADD IF NOT EXISTS` is not known to every server.
async fn add_column(session: &Session, keyspace: &str, table: &Table, column: &Column) -> Result<bool, StoreError> {
    let (name, cql_type) = (quoted(&column.name), type_text(column.kind));
    let cql = format!("ALTER TABLE {}.{} ADD {name} {cql_type}", quoted(keyspace), quoted(&table.name));
    let Err(error) = change(session, cql).await else { return Ok(true) };
    match columns::ask(session, keyspace, &table.name).await?.get(&column.name) {
        Some(found) => check_type(keyspace, table, column, &found.type_text).map(|()| false),
        None => Err(error),
    }
}

fn create_cql(settings: &CassandraSettings, table: &Table) -> String {
    let columns: Vec<String> =
        table.columns.iter().map(|column| format!("{} {}", quoted(&column.name), type_text(column.kind))).collect();
    let keys: Vec<String> = table.columns.iter().take(table.key.len()).map(|column| quoted(&column.name)).collect();
    let (partition, clustering) = keys.split_at(table.key.num_partition);
    // Newest first: the usual question is for a device's latest rows, and then it is the head of the partition.
    let order: Vec<String> = clustering.iter().map(|name| format!("{name} DESC")).collect();
    format!(
        "CREATE TABLE IF NOT EXISTS {}.{} ({}, PRIMARY KEY (({}), {})) WITH CLUSTERING ORDER BY ({}){}",
        quoted(&settings.keyspace),
        quoted(&table.name),
        columns.join(", "),
        partition.join(", "),
        clustering.join(", "),
        order.join(", "),
        settings.ttl.map(ttl_options).unwrap_or_default(),
    )
}

/// A time to live as a table has it.
pub(super) fn ttl_seconds(ttl: Duration) -> u64 {
    ttl.as_secs().clamp(1, MAX_TTL_SECONDS)
}

/// Without a time to live compaction stays at the server's default, which Cassandra and ScyllaDB each know best.
fn ttl_options(ttl: Duration) -> String {
    let ttl_seconds = ttl_seconds(ttl);
    let window_hours = (ttl_seconds / 3600 / NUM_COMPACTION_WINDOWS).max(1);
    let (unit, size) = if window_hours < 24 { ("HOURS", window_hours) } else { ("DAYS", window_hours / 24) };
    format!(
        " AND default_time_to_live = {ttl_seconds} AND compaction = {{'class': 'TimeWindowCompactionStrategy', \
         'compaction_window_unit': '{unit}', 'compaction_window_size': '{size}'}}"
    )
}

fn check_type(keyspace: &str, table: &Table, column: &Column, found: &str) -> Result<(), StoreError> {
    let expected = type_text(column.kind);
    if found == expected {
        return Ok(());
    }
    let what = format!("column {keyspace}.{}.{}", table.name, column.name);
    Err(StoreError::Conflict { what, actual: found.to_owned(), expected })
}

/// The key that rows are made for, each column with whether it is of the clustering key.
pub(super) fn needed_key(table: &Table) -> Vec<(bool, &str)> {
    let needed = table.columns.iter().take(table.key.len()).enumerate();
    needed.map(|(position, column)| (position >= table.key.num_partition, column.name.as_str())).collect()
}

fn check_key(keyspace: &str, table: &Table, existing: &Columns) -> Result<(), StoreError> {
    let (found, needed) = (existing.key(), needed_key(table));
    if found == needed {
        return Ok(());
    }
    Err(StoreError::Conflict {
        what: format!("primary key of table {keyspace}.{}", table.name),
        actual: key_text(&found),
        expected: key_text(&needed),
    })
}

/// A key as CQL has it.
pub(super) fn key_text(key: &[(bool, &str)]) -> String {
    let names = |is_late| key.iter().filter(move |(late, _)| *late == is_late).map(|(_, name)| *name);
    let clustering = names(true).map(|name| format!(", {name}")).collect::<String>();
    format!("(({}){clustering})", names(false).collect::<Vec<_>>().join(", "))
}

async fn keyspace_exists(session: &Session, keyspace: &str) -> Result<bool, StoreError> {
    let context = || format!("looking for keyspace {keyspace}");
    session
        .query_unpaged("SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name = ?", (keyspace,))
        .await
        .map_err(|error| failed(context(), error))?
        .into_rows_result()
        .map(|rows| rows.rows_num() > 0)
        .map_err(|error| failed(context(), error))
}

async fn change(session: &Session, cql: String) -> Result<(), StoreError> {
    let mut statement = Statement::new(cql);
    statement.set_request_timeout(Some(CHANGE_TIMEOUT));
    match session.query_unpaged(statement.clone(), ()).await {
        Ok(_) => Ok(()),
        Err(error) => Err(failed(&statement.contents, error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::documented;
    use crate::schema::row::{ColumnKind, ScalarKind};

    #[test]
    fn test_each_marker_says_the_type_of_its_value() {
        let column = |name: &str, kind| Column { name: name.to_owned(), kind };
        let columns = vec![
            column("device_id", ColumnKind::Scalar(ScalarKind::Text)),
            column("order", ColumnKind::Scalar(ScalarKind::Unsigned)),
            column("codes", ColumnKind::List(ScalarKind::Double)),
        ];
        let table = Table::of_type("t", columns);
        let expected = r#"INSERT INTO "k"."t" ("device_id", "order", "codes") VALUES ((text)?, (varint)?, (frozen<list<double>>)?) USING TIMESTAMP ?"#;
        assert_eq!(insert_cql("k", &table), expected);
    }

    #[test]
    fn test_each_kind_has_the_column_that_is_documented() {
        for kind in documented::kinds() {
            // The item's type is the reader's to fill in; here it is a single.
            let cql = kind.cql.replace('…', "float");
            assert!(cql.split([',', ' ']).next() == Some(&type_text(kind.column)), "{cql}: {:?}", kind.column);
        }
    }
}
