//! Against a stand-in that speaks as much of the API as readers need, over real sockets.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::Path;

use super::*;
use crate::codec::value::{Extract, Value};
use crate::log::embedded::{EmbeddedLog, EmbeddedLogSettings};

/// A registry with these answers, by path; each is given as often as it is asked for, the last of several for ever.
struct StandIn {
    url: String,
    shared: Arc<Mutex<Answers>>,
}

#[derive(Default)]
struct Answers {
    by_path: BTreeMap<String, VecDeque<(u16, String)>>,
    asked: Vec<String>,
    /// `Authorization`, if it is asked for.
    login: Option<String>,
}

impl StandIn {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        Self::serve(listener)
    }

    fn serve(listener: TcpListener) -> Self {
        let url = format!("http://{}", listener.local_addr().unwrap());
        Self::serve_as(url, listener, |stream| stream)
    }

    /// With this certificate for `localhost`.
    fn serve_tls(certified: &rcgen::CertifiedKey<rcgen::KeyPair>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let key = rustls::pki_types::PrivateKeyDer::Pkcs8(certified.signing_key.serialize_der().into());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certified.cert.der().clone()], key)
            .unwrap();
        let (url, config) = (format!("https://localhost:{}", listener.local_addr().unwrap().port()), Arc::new(config));
        Self::serve_as(url, listener, move |stream| {
            rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::clone(&config)).unwrap(), stream)
        })
    }

    fn serve_as<S: Read + Write + Send + 'static>(
        url: String,
        listener: TcpListener,
        wrap: impl Fn(TcpStream) -> S + Send + 'static,
    ) -> Self {
        let shared = Arc::new(Mutex::new(Answers::default()));
        let answers = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (answers, mut stream) = (Arc::clone(&answers), wrap(stream));
                std::thread::spawn(move || while answer(&mut stream, &answers).is_some() {});
            }
        });
        Self { url, shared }
    }

    fn say(&self, path: &str, status: u16, body: &str) {
        self.shared.lock().by_path.entry(path.to_owned()).or_default().push_back((status, body.to_owned()));
    }

    fn has(&self, id: u32, schema: &str) {
        self.say(&format!("/schemas/ids/{id}"), 200, &serde_json::json!({"schema": schema}).to_string());
    }

    fn num_asked(&self, path: &str) -> usize {
        self.shared.lock().asked.iter().filter(|asked| *asked == path).count()
    }
}

