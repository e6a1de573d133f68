//! A whole fleet against a small server that keeps its promises and breaks everything else.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use super::*;
use crate::codec::Codecs;
use crate::protocol::frame::{self, Frame, PackageFrame};
use crate::protocol::hello::{Goodbye, Pong, Refused, Welcome};
use crate::protocol::package::{Entry, Messages, PackageLimits, decompress};
use crate::protocol::reason::{GoodbyeReason, RefusalReason, RejectReason};
use crate::protocol::receipt::{Outcome, Receipt, ReceiptBuilder};
use crate::schema::TypeId;
use crate::store::RowKey;

const WINDOW: u16 = 3;
const LIMITS: PackageLimits = PackageLimits { max_bytes: 64 * 1024, max_messages: 40 };

/// How the server treats a fleet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// Takes everything over.
    Kind,
    /// Takes over, turns away, puts off, forgets to answer, hangs up and says goodbye at random.
    Wild,
    /// Reads and never answers.
    Mute,
    /// Refuses the first four connections for a short while.
    RefusesFirst,
    /// Refuses for good.
    RefusesAll,
}

type Rows = Arc<Mutex<HashMap<(TypeId, RowKey), Vec<u8>>>>;

struct Server {
    address: SocketAddr,
    rows: Rows,
}

impl Server {
    async fn start(manner: Manner) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let rows = Rows::default();
        let shared = Arc::clone(&rows);
        tokio::spawn(async move {
            for seed in 0.. {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, manner, seed, Arc::clone(&shared)));
            }
        });
        Self { address, rows }
    }
}

async fn serve(mut stream: TcpStream, manner: Manner, seed: u64, rows: Rows) -> Option<()> {
    let mut rng = SmallRng::seed_from_u64(seed);
    let mut inbox = BytesMut::new();
    let Frame::Hello(hello) = read_frame(&mut stream, &mut inbox).await? else { panic!("no hello") };
    assert_eq!(hello.credential.as_bytes(), b"token");
    let refuses = manner == Manner::RefusesAll || (manner == Manner::RefusesFirst && seed < 4);
    if refuses {
        let retry_after_ms = if manner == Manner::RefusesAll { 0 } else { 50 };
        let refused = Refused { reason: RefusalReason::TooManyConnections, retry_after_ms, text: "full".to_owned() };
        return write_frame(&mut stream, Frame::Refused(refused)).await;
    }
    let welcome = Welcome {
        max_frame: 128 * 1024,
        max_package: LIMITS.max_bytes as u32,
        max_messages: LIMITS.max_messages,
        max_unacknowledged: WINDOW,
        idle_timeout_ms: 60_000,
        server_time_ms: 0,
    };
    write_frame(&mut stream, Frame::Welcome(welcome)).await?;
    let mut num_packages = 0;
    loop {
        match read_frame(&mut stream, &mut inbox).await? {
            Frame::Package(package) => {
                num_packages += 1;
                let choice = if manner == Manner::Wild { rng.random_range(0..20) } else { 19 };
                match choice {
                    _ if manner == Manner::Mute => {
                        assert!(num_packages <= WINDOW, "the window is exceeded");
                    }
                    0 => return None,
                    1 => {
                        // Taken over, and the receipt is lost: the package comes again.
                        take_over(&hello.device_id, &package, &rows, |_| Outcome::Accepted);
                        return None;
                    }
                    2 => write_frame(&mut stream, Frame::Receipt(Receipt::retry_later(package.package_id, 20))).await?,
                    3 => {
                        let rejected = Receipt::rejected(package.package_id, RejectReason::Internal);
                        write_frame(&mut stream, Frame::Receipt(rejected)).await?;
                    }
                    4 => {
                        let goodbye = Goodbye { reason: GoodbyeReason::Rebalance, reconnect_after_ms: 10 };
                        write_frame(&mut stream, Frame::Goodbye(goodbye)).await?;
                        let receipt = take_over(&hello.device_id, &package, &rows, |_| Outcome::Accepted);
                        write_frame(&mut stream, Frame::Receipt(receipt)).await?;
                    }
                    5..10 => {
                        let receipt = take_over(&hello.device_id, &package, &rows, |_| match rng.random_range(0..4) {
                            0 => Outcome::RetryLater,
                            1 => Outcome::Rejected(RejectReason::OutOfRange),
                            _ => Outcome::Accepted,
                        });
                        write_frame(&mut stream, Frame::Receipt(receipt)).await?;
                    }
                    _ => {
                        let receipt = take_over(&hello.device_id, &package, &rows, |_| Outcome::Accepted);
                        write_frame(&mut stream, Frame::Receipt(receipt)).await?;
                    }
                }
            }
            Frame::Ping { nonce } => write_frame(&mut stream, Frame::Pong(Pong { nonce, server_time_ms: 0 })).await?,
            Frame::Goodbye(_) => return None,
            other => panic!("{other:?}"),
        }
    }
}

