//! What is different when a row of a route is written twice, as it is after a crash, a rebalance or an answer that was lost.
//!
//! The values of a row and its key come from its record, so they are the same each time. What may not be the same is told
//! here, by the table alone.

use std::fmt;

use super::row::{Collection, ColumnKind, Items, Table, WriteTime};

/// Something that writing a row again changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rewrite<'a> {
    /// The items of the list in this column are there twice: its items have no key but one that the server makes for each
    /// write, and what is deleted before they are written is older than they are. No table of a route may have that.
    ListDoubles(&'a str),
    /// The row gets a newer write timestamp.
    ServerTime,
    /// The row lives longer, by the time between the two writes.
    TtlRestarts,
}

// === impl Table ===

impl Table {
    /// What writing a row of a route a second time changes: nothing if there is none of these.
    pub fn rewrites(&self) -> Vec<Rewrite<'_>> {
        let Some(routed) = &self.routed else { return Vec::new() };
        let mut found = Vec::new();
        match routed.timestamp {
            // The second write is newer and deletes the items of the first.
            WriteTime::Server => found.push(Rewrite::ServerTime),
            WriteTime::Cell => {
                let lists = self.columns.iter().filter(|column| column.kind.is_list_of_cells());
                found.extend(lists.map(|column| Rewrite::ListDoubles(&column.name)));
            }
        }
        if routed.has_ttl {
            found.push(Rewrite::TtlRestarts);
        }
        found
    }
}

// === impl ColumnKind ===

impl ColumnKind {
    /// Whether it is a list that the database keeps item by item: one that is not frozen.
    pub const fn is_list_of_cells(self) -> bool {
        matches!(self, Self::Collection(Collection { items: Items::List(_), is_frozen: false }))
    }
}

// === impl Rewrite ===

impl fmt::Display for Rewrite<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ListDoubles(column) => write!(
                f,
                "column {column} is a list that is not frozen: a row that is written again with the same timestamp gets its items \
                 twice; make it a frozen<list>, a set or text (`json()`), or let the database give the time (timestamp = \"server\")"
            ),
            Self::ServerTime => f.write_str(
                "the database gives the write timestamp: of records with one key that are written close together, or again after a \
                 crash, an older one may be the one that stays",
            ),
            Self::TtlRestarts => {
                f.write_str("a row that is written again lives as much longer as it was written later: its time to live starts anew")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::row::{Column, Key, Routed, ScalarKind};

    fn table(timestamp: WriteTime, has_ttl: bool, kinds: &[ColumnKind]) -> Table {
        let column = |(index, kind): (usize, &ColumnKind)| Column { name: format!("c{index}"), kind: *kind };
        let routed = Routed { route: "r".to_owned(), timestamp, has_ttl, consistency: None, is_created: false };
        Table {
            keyspace: None,
            name: "t".to_owned(),
            columns: kinds.iter().enumerate().map(column).collect(),
            key: Key { num_partition: 1, num_clustering: 0 },
            routed: Some(routed),
        }
    }

    #[test]
    fn test_only_a_list_of_cells_with_the_records_time_doubles() {
        let of = |items, is_frozen| ColumnKind::Collection(Collection { items, is_frozen });
        let int = ScalarKind::Int;
        let kinds = [
            ColumnKind::Scalar(int),
            of(Items::List(int), true),
            of(Items::Set(int), false),
            of(Items::Map(int, int), false),
            of(Items::List(int), false),
        ];
        assert_eq!(table(WriteTime::Cell, false, &kinds).rewrites(), [Rewrite::ListDoubles("c4")]);
        assert_eq!(table(WriteTime::Cell, false, &kinds[..4]).rewrites(), []);
        assert_eq!(table(WriteTime::Server, false, &kinds).rewrites(), [Rewrite::ServerTime]);
        assert_eq!(table(WriteTime::Server, true, &kinds).rewrites(), [Rewrite::ServerTime, Rewrite::TtlRestarts]);
        assert_eq!(Table { routed: None, ..table(WriteTime::Cell, true, &kinds) }.rewrites(), []);
    }
}
