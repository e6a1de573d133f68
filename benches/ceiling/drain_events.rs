//! Events of users as JSON, into a table of others: read by the engine's own reader of JSON, converted by hand.

use std::borrow::Cow;

use anyhow::{Context, bail};
use scylla::SerializeRow;
use scylla::serialize::row::SerializeRow;
use scylla::value::CqlTimestamp;
use surgetank::codec::json::JsonExtract;
use surgetank::codec::value::{Extract, Path, PathStep, Value};
use uuid::Uuid;

use crate::drain::{Group, Shape};

/// The values that a row is made of, in the order in which they are taken.
const PATHS: [&[&str]; 5] = [&["user", "id"], &["id"], &["type"], &["payload"], &["ts"]];

/// The shape of events.
pub struct UserEvents(JsonExtract);

/// A row without its partition key.
#[derive(Debug)]
pub struct Row {
    event_id: Uuid,
    event_type: String,
    payload: String,
    timestamp: CqlTimestamp,
}

/// What the statement takes, in the order of its columns.
#[derive(SerializeRow)]
#[scylla(flavor = "enforce_order", skip_name_checks)]
struct Bound<'a> {
    user_id: &'a str,
    event_id: Uuid,
    event_type: &'a str,
    payload: &'a str,
    timestamp: CqlTimestamp,
}

// === impl UserEvents ===

impl UserEvents {
    pub fn new() -> Self {
        let path =
            |names: &&[&str]| Path { steps: names.iter().map(|name| PathStep::Member((*name).into())).collect() };
        Self(JsonExtract::new(&PATHS.iter().map(path).collect::<Vec<_>>()))
    }
}

impl Shape for UserEvents {
    type Row = Row;

    fn insert(keyspace: &str) -> String {
        format!(
            "INSERT INTO {keyspace}.user_events (user_id, event_id, event_type, payload, timestamp) VALUES (?, ?, ?, ?, ?)"
        )
    }

    fn read<'a>(&mut self, record: &'a [u8]) -> anyhow::Result<(Cow<'a, str>, i64, Row)> {
        let mut values = Vec::with_capacity(PATHS.len());
        self.0.extract(record, &mut values)?;
        let values: [Value<'a>; PATHS.len()] = values.try_into().ok().context("a value for each path")?;
        let [Value::Text(user), Value::Text(id), Value::Text(kind), Value::Json(payload), Value::Number(ms)] = values
        else {
            bail!("not an event");
        };
        let row = Row {
            event_id: Uuid::try_parse(&id)?,
            event_type: kind.to_lowercase(),
            payload: payload.into_owned(),
            timestamp: CqlTimestamp(ms.parse()?),
        };
        Ok((user, 0, row))
    }

    fn bound<'a>(group: &'a Group<Row>, row: &'a Row) -> impl SerializeRow + Send + Sync + 'a {
        Bound {
            user_id: &group.key,
            event_id: row.event_id,
            event_type: &row.event_type,
            payload: &row.payload,
            timestamp: row.timestamp,
        }
    }
}