/// Stores what `judge` accepts, under the key that makes a second sending harmless.
fn take_over(device_id: &str, package: &PackageFrame, rows: &Rows, mut judge: impl FnMut(u16) -> Outcome) -> Receipt {
    let mut plain = Vec::new();
    decompress(&package.block, LIMITS, &mut plain).unwrap();
    let messages = Messages::new(&plain, LIMITS).unwrap();
    let mut builder = ReceiptBuilder::new(package.package_id, messages.num_messages());
    let mut rows = rows.lock();
    let mut last_sequence = None;
    for entry in messages {
        let Entry::Message(message) = entry else { panic!("broken package") };
        assert!(message.crc_ok);
        assert!(last_sequence < Some(message.header.sequence), "out of order");
        last_sequence = Some(message.header.sequence);
        let event_time_ms = message.header.event_time_ms;
        let key = RowKey { device_id: device_id.to_owned(), event_time_ms, sequence: message.header.sequence };
        let mut outcome = judge(message.index);
        if outcome == Outcome::Accepted
            && let Some(earlier) = rows.insert((message.header.type_id, key), message.raw.to_vec())
        {
            assert_eq!(earlier, message.raw, "a message was sent again with other bytes");
            outcome = Outcome::Duplicate;
        }
        builder.set(message.index, outcome);
    }
    builder.build(20)
}

async fn read_frame(stream: &mut TcpStream, inbox: &mut BytesMut) -> Option<Frame> {
    loop {
        if let Some(frame) = frame::decode(inbox, 1 << 20).unwrap() {
            return Some(frame);
        }
        if !matches!(stream.read_buf(inbox).await, Ok(1..)) {
            return None;
        }
    }
}

async fn write_frame(stream: &mut TcpStream, frame: Frame) -> Option<()> {
    let mut out = BytesMut::new();
    frame.encode(&mut out);
    stream.write_all(&out).await.ok()
}

fn options(server: &Server) -> SimulateOptions {
    SimulateOptions {
        target: server.address.to_string(),
        devices: 20,
        rate: 4000.0,
        duration: Duration::from_millis(800),
        package_size: 10,
        token: "token".to_owned(),
        max_queue: 500,
        backoff: (Duration::from_millis(1), Duration::from_millis(20)),
        ..SimulateOptions::default()
    }
}

async fn run(options: &SimulateOptions) -> SimulateReport {
    let (_keep, stop) = watch::channel(false);
    simulate(&Codecs::builtin().unwrap(), options, Arc::default(), stop).await.unwrap()
}

fn assert_consistent(report: &SimulateReport) {
    assert_eq!(report.sent, report.acked + report.rejected + report.unacked_at_end);
    assert_eq!(report.acked, report.ledger.num_acked() as u64);
    assert_eq!(report.acked, report.ack_latency_us.len());
    for device in &report.ledger.devices {
        let mut entries: Vec<_> = [&device.acked[..], &device.rejected, &device.open].concat();
        let num_entries = entries.len();
        entries.sort_unstable();
        entries.dedup();
        assert_eq!(entries.len(), num_entries, "a message of {} ended twice", device.device_id);
    }
}

#[tokio::test]
async fn test_fleet_delivers_at_its_rate() {
    let server = Server::start(Manner::Kind).await;
    let report = run(&options(&server)).await;
    assert_consistent(&report);
    // 4,000/s for 0.8 s; wide bounds, because the machine may be busy.
    assert!((1600..=3400).contains(&report.acked), "{}", report.acked);
    assert_eq!((report.rejected, report.unacked_at_end, report.reconnects), (0, 0, 0));
    assert_eq!(report.ledger.devices.len(), 20);
}

