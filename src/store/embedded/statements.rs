//! The statements on the rows of one table.
//!
//! Rows of a message type have a value for every column. A row of a route leaves columns as they are where its cells are
//! [`Cell::Null`]: its statement does not name them. In a table with a column [`WRITTEN_AT`] the newer of two writes of one
//! row wins, whichever comes first.

use std::fmt::Write;

use crate::schema::row::{Cell, Table};

/// The column for the write timestamp of a route's row, in microseconds since the Unix epoch. Tables that routes create have
/// it; where others have put it into a table of theirs, it works the same.
pub(super) const WRITTEN_AT: &str = "_written_at";

/// What statements have to take into account beside the table's description.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    /// Another program has put triggers on the table.
    pub(super) has_triggers: bool,
    /// It is a route's and has the column [`WRITTEN_AT`].
    pub(super) has_written_at: bool,
}

/// Makes statements for one table.
#[derive(Debug, Clone, Copy)]
pub(super) struct Statements<'t> {
    pub(super) table: &'t Table,
    pub(super) found: Found,
}

/// A name in double quotes, as SQL wants it if it could be a keyword.
pub(super) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// The names of a table's columns, as SQL wants them.
pub(super) fn names(table: &Table) -> impl Iterator<Item = String> {
    table.columns.iter().map(|column| quoted(&column.name))
}

/// The table's name, as SQL wants it. A keyspace is a part of it: SQLite has none.
pub(super) fn name_of(table: &Table) -> String {
    quoted(&table.full_name())
}

// === impl Statements ===

impl<'t> Statements<'t> {
    /// Whether the row has something for the column at this position, be it null.
    pub(super) fn is_set(&self, row: &[Cell], position: usize) -> bool {
        self.table.routed.is_none() || position < self.table.key.len() || row.get(position) != Some(&Cell::Null)
    }

    /// Whether there is something for every column.
    pub(super) fn is_full(&self, row: &[Cell]) -> bool {
        (0..self.table.columns.len()).all(|position| self.is_set(row, position))
    }

    /// Whether the newer of two writes wins, by a time that rows have.
    pub(super) fn is_by_time(&self) -> bool {
        self.found.has_written_at && self.table.timestamp_cell().is_some()
    }

    /// The statement that writes one row, of which the columns are set that `is_set` names. Parameters are the values of
    /// these, then the write timestamp, if the table has it. On a row that is there already it sets the same values again;
    /// columns that this engine does not know, because a newer one added them, keep theirs.
    ///
    /// It overrules conflict clauses of the table's constraints, which would pass over the row or delete another one for
    /// it; but not where there are triggers, since it would overrule the clauses of statements in these as well.
    pub(super) fn upsert(&self, is_set: impl Fn(usize) -> bool) -> String {
        let num_keys = self.table.key.len();
        let set = names(self.table).enumerate().filter(|(position, _)| is_set(*position));
        let (mut keys, mut columns) = (Vec::new(), Vec::new());
        for (position, name) in set {
            if position < num_keys { keys.push(name) } else { columns.push(name) }
        }
        let written_at = quoted(WRITTEN_AT);
        if self.found.has_written_at {
            columns.push(written_at.clone());
        }
        let updates: Vec<String> = columns.iter().map(|name| format!("{name}=excluded.{name}")).collect();
        let mut action =
            if updates.is_empty() { "NOTHING".to_string() } else { format!("UPDATE SET {}", updates.join(",")) };
        if self.is_by_time() {
            // Writing to a string does not fail.
            let _ = write!(action, " WHERE {written_at} IS NULL OR {written_at}<=excluded.{written_at}");
        }
        let clause = if self.found.has_triggers { "" } else { "OR ABORT " };
        let num_values = keys.len() + columns.len();
        let all: Vec<&str> = keys.iter().chain(&columns).map(String::as_str).collect();
        format!(
            "INSERT {clause}INTO {}({}) VALUES ({}) ON CONFLICT({}) DO {action}",
            name_of(self.table),
            all.join(","),
            vec!["?"; num_values].join(","),
            keys.join(","),
        )
    }

