//! TLS on the device port and on HTTP, with real certificates: who gets in, as whom, and new certificates while it runs.

use crate::common;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::certificates::{Authority, Issued};
use common::device::{Device, position};
use common::process::{Process, arg, surgetank, told};
use common::site::Site;
use common::{http, in_time, until_true};
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ProtocolVersion, SupportedProtocolVersion};
use surgetank::credentials::TokenKind;
use surgetank::engine::Engine;
use surgetank::protocol::frame::Frame;
use surgetank::protocol::hello::Refused;
use surgetank::protocol::reason::RefusalReason;
use surgetank::tls::{ServerTrust, client_config};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// An authority whose server certificate is that of every port of the site.
struct Fleet {
    site: Site,
    authority: Authority,
}

impl Fleet {
    /// A site with TLS on all ports, with further settings.
    fn new(settings: &[(&str, &str)]) -> Self {
        let site = Site::new(&[]);
        let authority = Authority::new(site.path(), "authority");
        authority.server("server");
        let tls = [
            ("devices.tls.certificate", "\"server.crt\""),
            ("devices.tls.key", "\"server.key\""),
            ("http.tls.certificate", "\"server.crt\""),
            ("http.tls.key", "\"server.key\""),
            ("ingest.tls.certificate", "\"server.crt\""),
            ("ingest.tls.key", "\"server.key\""),
        ];
        site.configure(&[&tls[..], settings].concat());
        Self { site, authority }
    }

    fn trust(&self, identity: Option<&Issued>) -> ServerTrust {
        let identity = identity.map(|issued| (issued.certificate.clone(), issued.key.clone()));
        ServerTrust { ca: self.authority.ca.clone(), identity }
    }

    async fn handshake(&self, server: SocketAddr, identity: Option<&Issued>) -> io::Result<TlsStream<TcpStream>> {
        handshake(server, client_config(&self.trust(identity)).unwrap()).await
    }

    /// A handshake and a Hello. `Err(None)`: the server has ended it without a refusal.
    async fn connect(
        &self,
        server: SocketAddr,
        device_id: &str,
        token: &str,
        identity: Option<&Issued>,
    ) -> Result<Device<TlsStream<TcpStream>>, Option<Refused>> {
        let stream = self.handshake(server, identity).await.map_err(|_| None)?;
        Device::greet(stream, device_id, token).await
    }
}

async fn handshake(server: SocketAddr, config: ClientConfig) -> io::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(server).await?;
    let name = ServerName::try_from("localhost").unwrap();
    in_time("a handshake", TlsConnector::from(Arc::new(config)).connect(name, stream)).await
}

fn assert_bad_credential<S>(outcome: Result<Device<S>, Option<Refused>>) {
    let refused = outcome.err().flatten().expect("a refusal");
    assert_eq!((refused.reason, refused.retry_after_ms), (RefusalReason::BadCredential, 0));
}

