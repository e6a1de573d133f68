//! Load with a ledger, and the ledger against what is in the log and in the store, by identity.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use surgetank::codec::Codecs;
use surgetank::codec::avro::{OwnedDeadLetter, RecordIdentity};
use surgetank::config::Config;
use surgetank::engine::{Backends, dead_letter_topic, record_topics};
use surgetank::log::Log;
use surgetank::simulate::{Comparer, Comparison, Ledger, Progress, SimulateOptions, SimulateReport, simulate};
use surgetank::store::RowKey;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::device::CODECS;
use super::layouts::Layouts;
use super::scan::scan;
use super::site::{Running, Site};
use super::{PATIENCE, in_time, unique_name, until_true};

/// A fleet at work.
pub struct Load {
    pub progress: Arc<Progress>,
    stop: watch::Sender<bool>,
    task: JoinHandle<SimulateReport>,
}

/// A fleet that comes back quickly and goes on until it is stopped.
pub fn fleet(target: SocketAddr) -> SimulateOptions {
    SimulateOptions {
        target: target.to_string(),
        devices: 20,
        rate: 4000.0,
        duration: PATIENCE * 10,
        package_size: 20,
        device_prefix: format!("truck-{}-", unique_name()),
        drain_timeout: PATIENCE,
        backoff: (Duration::from_millis(20), Duration::from_millis(500)),
        ..SimulateOptions::default()
    }
}

impl Load {
    pub fn start(options: SimulateOptions) -> Self {
        Self::start_with(Arc::clone(&CODECS), options)
    }

    /// A fleet whose devices have these layouts.
    pub fn start_with(codecs: Arc<Codecs>, options: SimulateOptions) -> Self {
        let progress = Arc::new(Progress::default());
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::clone(&progress);
        let task = tokio::spawn(async move { simulate(&codecs, &options, shared, stopped).await.unwrap() });
        Self { progress, stop, task }
    }

    /// Waits until this many more messages are acknowledged.
    pub async fn acked(&self, more: u64) {
        let goal = self.progress.acked.get() + more;
        until_true("messages to be acknowledged", async || self.progress.acked.get() >= goal).await;
    }

    /// Lets no new messages be made, and waits until the devices are done.
    pub async fn end(self) -> SimulateReport {
        self.stop.send_replace(true);
        in_time("the devices to end", self.task).await.unwrap()
    }
}

/// The ledger against rows and dead letters.
pub async fn compare(ledger: Ledger, config: &Config, backends: &Backends) -> Comparison {
    let mut comparer = Comparer::new(ledger);
    for message_type in CODECS.catalog().types() {
        let id = message_type.id;
        let mut visit = |key: RowKey| comparer.stored(id, &key);
        backends.store.scan(&message_type.table, &mut visit).await.unwrap();
    }
    for letter in dead_letters(config, &*backends.log) {
        if let (Some(type_id), Some(event_time_ms), Some(sequence)) =
            (letter.type_id, letter.event_time_ms, letter.sequence)
        {
            comparer.dead_lettered(type_id, &RowKey { device_id: letter.device_id, event_time_ms, sequence });
        }
    }
    comparer.finish()
}

/// Asserts that nothing is lost, nothing is there twice, and nothing is there that was not sent.
pub async fn assert_nothing_lost(ledger: Ledger, config: &Config, backends: &Backends) -> Comparison {
    let found = compare(ledger, config, backends).await;
    assert!(found.acked > 0, "nothing was acknowledged");
    assert_eq!(found.lost, 0, "lost, such as {:?}", found.lost_examples);
    assert_eq!((found.duplicate_rows, found.unknown_rows), (0, 0), "{found:?}");
    found
}

/// All dead letters.
pub fn dead_letters(config: &Config, log: &dyn Log) -> Vec<OwnedDeadLetter> {
    let mut letters = Vec::new();
    scan(log, &dead_letter_topic(config), |_, _, _, value| letters.push(OwnedDeadLetter::decode(value).unwrap()));
    letters
}

/// Device, event time and sequence of every record in the log.
pub fn identities_in_log(config: &Config, log: &dyn Log) -> HashSet<(String, u64, u32)> {
    let mut identities = HashSet::new();
    for topic in record_topics(config) {
        scan(log, &topic, |_, _, key, value| {
            let identity = RecordIdentity::peek(value).expect("every record has an identity");
            let device = String::from_utf8(key.to_vec()).unwrap();
            identities.insert((device, identity.event_time_ms, identity.sequence));
        });
    }
    identities
}

/// Device, event time and sequence of everything that was acknowledged.
pub fn identities_acked(ledger: &Ledger) -> impl Iterator<Item = (String, u64, u32)> + '_ {
    ledger.devices.iter().flat_map(|device| {
        device.acked.iter().map(|entry| (device.device_id.clone(), entry.event_time_ms, entry.sequence))
    })
}

/// Layouts with another version of `position` go live while a fleet sends, which then sends that, too. Asserts that nobody
/// was disturbed and nothing is lost.
pub async fn add_cargo_under_load(site: &Site, running: &Running, layouts: &Layouts) {
    let server = running.engine.devices_addr;
    let before = Load::start(fleet(server));
    before.acked(4_000).await;

    layouts.add_cargo();
    let started = Instant::now();
    running.started.reloader.reload(Ok(site.loaded())).await.unwrap_or_else(|error| panic!("{error}"));
    println!("taken over after {:?}", started.elapsed());
    let mut options = fleet(server);
    options.device_prefix = options.device_prefix.replace("truck", "train");
    let after = Load::start_with(layouts.codecs(), options);
    after.acked(4_000).await;
    before.acked(4_000).await;

    let (mut before, after) = (before.end().await, after.end().await);
    for report in [&before, &after] {
        assert_eq!((report.unacked_at_end, report.rejected, report.refused, report.reconnects), (0, 0, 0, 0));
    }
    before.ledger.devices.extend(after.ledger.devices);
    running.catch_up().await;
    until_true("every accepted message to be written", async || {
        let counters = running.counters();
        counters.rows >= counters.accepted
    })
    .await;
    let found = assert_nothing_lost(before.ledger, &site.config(), &running.started.backends).await;
    assert_eq!(found.dead_lettered, 0);
    running.assert_unharmed().await;
}