    /// The statement that finds one row if it is there with all values that are set, or with a newer write than this one.
    /// Parameters as for [`Statements::upsert`], the timestamp only where rows have one.
    pub(super) fn is_there(&self, is_set: impl Fn(usize) -> bool) -> String {
        let num_keys = self.table.key.len();
        let equal = |from: usize, to: usize, is: &str| {
            let set =
                names(self.table).enumerate().skip(from).take(to - from).filter(|(position, _)| is_set(*position));
            set.map(|(_, name)| format!("{name} {is} ?")).collect::<Vec<_>>().join(" AND ")
        };
        let keys = equal(0, num_keys, "=");
        let values = equal(num_keys, self.table.columns.len(), "IS");
        let values = if values.is_empty() { "TRUE" } else { &values };
        let newer = if self.is_by_time() { format!(" OR {} > ?", quoted(WRITTEN_AT)) } else { String::new() };
        format!("SELECT 1 FROM {} WHERE {keys} AND ({values}{newer})", name_of(self.table))
    }

    /// The statement that deletes one row, unless a newer write has made it what it is. Parameters are the key, then the
    /// write timestamp where rows have one.
    pub(super) fn delete(&self) -> String {
        format!("DELETE FROM {} WHERE {}", name_of(self.table), self.not_newer())
    }

    /// The statement that finds a row which [`Statements::delete`] should have deleted.
    pub(super) fn is_left(&self) -> String {
        format!("SELECT 1 FROM {} WHERE {}", name_of(self.table), self.not_newer())
    }

    /// The statement that deletes one row by its key.
    pub(super) fn delete_anyhow(&self) -> String {
        format!("DELETE FROM {} WHERE {}", name_of(self.table), self.key())
    }

    /// The statement that changes one row to what it is, by its key.
    pub(super) fn touch(&self) -> String {
        let num_keys = self.table.key.len();
        // A table may consist of its key.
        let num_untouched = if self.table.columns.len() > num_keys { num_keys } else { 0 };
        let same: Vec<String> = names(self.table).skip(num_untouched).map(|name| format!("{name} = {name}")).collect();
        format!("UPDATE {} SET {} WHERE {}", name_of(self.table), same.join(", "), self.key())
    }

    fn key(&self) -> String {
        let keys = names(self.table).take(self.table.key.len()).map(|name| format!("{name} = ?"));
        keys.collect::<Vec<_>>().join(" AND ")
    }

    fn not_newer(&self) -> String {
        let key = self.key();
        let written_at = quoted(WRITTEN_AT);
        if self.is_by_time() { format!("{key} AND ({written_at} IS NULL OR {written_at} <= ?)") } else { key }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::row::{Column, ColumnKind, Key, Routed, ScalarKind, WriteTime};

    /// A key of two columns and these others.
    fn table(others: &[&str], timestamp: WriteTime) -> Table {
        let column = |name: &&str| Column { name: (*name).to_owned(), kind: ColumnKind::Scalar(ScalarKind::Text) };
        let columns = ["k", "l"].iter().chain(others).map(column).collect();
        let (route, key) = ("r".to_owned(), Key { num_partition: 1, num_clustering: 1 });
        let routed = Routed { route, timestamp, has_ttl: false, consistency: None, is_created: false };
        Table { keyspace: Some("a".to_owned()), name: "t".to_owned(), columns, key, routed: Some(routed) }
    }

    #[test]
    fn test_a_table_may_consist_of_its_key() {
        let table = table(&[], WriteTime::Server);
        let statements = Statements { table: &table, found: Found { has_triggers: true, has_written_at: false } };
        let insert = r#"INSERT INTO "a.t"("k","l") VALUES (?,?) ON CONFLICT("k","l") DO NOTHING"#;
        assert_eq!(statements.upsert(|_| true), insert);
        assert_eq!(statements.touch(), r#"UPDATE "a.t" SET "k" = "k", "l" = "l" WHERE "k" = ? AND "l" = ?"#);
        assert_eq!(statements.is_there(|_| true), r#"SELECT 1 FROM "a.t" WHERE "k" = ? AND "l" = ? AND (TRUE)"#);
        assert_eq!(statements.delete(), statements.delete_anyhow());
    }

    #[test]
    fn test_what_a_row_does_not_set_is_not_named_and_the_databases_time_is_the_newest() {
        let table = table(&["a", "b"], WriteTime::Server);
        let statements = Statements { table: &table, found: Found { has_triggers: false, has_written_at: true } };
        let insert = r#"INSERT OR ABORT INTO "a.t"("k","l","b","_written_at") VALUES (?,?,?,?) ON CONFLICT("k","l") DO UPDATE SET "b"=excluded."b","_written_at"=excluded."_written_at""#;
        assert_eq!(statements.upsert(|position| position != 2), insert);
        assert!(!statements.is_by_time());
        assert_eq!(statements.delete(), r#"DELETE FROM "a.t" WHERE "k" = ? AND "l" = ?"#);
    }
}
