//! Who may look at the operators' HTTP, and that nothing it shows is a secret.

use crate::common;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use common::http::{Answer, Request, try_get};
use common::process::{Process, arg, run, told};
use common::site::{Running, Site};
use common::{until, until_true};
use surgetank::credentials::{TokenHash, TokenKind};
use surgetank::engine::Engine;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Every address of this machine: others could reach it.
const EVERYWHERE: (&str, &str) = ("http.listen", "\"0.0.0.0:0\"");
const TOKENS: (&str, &str) = ("credentials.file", "\"tokens.toml\"");

/// The same port on loopback.
fn here(address: SocketAddr) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, address.port()).into()
}

fn get(path: &str, token: Option<&str>) -> Request {
    let request = Request::new("GET", path);
    token.map_or(request.clone(), |token| request.header("Authorization", &format!("Bearer {token}")))
}

/// Every path that the operators' HTTP says it has, so that none is forgotten here that is added there.
async fn paths(server: SocketAddr, token: Option<&str>) -> Vec<String> {
    let detail = get("/", token).send(server).await.problem(404, "not-found")["detail"].to_string();
    let (_, known) = detail.split_once("there are ").unwrap();
    let words = known.split([' ', ',', '"']).filter(|word| word.starts_with('/'));
    let paths: Vec<String> = words.map(str::to_owned).collect();
    assert!(paths.len() >= 8 && paths.iter().any(|path| path == "/gate"), "{detail}");
    paths
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn where_others_can_reach_it_everything_but_health_checks_wants_a_token() {
    let site = Site::new(&[EVERYWHERE, TOKENS]);
    let device = site.add_token(TokenKind::Device, "");
    let http = site.add_token(TokenKind::Http, "");
    let operator = site.add_token(TokenKind::Operator, "name = \"me\"");
    let text = std::fs::read_to_string(site.path().join("tokens.toml")).unwrap();
    let observer = site.add_token(TokenKind::Observer, "name = \"metrics\"");
    let running = site.launch().await;
    let server = here(running.engine.http_addr);
    let hash = TokenHash::of(observer.as_bytes()).to_string();
    let nobodys = ["", "wrong-horse", &device, &http, &hash, &observer[1..]];
    let known = paths(server, Some(&observer)).await;
    // A path that nobody has thought of is one of these, and so are those that only look like one that is free.
    let others =
        ["/", "/nothing", "/metrics", "/debug/pprof", "/health/../gate", "/%67ate", "//health/live", "/HEALTH/live"];
    for path in known.iter().map(String::as_str).chain(others) {
        let bare = get(path, None).send(server).await;
        if path.starts_with("/health/") {
            assert_ne!(bare.status, 401, "{path}");
            continue;
        }
        let problem = bare.problem(401, "unauthorized");
        assert_eq!(bare.header("www-authenticate"), Some("bearer"), "{path}");
        assert!(problem.get("reason").is_none(), "{path}: {problem}");
        for token in nobodys {
            get(path, Some(token)).send(server).await.problem(401, "unauthorized");
        }
        for method in ["HEAD", "POST", "OPTIONS", "DELETE", "TRACE"] {
            let words = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
            let answer = common::http::say(server, words.as_bytes(), false).await;
            assert!(answer.starts_with("HTTP/1.1 401 "), "{method} {path}");
        }
        for token in [&observer, &operator] {
            let status = get(path, Some(token)).send(server).await.status;
            let is_known = known.iter().any(|known| known == path) || path == "/%67ate";
            assert!(status != 401 && (status == 200) == is_known, "{path}: {status}");
        }
    }
    for path in ["/health/live", "/health/ready", "/health/started", "/health/reload"] {
        assert_eq!(get(path, None).send(server).await.status, 200, "{path}");
    }
    // What is said of a wrong token.
    let wrong = get("/gate", Some("wrong-horse")).send(server).await;
    assert_eq!(wrong.problem(401, "unauthorized")["reason"], "invalid_token");
    assert_eq!(wrong.header("www-authenticate"), Some("bearer error=\"invalid_token\""));

    // Tokens are asked for at each request, and renewed like all others.
    let mut stream = TcpStream::connect(server).await.unwrap();
    let request = get("/gate", Some(&observer)).lasting().bytes();
    stream.write_all(&request).await.unwrap();
    assert_eq!(Answer::read(&mut stream).await.unwrap().status, 200);
    std::fs::write(site.path().join("tokens.toml"), text).unwrap();
    let newer = site.add_token(TokenKind::Observer, "");
    running.started.reloader.reload(Ok(site.loaded())).await.unwrap();
    stream.write_all(&request).await.unwrap();
    Answer::read(&mut stream).await.unwrap().problem(401, "unauthorized");
    assert_eq!(get("/gate", Some(&newer)).send(server).await.status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_needs_no_token_is_the_configs_and_can_change() {
    let site = Site::new(&[EVERYWHERE, TOKENS]);
    let observer = site.add_token(TokenKind::Observer, "");
    let running = site.launch().await;
    let server = here(running.engine.http_addr);
    let asked = async |path: &str| get(path, None).send(server).await.status == 401;
    assert!(!asked("/health/live").await && asked("/metrics").await && asked("/health").await);
    let (checks, metrics) = (("http.public_health_checks", "false"), ("http.public_metrics", "true"));
    site.configure(&[EVERYWHERE, TOKENS, checks, metrics]);
    running.started.reloader.reload(Ok(site.loaded())).await.unwrap();
    assert!(asked("/health/live").await && !asked("/metrics").await && asked("/health").await);
    assert_eq!(get("/health/live", Some(&observer)).send(server).await.status, 200);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_tokens_are_counted_and_slowed() {
    let site = Site::new(&[EVERYWHERE, TOKENS, ("limits.failed_attempts", "5")]);
    let observer = site.add_token(TokenKind::Observer, "");
    let running = site.launch().await;
    let server = here(running.engine.http_addr);
    for _ in 0..5 {
        get("/gate", Some("wrong-horse")).send(server).await.problem(401, "unauthorized");
    }
    let began = Instant::now();
    let wrong = get("/gate", Some("wrong-horse"));
    let (wrong, ()) = tokio::join!(wrong.send(server), async {
        // Neither who has a token nor who needs none waits with it.
        let answer = get("/histograms", Some(&observer)).send(server).await;
        assert_eq!(answer.json()["admission"]["failed_requests"].as_u64().map(|count| count >= 5), Some(true));
        assert_eq!(get("/health/live", None).send(server).await.status, 200);
    });
    assert!(began.elapsed() >= Duration::from_millis(900), "{:?}", began.elapsed());
    wrong.problem(401, "unauthorized");
    assert_eq!(running.started.view.admission.snapshot().failed_requests, 6);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_is_asked_on_loopback_or_where_tokens_are_of_no_use() {
    let open = [EVERYWHERE, ("credentials.insecure", "true"), ("devices.max_connections", "10")];
    for settings in [vec![TOKENS], open.to_vec()] {
        let site = Site::new(&settings);
        site.add_token(TokenKind::Observer, "");
        let running: Running = site.launch().await;
        let server = here(running.engine.http_addr);
        for path in paths(server, None).await {
            assert_eq!(get(&path, None).send(server).await.status, 200, "{path}");
        }
        running.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_on_which_nobody_may_look_is_told_of() {
    const NOTICE: &str = "has no token of an observer or operator: it answers only what needs no token; make one with \
                          `surgetank token new --kind observer`";
    let site = Site::new(&[EVERYWHERE, TOKENS]);
    site.add_token(TokenKind::Device, "");
    let (code, output, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert!(code == 0 && stderr.contains(NOTICE), "{output}{stderr}");
    let process = Process::start_with(&site, "").await;
    assert!(process.told().contains(NOTICE), "{}", process.told());
    let server = here(process.http);
    until_true("it to be ready", async || get("/health/ready", None).send(server).await.status == 200).await;
    get("/health", None).send(server).await.problem(401, "unauthorized");
    drop(process);

    site.add_token(TokenKind::Operator, "");
    let (code, output, stderr) = told(&run(&["check", "--config", arg(&site.config_path())]));
    assert!(code == 0 && !stderr.contains("observer"), "{output}{stderr}");
}

/// What nobody may ever read over HTTP.
fn secrets(site: &Site) -> Vec<String> {
    let kinds = [TokenKind::Device, TokenKind::Http, TokenKind::Observer, TokenKind::Operator];
    let tokens = kinds.map(|kind| site.add_token(kind, "name = \"known\""));
    let hashes =
        tokens.each_ref().map(|token| TokenHash::of(token.as_bytes()).to_string()["sha256:".len()..].to_owned());
    tokens.into_iter().chain(hashes).chain(["hunter2", "swordfish", "my-raw-token"].map(str::to_owned)).collect()
}

/// Asks every path with every kind of token there is, and reads the answers whole.
async fn assert_no_secret(server: SocketAddr, secrets: &[String]) {
    for path in paths(server, None).await {
        for token in [None].into_iter().chain(secrets.iter().map(Some)) {
            let Answer { head, body, .. } = get(&path, token.map(String::as_str)).send(server).await;
            let answer = format!("{head}\n{}", String::from_utf8_lossy(&body)).to_lowercase();
            for secret in secrets {
                assert!(!answer.contains(&secret.to_lowercase()), "{path} tells {secret}: {answer}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_tells_a_secret() {
    // Nobody listens on port 1: health and readiness have much to say.
    let cassandra = [
        ("store.kind", "\"cassandra\""),
        ("store.cassandra.nodes", "[\"127.0.0.1:1\"]"),
        ("store.cassandra.username", "\"surgetank\""),
        ("store.cassandra.password", "\"swordfish\""),
        TOKENS,
    ];
    let site = Site::new(&cassandra);
    let planted = secrets(&site);
    let mut engine = Engine::launch(site.loaded()).unwrap();
    let opened = common::in_time("the log", engine.opened()).await.unwrap();
    let server = engine.http_addr;
    until_true("the store to be missed", async || {
        try_get(server, "/health").await.is_some_and(|(_, health)| health["verdict"] == "failing")
    })
    .await;
    assert_no_secret(server, &planted).await;
    // What was written where it does not belong: a token for its hash, a password of another kind, a misspelt key.
    let right = std::fs::read_to_string(site.path().join("tokens.toml")).unwrap();
    std::fs::write(site.path().join("tokens.toml"), format!("{right}[[device]]\nhash = \"my-raw-token\"\n")).unwrap();
    assert!(opened.reloader.reload(Ok(site.loaded())).await.is_err());
    assert_no_secret(server, &planted).await;
    std::fs::write(site.path().join("tokens.toml"), right).unwrap();
    for wrong in [("store.cassandra.password", "[\"hunter2\"]"), ("store.cassandra.passwort", "\"hunter2\"")] {
        site.configure(&[&cassandra[..4], &[wrong, TOKENS]].concat());
        let read = surgetank::config::LoadedConfig::load_with(Some(&site.config_path()), []);
        assert!(opened.reloader.reload(read).await.is_err());
        assert_no_secret(server, &planted).await;
    }
    // A changed password is a key that needs a restart, and no more is said of it.
    site.configure(&[&cassandra[..3], &[("store.cassandra.password", "\"hunter2\""), TOKENS]].concat());
    opened.reloader.reload(Ok(site.loaded())).await.unwrap();
    assert_eq!(try_get(server, "/health/reload").await.unwrap().1["needs_restart"][0], "store.cassandra.password");
    assert_no_secret(server, &planted).await;
    engine.stop();
    common::in_time("an engine to stop", engine.ended()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_path_tells_a_secret_while_the_engine_starts() {
    let site = Site::new(&[
        ("log.kind", "\"kafka\""),
        ("log.kafka.brokers", "[\"127.0.0.1:1\"]"),
        ("log.kafka.sasl.mechanism", "\"plain\""),
        ("log.kafka.sasl.username", "\"surgetank\""),
        ("log.kafka.sasl.password", "\"hunter2\""),
        ("log.kafka.delivery_timeout", "\"1 s\""),
        TOKENS,
    ]);
    let planted = secrets(&site);
    let mut engine = Engine::launch(site.loaded()).unwrap();
    let server = engine.http_addr;
    until("the broker to be missed", async || {
        let (_, told) = try_get(server, "/health/ready").await?;
        told["state"]["waiting_for"].as_str()?.contains("127.0.0.1:1").then_some(())
    })
    .await;
    assert_no_secret(server, &planted).await;
    engine.stop();
    common::in_time("an engine that waits to stop", engine.ended()).await.unwrap();
}
