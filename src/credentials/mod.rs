//! Who may send, look, and change something: tokens of devices, of HTTP clients, of observers and of operators.
//!
//! The tokens' hashes are in one file ([`file`]), which is read whole into [`Credentials`] and replaced whole: several
//! tokens are valid at once, so that a new one can be handed out before the old one is taken away. Comparisons take the
//! same time whether or not, and where, a token differs.

mod file;
#[cfg(test)]
mod tests;
mod token;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use arc_swap::ArcSwap;
use subtle::{Choice, ConstantTimeEq};

pub use file::{CredentialsError, MAX_TOKENS_OF_A_DEVICE, MAX_TOKENS_OF_THE_FLEET};
pub use token::{NoRandomness, TokenHash, TokenKind, new_token};

use crate::protocol::device_id::DeviceId;

/// The credentials in force, replaced whole when the file has changed.
pub type CurrentCredentials = Arc<ArcSwap<Credentials>>;

/// Who may do what.
#[derive(Debug, PartialEq, Eq)]
pub struct Credentials {
    /// Whether devices, HTTP clients and observers need no token: there is no file.
    is_open: bool,
    /// Tokens that every device may present.
    fleet: Vec<TokenHash>,
    /// Tokens of single devices.
    devices: HashMap<DeviceId, Vec<TokenHash>>,
    /// [`TokenHash::handle`] of the tokens of single devices.
    of_devices: HashSet<u64>,
    /// By [`TokenHash::handle`].
    http: HashMap<u64, (TokenHash, HttpGrant)>,
    observers: Vec<TokenHash>,
    operators: Vec<TokenHash>,
}

/// What an HTTP client may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpGrant(Arc<Grant>);

#[derive(Debug, PartialEq, Eq)]
struct Grant {
    name: String,
    /// `None`: all.
    types: Option<Vec<String>>,
}

/// The token is missing or not one that is known; which of the two is nobody's business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the token is not valid")]
pub struct Denied;

// === impl Credentials ===

impl Credentials {
    /// For an engine without a file: devices, HTTP clients and observers need no token. Nobody is an operator, since
    /// whoever changes something has to be somebody.
    pub fn open() -> Self {
        Self { is_open: true, ..Self::none() }
    }

    /// Nobody may do anything; the file adds to it.
    fn none() -> Self {
        let (fleet, devices, of_devices, http) = (Vec::new(), HashMap::new(), HashSet::new(), HashMap::new());
        Self { is_open: false, fleet, devices, of_devices, http, observers: Vec::new(), operators: Vec::new() }
    }

    /// Whether this device may connect with this token. A token of one device is of no use to another.
    pub fn device(&self, device_id: &DeviceId, token: &[u8]) -> Result<(), Denied> {
        self.device_by_hash(device_id, &TokenHash::of(token))
    }

    /// Like [`Credentials::device`], for a token that was presented before.
    pub fn device_by_hash(&self, device_id: &DeviceId, presented: &TokenHash) -> Result<(), Denied> {
        let own = self.devices.get(device_id).map(Vec::as_slice).unwrap_or_default();
        self.admit(self.is_open || is_any(self.fleet.iter().chain(own), presented))
    }

    /// Whether this is a token of any device: what it is refused for is then a matter of right, not of knowledge.
    pub fn is_of_a_device(&self, token: &[u8]) -> bool {
        let presented = TokenHash::of(token);
        self.is_open || self.of_devices.contains(&presented.handle()) || is_any(self.fleet.iter(), &presented)
    }

    /// What the bearer of this token may send over HTTP.
    pub fn http(&self, bearer: Option<&str>) -> Result<HttpGrant, Denied> {
        if self.is_open {
            return Ok(HttpGrant(Arc::new(Grant { name: String::new(), types: None })));
        }
        let presented = TokenHash::of(bearer.unwrap_or_default().as_bytes());
        // How long the lookup takes may tell of the hash of what was presented, which says nothing of any token.
        let (known, grant) = self.http.get(&presented.handle()).ok_or(Denied)?;
        self.admit(known.ct_eq(&presented).into()).map(|()| grant.clone())
    }

    /// Whether the bearer of this token may look at the engine: observers, and operators as well.
    pub fn observer(&self, bearer: Option<&str>) -> Result<(), Denied> {
        let presented = TokenHash::of(bearer.unwrap_or_default().as_bytes());
        self.admit(self.is_open || is_any(self.observers.iter().chain(&self.operators), &presented))
    }

    /// Whether the bearer of this token may change the engine's state.
    pub fn operator(&self, bearer: Option<&str>) -> Result<(), Denied> {
        self.admit(is_any(self.operators.iter(), &TokenHash::of(bearer.unwrap_or_default().as_bytes())))
    }

    /// Whether there is anybody who may look at the engine.
    pub fn has_observers(&self) -> bool {
        self.is_open || !self.observers.is_empty() || !self.operators.is_empty()
    }

    /// How many tokens of devices, of HTTP clients, of observers and of operators there are, for people.
    pub fn num_tokens(&self) -> [usize; 4] {
        let num_devices: usize = self.devices.values().map(Vec::len).sum();
        [self.fleet.len() + num_devices, self.http.len(), self.observers.len(), self.operators.len()]
    }

    /// Every type that an HTTP token names, with the token's name.
    pub fn http_types(&self) -> impl Iterator<Item = (&str, &str)> {
        self.http.values().flat_map(|(_, HttpGrant(grant))| {
            grant.types.iter().flatten().map(|type_name| (grant.name.as_str(), type_name.as_str()))
        })
    }

    fn admit(&self, is_known: bool) -> Result<(), Denied> {
        if is_known { Ok(()) } else { Err(Denied) }
    }
}

/// Whether a token is one of the known ones; compared with all of them, found or not.
fn is_any<'a>(known: impl Iterator<Item = &'a TokenHash>, presented: &TokenHash) -> bool {
    known.fold(Choice::from(0), |found, hash| found | hash.ct_eq(presented)).into()
}

// === impl HttpGrant ===

impl HttpGrant {
    /// Whether messages of this type may be sent.
    pub fn may_send(&self, type_name: &str) -> bool {
        self.0.types.as_ref().is_none_or(|types| types.iter().any(|name| name == type_name))
    }

    /// The token's name in the file, for logs and limits; empty where no token is asked for.
    pub fn name(&self) -> &str {
        &self.0.name
    }
}
