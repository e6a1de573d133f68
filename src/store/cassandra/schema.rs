//! Keyspace and tables: what they look like, how they come to be, how they are checked.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::session::Session;
use scylla::statement::unprepared::Statement;

use super::failed;
use super::settings::CassandraSettings;
use crate::schema::cql::type_text;
use crate::schema::identity::{NUM_KEY_COLUMNS, PARTITION_KEY};
use crate::schema::row::{Column, Table};
use crate::store::StoreError;

/// Changes of the schema go through the whole cluster, so they get longer than a write.
const CHANGE_TIMEOUT: Duration = Duration::from_secs(30);

/// The largest time to live that Cassandra takes: 20 years.
const MAX_TTL_SECONDS: u64 = 20 * 365 * 24 * 3600;

/// With a time to live, files hold a window each and are dropped whole; that many windows are a good number of files.
const NUM_COMPACTION_WINDOWS: u64 = 30;

/// A column as the cluster describes it.
#[derive(Debug)]
struct ExistingColumn {
    cql_type: String,
    /// Place in the primary key, if it has one: `partition_key` before `clustering`, then the position.
    key_place: Option<(bool, i32)>,
}

/// A name in double quotes, as CQL wants it if it could be a keyword.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The statement that writes one row, with its timestamp as the last value.
///
/// Each marker says the type of its value. The driver prepares a statement again by itself when a server has forgotten it,
/// as it does when its table was dropped or altered, and then sends bytes that were made for the types of before
/// (scylla-rust-driver#575). With the types in its text, preparing is what fails then, on the server, whoever asks for it.
pub(super) fn insert_cql(keyspace: &str, table: &Table) -> String {
    let names: Vec<String> = table.columns.iter().map(|column| quoted(&column.name)).collect();
    let markers: Vec<String> = table.columns.iter().map(|column| format!("({})?", type_text(column.kind))).collect();
    format!(
        "INSERT INTO {}.{} ({}) VALUES ({}) USING TIMESTAMP ?",
        quoted(keyspace),
        quoted(&table.name),
        names.join(", "),
        markers.join(", "),
    )
}

/// Creates what is missing and says so, one line each. The driver waits for schema agreement after every change.
pub(super) async fn apply(
    session: &Session,
    settings: &CassandraSettings,
    tables: &[Arc<Table>],
) -> Result<Vec<String>, StoreError> {
    let mut changes = Vec::new();
    let keyspace = &settings.keyspace;
    if !keyspace_exists(session, keyspace).await? {
        let (name, replication) = (quoted(keyspace), &settings.replication);
        change(session, format!("CREATE KEYSPACE IF NOT EXISTS {name} WITH replication = {replication}")).await?;
        changes.push(format!("created keyspace {keyspace}"));
    }
    for table in tables {
        let existing = existing_columns(session, keyspace, table).await?;
        if existing.is_empty() {
            change(session, create_cql(settings, table)).await?;
            changes.push(format!("created table {keyspace}.{}", table.name));
            continue;
        }
        check_key(keyspace, table, &existing)?;
        for column in &table.columns {
            if let Some(found) = existing.get(&column.name) {
                check_type(keyspace, table, column, found)?;
            } else if add_column(session, keyspace, table, column).await? {
                let cql_type = type_text(column.kind);
                changes.push(format!("added column {keyspace}.{}.{} {cql_type}", table.name, column.name));
            }
        }
    }
    Ok(changes)
}

/// Checks that the keyspace and every table are there, with all columns, each of the right type.
pub(super) async fn check(session: &Session, keyspace: &str, tables: &[Arc<Table>]) -> Result<(), StoreError> {
    if !keyspace_exists(session, keyspace).await? {
        return Err(StoreError::Missing { what: format!("keyspace {keyspace}") });
    }
    for table in tables {
        let existing = existing_columns(session, keyspace, table).await?;
        if existing.is_empty() {
            return Err(StoreError::Missing { what: format!("table {keyspace}.{}", table.name) });
        }
        for column in &table.columns {
            match existing.get(&column.name) {
                Some(found) => check_type(keyspace, table, column, found)?,
                None => {
                    let what = format!("column {keyspace}.{}.{}", table.name, column.name);
                    return Err(StoreError::Missing { what });
                }
            }
        }
        check_key(keyspace, table, &existing)?;
    }
    Ok(())
}