#[tokio::test]
async fn test_fleet_loses_nothing_to_a_wild_server() {
    let server = Server::start(Manner::Wild).await;
    let report = run(&options(&server)).await;
    assert_consistent(&report);
    assert_eq!(report.unacked_at_end, 0, "everything was drained");
    assert!(report.rejected > 0 && report.retried > 0 && report.duplicates > 0 && report.reconnects > 0);

    let rows: Vec<_> = server.rows.lock().keys().cloned().collect();
    let num_rows = rows.len() as u64;
    let comparison = report.ledger.compare(rows, []);
    assert_eq!((comparison.lost, comparison.unknown_rows, comparison.duplicate_rows), (0, 0, 0));
    assert_eq!((comparison.acked, comparison.stored), (report.acked, num_rows));
}

#[tokio::test]
async fn test_fleet_loss_is_found() {
    let server = Server::start(Manner::Kind).await;
    let report = run(&options(&server)).await;
    let mut rows: Vec<_> = server.rows.lock().keys().cloned().collect();
    rows.pop();
    assert_eq!(report.ledger.compare(rows, []).lost, 1);
}

#[tokio::test]
async fn test_fleet_without_rate_goes_as_fast_as_it_is_answered() {
    let server = Server::start(Manner::Kind).await;
    let options = SimulateOptions { rate: 0.0, duration: Duration::from_millis(200), ..options(&server) };
    let report = run(&options).await;
    assert_consistent(&report);
    assert_eq!(report.unacked_at_end, 0);
    assert!(report.acked > 1000, "{}", report.acked);
}

#[tokio::test]
async fn test_fleet_keeps_to_the_window_and_to_its_memory() {
    let server = Server::start(Manner::Mute).await;
    let options = SimulateOptions { max_queue: 50, drain_timeout: Duration::from_millis(100), ..options(&server) };
    let report = run(&options).await;
    assert_consistent(&report);
    assert_eq!(report.acked, 0);
    assert_eq!(report.unacked_at_end, 20 * u64::from(WINDOW) * 10, "what was sent, and no more");
    assert!(report.held_back > 0);
}

#[tokio::test]
async fn test_fleet_comes_back_after_a_refusal() {
    let server = Server::start(Manner::RefusesFirst).await;
    let report = run(&options(&server)).await;
    assert_consistent(&report);
    assert_eq!((report.refused, report.reconnects, report.gave_up), (4, 4, 0));
    assert_eq!(report.unacked_at_end, 0);
    assert_eq!(report.ledger.devices.len(), 20);
}

#[tokio::test]
async fn test_fleet_gives_up_when_told_to() {
    let server = Server::start(Manner::RefusesAll).await;
    let report = run(&options(&server)).await;
    assert_eq!((report.refused, report.gave_up, report.sent), (20, 20, 0));
    assert_eq!(report.last_trouble.as_deref(), Some("refused as too_many_connections: full"));
    assert!(report.seconds < 10.0);
}

#[tokio::test]
async fn test_fleet_stops_early_and_drains() {
    let server = Server::start(Manner::Kind).await;
    let options = SimulateOptions { duration: Duration::from_secs(60), ..options(&server) };
    let (stop, stopped) = watch::channel(false);
    let progress = Arc::new(Progress::default());
    let seen = Arc::clone(&progress);
    tokio::spawn(async move {
        while seen.acked.get() == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        stop.send(true).unwrap();
    });
    let report = simulate(&Codecs::builtin().unwrap(), &options, Arc::clone(&progress), stopped).await.unwrap();
    assert_consistent(&report);
    assert!(report.seconds < 20.0 && report.unacked_at_end == 0 && report.acked > 0);
    assert_eq!(progress.connected.get(), 0);
}

#[tokio::test]
async fn test_fleet_refuses_options_that_make_no_sense() {
    let server = Server::start(Manner::Kind).await;
    let wrong = [
        SimulateOptions { devices: 0, ..options(&server) },
        SimulateOptions { rate: f64::NAN, ..options(&server) },
        SimulateOptions { package_size: 0, ..options(&server) },
        SimulateOptions { max_queue: 9, ..options(&server) },
        SimulateOptions { token: "t".repeat(1000), ..options(&server) },
        SimulateOptions { device_prefix: "a b".to_owned(), ..options(&server) },
        SimulateOptions { target: "nowhere".to_owned(), ..options(&server) },
    ];
    for options in wrong {
        let (_keep, stop) = watch::channel(false);
        assert!(simulate(&Codecs::builtin().unwrap(), &options, Arc::default(), stop).await.is_err());
    }
}
