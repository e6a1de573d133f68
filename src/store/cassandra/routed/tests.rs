use super::*;
use crate::schema::row::{Collection, ColumnKind, Items, Key, ScalarKind, WriteTime};
use crate::store::cassandra::schema::{delete_cql, insert_cql};

/// The table of an application: events of users, by day.
fn table(columns: &[(&str, ScalarKind)], num_partition: usize, num_clustering: usize) -> Table {
    let column =
        |(name, kind): &(&str, ScalarKind)| Column { name: (*name).to_owned(), kind: ColumnKind::Scalar(*kind) };
    let routed = Routed {
        route: "user_events".to_owned(),
        timestamp: WriteTime::Cell,
        has_ttl: false,
        consistency: None,
        is_created: false,
    };
    Table {
        keyspace: Some("app".to_owned()),
        name: "events".to_owned(),
        columns: columns.iter().map(column).collect(),
        key: Key { num_partition, num_clustering },
        routed: Some(routed),
    }
}

const EVENTS: [(&str, ScalarKind); 4] = [
    ("user_id", ScalarKind::Text),
    ("Day", ScalarKind::Date),
    ("event_id", ScalarKind::TimeUuid),
    ("kind", ScalarKind::Ascii),
];

fn outcome(table: &Table, columns: &Columns) -> Result<(), (&'static str, String)> {
    match check("app", table, table.routed.as_ref().unwrap(), columns) {
        Ok(()) => Ok(()),
        Err(StoreError::RouteTable { table, code, reason }) => {
            assert_eq!(table, "app.events");
            Err((code, reason))
        }
        Err(other) => panic!("{other}"),
    }
}

fn describe(kind: &str) -> Columns {
    Columns::of(&[
        ("Day", "date", "partition_key", 1),
        ("event_id", "timeuuid", "clustering", 0),
        ("kind", kind, "regular", -1),
        // What the route does not fill may be anything.
        ("place", "frozen<address>", "static", -1),
        ("user_id", "text", "partition_key", 0),
        ("visits", "counter", "regular", -1),
    ])
}

#[test]
fn test_a_table_is_right_whatever_else_it_has() {
    assert_eq!(outcome(&table(&EVENTS, 2, 1), &describe("ascii")), Ok(()));
    let mut with_map = table(&EVENTS, 2, 1);
    let items = Items::Map(ScalarKind::Text, ScalarKind::Int);
    with_map.columns[3].kind = ColumnKind::Collection(Collection { items, is_frozen: true });
    assert_eq!(outcome(&with_map, &describe("frozen<map<text,int>>")), Ok(()), "spaces are the server's own business");
}

#[test]
fn test_what_is_wrong_is_said_with_column_type_and_remedy() {
    let events = table(&EVENTS, 2, 1);
    let (code, reason) = outcome(&events, &describe("int")).unwrap_err();
    assert_eq!(code, "table_differs");
    assert!(reason.starts_with("column app.events.kind is int, but route user_events makes ascii: "), "{reason}");

    let with_source = table(&[&EVENTS[..], &[("Source", ScalarKind::Text)]].concat(), 2, 1);
    let (code, reason) = outcome(&with_source, &describe("ascii")).unwrap_err();
    assert_eq!(code, "column_missing");
    assert!(reason.contains("ALTER TABLE app.events ADD \"Source\" text"), "{reason}");

    for (num_partition, num_clustering) in [(1, 2), (2, 0), (3, 0)] {
        let (code, reason) = outcome(&table(&EVENTS, num_partition, num_clustering), &describe("ascii")).unwrap_err();
        assert_eq!(code, "table_differs");
        assert!(reason.contains("has the primary key ((user_id, Day), event_id)"), "{reason}");
    }

    let mut with_list = events;
    let items = Items::List(ScalarKind::Int);
    with_list.columns[3].kind = ColumnKind::Collection(Collection { items, is_frozen: false });
    let (code, reason) = outcome(&with_list, &describe("list<int>")).unwrap_err();
    assert!(code == "list_doubles" && reason.contains("column kind is a list that is not frozen"), "{code} {reason}");
    with_list.routed.as_mut().unwrap().timestamp = WriteTime::Server;
    assert_eq!(outcome(&with_list, &describe("list<int>")), Ok(()));
}

#[test]
fn test_a_table_is_missing_in_three_ways() {
    let mut events = table(&EVENTS, 2, 1);
    let say = |table: &Table, is_own, has| missing("app", is_own, has, table, table.routed.as_ref().unwrap());
    assert!(say(&events, false, false).to_string().contains("CREATE KEYSPACE app WITH replication"));
    let error = say(&events, false, true);
    assert!(matches!(&error, StoreError::RouteTable { code: "table_missing", .. }), "{error}");
    events.routed.as_mut().unwrap().is_created = true;
    let error = say(&events, false, true);
    assert!(
        matches!(&error, StoreError::Missing { what } if what == "table app.events of route user_events"),
        "{error}"
    );
    assert!(matches!(say(&events, true, false), StoreError::Missing { .. }), "our own keyspace is made, too");
    assert!(matches!(say(&events, false, false), StoreError::RouteTable { code: "keyspace_missing", .. }));
}

#[test]
fn test_statements_name_the_keyspace_and_say_the_types() {
    let mut events = table(&EVENTS, 2, 1);
    let head = r#"INSERT INTO "app"."events" ("user_id", "Day", "event_id", "kind") VALUES ((text)?, (date)?, (timeuuid)?, (ascii)?)"#;
    let key = r#"WHERE "user_id" = (text)? AND "Day" = (date)? AND "event_id" = (timeuuid)?"#;
    for (timestamp, has_ttl, using, of_deletion) in [
        (WriteTime::Cell, true, " USING TIMESTAMP ? AND TTL ?", " USING TIMESTAMP ?"),
        (WriteTime::Cell, false, " USING TIMESTAMP ?", " USING TIMESTAMP ?"),
        (WriteTime::Server, true, " USING TTL ?", ""),
        (WriteTime::Server, false, "", ""),
    ] {
        let routed = events.routed.as_mut().unwrap();
        (routed.timestamp, routed.has_ttl) = (timestamp, has_ttl);
        assert_eq!(insert_cql("app", &events), format!("{head}{using}"));
        assert_eq!(delete_cql("app", &events), format!(r#"DELETE FROM "app"."events"{of_deletion} {key}"#));
    }
    assert_eq!(
        create_cql("app", &events),
        r#"CREATE TABLE IF NOT EXISTS "app"."events" ("user_id" text, "Day" date, "event_id" timeuuid, "kind" ascii, PRIMARY KEY (("user_id", "Day"), "event_id"))"#
    );
    let latest = table(&EVENTS, 1, 0);
    assert!(create_cql("app", &latest).ends_with(r#"PRIMARY KEY (("user_id")))"#));
}
