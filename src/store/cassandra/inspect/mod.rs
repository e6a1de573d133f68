//! Asks the cluster for everything that may keep rows from being written or kept: replicas and nodes, tables, the servers'
//! settings, their clocks, our rights. The rules are in [`keyspace`], [`replicas`], [`rights`] and [`server`]; the shape of
//! tables is [`schema`]'s.

mod keyspace;
mod places;
mod replicas;
mod rights;
mod server;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use scylla::client::session::Session;
use scylla::cluster::Node;
use scylla::policies::load_balancing::{NodeIdentifier, SingleTargetLoadBalancingPolicy};
use scylla::statement::Consistency;
use scylla::statement::unprepared::Statement;

use self::keyspace::Keyspace;
use self::places::{Place, places};
pub(super) use self::replicas::needed;
use self::replicas::{Member, Placement, Wish};
use self::rights::Rights;
use self::server::{Answer, Known, NAMES, Server, Settings};
use super::settings::CassandraSettings;
use super::{clock, failed, schema};
use crate::flow::health::{Condition, Part};
use crate::schema::row::Table;
use crate::store::StoreError;
use crate::telemetry::now_us;

/// A node that does not tell its settings within this time is left out.
const TIMEOUT: Duration = Duration::from_secs(2);

/// More nodes are not asked for their settings, which are the same on all unless somebody is at work.
const MAX_NODES: usize = 24;

/// Inspects one cluster.
#[derive(Default)]
pub(super) struct Inspector {
    /// It was told that settings cannot be read.
    has_told: AtomicBool,
    /// What each node said last of its settings.
    known: Mutex<Known>,
}

/// What is asked, and by which settings.
struct Cluster<'a> {
    session: &'a Session,
    settings: &'a CassandraSettings,
    members: Vec<Member>,
}

// === impl Inspector ===

impl Inspector {
    /// Everything that is wrong. An error if the cluster cannot be asked.
    pub(super) async fn inspect(
        &self,
        session: &Session,
        settings: &CassandraSettings,
        tables: &[Arc<Table>],
    ) -> Result<Vec<Condition>, StoreError> {
        let cluster = Cluster { session, settings, members: members(session) };
        // Without a node to ask, every question would fail for that reason alone.
        if let Some(unknown) = unknown_datacenter(session, settings) {
            return Ok(vec![Condition::failing(Part::Store, "unknown_local_dc", "", unknown).refusing_start()]);
        }
        let (servers, clocks) = tokio::join!(self.servers(session), clock::ask(session));
        let mut found = server::guardrails(&servers, settings.consistency);
        // By the database's clock, where it tells: our own may be the wrong one.
        let reading = clocks.as_ref().ok().and_then(clock::NodeClocks::reading);
        let now_s = reading.map_or_else(|| now_us() / 1000, |reading| reading.unix_ms) / 1000;
        found.extend(clocks.iter().flat_map(clock::NodeClocks::conditions));
        let rights_opt = Rights::ask(session, settings).await;
        for place in places(settings, tables) {
            found.extend(self::levels(&place, &servers));
            found.extend(cluster.place(&place, rights_opt.as_ref(), &servers, now_s).await?);
        }
        Ok(places::distinct(found))
    }

    async fn servers(&self, session: &Session) -> Vec<Server> {
        let state = session.get_cluster_state();
        let asked = state.get_nodes_info().iter().take(MAX_NODES).filter(|node| node.is_connected());
        let servers = asked.map(|node| async move {
            let address = node.address.ip().to_string();
            // Only ScyllaDB has shards. It has no such settings.
            let is_scylla = node.sharder().is_some();
            let answer = if is_scylla { Answer::Nothing } else { self.settings_of(session, node).await };
            let settings = self.known.lock().with(&address, answer)?;
            Some(Server { node: address, is_scylla, settings })
        });
        let servers: Vec<Server> = join_all(servers).await.into_iter().flatten().collect();
        if servers.iter().any(|server| server.is_scylla) {
            self.tell_unchecked("ScyllaDB has none that can be read");
        }
        servers
    }