/// The first certificate that the server shows.
fn shown(stream: &TlsStream<TcpStream>) -> Vec<u8> {
    stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_deliver_over_tls_in_small_and_large_packages() {
    let fleet = Fleet::new(&[("devices.max_messages", "65535")]);
    let running = fleet.site.launch().await;
    let server = running.engine.devices_addr;
    let mut sequence = 0;
    let mut messages = |count: u32| {
        let first = sequence;
        sequence += count;
        (first..first + count)
            .map(|number| position(number, number.wrapping_mul(2_654_435_761) >> 8))
            .collect::<Vec<_>>()
    };
    let versions: [(&'static SupportedProtocolVersion, ProtocolVersion); 2] =
        [(&rustls::version::TLS12, ProtocolVersion::TLSv1_2), (&rustls::version::TLS13, ProtocolVersion::TLSv1_3)];
    for (offered, expected) in versions {
        let mut roots = rustls::RootCertStore::empty();
        let pem = std::fs::read(&fleet.authority.ca).unwrap();
        let ca = <rustls::pki_types::CertificateDer as rustls::pki_types::pem::PemObject>::from_pem_slice(&pem);
        roots.add(ca.unwrap()).unwrap();
        let config = ClientConfig::builder_with_protocol_versions(&[offered])
            .with_root_certificates(roots)
            .with_no_client_auth();
        let stream = handshake(server, config).await.unwrap();
        assert_eq!(stream.get_ref().1.protocol_version(), Some(expected));
        let mut device = Device::greet(stream, &format!("truck-{offered:?}"), "").await.expect("to be let in");
        device.answers_only_ping().await;
        for count in [1, 50, 20_000, 1] {
            device.accepted(&messages(count)).await;
        }
    }
    running.catch_up().await;
    assert_eq!(fleet.site.number("select count(*) from position"), 2 * 20_052);
    running.assert_no_panic();
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_does_not_speak_tls_is_not_served_and_does_not_stay() {
    let fleet = Fleet::new(&[("devices.hello_timeout", "\"300 ms\"")]);
    let running = fleet.site.launch().await;
    let server = running.engine.devices_addr;
    assert!(matches!(Device::try_connect(server, "plain", "").await, Err(None)), "the answer is an alert, not a frame");

    // Silence, half a handshake, and a handshake without a Hello end by the same limit.
    let started = Instant::now();
    for words in [&b""[..], &[0x16, 0x03, 0x01, 0x02, 0x00, 0x01]] {
        let mut stream = TcpStream::connect(server).await.unwrap();
        stream.write_all(words).await.unwrap();
        let mut answer = Vec::new();
        let _ = in_time("the server to close", stream.read_to_end(&mut answer)).await;
    }
    let stream = fleet.handshake(server, None).await.unwrap();
    let outcome = ReadFrames(stream).refusal().await;
    assert_eq!(outcome.reason, RefusalReason::HelloTimeout);
    assert!(started.elapsed().as_millis() >= 900, "each has the whole time");

    // A client that trusts others.
    let other = Authority::new(fleet.site.path(), "other");
    let config = client_config(&ServerTrust { ca: other.ca, identity: None }).unwrap();
    assert!(handshake(server, config).await.is_err());
    assert!(fleet.connect(server, "honest", "", None).await.is_ok());
    running.assert_no_panic();
    running.stop().await;
}

/// A connection that has not said Hello.
struct ReadFrames(TlsStream<TcpStream>);

impl ReadFrames {
    async fn refusal(mut self) -> Refused {
        let mut bytes = Vec::new();
        let _ = in_time("the server to close", self.0.read_to_end(&mut bytes)).await;
        let frame = surgetank::protocol::frame::decode(&mut bytes.as_slice().into(), 4096).unwrap();
        match frame {
            Some(surgetank::protocol::frame::Frame::Refused(refused)) => refused,
            other => panic!("no refusal but {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_certificate_names_its_device_in_the_place_that_the_config_says() {
    for (place, own) in [("dns", "truck-1"), ("uri", "urn:dev:mac:0024befffe804ff1"), ("cn", "Truck-One")] {
        let setting = format!("\"{place}\"");
        let fleet =
            Fleet::new(&[("devices.tls.client_ca", "\"authority.pem\""), ("devices.tls.device_id_in", &setting)]);
        let running = fleet.site.launch().await;
        let server = running.engine.devices_addr;
        let device = fleet.authority.device("truck-1", "urn:dev:mac:0024befffe804ff1", "Truck-One");
        let mut connected = fleet.connect(server, own, "", Some(&device)).await.expect("to be let in");
        connected.accepted(&[position(1, 1)]).await;
        for other in ["truck-2", "authority", "Truck-One", "truck-1"].into_iter().filter(|other| *other != own) {
            assert_bad_credential(fleet.connect(server, other, "", Some(&device)).await);
        }
        // Without a certificate, or with one of somebody else, there is not even a handshake.
        assert!(matches!(fleet.connect(server, own, "", None).await, Err(None)));
        let other = Authority::new(fleet.site.path(), "other").device("truck-1", "urn:x", "Truck-One");
        assert!(matches!(fleet.connect(server, own, "", Some(&other)).await, Err(None)));
        // That of a server is none of a device.
        let server_certificate = fleet.authority.server(&own.replace(':', "_"));
        assert!(matches!(fleet.connect(server, own, "", Some(&server_certificate)).await, Err(None)));
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_certificates_are_optional_the_others_need_a_token() {
    let fleet = Fleet::new(&[
        ("devices.tls.client_ca", "\"authority.pem\""),
        ("devices.tls.client_certificate", "\"optional\""),
        ("credentials.file", "\"tokens.toml\""),
    ]);
    let token = fleet.site.add_token(TokenKind::Device, "");
    let running = fleet.site.launch().await;
    let server = running.engine.devices_addr;
    let device = fleet.authority.device("truck-1", "urn:x", "x");
    assert!(fleet.connect(server, "truck-1", "", Some(&device)).await.is_ok());
    assert!(fleet.connect(server, "truck-2", &token, None).await.is_ok());
    assert_bad_credential(fleet.connect(server, "truck-1", "", None).await);
    // The token of the whole fleet does not help a device with somebody else's certificate.
    assert_bad_credential(fleet.connect(server, "truck-2", &token, Some(&device)).await);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_comes_by_tls_while_the_engine_starts_is_told_so() {
    let fleet = Fleet::new(&[("log.kind", "\"kafka\""), ("log.kafka.brokers", "[\"127.0.0.1:1\"]")]);
    let mut engine = Engine::launch(fleet.site.loaded()).unwrap();
    let refused = fleet.connect(engine.devices_addr, "truck-1", "", None).await.err().flatten().expect("a refusal");
    assert_eq!(refused.reason, RefusalReason::Unavailable);
    assert!(refused.retry_after_ms > 0);
    let stream = fleet.handshake(engine.ingest_addr.unwrap(), None).await.unwrap();
    let (status, problem) = http::get_over(stream, "/openapi.json").await.expect("an answer");
    assert_eq!((status, &problem["type"]), (503, &"urn:surgetank:problem:starting".into()));
    let since = Instant::now();
    engine.stop();
    in_time("the end", engine.ended()).await.unwrap();
    assert!(since.elapsed() < Duration::from_secs(5), "what is asked of a broker is not waited for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn http_is_served_by_tls_in_both_versions() {
    let fleet = Fleet::new(&[]);
    let running = fleet.site.launch().await;
    let server = running.engine.http_addr;
    let mut config = client_config(&fleet.trust(None)).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let stream = handshake(server, config.clone()).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));

    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    let answer = http::get_over(handshake(server, config.clone()).await.unwrap(), "/health/live").await;
    assert_eq!(answer, Some((200, serde_json::json!({"live": true}))));
    assert!(http::try_get(server, "/health/live").await.is_none(), "plain HTTP is not answered");

    let ingest = running.engine.ingest_addr.unwrap();
    let answer = http::get_over(handshake(ingest, config).await.unwrap(), "/openapi.json").await;
    assert_eq!(answer.map(|(status, _)| status), Some(200));
    assert!(http::try_get(ingest, "/openapi.json").await.is_none(), "plain HTTP is not answered");
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_certificates_and_tokens_come_into_force_while_devices_stay_connected() {
    let fleet = Fleet::new(&[
        ("devices.tls.client_ca", "\"devices.pem\""),
        ("devices.tls.client_certificate", "\"optional\""),
        ("credentials.file", "\"tokens.toml\""),
    ]);
    let old_clients = Authority::new(fleet.site.path(), "devices");
    let old_device = old_clients.device("truck-0", "urn:x", "x");
    let old_token = fleet.site.add_token(TokenKind::Device, "");
    let running = fleet.site.launch().await;
    let (server, http_addr) = (running.engine.devices_addr, running.engine.http_addr);
    let reload = async || running.started.reloader.reload(Ok(fleet.site.loaded())).await;
    let mut staying = fleet.connect(server, "truck-9", &old_token, None).await.expect("to be let in");
    let before = shown(&staying.stream);
    let mut leaving = fleet.connect(server, "truck-0", "", Some(&old_device)).await.expect("to be let in");

    // All or nothing: a key that is not the certificate's, and nothing of the rest is taken.
    let tokens_before = std::fs::read(fleet.site.path().join("tokens.toml")).unwrap();
    let new_token = fleet.site.add_token(TokenKind::Device, "");
    let key = std::fs::read(fleet.site.path().join("server.key")).unwrap();
    std::fs::copy(&old_device.key, fleet.site.path().join("server.key")).unwrap();
    let error = reload().await.unwrap_err().to_string();
    assert!(error.starts_with("devices.tls: ") && error.contains("server.key"), "{error}");
    assert_bad_credential(fleet.connect(server, "truck-2", &new_token, None).await);
    std::fs::write(fleet.site.path().join("server.key"), key).unwrap();

    // Everything at once: certificate, authority of devices, tokens.
    fleet.authority.server("server");
    let new_device = Authority::new(fleet.site.path(), "devices").device("truck-1", "urn:x", "x");
    std::fs::write(fleet.site.path().join("tokens.toml"), tokens_before).unwrap();
    let token = fleet.site.add_token(TokenKind::Device, "name = \"newer\"");
    reload().await.unwrap();
    let stream = fleet.handshake(http_addr, None).await.unwrap();
    let (_, told) = http::get_over(stream, "/health/reload").await.expect("an answer");
    let expected = ["tokens", "certificates of devices.tls", "certificates of http.tls", "certificates of ingest.tls"];
    assert_eq!(told["last"]["changes"], serde_json::json!(expected), "{told}");
    let fresh = fleet.connect(server, "truck-2", &token, None).await.expect("to be let in");
    let after = shown(&fresh.stream);
    assert_ne!(after, before);
    assert_eq!(shown(&fleet.handshake(http_addr, None).await.unwrap()), after, "HTTP shows the new one, too");
    assert!(fleet.connect(server, "truck-1", "", Some(&new_device)).await.is_ok());
    assert!(matches!(fleet.connect(server, "truck-0", "", Some(&old_device)).await, Err(None)));
    assert_bad_credential(fleet.connect(server, "truck-2", &new_token, None).await);
    staying.accepted(&[position(1, 1)]).await;
    // The authority of its certificate is gone, and so has it to be.
    match leaving.last_words().await.pop() {
        Some(Frame::Refused(refused)) => assert_eq!(refused.reason, RefusalReason::BadCredential),
        other => panic!("instead of a refusal: {other:?}"),
    }
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_certificate_is_noticed() {
    let fleet = Fleet::new(&[("reload.look_every", "\"100 ms\"")]);
    let process = Process::start_with(&fleet.site, "").await;
    let before = shown(&fleet.handshake(process.devices, None).await.unwrap());
    fleet.authority.server("server");
    until_true("the new certificate", async || shown(&fleet.handshake(process.devices, None).await.unwrap()) != before)
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn simulated_devices_come_with_certificates_of_their_own() {
    let fleet = Fleet::new(&[("devices.tls.client_ca", "\"authority.pem\"")]);
    for number in 0..5 {
        fleet.authority.device(&format!("truck-{number:06}"), "urn:x", "x");
    }
    let process = Process::start_with(&fleet.site, "").await;
    let target = format!("localhost:{}", process.devices.port());
    let own = |ending: &str| fleet.site.path().join(format!("{{}}.{ending}"));
    let (certificate, key) = (own("crt"), own("key"));
    let simulate = ["simulate", "--target", &target, "--devices", "5", "--rate", "500", "--seconds", "1"];
    let tls = ["--ca", arg(&fleet.authority.ca), "--cert", arg(&certificate), "--key", arg(&key), "--json"];
    let run = |arguments: &[&str]| told(&tokio::task::block_in_place(|| surgetank(arguments).output().unwrap()));
    let (code, stdout, stderr) = run(&[&simulate[..], &tls].concat());
    assert_eq!(code, 0, "{stderr}");
    let report: serde_json::Value = serde_json::from_str(&stdout).unwrap();
    assert!(report["acked"].as_u64().unwrap() > 0 && report["refused"] == 0, "{stdout}");

    let (code, _, stderr) = run(&[&simulate[..], &["--ca", "no/such.pem"]].concat());
    assert_eq!(code, 2, "{stderr}");
    assert!(stderr.contains("no/such.pem: cannot be read"), "{stderr}");
}

#[test]
fn check_names_the_certificate_that_cannot_be_used() {
    let fleet = Fleet::new(&[]);
    let check = || told(&common::process::run(&["check", "--config", arg(&fleet.site.config_path())]));
    assert_eq!(check().0, 0, "{}", check().2);
    std::fs::write(fleet.site.path().join("server.crt"), "no certificate").unwrap();
    let (code, _, stderr) = check();
    assert_eq!(code, 2);
    assert!(stderr.contains("devices.tls: ") && stderr.contains("server.crt: holds no certificate"), "{stderr}");
}
