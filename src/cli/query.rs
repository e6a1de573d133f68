//! `surgetank query`: SQL on the embedded store, read-only.

use comfy_table::{Table, presets};
use serde_json::{Map, Value};

use super::args::{Format, QueryArgs};
use super::{Failure, Outcome, print};
use crate::config::Config;
use crate::engine::STORE_FILE;
use crate::store::embedded::{QueryResult, query as read};

pub(super) fn query(args: &QueryArgs) -> Outcome {
    let data_dir = match &args.data_dir {
        Some(directory) => directory.clone(),
        None => Config::load(args.config.as_deref()).map_err(Failure::usage)?.data_dir,
    };
    let result = read(&data_dir.join(STORE_FILE), &args.sql).map_err(Failure::job)?;
    match args.format {
        Format::Table => print_table(result),
        Format::Json => print_json(result)?,
    }
    Ok(())
}

fn print_table(result: QueryResult) {
    let mut table = Table::new();
    table.load_preset(presets::UTF8_HORIZONTAL_ONLY).set_header(result.columns);
    for row in result.rows {
        table.add_row(row.into_iter().map(|value| match value {
            Value::String(text) => text,
            Value::Null => String::new(),
            other => other.to_string(),
        }));
    }
    print(table);
}

fn print_json(result: QueryResult) -> Outcome {
    let columns = &result.columns;
    let rows: Vec<Map<String, Value>> =
        result.rows.into_iter().map(|row| columns.iter().cloned().zip(row).collect()).collect();
    print(serde_json::to_string_pretty(&rows).map_err(Failure::job)?);
    Ok(())
}
