//! `surgetank check --online`: asks the log and the store about everything that a start and a running engine would ask
//! them, and the consumer group who else is in it. It joins no group, writes nothing and creates nothing.

use std::path::Path;
use std::sync::Arc;

use super::output::tell;
use super::routes::notes;
use super::{Failure, Outcome, runtime};
use crate::actors::schemas::check_layouts;
use crate::codec::Codecs;
use crate::config::{Config, LogKind, StoreKind};
use crate::engine::{RouteSources, RoutesError, all_topics, open_log, open_store, tables};
use crate::flow::health::{Condition, Verdict};
use crate::log::LogError;
use crate::store::{Store, StoreError};
use crate::telemetry::Counters;

/// The code of a table that is not there. The next start creates it, unless the config says that it may not.
const TABLE_MISSING: &str = "table_missing";

/// What was found, in the order of the path.
#[derive(Default)]
struct Findings {
    failing: Vec<String>,
    degraded: Vec<String>,
    notes: Vec<String>,
    /// Parts that are not there yet, or that an engine has to itself.
    not_asked: Vec<&'static str>,
}

pub(super) fn check_online(path: &Path, config: &Config, codecs: &Codecs) -> Outcome {
    let mut findings = Findings::default();
    let runtime = runtime(2)?;
    runtime.block_on(async {
        check_log(config, codecs, &mut findings).await;
        check_store(config, codecs, &mut findings, runtime.handle()).await;
    });
    let path = path.display();
    let Findings { failing, degraded, notes, not_asked } = &findings;
    for (word, lines) in [("failing", failing), ("degraded", degraded), ("note", notes)] {
        lines.iter().for_each(|line| tell!("{path}: {word}: {line}"));
    }
    match failing.len() {
        0 if !not_asked.is_empty() => {
            tell!("{path}: online: not asked: {}", not_asked.join(" and "));
        }
        0 if degraded.is_empty() => tell!("{path}: online: fine"),
        0 => tell!("{path}: online: degraded"),
        number => {
            return Err(Failure::Job(format!("{number} of the things that were asked keep rows from being written")));
        }
    }
    Ok(())
}

async fn check_log(config: &Config, codecs: &Codecs, findings: &mut Findings) {
    if matches!(config.log.kind, LogKind::Embedded(_)) && !config.data_dir.exists() {
        findings.not_asked.push("log");
        findings.notes.push(format!("{} does not exist yet: there is no log to ask", config.data_dir.display()));
        return;
    }
    let log = match open_log(config) {
        Ok(log) => log,
        Err(error) => return findings.log_error(&error),
    };
    let topics = all_topics(config);
    match log.check(&topics).await {
        Ok(()) => {
            if let Err(error) = check_layouts(&*log, codecs).await {
                findings.failing.push(error.to_string());
            }
        }
        Err(error @ LogError::MissingTopic(_)) if config.log.apply_on_start => {
            findings.notes.push(format!("{error}; the next start creates it"));
        }
        Err(error) => findings.log_error(&error),
    }
    match log.inspect(&topics).await {
        Ok(conditions) => findings.take(conditions),
        Err(error) => findings.log_error(&error),
    }
    log.close().await;
}

async fn check_store(config: &Config, codecs: &Codecs, findings: &mut Findings, driver: &tokio::runtime::Handle) {
    if matches!(config.store.kind, StoreKind::Embedded(_)) && !config.data_dir.exists() {
        findings.not_asked.push("store");
        findings.notes.push(format!("{} does not exist yet: there is no store to ask", config.data_dir.display()));
        return;
    }
    let store: Arc<dyn Store> = match open_store(config, driver.clone()).await {
        Ok(store) => store,
        Err(error) => return findings.store_error(&error),
    };
    let mut tables = tables(config, codecs.catalog());
    let sources = RouteSources::of(config, codecs.catalog(), None);
    match sources.compile(&*store, &Counters::default()).await {
        Ok(routing) => {
            findings.notes.extend(notes(&routing));
            tables.extend_from_slice(routing.tables());
        }
        Err(RoutesError::Problems(problems)) => {
            findings.failing.extend(problems.iter().map(ToString::to_string));
        }
        Err(RoutesError::Store(error)) => findings.store_error(&error),
    }
    match store.prepare(&tables).await {
        Ok(()) => {}
        Err(error @ StoreError::Missing { .. }) if config.store.apply_on_start => {
            findings.notes.push(format!("{error}; the next start creates it"));
        }
        // Routes that may not create their tables have said so.
        Err(error @ StoreError::RouteTable { code: TABLE_MISSING, .. }) if config.store.apply_on_start => {
            findings.notes.push(format!("{error}; the next start creates it"));
        }
        Err(error) => findings.store_error(&error),
    }
    match store.inspect(&tables).await {
        Ok(mut conditions) => {
            conditions.retain(|condition| !is_created_at_the_start(config, condition));
            findings.take(conditions);
        }
        Err(error) => findings.store_error(&error),
    }
    store.close().await;
}

/// Whether what is missing is there after the next start.
fn is_created_at_the_start(config: &Config, condition: &Condition) -> bool {
    let is_own_keyspace = match &config.store.kind {
        StoreKind::Cassandra(store) => condition.code == "keyspace_missing" && condition.subject == store.keyspace,
        StoreKind::Embedded(_) => false,
    };
    config.store.apply_on_start && (is_own_keyspace || condition.code == TABLE_MISSING)
}

// === impl Findings ===

impl Findings {
    fn take(&mut self, conditions: Vec<Condition>) {
        for condition in conditions {
            let line = condition.to_string();
            let lines = match condition.verdict {
                Verdict::Failing => &mut self.failing,
                Verdict::Ok | Verdict::Degraded => &mut self.degraded,
            };
            // What the check before has said in the same words is said once.
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
    }

    fn log_error(&mut self, error: &LogError) {
        match error {
            LogError::Locked { path } => self.engine_runs(path, "log"),
            error => self.failing.push(format!("log: {error}")),
        }
    }

    fn store_error(&mut self, error: &StoreError) {
        match error {
            StoreError::Locked { path } => self.engine_runs(path, "store"),
            error => self.failing.push(format!("store: {error}")),
        }
    }

    fn engine_runs(&mut self, path: &str, part: &'static str) {
        self.not_asked.push(part);
        self.notes.push(format!(
            "{path} is in use: an engine runs on this {part}, so it was not asked; see /health of that engine"
        ));
    }
}
