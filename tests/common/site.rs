//! A place for an engine: a temporary directory with its data and its config.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;
use surgetank::config::{Config, LoadedConfig};
use surgetank::credentials::{TokenKind, new_token};
use surgetank::engine::{Engine, STORE_FILE, Started, record_topics};
use surgetank::store::embedded::query;

use super::{http, in_time};

/// Settings for restarts that come at once and are never too many.
pub const QUICK_RESTARTS: [(&str, &str); 3] = [
    ("supervision.backoff_min", "\"1 ms\""),
    ("supervision.backoff_max", "\"10 ms\""),
    ("supervision.max_restarts", "10000"),
];

/// Marks of the gate that a test reaches soon: partitions are paused after a moment.
pub const QUICK_MARKS: [(&str, &str); 6] = [
    ("gate.stop_reading_above", "\"100 ms\""),
    ("gate.read_again_below", "\"50 ms\""),
    ("gate.pause_after", "\"400 ms\""),
    ("gate.min_dwell", "\"200 ms\""),
    ("consumer.read_records", "50"),
    ("writer.retry_max", "\"100 ms\""),
];

/// A directory with a config file and a data directory; removed at the end.
pub struct Site {
    directory: tempfile::TempDir,
}

/// An engine in this process.
pub struct Running {
    pub engine: Engine,
    pub started: Started,
    num_partitions: usize,
}

impl Site {
    /// A site for the embedded pair on free ports, with these keys set: dotted name and TOML value.
    pub fn new(settings: &[(&str, &str)]) -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        site.configure(settings);
        site
    }

    /// Like [`Site::new`], with the topics among the settings.
    pub fn new_without_topics(settings: &[(&str, &str)]) -> Self {
        let site = Self { directory: tempfile::tempdir().unwrap() };
        site.write(settings);
        site
    }

    /// Writes the config anew.
    pub fn configure(&self, settings: &[(&str, &str)]) {
        let topic = [("topics.telemetry.partitions", "2"), ("topics.telemetry.types", "[\"*\"]")];
        self.write(&[&topic[..], settings].concat());
    }

    fn write(&self, settings: &[(&str, &str)]) {
        let data_dir = format!("{:?}", self.data_dir().to_str().unwrap());
        let mut values = BTreeMap::from([
            ("data_dir", data_dir.as_str()),
            ("devices.listen", "\"127.0.0.1:0\""),
            ("http.listen", "\"127.0.0.1:0\""),
            ("ingest.listen", "\"127.0.0.1:0\""),
            ("devices.retry_delay", "\"100 ms\""),
            ("shutdown.notice", "\"0 s\""),
            ("logging.format", "\"json\""),
        ]);
        values.extend(settings.iter().copied());
        // One section per table, so that the file is as plain as one written by hand.
        let mut sections: BTreeMap<&str, String> = BTreeMap::new();
        for (key, value) in values {
            let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
            sections.entry(section).or_default().push_str(&format!("{name} = {value}\n"));
        }
        let text: String = sections
            .iter()
            .map(|(section, lines)| if section.is_empty() { lines.clone() } else { format!("[{section}]\n{lines}") })
            .collect();
        std::fs::write(self.config_path(), text).unwrap();
    }

    /// Adds a token to `tokens.toml` beside the config, with further keys of its table if need be.
    pub fn add_token(&self, kind: TokenKind, keys: &str) -> String {
        let (token, hash) = new_token(kind).unwrap();
        let path = self.path().join("tokens.toml");
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(&path, format!("{before}[[{}]]\n{keys}\nhash = \"{hash}\"\n", kind.name())).unwrap();
        token
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn config_path(&self) -> PathBuf {
        self.path().join("surgetank.toml")
    }

    pub fn data_dir(&self) -> PathBuf {
        self.path().join("data")
    }

    pub fn store_path(&self) -> PathBuf {
        self.data_dir().join(STORE_FILE)
    }

    pub fn config(&self) -> Config {
        self.loaded().config
    }

    pub fn loaded(&self) -> LoadedConfig {
        LoadedConfig::load_with(Some(&self.config_path()), []).unwrap_or_else(|errors| panic!("{errors}"))
    }

    /// Starts an engine in this process and waits until it takes messages.
    pub async fn launch(&self) -> Running {
        let mut engine = Engine::launch(self.loaded()).unwrap();
        let started = in_time("the engine to start", engine.started()).await;
        let Some(started) = started else {
            panic!("the engine did not start: {:?}", engine.ended().await);
        };
        Running::of(engine, started, self)
    }

    /// Rows of the embedded store, as `query` shows them.
    pub fn rows(&self, sql: &str) -> Vec<Vec<Value>> {
        query(&self.store_path(), sql).unwrap_or_else(|error| panic!("{sql}: {error}")).rows
    }

    /// One number out of the embedded store.
    pub fn number(&self, sql: &str) -> i64 {
        self.rows(sql)[0][0].as_i64().unwrap()
    }

    /// Changes the embedded store as somebody else would, through a connection of its own.
    pub fn execute(&self, sql: &str) {
        let connection = rusqlite::Connection::open(self.store_path()).unwrap();
        connection.busy_timeout(super::PATIENCE).unwrap();
        connection.execute_batch(sql).unwrap_or_else(|error| panic!("{sql}: {error}"));
    }

    /// Takes the write lock of the store's file until the guard is dropped: a store that does not write.
    pub fn block_store(&self) -> BlockedStore {
        let connection = rusqlite::Connection::open(self.store_path()).unwrap();
        connection.busy_timeout(super::PATIENCE).unwrap();
        connection.execute_batch("BEGIN IMMEDIATE").unwrap();
        BlockedStore(connection)
    }
}