    async fn settings_of(&self, session: &Session, node: &Arc<Node>) -> Answer {
        let names: Vec<String> = NAMES.iter().map(|name| format!("'{name}'")).collect();
        let cql = format!("SELECT name, value FROM system_views.settings WHERE name IN ({})", names.join(", "));
        let mut question = Statement::new(cql);
        question.set_consistency(Consistency::One);
        question.set_request_timeout(Some(TIMEOUT));
        let target = NodeIdentifier::Node(Arc::clone(node));
        question.set_load_balancing_policy(Some(SingleTargetLoadBalancingPolicy::new(target, None)));
        let answer = match session.query_unpaged(question, ()).await {
            Ok(answer) => answer,
            Err(error) => {
                let reason = error.to_string();
                tracing::debug!(reason, "a node does not tell its settings");
                if !server::tells_none(&error) {
                    return Answer::Silence;
                }
                self.tell_unchecked(&reason);
                return Answer::Nothing;
            }
        };
        let read = || -> Result<Settings, Box<dyn std::error::Error>> {
            let rows = answer.into_rows_result()?;
            Ok(rows.rows::<(String, Option<String>)>()?.collect::<Result<_, _>>()?)
        };
        match read() {
            Ok(settings) => Answer::Settings(settings),
            Err(error) => {
                self.tell_unchecked(&error.to_string());
                Answer::Nothing
            }
        }
    }

    /// Once for each process: it stays as it is.
    fn tell_unchecked(&self, reason: &str) {
        if !self.has_told.swap(true, Ordering::Relaxed) {
            tracing::info!(reason, "the database does not tell its guardrails; they are not checked");
        }
    }
}

// === impl Cluster ===

impl Cluster<'_> {
    /// What is wrong with a keyspace and its tables.
    async fn place(
        &self,
        place: &Place<'_>,
        rights_opt: Option<&Rights>,
        servers: &[Server],
        now_s: u64,
    ) -> Result<Vec<Condition>, StoreError> {
        let Self { session, settings, members } = self;
        let keyspace = place.keyspace;
        let mut found = Vec::new();
        let Some(Keyspace { replication, has_commit_log }) = keyspace::ask(session, keyspace).await? else {
            // Without a table of our own nothing needs it.
            if place.is_own && !place.tables.is_empty() {
                let missing = StoreError::Missing { what: format!("keyspace {keyspace}") };
                found.push(Condition::failing(Part::Store, "keyspace_missing", keyspace, missing.to_string()));
            }
            for table in &place.tables {
                found.extend(match table.routed {
                    Some(_) => misshapen(&qualified(settings, table), self.shape(table).await)?,
                    None => {
                        settings.ttl.and_then(|ttl| server::lifetime(&qualified(settings, table), ttl, servers, now_s))
                    }
                });
            }
            return Ok(found);
        };
        found.extend(keyspace::durability(keyspace, has_commit_log));
        found.extend(self.replicas(place, &Placement::of(&replication), members));
        let lifetimes = lifetimes(session, keyspace).await?;
        for table in &place.tables {
            found.extend(rights_opt.and_then(|rights| rights.condition(keyspace, table)));
            let lives_s = lifetimes.get(&table.name).copied();
            found.extend(misshapen(&qualified(settings, table), self.shape(table).await)?);
            // How long rows live in a table of others is not ours to say.
            if table.routed.is_none() {
                found.extend(lifetime(settings, table, lives_s, servers, now_s));
            }
        }
        Ok(found)
    }

    async fn shape(&self, table: &Arc<Table>) -> Result<(), StoreError> {
        schema::check(self.session, self.settings, std::slice::from_ref(table)).await
    }

    fn replicas(&self, place: &Place<'_>, placement: &Placement, members: &[Member]) -> Vec<Condition> {
        let mut found = Vec::new();
        for level in &place.levels {
            let setting = level.setting();
            let wish = Wish {
                keyspace: place.keyspace,
                consistency: level.consistency,
                setting: &setting,
                datacenter: self.settings.datacenter.as_deref(),
                rack: self.settings.rack.as_deref(),
            };
            let of_keyspace = replicas::of_keyspace(wish, placement, members);
            if place.is_own && level.route.is_none() {
                found.extend(replicas::of_cluster(wish, members));
                found.extend(of_keyspace);
            } else {
                // That nodes are down is told once.
                let of_routes = of_keyspace.into_iter().filter(|condition| condition.code != "nodes_down");
                found.extend(of_routes.map(|condition| places::of_routes(condition, place.keyspace)));
            }
        }
        found
    }
}

/// Guardrails against the levels of routes.
fn levels(place: &Place<'_>, servers: &[Server]) -> Vec<Condition> {
    let of_routes = place.levels.iter().filter_map(|level| Some((level.consistency, level.route?)));
    of_routes
        .flat_map(|(consistency, route)| {
            let found = server::disallowed(servers, consistency, &format!("routes.{route}.consistency"));
            found
                .map(|condition| Condition { subject: format!("{} for route {route}", condition.subject), ..condition })
        })
        .collect()
}