fn answer(stream: &mut (impl Read + Write), answers: &Mutex<Answers>) -> Option<()> {
    let mut lines = BufReader::new(&mut *stream).lines().map_while(Result::ok);
    let path = lines.next()?.split(' ').nth(1)?.to_owned();
    let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
    let login =
        head.iter().find_map(|line| line.to_lowercase().starts_with("authorization: ").then(|| line[15..].to_owned()));
    let (status, body) = {
        let mut answers = answers.lock();
        answers.asked.push(path.clone());
        if answers.login.is_some() && answers.login != login {
            (401, String::new())
        } else {
            match answers.by_path.get_mut(&path) {
                Some(said) if said.len() > 1 => said.pop_front()?,
                Some(said) => said.front()?.clone(),
                None => (404, r#"{"error_code": 40403, "message": "Schema not found"}"#.to_owned()),
            }
        }
    };
    let head = format!("HTTP/1.1 {status} X\r\nContent-Length: {}\r\n\r\n", body.len());
    stream.write_all(head.as_bytes()).ok()?;
    stream.write_all(body.as_bytes()).ok()
}

fn log_in(directory: &Path) -> Arc<dyn Log> {
    let settings = EmbeddedLogSettings {
        directory: directory.to_owned(),
        retention: Duration::from_secs(3600),
        retention_bytes: 1 << 30,
        disk_budget: 1 << 30,
        write_buffer: 1 << 20,
        tail_cache: 1 << 20,
    };
    Arc::new(EmbeddedLog::open(settings, &[]).unwrap())
}

fn settings(url: &str) -> RegistrySettings {
    RegistrySettings {
        url: url.to_owned(),
        login: None,
        tls: None,
        timeout: Duration::from_secs(5),
        patience: Duration::from_secs(2),
    }
}

async fn open(settings: RegistrySettings, log: &Arc<dyn Log>) -> Arc<Registry> {
    Registry::open(settings, Arc::clone(log), Arc::default()).await.unwrap()
}

/// A record of this schema.
fn record(id: u32, datum: &[u8]) -> Vec<u8> {
    [&[0], &id.to_be_bytes()[..], datum].concat()
}

/// What a record is as a whole.
fn read(registry: &Registry, record: &[u8]) -> Result<String, String> {
    let mut values = Vec::new();
    let path = crate::codec::value::Path::default();
    let mut extractor = crate::codec::avro::foreign::RegistryExtractor::new(&[path], registry.schemas());
    extractor.extract(record, &mut values).map_err(|error| error.to_string())?;
    match &values[0] {
        Value::Text(text) | Value::Json(text) => Ok(text.to_string()),
        other => Ok(format!("{other:?}")),
    }
}

/// What is said to be there soon.
const SOON: Duration = Duration::from_secs(30);

async fn learn(registry: &Registry, records: &[&[u8]]) {
    tokio::time::timeout(SOON, registry.learn(records.iter().copied())).await.expect("it never came");
}

async fn until(mut holds: impl FnMut() -> bool) {
    let start = std::time::Instant::now();
    while !holds() {
        assert!(start.elapsed() < SOON, "it never came");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn test_a_schema_is_asked_for_once_and_known_to_the_next_pod_without_the_registry() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let stand_in = StandIn::start();
    stand_in.has(7, r#""string""#);
    let registry = open(settings(&stand_in.url), &log).await;
    let record = record(7, b"\x04hi");
    assert!(!registry.knows([&record[..]]));
    // Others ask at the same time.
    let batches: [&[&[u8]]; 3] = [&[&record, &record], &[&record], &[b"no frame"]];
    tokio::join!(learn(&registry, batches[0]), learn(&registry, batches[1]), learn(&registry, batches[2]));
    assert!(registry.knows([&record[..]]));
    assert_eq!(read(&registry, &record), Ok("hi".to_owned()));
    assert_eq!(stand_in.num_asked("/schemas/ids/7"), 1);
    drop(registry);
    let next = open(settings(&stand_in.url), &log).await;
    assert!(next.knows([&record[..]]));
    assert_eq!(stand_in.num_asked("/schemas/ids/7"), 1);
    // Another registry's id 7 is another schema.
    assert!(!open(settings("http://127.0.0.1:1"), &log).await.knows([&record[..]]));
}

#[tokio::test]
async fn test_records_wait_for_a_registry_that_is_away_and_go_on_when_it_is_there() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    // Bound and let go: nobody listens there now.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let registry = open(settings(&format!("http://{address}")), &log).await;
    let record = record(7, b"\x04hi");
    let waiting = tokio::spawn({
        let (registry, record) = (Arc::clone(&registry), record.clone());
        async move { registry.learn([&record[..]]).await }
    });
    until(|| !registry.conditions().is_empty()).await;
    let condition = registry.conditions().remove(0);
    assert_eq!(condition.code, "registry_unavailable");
    assert!(condition.detail.contains("schema 7"), "{}", condition.detail);
    assert!(!waiting.is_finished() && !registry.knows([&record[..]]));
    let stand_in = StandIn::serve(TcpListener::bind(address).unwrap());
    stand_in.say("/schemas/ids/7", 500, "{}");
    stand_in.say("/schemas/ids/7", 200, "<html>");
    stand_in.say("/schemas/ids/7", 404, "<html>");
    stand_in.has(7, r#""string""#);
    tokio::time::timeout(SOON, waiting).await.unwrap().unwrap();
    assert_eq!(read(&registry, &record), Ok("hi".to_owned()));
    assert_eq!(registry.conditions(), []);
}

#[tokio::test]
async fn test_what_another_pod_has_learnt_is_found_in_the_log_while_the_registry_is_away() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let url = "http://127.0.0.1:1";
    let registry = open(settings(url), &log).await;
    let kept = KeptSchema { registry: url.to_owned(), id: 9, schema: r#""string""#.to_owned(), references: Vec::new() };
    log.put_schema(KeptSchema::key(url, 9), kept.to_json()).await.unwrap();
    let record = record(9, b"\x02x");
    learn(&registry, &[&record[..]]).await;
    assert_eq!(read(&registry, &record), Ok("x".to_owned()));
}

#[tokio::test]
async fn test_who_gives_up_waiting_is_not_asked_for_any_more() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let registry = open(settings("http://127.0.0.1:1"), &log).await;
    let record = record(7, b"");
    let waited = tokio::time::timeout(Duration::from_millis(100), registry.learn([&record[..]])).await;
    assert!(waited.is_err());
    until(|| registry.conditions().is_empty()).await;
}

#[tokio::test]
async fn test_a_login_is_sent_and_a_refused_one_is_a_condition() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let stand_in = StandIn::start();
    stand_in.has(7, r#""string""#);
    stand_in.shared.lock().login = Some("Basic bWU6c2VjcmV0".to_owned());
    let record = record(7, b"\x04hi");
    let stranger = open(settings(&stand_in.url), &log).await;
    let waiting = tokio::spawn({
        let (registry, record) = (Arc::clone(&stranger), record.clone());
        async move { registry.learn([&record[..]]).await }
    });
    until(|| !stranger.conditions().is_empty()).await;
    assert_eq!(stranger.conditions().remove(0).code, "registry_refused");
    waiting.abort();
    let known = RegistrySettings { login: Some(("me".to_owned(), "secret".to_owned())), ..settings(&stand_in.url) };
    assert!(!format!("{known:?}").contains("secret"));
    let known = open(known, &log).await;
    learn(&known, &[&record[..]]).await;
    assert_eq!(read(&known, &record), Ok("hi".to_owned()));
}

#[tokio::test]
async fn test_references_come_before_who_refers_to_them() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let stand_in = StandIn::start();
    let with = |schema: &str, references: &[(&str, u32)]| {
        let reference =
            |(subject, version): &(&str, u32)| serde_json::json!({"name": "x", "subject": subject, "version": version});
        let references: Vec<_> = references.iter().map(reference).collect();
        serde_json::json!({"schema": schema, "schemaType": "AVRO", "references": references}).to_string()
    };
    let field = |name: &str, of: &str| {
        format!(r#"{{"type":"record","name":"a.{name}","fields":[{{"name":"x","type":"{of}"}}]}}"#)
    };
    stand_in.say("/schemas/ids/7", 200, &with(&field("Top", "a.Line"), &[("line/1", 2), ("point", 1)]));
    stand_in.say("/subjects/line%2F1/versions/2?deleted=true", 200, &with(&field("Line", "a.Point"), &[("point", 1)]));
    stand_in.say("/subjects/point/versions/1?deleted=true", 200, &with(&field("Point", "int"), &[]));
    let registry = open(settings(&stand_in.url), &log).await;
    let record = record(7, &[6]);
    learn(&registry, &[&record[..]]).await;
    let expected = Ok(r#"{"x":{"x":{"x":3}}}"#.to_owned());
    assert_eq!(read(&registry, &record), expected);
    assert_eq!(stand_in.num_asked("/subjects/point/versions/1?deleted=true"), 1);
    drop(registry);
    assert_eq!(read(&*open(settings(&stand_in.url), &log).await, &record), expected, "kept with what it refers to");
}

#[tokio::test]
async fn test_records_that_can_never_be_read_say_why() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let stand_in = StandIn::start();
    stand_in.say("/schemas/ids/1", 200, r#"{"schema": "syntax = \"proto3\";", "schemaType": "PROTOBUF"}"#);
    stand_in.has(2, r#"{"type": "record"}"#);
    let registry = open(settings(&stand_in.url), &log).await;
    let (protobuf, broken) = (record(1, &[]), record(2, &[]));
    learn(&registry, &[&protobuf[..], &broken]).await;
    assert_eq!(read(&registry, &protobuf), Err("schema 1 of the registry is PROTOBUF, not Avro".to_owned()));
    assert_eq!(read(&registry, &broken), Err("schema 2 cannot be used: a named type has no fields".to_owned()));
    assert_eq!(registry.conditions(), []);
}

#[tokio::test]
async fn test_a_schema_that_a_registry_does_not_have_is_believed_after_a_while() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let stand_in = StandIn::start();
    // One server of several has it later.
    for _ in 0..2 {
        stand_in.say("/schemas/ids/3", 404, r#"{"error_code": 40403}"#);
    }
    stand_in.has(3, r#""string""#);
    let registry = open(settings(&stand_in.url), &log).await;
    let (late, never) = (record(3, b"\x02x"), record(4, b""));
    let start = std::time::Instant::now();
    learn(&registry, &[&late[..]]).await;
    assert_eq!(read(&registry, &late), Ok("x".to_owned()));
    learn(&registry, &[&never[..]]).await;
    assert!(start.elapsed() >= Duration::from_secs(2));
    assert!(read(&registry, &never).unwrap_err().ends_with("has no schema 4"));
    let asked = stand_in.num_asked("/schemas/ids/4");
    assert!(registry.knows([&never[..]]));
    learn(&registry, &[&never[..]]).await;
    assert_eq!(stand_in.num_asked("/schemas/ids/4"), asked);
}

#[tokio::test]
async fn test_a_registry_by_tls_is_trusted_by_its_authority_alone() {
    let directory = tempfile::tempdir().unwrap();
    let log = log_in(directory.path());
    let certified = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stand_in = StandIn::serve_tls(&certified);
    stand_in.has(7, r#""string""#);
    let trusting = |pem: String, name: &str| {
        let ca = directory.path().join(name);
        std::fs::write(&ca, pem).unwrap();
        RegistrySettings { tls: Some(ServerTrust { ca, identity: None }), ..settings(&stand_in.url) }
    };
    let other = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let record = record(7, b"\x04hi");
    let distrustful = open(trusting(other.cert.pem(), "other.pem"), &log).await;
    assert!(tokio::time::timeout(Duration::from_millis(500), distrustful.learn([&record[..]])).await.is_err());
    assert_eq!(stand_in.num_asked("/schemas/ids/7"), 0);
    let registry = open(trusting(certified.cert.pem(), "ca.pem"), &log).await;
    learn(&registry, &[&record[..]]).await;
    assert_eq!(read(&registry, &record), Ok("hi".to_owned()));
    let unreadable = RegistrySettings {
        tls: Some(ServerTrust { ca: directory.path().join("none.pem"), identity: None }),
        ..settings(&stand_in.url)
    };
    assert!(matches!(Registry::open(unreadable, log, Arc::default()).await, Err(RegistryError::Tls(_))));
}
