//! From a topic of others into a table of others, on a real Kafka and a real Cassandra, with the real binary, which is killed on
//! the way.
//!
//! Needs `SURGETANK_TEST_KAFKA` and `SURGETANK_TEST_CASSANDRA`; otherwise the test says that it was skipped.

use crate::common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use common::ledger::dead_letters;
use common::process::{Process, arg, run, told};
use common::servers::Servers;
use common::site::Site;
use common::{http, until_true};
use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use scylla::client::session::Session;
use scylla::value::CqlTimestamp;
use serde_json::json;
use surgetank::engine::open_log;
use uuid::Uuid;

use crate::cluster::{Cluster, cluster};
use crate::store_cassandra::{node, other_session};

const NUM_PARTITIONS: i32 = 4;

/// What others have made: a topic, a keyspace with a table.
struct Others {
    cluster: Cluster,
    session: Arc<Session>,
    name: String,
}

/// A row as it is read back: type, payload, time.
type Found = BTreeMap<(String, Uuid), (Option<String>, Option<String>, Option<i64>)>;

impl Others {
    async fn find() -> Option<Self> {
        let (cluster, node) = (cluster()?, node()?);
        let session = other_session(&node).await.unwrap();
        let name = common::unique_name();
        let topic = NewTopic::new(&name, NUM_PARTITIONS, TopicReplication::Fixed(1));
        for made in cluster.admin().create_topics([&topic], &AdminOptions::new()).await.unwrap() {
            made.unwrap();
        }
        let replication = "{'class': 'SimpleStrategy', 'replication_factor': 1}";
        for cql in [
            format!("CREATE KEYSPACE {name}_app WITH replication = {replication}"),
            format!(
                "CREATE TABLE {name}_app.user_events (user_id text, event_id uuid, event_type text, payload text, \
                 timestamp timestamp, unused inet, PRIMARY KEY (user_id, event_id))"
            ),
        ] {
            session.query_unpaged(cql, ()).await.unwrap();
        }
        Some(Self { cluster, session, name })
    }

    /// An engine that only consumes.
    fn site(&self) -> Site {
        let Some(servers) = Servers::find() else { panic!("they were found before") };
        let route = "routes.user_events";
        let (topic, table) = (format!("topics.{}", self.name), format!("\"{}_app.user_events\"", self.name));
        let settings = [
            (format!("{topic}.owned"), "false".to_owned()),
            (format!("{topic}.format"), "\"json\"".to_owned()),
            (format!("{route}.from"), format!("{:?}", self.name)),
            (format!("{route}.table"), table),
            (format!("{route}.filter"), "\"value.type != 'ping'\"".to_owned()),
            (format!("{route}.columns.user_id"), "\"$.user.id\"".to_owned()),
            (format!("{route}.columns.event_id"), "\"uuid($.id)\"".to_owned()),
            (format!("{route}.columns.event_type"), "\"lower($.type)\"".to_owned()),
            (format!("{route}.columns.payload"), "\"json($.payload)\"".to_owned()),
            (format!("{route}.columns.timestamp"), "\"timestamp($.ts, 'ms')\"".to_owned()),
        ];
        let settings: Vec<(&str, &str)> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        servers.consumer_site(&self.name, "pod-0", &settings)
    }

    fn send(&self, values: impl IntoIterator<Item = String>) {
        let producer: BaseProducer = self.cluster.client().create().unwrap();
        for (number, value) in (0..).zip(values) {
            let record = BaseRecord::<str, str>::to(&self.name)
                .partition(number % NUM_PARTITIONS)
                .timestamp(1_780_000_000_000 + i64::from(number))
                .payload(&value);
            producer.send(record).map_err(|(error, _)| error).unwrap();
        }
        producer.flush(Duration::from_secs(30)).unwrap();
    }

    async fn rows(&self) -> Found {
        let cql =
            format!("SELECT user_id, event_id, event_type, payload, timestamp FROM {}_app.user_events", self.name);
        let rows = self.session.query_unpaged(cql, ()).await.unwrap().into_rows_result().unwrap();
        rows.rows::<(String, Uuid, Option<String>, Option<String>, Option<CqlTimestamp>)>()
            .unwrap()
            .map(|row| {
                let (user, id, kind, payload, at) = row.unwrap();
                ((user, id), (kind, payload, at.map(|at| at.0)))
            })
            .collect()
    }
}

fn id_of(number: u32) -> Uuid {
    Uuid::from_u128(u128::from(number) + 1)
}

/// Every tenth is a ping, and every seventh has no user.
fn event(number: u32) -> String {
    let kind = if number.is_multiple_of(10) { "ping" } else { "Login" };
    let mut event = json!({
        "id": id_of(number).to_string(), "type": kind, "ts": 1_760_000_000_000u64 + u64::from(number),
        "user": { "id": format!("u-{}", number % 13) }, "payload": { "number": number, "of": ["a", null] },
    });
    if number.is_multiple_of(7) {
        event["user"] = json!({});
    }
    event.to_string()
}

fn expected(numbers: std::ops::Range<u32>) -> Found {
    let rows = numbers.filter(|number| number % 10 != 0 && number % 7 != 0).map(|number| {
        let payload = format!("{{\"number\":{number},\"of\":[\"a\",null]}}");
        let at = 1_760_000_000_000 + i64::from(number);
        ((format!("u-{}", number % 13), id_of(number)), (Some("login".to_owned()), Some(payload), Some(at)))
    });
    rows.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_others_become_rows_and_dead_letters_though_the_process_is_killed() {
    let Some(others) = Others::find().await else { return };
    let site = others.site();
    others.send((0..2_000).map(event));

    // Before anything runs: the trial shows both kinds, and writes nothing.
    let trial =
        run(&["route", "test", "--config", arg(&site.config_path()), "--route", "user_events", "--format", "json"]);
    let (code, shown, said) = told(&trial);
    assert_eq!(code, 0, "{said}");
    let shown: Vec<serde_json::Value> = shown.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let num = |what: &str| shown.iter().filter(|one| one["made"] == what).count();
    assert_eq!(num("row") + num("rejected") + num("nothing"), 100, "{said}");
    assert!(num("row") > 60 && num("rejected") > 5 && num("nothing") > 5, "{said}");
    assert!(others.rows().await.is_empty());

    let mut process = Process::start(&site).await;
    until_true("some rows", async || !others.rows().await.is_empty()).await;
    process.kill();
    others.send((2_000..3_000).map(event));
    let process = Process::start(&site).await;
    until_true("all rows", async || others.rows().await.len() == expected(0..3_000).len()).await;
    assert_eq!(others.rows().await, expected(0..3_000), "nothing missing, nothing else");

    let address = process.http;
    until_true("everything to be settled", async || {
        let (_, lags) = http::get(address, "/histograms").await;
        let Some(lags) = lags["lag_records"].as_object() else { panic!("{lags}") };
        lags.len() == NUM_PARTITIONS as usize && lags.values().all(|lag| *lag == 0)
    })
    .await;
    drop(process);
    let config = site.config();
    let log = open_log(&config).unwrap();
    let letters = dead_letters(&config, &*log);
    assert!(letters.iter().all(|letter| letter.reason_code == "key_missing"), "{letters:?}");
    assert!(letters.iter().all(|letter| letter.detail.contains("route user_events")), "{:?}", letters[0]);
    let buried: std::collections::BTreeSet<Vec<u8>> = letters.into_iter().map(|letter| letter.payload).collect();
    let faulty = (0..3_000).filter(|number| number % 7 == 0 && number % 10 != 0);
    assert_eq!(buried, faulty.map(|number| event(number).into_bytes()).collect());
}
