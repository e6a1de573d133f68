//! The thread that asks a registry: one task for each id, whoever needs it, until it is known.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};

use super::client::{Access, Found, NotFound, RegistryClient};
use super::trouble::{Trouble, Troubles};
use super::{RegistryError, RegistrySettings, learn, learn_kept};
use crate::codec::avro::foreign::{KeptSchema, RegistrySchemas};
use crate::flow::backoff::Backoff;
use crate::log::Log;
use crate::telemetry::Telemetry;

/// Between attempts, at first and at most.
pub(super) const MIN_DELAY: Duration = Duration::from_millis(250);
const MAX_DELAY: Duration = Duration::from_secs(15);
/// After so long it is asked again for what it did not have; nobody waits for that with patience.
const DOUBT: Duration = Duration::from_secs(60);
/// So many ids without a schema are remembered.
const MAX_MISSING: usize = 10_000;
/// So many requests at the same time.
const MAX_REQUESTS: usize = 8;

/// Who wants to know of an id, to be told once it is known.
pub(super) struct Question {
    pub id: u32,
    pub done: oneshot::Sender<()>,
}

/// Asks, and learns what is answered.
pub(super) struct Asker {
    access: Access,
    url: String,
    patience: Duration,
    log: Arc<dyn Log>,
    schemas: Arc<RegistrySchemas>,
    troubles: Arc<Troubles>,
}

/// What the tasks of the thread share.
struct Shared {
    client: RegistryClient,
    url: String,
    patience: Duration,
    log: Arc<dyn Log>,
    schemas: Arc<RegistrySchemas>,
    troubles: Arc<Troubles>,
    requests: Semaphore,
    /// Who waits for each id that is asked for.
    waiting: RefCell<HashMap<u32, Vec<oneshot::Sender<()>>>>,
    /// What the registry did not have.
    missing: RefCell<HashSet<u32>>,
}

// === impl Asker ===

impl Asker {
    pub(super) fn new(
        settings: &RegistrySettings,
        log: Arc<dyn Log>,
        schemas: Arc<RegistrySchemas>,
        troubles: Arc<Troubles>,
        telemetry: Arc<Telemetry>,
    ) -> Result<Self, RegistryError> {
        let access = Access::new(settings, telemetry)?;
        Ok(Self { access, url: settings.url.clone(), patience: settings.patience, log, schemas, troubles })
    }

    /// Starts the thread. It ends when the sender is dropped.
    pub(super) fn start(self) -> io::Result<mpsc::UnboundedSender<Question>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (questions, on_question) = mpsc::unbounded_channel();
        let run = move || LocalSet::new().block_on(&runtime, self.run(on_question));
        std::thread::Builder::new().name("registry".to_owned()).spawn(run)?;
        Ok(questions)
    }

    async fn run(self, mut questions: mpsc::UnboundedReceiver<Question>) {
        let Self { access, url, patience, log, schemas, troubles } = self;
        let shared = Rc::new(Shared {
            client: access.client(),
            url,
            patience,
            log,
            schemas,
            troubles,
            requests: Semaphore::new(MAX_REQUESTS),
            waiting: RefCell::default(),
            missing: RefCell::default(),
        });
        while let Some(Question { id, done }) = questions.recv().await {
            if shared.schemas.knows(id) {
                // Whoever has gone meanwhile need not be told.
                let _ = done.send(());
                continue;
            }
            let mut waiting = shared.waiting.borrow_mut();
            let is_asked = waiting.contains_key(&id);
            waiting.entry(id).or_default().push(done);
            if !is_asked {
                let (asking, shared) = (tokio::task::spawn_local(Rc::clone(&shared).ask(id)), Rc::clone(&shared));
                tokio::task::spawn_local(async move {
                    if asking.await.is_err() {
                        // A panic. Who waits sees that nobody will answer, and asks again.
                        shared.waiting.borrow_mut().remove(&id);
                    }
                });
            }
        }
    }
}

// === impl Shared ===