/// Why `store.cassandra.local_dc` cannot be used, if it cannot.
pub(super) fn unknown_datacenter(session: &Session, settings: &CassandraSettings) -> Option<String> {
    let local = settings.datacenter.as_deref()?;
    let members = members(session);
    let names: BTreeSet<&str> = members.iter().map(|member| member.datacenter.as_str()).collect();
    let listed = names.iter().copied().collect::<Vec<_>>().join(", ");
    (!names.contains(local)).then(|| replicas::unknown_datacenter(local, &listed))
}

fn members(session: &Session) -> Vec<Member> {
    let state = session.get_cluster_state();
    let member = |node: &Arc<Node>| Member {
        datacenter: node.datacenter.clone().unwrap_or_default(),
        rack: node.rack.clone().unwrap_or_default(),
        is_up: node.is_connected(),
    };
    state.get_nodes_info().iter().map(member).collect()
}

fn qualified(settings: &CassandraSettings, table: &Table) -> String {
    format!("{}.{}", settings.keyspace_of(table), table.name)
}

/// What is wrong with a table's shape; an error if it cannot be asked.
fn misshapen(table: &str, shape: Result<(), StoreError>) -> Result<Option<Condition>, StoreError> {
    match shape {
        Ok(()) => Ok(None),
        Err(StoreError::Missing { what }) => {
            let code = if what.starts_with("column") { "column_missing" } else { "table_missing" };
            let detail = StoreError::Missing { what }.to_string();
            Ok(Some(Condition::failing(Part::Store, code, table, detail)))
        }
        Err(error @ StoreError::Conflict { .. }) => {
            let detail = format!(
                "{error}: no row is written to it; drop or rename what is there and run `surgetank apply`, or correct the \
                 layouts"
            );
            Ok(Some(Condition::failing(Part::Store, "table_differs", table, detail).refusing_start()))
        }
        Err(StoreError::RouteTable { table, code, reason }) => {
            Ok(Some(Condition::failing(Part::Store, code, table, reason)))
        }
        Err(other) => Err(other),
    }
}

/// How long rows of a table live: by the table, if it is there; not longer than the servers can tell; as configured.
fn lifetime(
    settings: &CassandraSettings,
    table: &Table,
    lives_s: Option<u64>,
    servers: &[Server],
    now_s: u64,
) -> Vec<Condition> {
    let name = qualified(settings, table);
    let wanted_s = settings.ttl.map_or(0, schema::ttl_seconds);
    let in_force_s = lives_s.unwrap_or(wanted_s);
    let mut found = Vec::new();
    if in_force_s > 0 {
        found.extend(server::lifetime(&name, Duration::from_secs(in_force_s), servers, now_s));
    }
    if in_force_s != wanted_s {
        let detail = format!(
            "rows of table {name} live as the table says, {}, and not as store.ttl says, {}: correct store.ttl, or ALTER TABLE \
             {name} WITH default_time_to_live = {wanted_s}, which counts for rows written from then on",
            lifetime_text(in_force_s),
            lifetime_text(wanted_s),
        );
        found.push(Condition::degraded(Part::Store, "ttl_differs", name, detail));
    }
    found
}

fn lifetime_text(seconds: u64) -> String {
    match seconds {
        0 => "for ever".to_owned(),
        _ => humantime::format_duration(Duration::from_secs(seconds)).to_string(),
    }
}

/// How many seconds rows of each table live; 0 for ever.
async fn lifetimes(session: &Session, keyspace: &str) -> Result<HashMap<String, u64>, StoreError> {
    let context = format!("reading how long rows live in keyspace {keyspace}");
    let cql = "SELECT table_name, default_time_to_live FROM system_schema.tables WHERE keyspace_name = ?";
    let answer = session.query_unpaged(cql, (keyspace,)).await.map_err(|error| failed(&context, error))?;
    let rows = answer.into_rows_result().map_err(|error| failed(&context, error))?;
    let rows = rows.rows::<(String, Option<i32>)>().map_err(|error| failed(&context, error))?;
    let seconds = rows.map(|row| row.map(|(name, ttl)| (name, u64::try_from(ttl.unwrap_or(0)).unwrap_or(0))));
    seconds.collect::<Result<_, _>>().map_err(|error| failed(&context, error))
}
