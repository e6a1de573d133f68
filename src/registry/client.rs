//! Asks a registry over HTTP. Lives on one thread.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use awc::error::SendRequestError;
use awc::http::header::{ACCEPT, USER_AGENT};
use awc::{Client, Connector};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use tracing::debug;

use super::answer::{Answer, Reference, SchemaAnswer, reference_path, schema_path};
use super::{RegistryError, RegistrySettings};
use crate::codec::avro::foreign::KeptSchema;
use crate::telemetry::Telemetry;
use crate::tls;

/// The outcomes under which requests are counted.
pub(super) const OUTCOMES: [&str; 5] = ["found", "not_avro", "missing", "refused", "unavailable"];

/// The largest answer; a schema that is kept has to fit a record of the log, too.
const MAX_BODY: usize = 4 << 20;
/// The most schemas that one may refer to, directly or through others.
const MAX_REFERENCES: usize = 256;

/// Whom to ask, and how.
#[derive(Clone)]
pub(super) struct Access {
    url: String,
    authorization: Option<String>,
    tls: Option<Arc<rustls::ClientConfig>>,
    timeout: Duration,
    telemetry: Arc<Telemetry>,
}

/// Asks.
pub(super) struct RegistryClient {
    access: Access,
    client: Client,
}

/// What became of a question.
#[derive(Debug)]
pub(super) enum Found {
    /// A schema of Avro, with all that it refers to.
    Schema(KeptSchema),
    /// A schema that records cannot be read with, for this reason.
    Unusable(String),
    /// There is none.
    Missing,
}

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum NotFound {
    Refused(String),
    Unavailable(String),
}

// === impl Access ===

impl Access {
    pub(super) fn new(settings: &RegistrySettings, telemetry: Arc<Telemetry>) -> Result<Self, RegistryError> {
        let tls = settings.tls.as_ref().map(tls::client_config).transpose()?;
        let basic =
            |(user, password): &(String, String)| format!("Basic {}", STANDARD.encode(format!("{user}:{password}")));
        Ok(Self {
            url: settings.url.clone(),
            authorization: settings.login.as_ref().map(basic),
            tls: tls.map(Arc::new),
            timeout: settings.timeout,
            telemetry,
        })
    }

    /// On the thread that asks.
    pub(super) fn client(self) -> RegistryClient {
        let mut connector = Connector::new().timeout(self.timeout);
        if let Some(tls) = &self.tls {
            connector = connector.rustls_0_23(Arc::clone(tls));
        }
        // A redirect could carry the login to somebody else.
        let client = Client::builder().connector(connector).timeout(self.timeout).disable_redirects().finish();
        RegistryClient { access: self, client }
    }
}

// === impl RegistryClient ===

impl RegistryClient {
    /// Asks for the schema of an id, and for those that it refers to.
    pub(super) async fn find(&self, id: u32) -> Result<Found, NotFound> {
        let SchemaAnswer { schema, references, .. } = match self.ask(&schema_path(id)).await? {
            Answer::Avro(answer) => answer,
            Answer::Other(kind) => {
                return Ok(Found::Unusable(format!("schema {id} of the registry is {kind}, not Avro")));
            }
            _ => return Ok(Found::Missing),
        };
        let references = match self.references(id, references).await? {
            Ok(references) => references,
            Err(reason) => return Ok(Found::Unusable(reason)),
        };
        Ok(Found::Schema(KeptSchema { registry: self.access.url.clone(), id, schema, references }))
    }

    /// The schemas that are referred to, each after those that it refers to itself; or what is wrong with them for good.
    async fn references(&self, id: u32, direct: Vec<Reference>) -> Result<Result<Vec<String>, String>, NotFound> {
        let mut schemas = Vec::new();
        let mut asked = HashSet::new();
        // What is left to do, the next at the end: ask for a reference, or take its schema once its own references are there.
        let mut left: Vec<Left> = direct.into_iter().rev().map(Left::Ask).collect();
        while let Some(next) = left.pop() {
            match next {
                Left::Take(schema) => schemas.push(schema),
                Left::Ask(reference) => {
                    if !asked.insert(reference.clone()) {
                        continue;
                    }
                    if asked.len() > MAX_REFERENCES {
                        return Ok(Err(format!(
                            "schema {id} of the registry refers to more than {MAX_REFERENCES} others"
                        )));
                    }
                    let Reference { subject, version } = &reference;
                    match self.ask(&reference_path(&reference)).await? {
                        Answer::Avro(answer) => {
                            left.push(Left::Take(answer.schema));
                            left.extend(answer.references.into_iter().rev().map(Left::Ask));
                        }
                        Answer::Other(kind) => {
                            let what = format!("schema {id} refers to version {version} of {subject}, which is {kind}");
                            return Ok(Err(what));
                        }
                        // It was there when the schema was registered.
                        _ => {
                            let what = format!("it has no version {version} of {subject}, which schema {id} refers to");
                            return Err(NotFound::Unavailable(what));
                        }
                    }
                }
            }
        }
        Ok(Ok(schemas))
    }

    /// A schema, another kind of schema, or that there is none.
    async fn ask(&self, path: &str) -> Result<Answer, NotFound> {
        let answer = match tokio::time::timeout(self.access.timeout, self.get(path)).await {
            Ok(answer) => answer,
            Err(_) => Answer::Unavailable(format!("no answer within {:?}", self.access.timeout)),
        };
        let [found, not_avro, missing, refused, unavailable] = OUTCOMES;
        let outcome = match &answer {
            Answer::Avro(_) => found,
            Answer::Other(_) => not_avro,
            Answer::Missing => missing,
            Answer::Refused(_) => refused,
            Answer::Unavailable(_) => unavailable,
        };
        debug!(path, outcome, "asked the registry");
        self.access.telemetry.counters.registry_requests.add(&outcome, 1);
        match answer {
            Answer::Refused(reason) => Err(NotFound::Refused(reason)),
            Answer::Unavailable(reason) => Err(NotFound::Unavailable(reason)),
            answer => Ok(answer),
        }
    }

    async fn get(&self, path: &str) -> Answer {
        let mut request = self
            .client
            .get(format!("{}{path}", self.access.url))
            .insert_header((USER_AGENT, "surgetank"))
            .insert_header((ACCEPT, "application/vnd.schemaregistry.v1+json, application/json"));
        if let Some(authorization) = &self.access.authorization {
            request = request.insert_header(("Authorization", authorization.as_str()));
        }
        let mut response = match request.send().await {
            Ok(response) => response,
            Err(SendRequestError::Url(error)) => {
                return Answer::Unavailable(format!("registry.url is no address: {error}"));
            }
            Err(error) => return Answer::Unavailable(error.to_string()),
        };
        match response.body().limit(MAX_BODY).await {
            Ok(body) => Answer::read(response.status().as_u16(), &body),
            Err(error) => Answer::Unavailable(error.to_string()),
        }
    }
}

/// See [`RegistryClient::references`].
enum Left {
    Ask(Reference),
    Take(String),
}
