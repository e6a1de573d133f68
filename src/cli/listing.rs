//! A table for people, of which as much is kept as people read.

use std::ops::ControlFlow;

use comfy_table::{Table, presets};

use super::Outcome;
use super::output::{print, tell};

/// Most rows of a table. Its columns are as wide as their widest cell, so that all of it is in memory before the first line
/// is printed.
const MAX_ROWS: usize = 10_000;

/// Most bytes of text in a table.
const MAX_BYTES: usize = 4 << 20;

/// The table, with what is left out.
pub(super) struct Listing {
    table: Table,
    num_rows: usize,
    num_bytes: usize,
    is_cut: bool,
}

// === impl Listing ===

impl Listing {
    /// A table with nothing below its header.
    pub(super) fn new(header: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let mut table = Table::new();
        table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(header.into_iter().map(Into::into));
        Self { table, num_rows: 0, num_bytes: 0, is_cut: false }
    }

    /// Adds a row while there is room; says when there is none.
    pub(super) fn add(&mut self, row: impl IntoIterator<Item = String>) -> ControlFlow<()> {
        if self.num_rows == MAX_ROWS || self.num_bytes >= MAX_BYTES {
            self.is_cut = true;
            return ControlFlow::Break(());
        }
        let cells: Vec<String> = row.into_iter().collect();
        self.num_rows += 1;
        self.num_bytes += cells.iter().map(String::len).sum::<usize>();
        self.table.add_row(cells);
        ControlFlow::Continue(())
    }

    /// Prints the table, and says so if it is not all.
    pub(super) fn print(self) -> Outcome {
        print(&self.table)?;
        if self.is_cut {
            tell!("surgetank: these are the first {} rows, there are more; --format json prints all", self.num_rows);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_a_listing_is_cut_at_its_rows_or_its_bytes_and_knows() {
        let mut listing = Listing::new(["a"]);
        assert!((0..MAX_ROWS).all(|row| listing.add([row.to_string()]).is_continue()));
        assert!(!listing.is_cut, "all that was there");
        assert!(listing.add([String::new()]).is_break());
        assert!(listing.is_cut);
        assert_eq!(listing.table.row_count(), MAX_ROWS);

        let mut listing = Listing::new(["a"]);
        assert!(listing.add(["x".repeat(MAX_BYTES)]).is_continue(), "a row that is too long alone is shown");
        assert!(listing.add(["x".to_owned()]).is_break());
    }
}
