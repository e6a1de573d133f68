//! Tables of routes on a real cluster: the contract of all stores, values of all types read back by the driver's own means,
//! tables in keyspaces of others. Set `SURGETANK_TEST_CASSANDRA=host:port`, otherwise the tests say that they were skipped.

use std::net::IpAddr;
use std::sync::Arc;

use num_bigint::BigInt;
use scylla::client::session::Session;
use scylla::value::{CqlDate, CqlDecimal, CqlDuration, CqlTime, CqlTimestamp, CqlTimeuuid, CqlValue, CqlVarint, Row};
use surgetank::schema::row::{
    Cell, Column, ColumnPlace, DecimalValue, DescribedColumn, Key, Routed, RowOp, Table, TableName, WriteTime,
};
use surgetank::store::cassandra::{CassandraStore, Consistency};
use surgetank::store::{Store, TransientKind, WriteError};
use uuid::Uuid;

use crate::store_cassandra::{KEYSPACE, TestResult, connect, node, other_session, room, texts, wait};
use crate::store_contract::others::{OthersRoom, check_others};
use crate::store_contract::routed::{check_routed, routed_group};
use crate::store_contract::{Room, simple_table};

#[tokio::test(flavor = "multi_thread")]
async fn tables_of_routes_keep_the_contract() -> TestResult {
    let Some(node) = node() else { return Ok(()) };
    let store = Arc::new(connect(&node, None).await?);
    let (reader, changer) = (other_session(&node).await?, other_session(&node).await?);
    let change = Arc::new(move |cql: String| {
        wait(changer.query_unpaged(cql, ())).expect("change of the schema");
    });
    let adder = Arc::clone(&change);
    let read = move |table: &str| wait(texts(&reader, &format!("SELECT JSON * FROM {KEYSPACE}.{table}")));
    let room = OthersRoom {
        room: Room { read: Box::new(read), ..room(&node, &store).await? },
        drop_column: Box::new(move |table, column| change(format!("ALTER TABLE {KEYSPACE}.{table} DROP {column}"))),
        add_column: Box::new(move |table, column| adder(format!("ALTER TABLE {KEYSPACE}.{table} ADD {column} int"))),
    };
    check_routed(&room.room).await;
    check_others(&room).await;
    Ok(())
}

/// A keyspace of others, made anew.
async fn keyspace_of_others(session: &Session, name: &str) -> TestResult {
    session.query_unpaged(format!("DROP KEYSPACE IF EXISTS {name}"), ()).await?;
    let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
    session.query_unpaged(format!("CREATE KEYSPACE {name} WITH replication = {replication}"), ()).await?;
    Ok(())
}

/// A route to a table as the database describes it, which fills these columns beside the key.
async fn route_to(
    store: &CassandraStore,
    keyspace: &str,
    name: &str,
    columns: &[&str],
    timestamp: WriteTime,
    has_ttl: bool,
) -> Result<Arc<Table>, Box<dyn std::error::Error>> {
    let table_name = TableName { keyspace: Some(keyspace.to_owned()), name: name.to_owned() };
    let described = store.describe(&table_name).await?.ok_or("no such table")?;
    let num = |is_counted: fn(ColumnPlace) -> bool| described.columns.iter().filter(|c| is_counted(c.place)).count();
    let key = Key {
        num_partition: num(|place| matches!(place, ColumnPlace::Partition(_))),
        num_clustering: num(|place| matches!(place, ColumnPlace::Clustering(_))),
    };
    let is_filled = |position: usize, column: &DescribedColumn| {
        position < key.num_partition + key.num_clustering || columns.contains(&column.name.as_str())
    };
    let filled = described.columns.iter().enumerate().filter(|(position, column)| is_filled(*position, column));
    let columns = filled.map(|(_, column)| Some(Column { name: column.name.clone(), kind: column.kind? }));
    let columns = columns.collect::<Option<Vec<_>>>().ok_or("a column that cannot be written")?;
    let routed = Routed { route: "r".to_owned(), timestamp, has_ttl, consistency: None, is_created: false };
    let (keyspace, name) = (Some(keyspace.to_owned()), name.to_owned());
    let table = Arc::new(Table { keyspace, name, columns, key, routed: Some(routed) });
    store.prepare(std::slice::from_ref(&table)).await?;
    Ok(table)
}

