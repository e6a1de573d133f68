//! What the cluster says of a table's columns.

use scylla::client::session::Session;

use super::failed;
use crate::schema::cql::parse_type;
use crate::schema::row::{ColumnPlace, DescribedColumn};
use crate::store::StoreError;

/// Columns in the order of a description: partition key, clustering key, then by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Columns(Vec<DescribedColumn>);

/// Asks for the columns that a table has; none if there is no such table.
pub(super) async fn ask(session: &Session, keyspace: &str, table: &str) -> Result<Columns, StoreError> {
    let context = || format!("reading the columns of table {keyspace}.{table}");
    let rows = session
        .query_unpaged(
            "SELECT column_name, type, kind, position FROM system_schema.columns \
             WHERE keyspace_name = ? AND table_name = ?",
            (keyspace, table),
        )
        .await
        .map_err(|error| failed(context(), error))?
        .into_rows_result()
        .map_err(|error| failed(context(), error))?;
    let rows = rows.rows::<(String, String, String, i32)>().map_err(|error| failed(context(), error))?;
    let columns =
        rows.map(|row| row.map(|(name, type_text, kind, position)| described(name, type_text, &kind, position)));
    let columns = columns.collect::<Result<Vec<_>, _>>().map_err(|error| failed(context(), error))?;
    Ok(Columns::sorted(columns))
}

/// Whether there is a table of this name: materialized views have columns, too, and cannot be written to.
pub(super) async fn is_table(session: &Session, keyspace: &str, table: &str) -> Result<bool, StoreError> {
    let context = || format!("looking for table {keyspace}.{table}");
    let cql = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = ? AND table_name = ?";
    let answer = session.query_unpaged(cql, (keyspace, table)).await.map_err(|error| failed(context(), error))?;
    answer.into_rows_result().map(|rows| rows.rows_num() > 0).map_err(|error| failed(context(), error))
}

fn described(name: String, type_text: String, kind: &str, position: i32) -> DescribedColumn {
    // Only those of keys have a position, from 0; others are at -1.
    let position = usize::try_from(position).unwrap_or(0);
    let place = match kind {
        "partition_key" => ColumnPlace::Partition(position),
        "clustering" => ColumnPlace::Clustering(position),
        "static" => ColumnPlace::Static,
        _ => ColumnPlace::Regular,
    };
    let kind = parse_type(&type_text);
    DescribedColumn { name, type_text, kind, place }
}

// === impl Columns ===

impl Columns {
    fn sorted(mut columns: Vec<DescribedColumn>) -> Self {
        let rank = |column: &DescribedColumn| match column.place {
            ColumnPlace::Partition(position) => (0, position),
            ColumnPlace::Clustering(position) => (1, position),
            ColumnPlace::Static | ColumnPlace::Regular => (2, 0),
        };
        columns.sort_by(|one, other| rank(one).cmp(&rank(other)).then_with(|| one.name.cmp(&other.name)));
        Self(columns)
    }

    /// Whether there is no such table.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The column of this name, exactly.
    pub(super) fn get(&self, name: &str) -> Option<&DescribedColumn> {
        self.0.iter().find(|column| column.name == name)
    }

    /// The columns of the key, each with whether it is of the clustering key.
    pub(super) fn key(&self) -> Vec<(bool, &str)> {
        let place = |column: &DescribedColumn| match column.place {
            ColumnPlace::Partition(_) => Some(false),
            ColumnPlace::Clustering(_) => Some(true),
            ColumnPlace::Static | ColumnPlace::Regular => None,
        };
        self.0.iter().filter_map(|column| place(column).map(|is_late| (is_late, column.name.as_str()))).collect()
    }

    /// As a description.
    pub(super) fn into_described(self) -> Vec<DescribedColumn> {
        self.0
    }
}

#[cfg(test)]
impl Columns {
    /// Rows of `system_schema.columns`: name, type, kind, position.
    pub(super) fn of(rows: &[(&str, &str, &str, i32)]) -> Self {
        let column = |(name, type_text, kind, position): &(&str, &str, &str, i32)| {
            described((*name).to_owned(), (*type_text).to_owned(), kind, *position)
        };
        Self::sorted(rows.iter().map(column).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::row::{ColumnKind, ScalarKind};

    #[test]
    fn test_the_key_comes_first_in_its_own_order() {
        // In the order in which a server tells them.
        let columns = Columns::of(&[
            ("a", "timeuuid", "clustering", 1),
            ("b", "text", "partition_key", 1),
            ("c", "counter", "regular", -1),
            ("Day", "date", "partition_key", 0),
            ("e", "frozen<address>", "static", -1),
            ("f", "timestamp", "clustering", 0),
        ]);
        assert_eq!(columns.key(), [(false, "Day"), (false, "b"), (true, "f"), (true, "a")]);
        assert!(columns.get("day").is_none(), "names are exact");
        let described = columns.into_described();
        let names: Vec<&str> = described.iter().map(|column| column.name.as_str()).collect();
        assert_eq!(names, ["Day", "b", "f", "a", "c", "e"]);
        assert_eq!(described[0].kind, Some(ColumnKind::Scalar(ScalarKind::Date)));
        assert_eq!(described[3].place, ColumnPlace::Clustering(1));
        assert_eq!((described[4].kind, described[4].place), (None, ColumnPlace::Regular));
        assert_eq!((described[5].type_text.as_str(), described[5].place), ("frozen<address>", ColumnPlace::Static));
    }
}