impl Shared {
    /// Asks for an id until it is known, or nobody waits for it any more.
    async fn ask(self: Rc<Self>, id: u32) {
        let mut backoff = Backoff::new(MIN_DELAY, MAX_DELAY);
        let was_missing = self.missing.borrow().contains(&id);
        let mut missing_since = None;
        while self.is_awaited(id) {
            let outcome = self.find(id).await;
            let trouble = match outcome {
                Ok(Found::Schema(kept)) => return self.found(&kept).await,
                Ok(Found::Unusable(reason)) => return self.refuse(id, reason),
                Ok(Found::Missing) => {
                    let since = *missing_since.get_or_insert_with(Instant::now);
                    if was_missing || since.elapsed() >= self.patience {
                        return self.miss(id).await;
                    }
                    None
                }
                Err(NotFound::Unavailable(reason)) => Some(Trouble::Unavailable(reason)),
                Err(NotFound::Refused(reason)) => Some(Trouble::Refused(reason)),
            };
            // Another pod may have learnt it before.
            if trouble.is_some() && self.look_in_log(id).await {
                return self.known(id);
            }
            self.troubles.set(id, trouble);
            sleep(backoff.next_delay(rand::random())).await;
        }
        self.troubles.set(id, None);
    }

    /// Whether somebody waits for it; if nobody does, it is not asked for any more.
    fn is_awaited(&self, id: u32) -> bool {
        let mut waiting = self.waiting.borrow_mut();
        let Some(askers) = waiting.get_mut(&id) else { return false };
        askers.retain(|asker| !asker.is_closed());
        let is_awaited = !askers.is_empty();
        if !is_awaited {
            waiting.remove(&id);
        }
        is_awaited
    }

    async fn find(&self, id: u32) -> Result<Found, NotFound> {
        let Ok(_permit) = self.requests.acquire().await else { unreachable!("nobody closes it") };
        self.client.find(id).await
    }

    async fn look_in_log(&self, id: u32) -> bool {
        if let Ok(all) = self.log.schemas().await {
            learn_kept(&self.schemas, &self.url, &all);
        }
        self.schemas.is_usable(id)
    }

    /// Keeps a schema, then uses it. That it cannot be kept holds up nobody.
    async fn found(&self, kept: &KeptSchema) {
        let (id, key, json) = (kept.id, KeptSchema::key(&kept.registry, kept.id), kept.to_json());
        let mut backoff = Backoff::new(MIN_DELAY, MAX_DELAY);
        let mut is_first = true;
        loop {
            let outcome = self.log.put_schema(key, json.clone()).await;
            if std::mem::take(&mut is_first) {
                learn(&self.schemas, kept);
                info!(schema = id, registry = self.url, "learnt a schema of the registry");
                self.known(id);
            }
            let Err(error) = outcome else { break };
            self.troubles.set(id, Some(Trouble::NotKept(error.to_string())));
            sleep(backoff.next_delay(rand::random())).await;
        }
        self.troubles.set(id, None);
    }

    fn refuse(&self, id: u32, reason: String) {
        warn!(schema = id, reason, "records of a schema become dead letters");
        self.schemas.refuse(id, reason);
        self.known(id);
    }

    /// Says that there is no such schema, and doubts it after a while.
    async fn miss(&self, id: u32) {
        let is_new = {
            let mut missing = self.missing.borrow_mut();
            if missing.len() >= MAX_MISSING {
                missing.drain().for_each(|id| self.schemas.forget(id));
            }
            missing.insert(id)
        };
        if is_new {
            warn!(schema = id, registry = self.url, "the registry has no such schema: its records become dead letters");
        }
        self.schemas.miss(id, &self.url);
        self.known(id);
        sleep(DOUBT).await;
        self.schemas.doubt(id);
    }

    /// Tells those who wait.
    fn known(&self, id: u32) {
        self.troubles.set(id, None);
        let askers = self.waiting.borrow_mut().remove(&id);
        for asker in askers.into_iter().flatten() {
            let _ = asker.send(());
        }
    }
}
