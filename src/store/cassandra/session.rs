//! The driver's session and the profiles that its requests run under.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use scylla::client::PoolSize;
use scylla::client::execution_profile::ExecutionProfile;
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{
    ConnectionError, ConnectionPoolError, ConnectionSetupRequestErrorKind, DbError, MetadataError, NewSessionError,
};
use scylla::policies::load_balancing::DefaultPolicy;
use scylla::policies::retry::FallthroughRetryPolicy;
use scylla::policies::speculative_execution::SimpleSpeculativeExecutionPolicy;
use scylla::statement;

use super::settings::{CassandraSettings, Consistency};
use super::{failed, inspect};
use crate::store::StoreError;
use crate::tls;

/// How long to wait for all nodes to know a new schema.
const SCHEMA_AGREEMENT_TIMEOUT: Duration = Duration::from_secs(30);

/// A health question goes to another node when one has not answered for this long.
const HEALTH_PATIENCE: Duration = Duration::from_millis(250);

/// Opens the session. Call it inside the runtime that is to carry the driver's connections.
pub(super) async fn connect(settings: &CassandraSettings) -> Result<Session, StoreError> {
    // No retries inside the driver: the gate must see every timeout and every overload at once, and the writer
    // retries with a delay, towards whichever node the next plan names.
    let profile = ExecutionProfile::builder()
        .consistency(driver_consistency(settings.consistency))
        .request_timeout(Some(settings.request_timeout))
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .load_balancing_policy(load_balancing(settings))
        .build();
    // Without any connection there is no session: at least one.
    let connections = NonZeroUsize::new(settings.connections_per_node).unwrap_or(NonZeroUsize::MIN);
    let mut builder = SessionBuilder::new()
        .known_nodes(&settings.nodes)
        .pool_size(PoolSize::PerHost(connections))
        .default_execution_profile_handle(profile.into_handle())
        // Replicas are computed from the keyspace's replication; other keyspaces are none of ours.
        .keyspaces_to_fetch([&settings.keyspace].into_iter().chain(&settings.route_keyspaces))
        .schema_agreement_timeout(SCHEMA_AGREEMENT_TIMEOUT);
    if let Some((role, password)) = &settings.credentials {
        builder = builder.user(role, password);
    }
    if let Some(trust) = &settings.tls {
        // Nodes are called by their addresses: the cluster knows no names of them.
        let tls = tls::client_config(trust).map_err(|error| failed("TLS", error))?;
        builder = builder.tls_context(Some(Arc::new(tls)));
    }
    let context = || format!("connecting to {}", settings.nodes.join(", "));
    let session = builder.build().await.map_err(|error| match refused_login(&error) {
        Some(reason) => StoreError::LoginRefused { context: context(), reason },
        None => failed(context(), error),
    })?;
    match inspect::unknown_datacenter(&session, settings) {
        None => Ok(session),
        Some(reason) => Err(StoreError::Unfit(reason)),
    }
}

/// What a server said that does not accept the login, or wants one where there is none.
fn refused_login(error: &NewSessionError) -> Option<String> {
    let NewSessionError::MetadataError(MetadataError::ConnectionPoolError(ConnectionPoolError::Broken {
        last_connection_error: ConnectionError::ConnectionSetupRequestError(error),
    })) = error
    else {
        return None;
    };
    match &error.error {
        ConnectionSetupRequestErrorKind::DbError(DbError::AuthenticationError, reason) => Some(reason.clone()),
        ConnectionSetupRequestErrorKind::MissingAuthentication => {
            Some("it asks for one, and the config has none".to_owned())
        }
        _ => None,
    }
}

/// The profile of health questions: a node that hangs must not make the cluster look dead.
pub(super) fn health_profile(settings: &CassandraSettings) -> ExecutionProfile {
    ExecutionProfile::builder()
        .consistency(statement::Consistency::LocalOne)
        .retry_policy(Arc::new(FallthroughRetryPolicy::new()))
        .load_balancing_policy(load_balancing(settings))
        .speculative_execution_policy(Some(Arc::new(SimpleSpeculativeExecutionPolicy {
            max_retry_count: 2,
            retry_interval: HEALTH_PATIENCE,
        })))
        .build()
}

fn load_balancing(settings: &CassandraSettings) -> Arc<dyn scylla::policies::load_balancing::LoadBalancingPolicy> {
    let builder = DefaultPolicy::builder().token_aware(true);
    match (&settings.datacenter, &settings.rack) {
        (Some(datacenter), Some(rack)) => builder.prefer_datacenter_and_rack(datacenter.clone(), rack.clone()).build(),
        (Some(datacenter), None) => builder.prefer_datacenter(datacenter.clone()).build(),
        (None, _) => builder.build(),
    }
}

/// A level as the driver calls it.
pub(super) fn driver_consistency(consistency: Consistency) -> statement::Consistency {
    match consistency {
        Consistency::One => statement::Consistency::One,
        Consistency::Two => statement::Consistency::Two,
        Consistency::Three => statement::Consistency::Three,
        Consistency::Quorum => statement::Consistency::Quorum,
        Consistency::All => statement::Consistency::All,
        Consistency::LocalOne => statement::Consistency::LocalOne,
        Consistency::LocalQuorum => statement::Consistency::LocalQuorum,
        Consistency::EachQuorum => statement::Consistency::EachQuorum,
    }
}
