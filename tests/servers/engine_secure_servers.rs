//! The engine on a Kafka and a Cassandra that want TLS, client certificates and logins.
//!
//! Needs what `scripts/services env` sets: `SURGETANK_TEST_KAFKA_TLS`, `SURGETANK_TEST_KAFKA_SASL`,
//! `SURGETANK_TEST_CASSANDRA`, and `SURGETANK_TEST_TLS_DIR` with the certificates. A Cassandra with logins is started by
//! `scripts/login-test` alone, which sets `SURGETANK_TEST_CASSANDRA_LOGIN`. Without them a test says that it was skipped.

use crate::common;

use common::certificates::Authority;
use common::device::{CODECS, Device, position};
use common::process::{arg, run, told};
use common::site::{Running, Site};
use common::{http, in_time, unique_name, until, until_true};
use scylla::client::session_builder::SessionBuilder;
use surgetank::engine::Engine;
use surgetank::store::RowKey;

/// What these variables say, or `None`, which is told.
fn variables<const N: usize>(names: [&str; N]) -> Option<[String; N]> {
    let values = names.map(|name| std::env::var(name).ok());
    if let Some(missing) = values.iter().position(Option::is_none) {
        println!("skipped: {} is not set", names[missing]);
        return None;
    }
    Some(values.map(Option::unwrap_or_default))
}

/// A site on these brokers, with the embedded store.
fn on_kafka(brokers: &str, settings: &[(&str, &str)]) -> Site {
    let name = unique_name();
    let quoted = |ending: &str| format!("\"{name}{ending}\"");
    let fixed = [
        (format!("topics.{name}.partitions"), "2".to_owned()),
        (format!("topics.{name}.types"), "[\"*\"]".to_owned()),
        ("dead_letter.topic".to_owned(), quoted("_dead")),
        ("log.kind".to_owned(), "\"kafka\"".to_owned()),
        ("log.kafka.brokers".to_owned(), format!("[{brokers:?}]")),
        ("log.kafka.group".to_owned(), quoted("")),
        ("log.kafka.schema_topic".to_owned(), quoted("_schemas")),
        ("log.kafka.control_topic".to_owned(), quoted("_control")),
        ("log.kafka.delivery_timeout".to_owned(), "\"5 s\"".to_owned()),
    ];
    let fixed = fixed.iter().map(|(key, value)| (key.as_str(), value.as_str()));
    Site::new_without_topics(&fixed.chain(settings.iter().copied()).collect::<Vec<_>>())
}

/// A site on this cluster, with the embedded log.
fn on_cassandra(node: &str, settings: &[(&str, &str)]) -> Site {
    let fixed = [
        ("store.kind", "\"cassandra\"".to_owned()),
        ("store.cassandra.nodes", format!("[{node:?}]")),
        ("store.cassandra.keyspace", format!("{:?}", unique_name())),
    ];
    let fixed = fixed.iter().map(|(key, value)| (*key, value.as_str()));
    Site::new(&fixed.chain(settings.iter().copied()).collect::<Vec<_>>())
}

/// Sends a few messages through the whole engine and counts their rows.
async fn deliver(site: &Site) {
    const NUM_MESSAGES: u64 = 20;
    let running = site.launch().await;
    let mut device = Device::connect(running.engine.devices_addr, "truck-1").await;
    let messages: Vec<_> = (0..NUM_MESSAGES as u32).map(|number| position(number, number)).collect();
    device.accepted(&messages).await;
    until_true("the rows", async || num_rows(&running).await == NUM_MESSAGES).await;
    running.stop().await;
}

async fn num_rows(running: &Running) -> u64 {
    let mut num_rows = 0;
    let mut visit = |_: RowKey| num_rows += 1;
    let table = &CODECS.by_name("position").unwrap().message_type.table;
    in_time("a scan", running.started.backends.store.scan(table, &mut visit)).await.unwrap();
    num_rows
}

/// Starts an engine that cannot get through, and waits until the reason that it gives has this word in it.
async fn waits_with(site: &Site, word: &str) {
    let mut engine = Engine::launch(site.loaded()).unwrap();
    until(word, async || {
        let (status, body) = http::try_get(engine.http_addr, "/health/ready").await?;
        assert_eq!(status, 503, "{body}");
        let reason = body["state"]["waiting_for"].as_str()?;
        reason.to_lowercase().contains(word).then_some(())
    })
    .await;
    engine.stop();
    in_time("the engine to stop", engine.ended()).await.unwrap();
}