/// Adds a column; false if somebody else has added it meanwhile. `ADD IF NOT EXISTS` is not known to every server.
async fn add_column(session: &Session, keyspace: &str, table: &Table, column: &Column) -> Result<bool, StoreError> {
    let (name, cql_type) = (quoted(&column.name), type_text(column.kind));
    let cql = format!("ALTER TABLE {}.{} ADD {name} {cql_type}", quoted(keyspace), quoted(&table.name));
    let Err(error) = change(session, cql).await else { return Ok(true) };
    match existing_columns(session, keyspace, table).await?.get(&column.name) {
        Some(found) => check_type(keyspace, table, column, found).map(|()| false),
        None => Err(error),
    }
}

fn create_cql(settings: &CassandraSettings, table: &Table) -> String {
    let columns: Vec<String> =
        table.columns.iter().map(|column| format!("{} {}", quoted(&column.name), type_text(column.kind))).collect();
    let keys: Vec<String> = table.columns.iter().take(NUM_KEY_COLUMNS).map(|column| quoted(&column.name)).collect();
    let (partition, clustering) = keys.split_at(PARTITION_KEY.len());
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

fn check_type(keyspace: &str, table: &Table, column: &Column, found: &ExistingColumn) -> Result<(), StoreError> {
    let expected = type_text(column.kind);
    if found.cql_type == expected {
        return Ok(());
    }
    let what = format!("column {keyspace}.{}.{}", table.name, column.name);
    Err(StoreError::Conflict { what, actual: found.cql_type.clone(), expected })
}

fn check_key(keyspace: &str, table: &Table, existing: &HashMap<String, ExistingColumn>) -> Result<(), StoreError> {
    let mut found: Vec<(bool, i32, &str)> = existing
        .iter()
        .filter_map(|(name, column)| column.key_place.map(|(is_late, position)| (is_late, position, name.as_str())))
        .collect();
    found.sort_unstable();
    let needed = table.columns.iter().take(NUM_KEY_COLUMNS).enumerate();
    let needed: Vec<(bool, &str)> =
        needed.map(|(position, column)| (position >= PARTITION_KEY.len(), column.name.as_str())).collect();
    let found: Vec<(bool, &str)> = found.into_iter().map(|(is_late, _, name)| (is_late, name)).collect();
    if found == needed {
        return Ok(());
    }
    Err(StoreError::Conflict {
        what: format!("primary key of table {keyspace}.{}", table.name),
        actual: key_text(&found),
        expected: key_text(&needed),
    })
}

fn key_text(key: &[(bool, &str)]) -> String {
    let names = |is_late| key.iter().filter(move |(late, _)| *late == is_late).map(|(_, name)| *name);
    format!("(({}), {})", names(false).collect::<Vec<_>>().join(", "), names(true).collect::<Vec<_>>().join(", "))
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

/// The columns that a table has; none if there is no such table.
async fn existing_columns(
    session: &Session,
    keyspace: &str,
    table: &Table,
) -> Result<HashMap<String, ExistingColumn>, StoreError> {
    let context = || format!("reading the columns of table {keyspace}.{}", table.name);
    let rows = session
        .query_unpaged(
            "SELECT column_name, type, kind, position FROM system_schema.columns \
             WHERE keyspace_name = ? AND table_name = ?",
            (keyspace, &table.name),
        )
        .await
        .map_err(|error| failed(context(), error))?
        .into_rows_result()
        .map_err(|error| failed(context(), error))?;
    let mut columns = HashMap::new();
    for row in rows.rows::<(String, String, String, i32)>().map_err(|error| failed(context(), error))? {
        let (name, cql_type, kind, position) = row.map_err(|error| failed(context(), error))?;
        let key_place = match kind.as_str() {
            "partition_key" => Some((false, position)),
            "clustering" => Some((true, position)),
            _ => None,
        };
        columns.insert(name, ExistingColumn { cql_type, key_place });
    }
    Ok(columns)
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
