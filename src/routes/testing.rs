//! What tests of routes share: records, routes, descriptions.

use std::collections::BTreeMap;

use super::*;
use crate::codec::json::JsonExtract;
use crate::codec::value::{Extract, Path};
use crate::log::{Headers, write_header};
use crate::schema::cql;
use crate::schema::row::{Cell, ColumnPlace, DescribedColumn, Span, TableDescription, TableName};
use bytes::Bytes;

/// A record.
#[derive(Debug, Clone, Default)]
pub(super) struct Record {
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(&'static str, Option<&'static str>)>,
    pub timestamp_ms: Option<i64>,
    pub partition: u32,
    pub offset: u64,
    pub now_ms: i64,
}

impl Record {
    /// One with this value.
    pub fn of(value: &str) -> Self {
        Self { value: Some(Bytes::copy_from_slice(value.as_bytes())), timestamp_ms: Some(0), ..Self::default() }
    }

    /// Key, value and headers as a batch has them.
    pub fn data(&self) -> Bytes {
        let mut data = Vec::new();
        data.extend_from_slice(self.key.as_deref().unwrap_or_default());
        data.extend_from_slice(self.value.as_deref().unwrap_or_default());
        for (name, value) in &self.headers {
            write_header(name.as_bytes(), value.map(str::as_bytes), &mut data);
        }
        data.into()
    }
}

/// What the routes make of a record, with the cells.
pub(super) fn rows(routes: &mut TopicRoutes, record: &Record) -> Vec<(Made, Vec<Cell>)> {
    let data = record.data();
    let key_len = record.key.as_ref().map_or(0, Bytes::len) as u32;
    let value_end = key_len + record.value.as_ref().map_or(0, Bytes::len) as u32;
    let view = RecordView {
        data: &data,
        key: record.key.as_ref().map(|_| Span { start: 0, end: key_len }),
        value: record.value.as_ref().map(|_| Span { start: key_len, end: value_end }),
        headers: Headers::of(&data[value_end as usize..]),
        timestamp_ms: record.timestamp_ms,
        topic: "app",
        partition: record.partition,
        offset: record.offset,
        now_ms: record.now_ms,
    };
    let mut made = Vec::new();
    routes.apply(&view, |index, what, cells| {
        assert_eq!(index, made.len());
        made.push((what, std::mem::take(cells)));
    });
    made
}

/// A route from topic `app` to table `app.t`.
pub(super) fn route(of: &[(&str, &str)]) -> RouteSpec {
    RouteSpec {
        name: "r".to_owned(),
        from: Source::Topics(vec!["app".to_owned()]),
        table: TableName { keyspace: Some("app".to_owned()), name: "t".to_owned() },
        filter: None,
        columns: columns(of),
        key: None,
        timestamp: TimestampSpec::Record,
        ttl: None,
        consistency: None,
        null: NullRule::Write,
        on_tombstone: None,
    }
}

/// Columns without types.
pub(super) fn columns(of: &[(&str, &str)]) -> BTreeMap<String, ColumnSpec> {
    let column =
        |(name, from): &(&str, &str)| ((*name).to_owned(), ColumnSpec { from: (*from).to_owned(), type_text: None });
    of.iter().map(column).collect()
}

/// A table.
pub(super) fn described(columns: &[(&str, &str, ColumnPlace)]) -> TableDescription {
    let column = |(name, type_text, place): &(&str, &str, ColumnPlace)| DescribedColumn {
        name: (*name).to_owned(),
        type_text: (*type_text).to_owned(),
        kind: cql::parse_type(type_text),
        place: *place,
    };
    TableDescription { columns: columns.iter().map(column).collect() }
}

/// What reads JSON records.
pub(super) fn json(paths: &[Path]) -> Box<dyn Extract> {
    Box::new(JsonExtract::new(paths))
}
