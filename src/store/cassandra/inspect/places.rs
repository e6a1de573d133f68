//! In which keyspaces the tables are, and with which consistency rows of each are written: our own, and those that routes
//! write to.

use std::collections::HashSet;
use std::sync::Arc;

use super::super::settings::{CassandraSettings, Consistency};
use crate::flow::health::Condition;
use crate::schema::row::Table;

/// A keyspace with its tables.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place<'a> {
    pub(super) keyspace: &'a str,
    /// Whether it is the one of `store.cassandra.keyspace`.
    pub(super) is_own: bool,
    /// Each level once, the store's own first.
    pub(super) levels: Vec<Level<'a>>,
    pub(super) tables: Vec<&'a Arc<Table>>,
}

/// A consistency level and who asks for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Level<'a> {
    pub(super) consistency: Consistency,
    /// The route that has a level of its own.
    pub(super) route: Option<&'a str>,
}

/// The keyspaces, our own first, which is there without any table, too.
pub(super) fn places<'a>(settings: &'a CassandraSettings, tables: &'a [Arc<Table>]) -> Vec<Place<'a>> {
    let stores = Level { consistency: settings.consistency, route: None };
    let own = Place { keyspace: &settings.keyspace, is_own: true, levels: vec![stores], tables: Vec::new() };
    let mut places = vec![own];
    for table in tables {
        let keyspace = settings.keyspace_of(table);
        let level = table.routed.as_ref().and_then(|routed| {
            let consistency = routed.consistency?;
            Some(Level { consistency, route: Some(&routed.route) })
        });
        let level = level.unwrap_or(stores);
        match places.iter_mut().find(|place| place.keyspace == keyspace) {
            Some(place) => {
                if place.levels.iter().all(|known| known.consistency != level.consistency) {
                    place.levels.push(level);
                }
                place.tables.push(table);
            }
            None => places.push(Place { keyspace, is_own: false, levels: vec![level], tables: vec![table] }),
        }
    }
    places
}

/// What is found for routes is about their tables alone: it neither refuses a start nor takes the place of what was found
/// for our own tables.
pub(super) fn of_routes(condition: Condition, keyspace: &str) -> Condition {
    let subject = match condition.subject.contains(keyspace) {
        true => condition.subject,
        false => format!("{} for keyspace {keyspace}", condition.subject),
    };
    Condition { subject, refuses_start: false, ..condition }
}

/// Each condition once: several routes may write to one table.
pub(super) fn distinct(found: Vec<Condition>) -> Vec<Condition> {
    let mut known = HashSet::new();
    found.into_iter().filter(|condition| known.insert((condition.code, condition.subject.clone()))).collect()
}

// === impl Level ===

impl Level<'_> {
    /// The key in the config.
    pub(super) fn setting(&self) -> String {
        self.route
            .map_or_else(|| "store.cassandra.consistency".to_owned(), |route| format!("routes.{route}.consistency"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::flow::health::Part;
    use crate::schema::row::{Routed, WriteTime};

    fn settings() -> CassandraSettings {
        use std::time::Duration;
        CassandraSettings {
            nodes: Vec::new(),
            datacenter: None,
            rack: None,
            keyspace: "fleet".to_owned(),
            route_keyspaces: Vec::new(),
            replication: String::new(),
            consistency: Consistency::LocalQuorum,
            credentials: None,
            request_timeout: Duration::from_secs(1),
            connections_per_node: 1,
            batch_rows: 1,
            batch_bytes: 1,
            ttl: None,
            tls: None,
        }
    }

    fn routed(keyspace: Option<&str>, route: &str, consistency: Option<Consistency>) -> Arc<Table> {
        let routed = Routed {
            route: route.to_owned(),
            timestamp: WriteTime::Cell,
            has_ttl: false,
            consistency,
            is_created: false,
        };
        let keyspace = keyspace.map(str::to_owned);
        Arc::new(Table { keyspace, routed: Some(routed), ..Table::of_type(route, Vec::new()) })
    }

    #[test]
    fn test_each_keyspace_has_its_tables_and_levels_once() {
        let settings = settings();
        let tables = [
            Arc::new(Table::of_type("position", Vec::new())),
            routed(Some("app"), "a", Some(Consistency::One)),
            routed(Some("app"), "b", None),
            routed(Some("app"), "c", Some(Consistency::One)),
            routed(None, "d", Some(Consistency::All)),
            routed(Some("fleet"), "e", Some(Consistency::LocalQuorum)),
        ];
        let places = places(&settings, &tables);
        let level = |consistency, route| Level { consistency, route };
        let (quorum, one) = (level(Consistency::LocalQuorum, None), level(Consistency::One, Some("a")));
        assert_eq!(
            places,
            [
                Place {
                    keyspace: "fleet",
                    is_own: true,
                    levels: vec![quorum, level(Consistency::All, Some("d"))],
                    tables: vec![&tables[0], &tables[4], &tables[5]],
                },
                Place {
                    keyspace: "app",
                    is_own: false,
                    levels: vec![one, quorum],
                    tables: vec![&tables[1], &tables[2], &tables[3]],
                },
            ]
        );
        assert_eq!(places[0].levels[1].setting(), "routes.d.consistency");
    }

    #[test]
    fn test_what_is_found_for_routes_neither_refuses_a_start_nor_hides_what_is_ours() {
        let ours = Condition::failing(Part::Store, "consistency_unreachable", "the cluster", "").refusing_start();
        let theirs = of_routes(ours.clone(), "app");
        assert_eq!((theirs.subject.as_str(), theirs.refuses_start), ("the cluster for keyspace app", false));
        let table = Condition::failing(Part::Store, "table_differs", "app.events", "");
        assert_eq!(of_routes(table.clone(), "app"), table);
        let found = distinct(vec![ours.clone(), theirs.clone(), table.clone(), theirs.clone(), ours.clone()]);
        assert_eq!(found, [ours, theirs, table]);
    }
}