fn text(text: &str) -> Cell {
    Cell::OwnText(text.into())
}

fn decimal(unscaled: &str, scale: i32) -> Result<Cell, Box<dyn std::error::Error>> {
    Ok(Cell::Decimal(Box::new(DecimalValue { unscaled: unscaled.parse()?, scale })))
}

fn varint(digits: &str) -> Result<BigInt, Box<dyn std::error::Error>> {
    Ok(digits.parse()?)
}

/// A type, and what columns of it are written with and what the driver reads then.
type Values = (&'static str, Vec<(Cell, CqlValue)>);

fn values() -> Result<Vec<Values>, Box<dyn std::error::Error>> {
    let uuids = ["00000000-0000-0000-0000-000000000000", "ffffffff-ffff-4fff-bfff-ffffffffffff"];
    let timeuuids = ["50554d6e-29bb-11e5-b345-feff819cdc9f", "ffffffff-ffff-1fff-bfff-ffffffffffff"];
    let huge = format!("-{}", "9".repeat(120));
    let cql_decimal = |digits: &str, scale| {
        let bytes = varint(digits)?.to_signed_bytes_be();
        Ok::<_, Box<dyn std::error::Error>>(CqlValue::Decimal(CqlDecimal::from_signed_be_bytes_and_exponent(
            bytes, scale,
        )))
    };
    let cql_varint = |digits: &str| {
        Ok::<_, Box<dyn std::error::Error>>(CqlValue::Varint(CqlVarint::from_signed_bytes_be(
            varint(digits)?.to_signed_bytes_be(),
        )))
    };
    let texts = |make: fn(String) -> CqlValue, texts: &[&str]| {
        texts.iter().map(|value| (text(value), make((*value).to_owned()))).collect::<Vec<_>>()
    };
    let duration = |months, days, nanoseconds| {
        (Cell::Duration { months, days, nanoseconds }, CqlValue::Duration(CqlDuration { months, days, nanoseconds }))
    };
    let date = |days: i32| (Cell::Date(days), CqlValue::Date(CqlDate((i64::from(days) + (1 << 31)) as u32)));
    let double = |value: f64| (Cell::Double(value), CqlValue::Double(value));
    let float = |value: f32| (Cell::Float(value), CqlValue::Float(value));
    let inet = |address: &str| {
        let address: IpAddr = address.parse()?;
        Ok::<_, Box<dyn std::error::Error>>((Cell::Inet(address), CqlValue::Inet(address)))
    };
    let uuid = |value: &str| -> Result<(Cell, Uuid), Box<dyn std::error::Error>> {
        let uuid: Uuid = value.parse()?;
        Ok((Cell::Uuid(*uuid.as_bytes()), uuid))
    };
    Ok(vec![
        ("ascii", texts(CqlValue::Ascii, &["", "a\u{0}~", "O'Brien"])),
        ("text", texts(CqlValue::Text, &["", "naïve \u{10ffff}", "{\"a\": [1, null]}"])),
        ("blob", [&[][..], &[0, 255]].map(|b| (Cell::OwnBytes(b.into()), CqlValue::Blob(b.to_vec()))).into()),
        ("boolean", [true, false].map(|value| (Cell::Bool(value), CqlValue::Boolean(value))).into()),
        ("tinyint", [i8::MIN, i8::MAX].map(|v| (Cell::Int(v.into()), CqlValue::TinyInt(v))).into()),
        ("smallint", [i16::MIN, i16::MAX].map(|v| (Cell::Int(v.into()), CqlValue::SmallInt(v))).into()),
        ("int", [i32::MIN, i32::MAX].map(|value| (Cell::Int(value), CqlValue::Int(value))).into()),
        ("bigint", [i64::MIN, i64::MAX].map(|value| (Cell::Long(value), CqlValue::BigInt(value))).into()),
        (
            "varint",
            ["0", "-1", "128", "18446744073709551616", huge.as_str()]
                .into_iter()
                .map(|digits| Ok((Cell::Varint(Box::new(varint(digits)?)), cql_varint(digits)?)))
                .collect::<Result<_, Box<dyn std::error::Error>>>()?,
        ),
        (
            "decimal",
            [("0", 0), ("-1", -7), ("314159", 5), (huge.as_str(), i32::MAX), ("1", i32::MIN)]
                .into_iter()
                .map(|(digits, scale)| Ok((decimal(digits, scale)?, cql_decimal(digits, scale)?)))
                .collect::<Result<_, Box<dyn std::error::Error>>>()?,
        ),
        ("float", [f32::NAN, f32::INFINITY, f32::MIN, -0.0, f32::from_bits(1)].map(float).into()),
        ("double", [f64::NAN, f64::NEG_INFINITY, f64::MAX, -0.0, f64::from_bits(1)].map(double).into()),
        (
            "timestamp",
            [-1, 0, i64::MIN, i64::MAX, -62_135_596_800_000]
                .map(|ms| (Cell::Timestamp(ms), CqlValue::Timestamp(CqlTimestamp(ms))))
                .into(),
        ),
        // The last is the day 5881580-07-11.
        ("date", [-1, 0, i32::MIN, i32::MAX].map(date).into()),
        ("time", [0, 86_399_999_999_999].map(|ns| (Cell::Time(ns), CqlValue::Time(CqlTime(ns)))).into()),
        (
            "duration",
            vec![
                duration(0, 0, 0),
                duration(1, 2, 3),
                duration(i32::MAX, i32::MAX, i64::MAX),
                duration(-1, 0, i64::MIN),
            ],
        ),
        ("inet", vec![inet("0.0.0.0")?, inet("::ffff:1.2.3.4")?, inet("2001:db8::1")?, inet("255.255.255.255")?]),
        (
            "uuid",
            uuids
                .into_iter()
                .map(|value| uuid(value).map(|(cell, uuid)| (cell, CqlValue::Uuid(uuid))))
                .collect::<Result<_, _>>()?,
        ),
        (
            "timeuuid",
            timeuuids
                .into_iter()
                .map(|value| uuid(value).map(|(cell, uuid)| (cell, CqlValue::Timeuuid(CqlTimeuuid::from(uuid)))))
                .collect::<Result<_, _>>()?,
        ),
        (
            "frozen<list<bigint>>",
            vec![
                (Cell::List(vec![]), CqlValue::List(vec![])),
                (
                    Cell::List(vec![Cell::Long(2), Cell::Long(1), Cell::Long(2)]),
                    CqlValue::List([2, 1, 2].map(CqlValue::BigInt).into()),
                ),
            ],
        ),
        (
            // Unsorted and with equals: the server puts that right.
            "set<text>",
            vec![(
                Cell::List(["b", "", "a", "b"].map(text).into()),
                CqlValue::Set(["", "a", "b"].map(|t| CqlValue::Text(t.to_owned())).into()),
            )],
        ),
        (
            "frozen<set<inet>>",
            vec![
                (Cell::List(vec![]), CqlValue::Set(vec![])),
                (
                    Cell::List(vec![inet("9.9.9.9")?.0, inet("1.1.1.1")?.0, inet("9.9.9.9")?.0]),
                    CqlValue::Set(vec![inet("1.1.1.1")?.1, inet("9.9.9.9")?.1]),
                ),
            ],
        ),
        (
            "map<text, decimal>",
            vec![(
                Cell::Map(vec![(text("z"), decimal("5", -1)?), (text("a"), decimal("1", 3)?)]),
                CqlValue::Map(vec![
                    (CqlValue::Text("a".to_owned()), cql_decimal("1", 3)?),
                    (CqlValue::Text("z".to_owned()), cql_decimal("5", -1)?),
                ]),
            )],
        ),
        (
            "frozen<map<date, duration>>",
            vec![
                (Cell::Map(vec![]), CqlValue::Map(vec![])),
                (
                    Cell::Map(vec![(date(-1).0, duration(0, 1, 0).0)]),
                    CqlValue::Map(vec![(date(-1).1, duration(0, 1, 0).1)]),
                ),
            ],
        ),
    ])
}

/// Equal, and for floats to the bit.
fn are_same(found: &Option<CqlValue>, expected: &Option<CqlValue>) -> bool {
    match (found, expected) {
        (Some(CqlValue::Double(found)), Some(CqlValue::Double(expected))) => found.to_bits() == expected.to_bits(),
        (Some(CqlValue::Float(found)), Some(CqlValue::Float(expected))) => found.to_bits() == expected.to_bits(),
        _ => found == expected,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_all_types_come_back() -> TestResult {
    const OTHERS: &str = "surgetank_all_types";
    let Some(node) = node() else { return Ok(()) };
    let (session, store) = (other_session(&node).await?, connect(&node, None).await?);
    keyspace_of_others(&session, OTHERS).await?;
    let values = values()?;
    let names: Vec<String> = (0..values.len()).map(|index| format!("Column {index:02}")).collect();
    let columns: Vec<String> =
        names.iter().zip(&values).map(|(name, (kind, _))| format!("\"{name}\" {kind}, ")).collect();
    let cql = format!(
        "CREATE TABLE {OTHERS}.\"All\" (place text, number int, {} visits frozen<tuple<int, text>>, PRIMARY KEY (place, number)) \
         WITH CLUSTERING ORDER BY (number DESC)",
        columns.concat()
    );
    session.query_unpaged(cql, ()).await?;
    let filled: Vec<&str> = names.iter().map(String::as_str).collect();
    let table = route_to(&store, OTHERS, "All", &filled, WriteTime::Cell, false).await?;
    assert_eq!(table.columns.len(), 2 + values.len());

    let num_rows = values.iter().map(|(_, cases)| cases.len()).max().unwrap_or_default();
    let row = |place: &str, number: usize| {
        let cells = values.iter().map(|(_, cases)| cases.get(number).map_or(Cell::Null, |(cell, _)| cell.clone()));
        let key = [text(place), Cell::Int(number as i32)];
        key.into_iter().chain(cells).chain([Cell::Long(1_000)]).collect::<Vec<_>>()
    };
    // One by one, all in one batch, and all of them again.
    for number in 0..num_rows {
        store.write(routed_group(&table, RowOp::Upsert, [row("alone", number)])).await?;
    }
    for _ in 0..2 {
        store.write(routed_group(&table, RowOp::Upsert, (0..num_rows).map(|number| row("together", number)))).await?;
    }
    let listed: Vec<String> = names.iter().map(|name| format!("\"{name}\"")).collect();
    for place in ["alone", "together"] {
        let cql = format!("SELECT {} FROM {OTHERS}.\"All\" WHERE place = ? ORDER BY number ASC", listed.join(", "));
        let found = session.query_unpaged(cql, (place,)).await?.into_rows_result()?;
        let found = found.rows::<Row>()?.collect::<Result<Vec<_>, _>>()?;
        assert_eq!(found.len(), num_rows);
        for (number, row) in found.iter().enumerate() {
            for ((kind, cases), found) in values.iter().zip(&row.columns) {
                let expected = cases.get(number).map(|(_, value)| value.clone());
                assert!(are_same(found, &expected), "{place}, {kind}: {found:?} is not {expected:?}");
            }
        }
    }
    session.query_unpaged(format!("DROP KEYSPACE {OTHERS}"), ()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_the_rows_the_tables_or_the_servers() -> TestResult {
    const OTHERS: &str = "surgetank_times";
    let Some(node) = node() else { return Ok(()) };
    let (session, store) = (other_session(&node).await?, connect(&node, None).await?);
    keyspace_of_others(&session, OTHERS).await?;
    let cql =
        format!("CREATE TABLE {OTHERS}.t (k int PRIMARY KEY, v int, items list<int>) WITH default_time_to_live = 1000");
    session.query_unpaged(cql, ()).await?;
    let row = |key: i32, behind: &[Cell]| [&[Cell::Int(key), Cell::Int(1)], behind].concat();
    let write = async |table: &Arc<Table>, op, row: Vec<Cell>| store.write(routed_group(table, op, [row])).await;

    let timed = route_to(&store, OTHERS, "t", &["v"], WriteTime::Cell, true).await?;
    write(&timed, RowOp::Upsert, row(1, &[Cell::Long(1_000), Cell::Int(50)])).await?;
    write(&timed, RowOp::Upsert, row(2, &[Cell::Long(-5), Cell::Null])).await?;
    let served = route_to(&store, OTHERS, "t", &["v"], WriteTime::Server, false).await?;
    write(&served, RowOp::Upsert, row(3, &[])).await?;
    write(&served, RowOp::Upsert, row(4, &[])).await?;
    write(&served, RowOp::Delete, row(4, &[])).await?;
    let found = session.query_unpaged(format!("SELECT k, writetime(v), ttl(v) FROM {OTHERS}.t"), ()).await?;
    let found = found.into_rows_result()?;
    let mut found = found.rows::<(i32, i64, i32)>()?.collect::<Result<Vec<_>, _>>()?;
    found.sort_unstable();
    let [(1, 1_000, of_row), (2, -5, of_table), (3, server_us, _)] = found[..] else { panic!("{found:?}") };
    assert!((40..=50).contains(&of_row) && (900..=1000).contains(&of_table), "{found:?}");
    assert!(surgetank::telemetry::now_us().abs_diff(server_us as u64) < 60_000_000, "{found:?}");
    // What the server does not take is the row's fault.
    for cells in [[Cell::Long(i64::MIN), Cell::Null], [Cell::Long(1), Cell::Int(-1)]] {
        let outcome = write(&timed, RowOp::Upsert, row(1, &cells)).await;
        assert!(matches!(outcome, Err(WriteError::Invalid(_))), "{outcome:?}");
    }
    session.query_unpaged(format!("DROP KEYSPACE {OTHERS}"), ()).await?;
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_keyspaces_and_tables_of_others_is_found() -> TestResult {
    const OTHERS: &str = "surgetank_inspect_others";
    let Some(node) = node() else { return Ok(()) };
    let (session, store) = (other_session(&node).await?, connect(&node, None).await?);
    let tell = async |cql: String| session.query_unpaged(cql, ()).await.map(drop);
    keyspace_of_others(&session, OTHERS).await?;
    let create = format!("CREATE TABLE {OTHERS}.t (k int PRIMARY KEY, v int, w int)");
    tell(create.clone()).await?;
    store.apply(&[simple_table("inspect_beside")]).await?;
    let mut table = Table::clone(&*route_to(&store, OTHERS, "t", &["v"], WriteTime::Cell, false).await?);
    table.routed.as_mut().ok_or("routed")?.consistency = Some(Consistency::One);
    let tables = [simple_table("inspect_beside"), Arc::new(table)];
    let codes = async || -> Result<Vec<(&'static str, String)>, Box<dyn std::error::Error>> {
        let found = store.inspect(&tables).await?;
        assert!(found.iter().all(|condition| !condition.refuses_start), "{found:?}");
        Ok(found.into_iter().map(|condition| (condition.code, condition.subject)).collect())
    };
    let at_table = |code: &'static str| [(code, format!("{OTHERS}.t"))];
    assert_eq!(codes().await?, []);

    let replicas = "replication = {'class': 'SimpleStrategy', 'replication_factor':";
    tell(format!("ALTER KEYSPACE {OTHERS} WITH {replicas} 3}} AND durable_writes = false")).await?;
    let of_keyspace = format!("the cluster for keyspace {OTHERS}");
    let expected = [("durable_writes_off", OTHERS.to_owned()), ("too_few_nodes", of_keyspace)];
    assert_eq!(codes().await?, expected);
    tell(format!("ALTER KEYSPACE {OTHERS} WITH {replicas} 1}} AND durable_writes = true")).await?;

    tell(format!("ALTER TABLE {OTHERS}.t DROP w")).await?;
    assert_eq!(codes().await?, []);
    tell(format!("ALTER TABLE {OTHERS}.t DROP v")).await?;
    assert_eq!(codes().await?, at_table("column_missing"));
    tell(format!("DROP TABLE {OTHERS}.t")).await?;
    assert_eq!(codes().await?, at_table("table_missing"));
    tell(create.replace("v int", "v text")).await?;
    assert_eq!(codes().await?, at_table("table_differs"));
    tell(format!("DROP KEYSPACE {OTHERS}")).await?;
    assert_eq!(codes().await?, at_table("keyspace_missing"));
    let error = store.apply(&tables).await.err().ok_or("applied")?;
    assert!(error.to_string().contains(&format!("CREATE KEYSPACE {OTHERS} WITH replication")), "{error}");
    Ok(())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_route_has_a_consistency_of_its_own() -> TestResult {
    const OTHERS: &str = "surgetank_levels";
    let Some(node) = node() else { return Ok(()) };
    let (session, store) = (other_session(&node).await?, connect(&node, None).await?);
    keyspace_of_others(&session, OTHERS).await?;
    session.query_unpaged(format!("CREATE TABLE {OTHERS}.t (k int, c int, PRIMARY KEY (k, c))"), ()).await?;
    let as_the_stores = route_to(&store, OTHERS, "t", &[], WriteTime::Server, false).await?;
    let mut table = Table::clone(&as_the_stores);
    table.routed.as_mut().ok_or("routed")?.consistency = Some(Consistency::Two);
    let of_two = Arc::new(table);
    for num_rows in [1, 3] {
        let rows = || (0..num_rows).map(|number| vec![Cell::Int(1), Cell::Int(number)]);
        store.write(routed_group(&as_the_stores, RowOp::Upsert, rows())).await?;
        for op in [RowOp::Upsert, RowOp::Delete] {
            let outcome = store.write(routed_group(&of_two, op, rows())).await;
            assert!(matches!(outcome, Err(WriteError::Transient(TransientKind::Unavailable, _))), "{outcome:?}");
        }
    }
    session.query_unpaged(format!("DROP KEYSPACE {OTHERS}"), ()).await?;
    Ok(())
}

/// Why lists that are not frozen are refused unless the server gives the time.
#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_cells_is_doubled_by_the_same_timestamp() -> TestResult {
    const OTHERS: &str = "surgetank_lists";
    let Some(node) = node() else { return Ok(()) };
    let (session, store) = (other_session(&node).await?, connect(&node, None).await?);
    keyspace_of_others(&session, OTHERS).await?;
    session.query_unpaged(format!("CREATE TABLE {OTHERS}.t (k int PRIMARY KEY, items list<int>)"), ()).await?;
    for _ in 0..2 {
        let cql = format!("INSERT INTO {OTHERS}.t (k, items) VALUES (1, [1, 2]) USING TIMESTAMP 1000");
        session.query_unpaged(cql, ()).await?;
    }
    let refused = route_to(&store, OTHERS, "t", &["items"], WriteTime::Cell, false).await.err().ok_or("not refused")?;
    assert!(refused.to_string().contains("column items is a list that is not frozen"), "{refused}");
    let table = route_to(&store, OTHERS, "t", &["items"], WriteTime::Server, false).await?;
    let row = vec![Cell::Int(2), Cell::List(vec![Cell::Int(1), Cell::Int(2)])];
    for _ in 0..2 {
        store.write(routed_group(&table, RowOp::Upsert, [row.clone()])).await?;
    }
    let found = texts(&session, &format!("SELECT JSON * FROM {OTHERS}.t")).await;
    assert_eq!(found, [r#"{"k": 1, "items": [1, 2, 1, 2]}"#, r#"{"k": 2, "items": [1, 2]}"#]);
    session.query_unpaged(format!("DROP KEYSPACE {OTHERS}"), ()).await?;
    Ok(())
}
