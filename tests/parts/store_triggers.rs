//! The embedded store where another program has put triggers and conflict clauses on its tables: what is confirmed is
//! there, and what is refused is not.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::store_contract::{group, keys, simple_table};
use surgetank::schema::row::Table;
use surgetank::store::embedded::{EmbeddedStore, EmbeddedStoreSettings};
use surgetank::store::{Store, WriteError};

struct Place {
    _directory: tempfile::TempDir,
    path: PathBuf,
    store: EmbeddedStore,
    table: Arc<Table>,
}

async fn place() -> Place {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("rows.db");
    let page_cache_bytes = 8 << 20;
    let settings = EmbeddedStoreSettings { path: path.clone(), transaction_rows: 64, page_cache_bytes, ttl: None };
    let store = EmbeddedStore::open(settings).unwrap();
    let table = simple_table("rows");
    store.apply(std::slice::from_ref(&table)).await.unwrap();
    Place { _directory: directory, path, store, table }
}

fn execute(path: &Path, sql: &str) {
    let connection = rusqlite::Connection::open(path).unwrap();
    connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
}

fn number(path: &Path, sql: &str) -> i64 {
    rusqlite::Connection::open(path).unwrap().query_row(sql, [], |row| row.get(0)).unwrap()
}

impl Place {
    async fn sequences(&self) -> BTreeSet<u32> {
        keys(&self.store, &self.table).await.into_iter().map(|key| key.sequence).collect()
    }

    /// Writes ten rows of which two are to be refused.
    async fn refuses_3_and_7(&self, case: &str) {
        let refused = self.store.write(group(&self.table, "a", 0, 10)).await.unwrap();
        assert_eq!(refused.iter().map(|one| one.row).collect::<Vec<_>>(), [3, 7], "{case}: {refused:?}");
        assert_eq!(self.sequences().await, BTreeSet::from([0, 1, 2, 4, 5, 6, 8, 9]), "{case}");
    }
}

#[tokio::test]
async fn a_trigger_leaves_no_row_that_it_refuses_and_passes_none_over() {
    for (when, word) in
        [("BEFORE", "FAIL, 'no'"), ("AFTER", "FAIL, 'no'"), ("AFTER", "ABORT, 'no'"), ("BEFORE", "IGNORE")]
    {
        let place = place().await;
        let body = format!(
            "INSERT OR REPLACE INTO latest VALUES (1, NEW.sequence); SELECT RAISE({word}) WHERE NEW.sequence IN (3, 7);"
        );
        let sql = format!(
            "CREATE TABLE latest (one INTEGER PRIMARY KEY, sequence INTEGER);
             CREATE TRIGGER guard {when} INSERT ON rows BEGIN {body} END"
        );
        execute(&place.path, &sql);
        place.refuses_3_and_7(&sql).await;
        assert_eq!(
            number(&place.path, "SELECT sequence FROM latest"),
            9,
            "others' statements keep their clauses: {sql}"
        );
    }
}

#[tokio::test]
async fn conflict_clauses_of_constraints_pass_no_row_over_and_delete_none() {
    for word in ["ABORT", "FAIL", "ROLLBACK", "IGNORE", "REPLACE"] {
        let place = place().await;
        let columns = "device_id TEXT NOT NULL, bucket INTEGER NOT NULL, event_time INTEGER NOT NULL, sequence INTEGER NOT NULL, \
                       received_at INTEGER, version INTEGER, value INTEGER";
        // The values 3 and 7 are taken.
        let sql = format!(
            "DROP TABLE rows;
             CREATE TABLE rows ({columns}, UNIQUE (value) ON CONFLICT {word}, PRIMARY KEY (device_id, bucket, event_time, sequence))
                 STRICT, WITHOUT ROWID;
             INSERT INTO rows VALUES ('z', 0, 0, 1003, 0, 1, 3), ('z', 0, 0, 1007, 0, 1, 7)"
        );
        execute(&place.path, &sql);
        let refused = place.store.write(group(&place.table, "a", 0, 10)).await.unwrap();
        assert_eq!(refused.iter().map(|one| one.row).collect::<Vec<_>>(), [3, 7], "{word}: {refused:?}");
        assert_eq!(place.sequences().await, BTreeSet::from([0, 1, 2, 4, 5, 6, 8, 9, 1003, 1007]), "{word}");
    }
}

/// That a row which is there already may be written again says nothing: it is not inserted then.
#[tokio::test]
async fn a_trigger_that_refuses_all_new_rows_is_no_fault_of_theirs() {
    for (when, word) in
        [("BEFORE", "ABORT, 'no'"), ("AFTER", "ABORT, 'no'"), ("AFTER", "FAIL, 'no'"), ("BEFORE", "IGNORE")]
    {
        let place = place().await;
        let known_good = group(&place.table, "good", 100, 1);
        place.store.write(known_good.clone()).await.unwrap();
        let sql = format!("CREATE TRIGGER guard {when} INSERT ON rows BEGIN SELECT RAISE({word}); END");
        execute(&place.path, &sql);
        let suspects = group(&place.table, "a", 0, 10);
        let outcome = place.store.judge(suspects.clone(), Some(known_good.clone())).await;
        assert!(matches!(outcome, Err(WriteError::Table(_))), "{sql}: {outcome:?}");
        assert_eq!(place.sequences().await, BTreeSet::from([100]), "{sql}");
        execute(&place.path, "DROP TRIGGER guard");
        assert_eq!(place.store.judge(suspects, Some(known_good)).await.unwrap().len(), 0, "{sql}");
        assert_eq!(place.sequences().await.len(), 11, "{sql}");
    }
}

/// After a restart records come again, and a table may be closed to changes of what is in it.
#[tokio::test]
async fn rows_that_are_there_already_are_not_at_fault_in_a_table_that_is_only_added_to() {
    let place = place().await;
    place.store.write(group(&place.table, "a", 0, 10)).await.unwrap();
    execute(&place.path, "CREATE TRIGGER only_added BEFORE UPDATE ON rows BEGIN SELECT RAISE(ABORT, 'no'); END");
    for num_rows in [5, 10, 20] {
        assert_eq!(place.store.write(group(&place.table, "a", 0, num_rows)).await.unwrap().len(), 0, "{num_rows}");
    }
    assert_eq!(place.sequences().await.len(), 20);
    // Other values under the same keys are not there.
    execute(&place.path, "DROP TRIGGER only_added; UPDATE rows SET value = -1 WHERE sequence = 4");
    execute(&place.path, "CREATE TRIGGER only_added BEFORE UPDATE ON rows BEGIN SELECT RAISE(ABORT, 'no'); END");
    let refused = place.store.write(group(&place.table, "a", 0, 30)).await.unwrap();
    assert_eq!(refused.iter().map(|one| one.row).collect::<Vec<_>>(), [4]);
}
