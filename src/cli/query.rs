//! `surgetank query`: SQL on the embedded store, read-only.

use std::ops::ControlFlow;
use std::path::Path;

use serde_json::{Map, Value};

use super::args::{Format, QueryArgs};
use super::listing::Listing;
use super::output::Results;
use super::{Failure, Outcome};
use crate::config::Config;
use crate::engine::STORE_FILE;
use crate::store::embedded::{Found, query_each};

pub(super) fn query(args: &QueryArgs) -> Outcome {
    let data_dir = match &args.data_dir {
        Some(directory) => directory.clone(),
        None => Config::load(args.config.as_deref()).map_err(Failure::usage)?.data_dir,
    };
    let database = data_dir.join(STORE_FILE);
    match args.format {
        Format::Table => print_table(&database, &args.sql),
        Format::Json => print_json(&database, &args.sql),
    }
}

fn print_table(database: &Path, sql: &str) -> Outcome {
    let mut listing = Listing::new([""; 0]);
    let mut visit = |found: Found<'_>| match found {
        Found::Columns(names) => {
            listing = Listing::new(names);
            ControlFlow::Continue(())
        }
        Found::Row(values) => listing.add(values.into_iter().map(|value| match value {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        })),
    };
    query_each(database, sql, &mut visit).map_err(Failure::job)?;
    listing.print()
}

/// One array with one object per row, each written as it is found.
fn print_json(database: &Path, sql: &str) -> Outcome {
    let mut results = Results::new();
    let (mut columns, mut num_rows, mut written) = (Vec::new(), 0u64, Ok(()));
    let mut visit = |found: Found<'_>| {
        match found {
            Found::Columns(names) => columns = names.to_vec(),
            Found::Row(values) => {
                let object: Map<String, Value> = columns.iter().cloned().zip(values).collect();
                written = print_element(&mut results, num_rows == 0, &object);
                num_rows += 1;
            }
        }
        if written.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    };
    query_each(database, sql, &mut visit).map_err(Failure::job)?;
    written?;
    // A query that fails at once prints nothing, so the array begins with its first element.
    results.line(if num_rows == 0 { "[]" } else { "\n]" })?;
    results.finish()
}

/// An object within an array, in the form that `serde_json` gives to a whole one.
fn print_element(results: &mut Results, is_first: bool, object: &Map<String, Value>) -> Outcome {
    let text = serde_json::to_string_pretty(object).map_err(Failure::job)?;
    let before = if is_first { "[" } else { "," };
    results.write(|out| {
        out.write_all(before.as_bytes())?;
        // Line ends within texts are escaped: all that are there are of the form.
        text.lines().try_for_each(|line| write!(out, "\n  {line}"))
    })
}
