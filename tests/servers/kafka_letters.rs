//! Records of others that become no rows, as dead letters: with everything that the log had of them.
//!
//! Runs only if `SURGETANK_TEST_KAFKA` says where a broker is (`host:port`).

use rdkafka::admin::{AdminOptions, NewTopic, TopicReplication};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use surgetank::codec::avro::{OwnedDeadLetter, OwnedHeader};

use crate::cluster::cluster;
use crate::common::ledger::dead_letters;
use crate::common::{PATIENCE, until_true};

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const AT_MS: i64 = 1_760_000_000_123;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_letter_of_a_record_of_others_has_all_of_it() {
    let Some(cluster) = cluster() else { return };
    let topic = format!("{}-app", cluster.name);
    let new = NewTopic::new(&topic, 2, TopicReplication::Fixed(1));
    cluster.admin().create_topics([&new], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let producer: BaseProducer = cluster.client().create().unwrap();
    let record = || BaseRecord::<[u8], [u8]>::to(&topic).partition(1).timestamp(AT_MS);
    let header = |key, value| Header::<&[u8]> { key, value };
    let headers = || {
        OwnedHeaders::new()
            .insert(header("kind", Some(b"a")))
            .insert(header("traceparent", Some(PARENT.as_bytes())))
            .insert(header("kind", None))
            .insert(header("kind", Some(&[0xff])))
    };
    let send = |record| producer.send(record).map_err(|(error, _)| error).unwrap();
    send(record().key(b"k").payload(br#"{"id": "good"}"#).headers(headers()));
    send(record().key(b"key 1").payload(br#"{"other": 1}"#).headers(headers()));
    send(record().key(&[0xff, 0]).payload(b"no JSON"));
    send(record().key(b"").payload(br#"{"id": {}}"#));
    send(record().payload(b""));
    producer.flush(PATIENCE).unwrap();

    let quoted = |text: &str| format!("{text:?}");
    let section = format!("topics.{topic}");
    let settings = [
        (format!("{section}.owned"), "false".to_owned()),
        (format!("{section}.format"), quoted("json")),
        ("routes.app.from".to_owned(), quoted(&topic)),
        ("routes.app.table".to_owned(), quoted("app_events")),
        ("routes.app.key".to_owned(), r#"{ partition = ["id"] }"#.to_owned()),
        ("routes.app.columns.id".to_owned(), r#"{ from = "$.id", type = "text" }"#.to_owned()),
    ];
    let settings: Vec<_> = settings.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let site = cluster.site(&settings);
    let running = site.launch().await;
    until_true("all letters", async || running.counters().dead_letters == 4).await;
    until_true("the row", async || site.number("select count(*) from app_events where id = 'good'") == 1).await;

    let mut letters = dead_letters(&site.config(), &*running.started.backends.log);
    letters.sort_by_key(|letter| letter.source.as_ref().unwrap().offset);
    let value = |bytes: &[u8]| Some(bytes.to_vec());
    let traced = vec![
        ("kind".to_owned(), value(b"a")),
        ("traceparent".to_owned(), value(PARENT.as_bytes())),
        ("kind".to_owned(), None),
        ("kind".to_owned(), value(&[0xff])),
    ];
    let found: Vec<_> = letters.into_iter().map(|letter| told(letter, &topic)).collect();
    let trace = Some(PARENT.to_owned());
    let expected = [
        (1, value(b"key 1"), traced, trace, br#"{"other": 1}"#.to_vec()),
        (2, value(&[0xff, 0]), vec![], None, b"no JSON".to_vec()),
        (3, value(b""), vec![], None, br#"{"id": {}}"#.to_vec()),
        (4, None, vec![], None, vec![]),
    ];
    assert_eq!(found, expected);
    running.stop().await;
}

/// Offset, key, headers, trace and payload.
type Told = (u64, Option<Vec<u8>>, Vec<OwnedHeader>, Option<String>, Vec<u8>);

/// What the letter of a record in partition 1 of the topic tells.
fn told(letter: OwnedDeadLetter, topic: &str) -> Told {
    let source = letter.source.unwrap();
    assert_eq!((source.topic.as_str(), source.partition, source.timestamp_ms), (topic, 1, Some(AT_MS)));
    assert!(source.has_value);
    (source.offset, source.key, source.headers, letter.trace, letter.payload)
}