/// Starts an engine that takes messages in without its store, and waits until the reason in its health has this word in it.
async fn is_away_with(site: &Site, word: &str) {
    let mut engine = Engine::launch(site.loaded()).unwrap();
    until(word, async || {
        let (_, body) = http::try_get(engine.http_addr, "/health").await?;
        body["store"].to_string().to_lowercase().contains(word).then_some(())
    })
    .await;
    engine.stop();
    in_time("the engine to stop", engine.ended()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_by_tls_with_a_client_certificate() {
    let Some([brokers, tls]) = variables(["SURGETANK_TEST_KAFKA_TLS", "SURGETANK_TEST_TLS_DIR"]) else { return };
    let file = |name: &str| format!("\"{tls}/{name}\"");
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let identity = [("log.kafka.tls.certificate", certificate.as_str()), ("log.kafka.tls.key", &key)];
    deliver(&on_kafka(&brokers, &[&[("log.kafka.tls.ca", ca.as_str())], &identity[..]].concat())).await;

    // The broker turns away who has no certificate, and we turn away a broker that others have certified.
    waits_with(&on_kafka(&brokers, &[("log.kafka.tls.ca", &ca)]), &brokers).await;
    let directory = tempfile::tempdir().unwrap();
    let other = format!("{:?}", Authority::new(directory.path(), "other").ca);
    waits_with(&on_kafka(&brokers, &[&[("log.kafka.tls.ca", other.as_str())], &identity[..]].concat()), &brokers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kafka_by_tls_with_each_kind_of_login() {
    let Some([brokers, tls]) = variables(["SURGETANK_TEST_KAFKA_SASL", "SURGETANK_TEST_TLS_DIR"]) else { return };
    let ca = format!("\"{tls}/ca.pem\"");
    let settings = |mechanism: &'static str, password: &'static str| {
        on_kafka(
            &brokers,
            &[
                ("log.kafka.tls.ca", &ca),
                ("log.kafka.sasl.mechanism", mechanism),
                ("log.kafka.sasl.username", "\"surgetank\""),
                ("log.kafka.sasl.password", password),
            ],
        )
    };
    for mechanism in ["\"plain\"", "\"scram-sha-256\"", "\"scram-sha-512\""] {
        deliver(&settings(mechanism, "\"secret\"")).await;
    }
    waits_with(&settings("\"scram-sha-512\"", "\"wrong\""), &brokers).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cassandra_by_tls() {
    let Some([node, tls]) = variables(["SURGETANK_TEST_CASSANDRA", "SURGETANK_TEST_TLS_DIR"]) else { return };
    deliver(&on_cassandra(&node, &[("store.cassandra.tls.ca", &format!("\"{tls}/ca.pem\""))])).await;

    let directory = tempfile::tempdir().unwrap();
    let other = format!("{:?}", Authority::new(directory.path(), "other").ca);
    is_away_with(&on_cassandra(&node, &[("store.cassandra.tls.ca", &other)]), "certificate").await;
}

/// Of a role that may read and not write, until it is granted that.
async fn a_missing_right_is_told(node: &str, keyspace: &str) {
    let role = unique_name();
    let site = |name: &str, password: &str| {
        let settings = [("store.cassandra.username", name), ("store.cassandra.password", password)];
        let settings = settings.map(|(key, value)| (key, format!("{value:?}")));
        let keyspace = format!("{keyspace:?}");
        let settings = settings.iter().map(|(key, value)| (*key, value.as_str()));
        on_cassandra(node, &settings.chain([("store.cassandra.keyspace", keyspace.as_str())]).collect::<Vec<_>>())
    };
    let admin = SessionBuilder::new().known_node(node).user("cassandra", "cassandra").build().await.unwrap();
    let execute = async |cql: String| drop(admin.query_unpaged(cql, ()).await.unwrap());
    let check = |site: &Site| told(&run(&["check", "--online", "--config", arg(&site.config_path())]));
    let all_powerful = site("cassandra", "cassandra");
    let (code, _, stderr) = told(&run(&["apply", "--config", arg(&all_powerful.config_path())]));
    assert_eq!(code, 0, "{stderr}");
    let (code, _, stderr) = check(&all_powerful);
    assert!(code == 0 && !stderr.contains("has not the right"), "{stderr}");

    execute(format!("CREATE ROLE {role} WITH LOGIN = true AND PASSWORD = 'secret'")).await;
    execute(format!("GRANT SELECT ON KEYSPACE {keyspace} TO {role}")).await;
    let limited = site(&role, "secret");
    let (code, _, stderr) = check(&limited);
    let expected = format!("role {role} has not the right to write to table {keyspace}.position");
    assert!(code == 1 && stderr.contains(&expected), "{stderr}");
    // By way of another role.
    execute(format!("CREATE ROLE {role}_writers")).await;
    execute(format!("GRANT MODIFY ON KEYSPACE {keyspace} TO {role}_writers")).await;
    execute(format!("GRANT {role}_writers TO {role}")).await;
    until_true("the right to count", async || check(&limited).0 == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cassandra_by_tls_with_a_client_certificate_and_a_password() {
    let Some([node, tls]) = variables(["SURGETANK_TEST_CASSANDRA_LOGIN", "SURGETANK_TEST_TLS_DIR"]) else { return };
    let file = |name: &str| format!("\"{tls}/{name}\"");
    let (ca, certificate, key) = (file("ca.pem"), file("client.pem"), file("client.key"));
    let site = |password: &str| {
        on_cassandra(
            &node,
            &[
                ("store.cassandra.tls.ca", &ca),
                ("store.cassandra.tls.certificate", &certificate),
                ("store.cassandra.tls.key", &key),
                ("store.cassandra.username", "\"cassandra\""),
                ("store.cassandra.password", password),
            ],
        )
    };
    deliver(&site("\"cassandra\"")).await;
    is_away_with(&site("\"wrong\""), "store_login_refused").await;
    a_missing_right_is_told(&node, &unique_name()).await;
    // Without a certificate the node ends the handshake; without a login it lets nobody go on.
    is_away_with(&on_cassandra(&node, &[("store.cassandra.tls.ca", &ca)]), "connect").await;
}
