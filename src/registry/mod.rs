//! A registry of schemas: where the ids in Avro records of others lead.
//!
//! Whoever is about to read records has their schemas learnt first ([`Registry::learn`]). What is learnt is kept in our
//! schema topic, and at a start all of that is known at once, so that neither a new pod nor a registry that is away keeps
//! anybody waiting but the records of a schema that is new. Those wait for as long as it takes; nothing is lost.
//!
//! [`answer`] is what a registry says, [`client`] asks one, [`asker`] decides what follows from its answers.

mod answer;
mod asker;
mod client;
mod trouble;

#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tracing::{info, warn};

use crate::codec::avro::foreign::{KeptSchema, RegistrySchemas, split_framed};
use crate::flow::health::Condition;
use crate::log::{Log, LogError};
use crate::telemetry::Telemetry;
use crate::tls::{ServerTrust, TlsError};
use asker::{Asker, Question};
use trouble::Troubles;

/// How to reach a registry.
#[derive(Clone)]
pub struct RegistrySettings {
    /// Its address: `http://host:port`, or `https`, with a path if it has one; no slash at the end.
    pub url: String,
    /// User and password. `None`: without a login.
    pub login: Option<(String, String)>,
    /// Whom to trust, for `https`.
    pub tls: Option<ServerTrust>,
    /// How long an answer may take.
    pub timeout: Duration,
    /// A registry of several servers may not have a schema on all of them at once: only after so long is it believed that
    /// there is none.
    pub patience: Duration,
}

/// Why a registry cannot be used at all. That it is away is no reason.
#[derive(Debug, thiserror::Error)]
pub enum RegistryError {
    /// The schemas that are kept could not be read.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Its certificates cannot be used.
    #[error("registry.tls: {0}")]
    Tls(#[from] TlsError),
    /// No thread could be started for its requests.
    #[error("cannot start the thread that asks the registry: {0}")]
    Thread(std::io::Error),
}

/// A registry, and what is known of its schemas.
pub struct Registry {
    schemas: Arc<RegistrySchemas>,
    troubles: Arc<Troubles>,
    settings: RegistrySettings,
    log: Arc<dyn Log>,
    telemetry: Arc<Telemetry>,
    questions: Mutex<mpsc::UnboundedSender<Question>>,
}

// === impl RegistrySettings ===

impl fmt::Debug for RegistrySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The password is for the registry alone.
        let user = self.login.as_ref().map(|(user, _)| user);
        let Self { url, tls, timeout, patience, login: _ } = self;
        f.debug_struct("RegistrySettings")
            .field("url", url)
            .field("user", &user)
            .field("tls", tls)
            .field("timeout", timeout)
            .field("patience", patience)
            .finish()
    }
}

// === impl Registry ===

impl Registry {
    /// Learns all schemas that are kept. Asks the log alone, not the registry.
    ///
    /// # Errors
    /// If the log cannot be read, or the settings cannot be used.
    pub async fn open(
        settings: RegistrySettings,
        log: Arc<dyn Log>,
        telemetry: Arc<Telemetry>,
    ) -> Result<Arc<Self>, RegistryError> {
        let schemas = Arc::new(RegistrySchemas::default());
        let num_kept = learn_kept(&schemas, &settings.url, &log.schemas().await?);
        info!(registry = settings.url, num_kept, "schemas of the registry are known from the log");
        telemetry.counters.registry_requests.expect(client::OUTCOMES);
        let troubles = Arc::new(Troubles::new(&settings.url));
        let asker = Asker::new(
            &settings,
            Arc::clone(&log),
            Arc::clone(&schemas),
            Arc::clone(&troubles),
            Arc::clone(&telemetry),
        )?;
        let questions = Mutex::new(asker.start().map_err(RegistryError::Thread)?);
        Ok(Arc::new(Self { schemas, troubles, settings, log, telemetry, questions }))
    }

    /// What is known of its schemas, for those who read records.
    pub fn schemas(&self) -> Arc<RegistrySchemas> {
        Arc::clone(&self.schemas)
    }

    /// Whether the schema of each of these records is known, or known not to exist. Asks nobody.
    pub fn knows<'r>(&self, records: impl IntoIterator<Item = &'r [u8]>) -> bool {
        self.unknown(records).is_empty()
    }

    /// Returns when the schema of each of these records is known, or known not to exist; waits for as long as the registry
    /// is away, or refuses to answer. Dropping it is safe at any time. A record without the frame needs nothing.
    pub async fn learn<'r>(&self, records: impl IntoIterator<Item = &'r [u8]>) {
        let unknown = self.unknown(records);
        join_all(unknown.into_iter().map(|id| self.learn_id(id))).await;
    }

    async fn learn_id(&self, id: u32) {
        loop {
            let (done, on_done) = oneshot::channel();
            self.ask(Question { id, done });
            // Without an answer whoever asks has ended by a panic.
            if on_done.await.is_ok() {
                return;
            }
            warn!(schema = id, "asking the registry has failed inside this process; it is asked again");
            tokio::time::sleep(asker::MIN_DELAY).await;
        }
    }

    fn ask(&self, question: Question) {
        let mut questions = self.questions.lock();
        if let Err(mpsc::error::SendError(question)) = questions.send(question) {
            let Self { settings, log, schemas, troubles, telemetry, .. } = self;
            let parts = (Arc::clone(log), Arc::clone(schemas), Arc::clone(troubles), Arc::clone(telemetry));
            let restarted = Asker::new(settings, parts.0, parts.1, parts.2, parts.3)
                .and_then(|asker| asker.start().map_err(RegistryError::Thread));
            match restarted {
                Ok(started) => {
                    *questions = started;
                    // If this one is gone, too, the question is dropped, which its asker sees.
                    let _ = questions.send(question);
                }
                Err(error) => warn!(%error, "the registry cannot be asked"),
            }
        }
    }

    /// Everything that is wrong with the registry, as far as somebody waits for it.
    pub fn conditions(&self) -> Vec<Condition> {
        self.troubles.conditions()
    }

    /// The ids of these records that are not known, each once.
    fn unknown<'r>(&self, records: impl IntoIterator<Item = &'r [u8]>) -> Vec<u32> {
        let mut unknown = Vec::new();
        // Nearly all records of a batch have the same id.
        let mut last = None;
        for (id, _) in records.into_iter().filter_map(|record| split_framed(record).ok()) {
            if last.replace(id) != Some(id) && !self.schemas.knows(id) && !unknown.contains(&id) {
                unknown.push(id);
            }
        }
        unknown
    }
}

/// Learns those of the kept schemas that are of this registry; how many.
fn learn_kept(schemas: &RegistrySchemas, url: &str, all: &[crate::log::WriterSchema]) -> usize {
    let of_registry = all.iter().filter_map(|(_, json)| KeptSchema::parse(json)).filter(|kept| kept.registry == url);
    let mut num_kept = 0;
    for kept in of_registry.filter(|kept| !schemas.is_usable(kept.id)) {
        learn(schemas, &kept);
        num_kept += 1;
    }
    num_kept
}

/// Learns a schema. One that cannot be used is told of once, and with each record.
fn learn(schemas: &RegistrySchemas, kept: &KeptSchema) {
    if let Err(reason) = schemas.learn(kept.id, &kept.schema, &kept.references) {
        warn!(schema = kept.id, reason, "a schema of the registry cannot be used: its records become dead letters");
    }
}