/// The store takes no writes while this lives.
pub struct BlockedStore(rusqlite::Connection);

impl Drop for BlockedStore {
    fn drop(&mut self) {
        let _ = self.0.execute_batch("ROLLBACK");
    }
}

impl Running {
    /// An engine that was launched on this site.
    pub fn of(engine: Engine, started: Started, site: &Site) -> Self {
        let num_partitions = record_topics(&site.config()).iter().map(|topic| topic.num_partitions as usize).sum();
        Self { engine, started, num_partitions }
    }

    /// Waits until every record in the log is settled and committed. A partition that is not assigned yet is not
    /// among the lags.
    pub async fn catch_up(&self) {
        super::until_true("the store to catch up with the log", async || {
            let lags = self.started.view.lags.read();
            lags.len() == self.num_partitions && lags.iter().all(|lag| lag.records == Some(0))
        })
        .await;
    }

    /// Stops in order.
    pub async fn stop(mut self) {
        self.engine.stop();
        in_time("the engine to stop", self.engine.ended()).await.unwrap();
    }

    /// Asserts that every actor runs and none was ever restarted.
    pub async fn assert_unharmed(&self) {
        let (status, _) = http::get(self.engine.http_addr, "/health/ready").await;
        assert_eq!(status, 200);
        self.assert_no_panic();
    }

    /// Asserts that no actor panicked or was restarted.
    pub fn assert_no_panic(&self) {
        for group in self.started.view.supervisor.tree().snapshot() {
            assert_eq!(group.panicked.unwrap_or(0), 0, "{group:?}");
            for actor in &group.actors {
                assert_eq!(actor.restarts, 0, "{group:?}");
            }
        }
    }

    pub fn counters(&self) -> surgetank::telemetry::CountersSnapshot {
        self.started.view.telemetry.counters.snapshot()
    }

    /// All supervised actors of a group: state and restarts.
    pub fn group(&self, name: &str) -> surgetank::supervision::GroupSnapshot {
        let groups = self.started.view.supervisor.tree().snapshot();
        groups.into_iter().find(|group| group.group == name).unwrap_or_else(|| panic!("no group {name}"))
    }

    /// Depths of the edges into a group's actors, added up.
    pub fn depth(&self, group: &str) -> u32 {
        self.group(group).actors.iter().filter_map(|actor| actor.mailbox.map(|edge| edge.depth)).sum()
    }
}
