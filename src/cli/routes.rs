//! What `check` says of routes: without the database where they lead, with it whether that goes, and what writing a record twice
//! does.

use super::output::tell;
use crate::actors::routing::Routing;
use crate::config::Config;
use crate::routes::{Idempotence, RouteSpec};

/// One line for each route: from where to where, and what writing twice does as far as that is known without its table.
pub(super) fn tell_routes(path: &str, config: &Config) {
    for spec in &config.routes {
        tell!("{path}: {}; {}", line(spec), Idempotence::of(spec, None));
    }
}

fn line(spec: &RouteSpec) -> String {
    let table = match &spec.table.keyspace {
        Some(keyspace) => format!("{keyspace}.{}", spec.table.name),
        None => spec.table.name.clone(),
    };
    let from = match (spec.topics(), spec.types()) {
        ([], types) => format!("message types {}", types.join(", ")),
        (topics, _) => format!("topics {}", topics.join(", ")),
    };
    format!("route {}: {from} -> table {table}", spec.name)
}

/// What an operator should know of routes now that their tables are known; what was said without them is not said again.
pub(super) fn notes(routing: &Routing) -> Vec<String> {
    let mut notes = Vec::new();
    for route in routing.routes() {
        let name = &route.spec.name;
        let known = route.idempotence();
        if known != Idempotence::of(&route.spec, None) {
            notes.push(format!("route {name}: {known}"));
        }
        notes.extend(route.notes().into_iter().map(|note| format!("route {name}: {note}")));
    }
    notes
}
