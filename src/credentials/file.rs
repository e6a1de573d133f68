//! The file of tokens: TOML tables `[[device]]`, `[[http]]`, `[[observer]]` and `[[operator]]`, each with the hash of one
//! token.
//!
//! All mistakes are reported at once, each with its line, its key and what to do. No value is ever shown: somebody may
//! have written a token where its hash belongs.

use std::collections::BTreeMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use super::token::{TokenHash, TokenKind};
use super::{Credentials, Grant, HttpGrant};
use crate::protocol::device_id::DeviceId;

/// Most tokens that are valid for one device; each is compared at its every Hello.
pub const MAX_TOKENS_OF_A_DEVICE: usize = 16;

/// Most tokens that are valid for all devices; each is compared at every Hello.
pub const MAX_TOKENS_OF_THE_FLEET: usize = 64;

/// Why a file of tokens cannot be used: every mistake in it, one a line.
#[derive(Debug)]
pub struct CredentialsError(Vec<(usize, String)>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TokenFile {
    #[serde(default)]
    device: Vec<Spanned<DeviceToken>>,
    #[serde(default)]
    http: Vec<Spanned<HttpToken>>,
    #[serde(default)]
    observer: Vec<Spanned<PlainToken>>,
    #[serde(default)]
    operator: Vec<Spanned<PlainToken>>,
    /// What `operator` was called first. A list of its own, since a file may have tables of both names.
    #[serde(default)]
    admin: Vec<Spanned<PlainToken>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct DeviceToken {
    /// For people. Not read otherwise, so any text will do.
    #[serde(default, rename = "name")]
    _name: String,
    device: Option<Spanned<String>>,
    hash: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HttpToken {
    #[serde(default)]
    name: String,
    types: Option<Spanned<Vec<String>>>,
    hash: Spanned<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PlainToken {
    /// For people. Not read otherwise, so any text will do.
    #[serde(default, rename = "name")]
    _name: String,
    hash: Spanned<String>,
}

/// Fills [`Credentials`] and notes what is wrong.
struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    found: Credentials,
    /// Where each hash was seen first.
    lines: BTreeMap<u64, usize>,
    problems: Vec<(usize, String)>,
}

// === impl Credentials ===

impl Credentials {
    /// Reads a file of tokens.
    pub fn load(path: &Path) -> Result<Self, CredentialsError> {
        let name = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|error| {
            let remedy = "make it readable, or begin it with `surgetank token new`";
            CredentialsError(vec![(0, format!("{name}: cannot be read: {error}; {remedy}"))])
        })?;
        Self::parse(&name, &text)
    }

    /// Reads the text of a file of tokens that is called `name`.
    pub fn parse(name: &str, text: &str) -> Result<Self, CredentialsError> {
        let file: TokenFile = toml::from_str(text).map_err(|error| {
            let line = line_of(text, error.span().map_or(0, |span| span.start));
            CredentialsError(vec![(line, format!("{name}:{line}: {}", without_values(error.message())))])
        })?;
        let (lines, problems) = (BTreeMap::new(), Vec::new());
        let mut reader = Reader { name, text, found: Self::none(), lines, problems };
        file.device.into_iter().for_each(|token| reader.device(token.into_inner()));
        file.http.into_iter().for_each(|token| reader.http(token.into_inner()));
        file.observer.into_iter().for_each(|token| reader.observer(&token.into_inner()));
        file.operator.into_iter().chain(file.admin).for_each(|token| reader.operator(&token.into_inner()));
        let Reader { found, mut problems, .. } = reader;
        problems.sort();
        if problems.is_empty() { Ok(found) } else { Err(CredentialsError(problems)) }
    }
}

// === impl Reader ===

impl Reader<'_> {
    fn device(&mut self, token: DeviceToken) {
        let Some(hash) = self.hash(TokenKind::Device, &token.hash) else { return };
        let (tokens, max, whose) = match &token.device {
            None => (&mut self.found.fleet, MAX_TOKENS_OF_THE_FLEET, "all devices"),
            Some(device) => match DeviceId::new(device.get_ref()) {
                Ok(id) => (self.found.devices.entry(id).or_default(), MAX_TOKENS_OF_A_DEVICE, "this device"),
                Err(error) => {
                    let what = format!("device.device: {error}; write the id that the device sends in its Hello");
                    return self.problem(device, &what);
                }
            },
        };
        if tokens.len() == max {
            let remedy = "remove those that nobody uses any more";
            return self.problem(&token.hash, &format!("device.hash: more than {max} tokens of {whose}; {remedy}"));
        }
        tokens.push(hash);
        if token.device.is_some() {
            self.found.of_devices.insert(hash.handle());
        }
    }

    fn http(&mut self, token: HttpToken) {
        let Some(hash) = self.hash(TokenKind::Http, &token.hash) else { return };
        if let Some(types) = &token.types
            && (types.get_ref().is_empty() || types.get_ref().iter().any(String::is_empty))
        {
            let remedy = "name the types, or leave the key out for all of them";
            return self.problem(types, &format!("http.types: does not name message types; {remedy}"));
        }
        let name = if token.name.is_empty() { format!("{:016x}", hash.handle()) } else { token.name };
        let grant = HttpGrant(Arc::new(Grant { name, types: token.types.map(Spanned::into_inner) }));
        if let Entry::Vacant(place) = self.found.http.entry(hash.handle()) {
            place.insert((hash, grant));
        }
    }

    fn observer(&mut self, token: &PlainToken) {
        if let Some(hash) = self.hash(TokenKind::Observer, &token.hash) {
            self.found.observers.push(hash);
        }
    }

    fn operator(&mut self, token: &PlainToken) {
        if let Some(hash) = self.hash(TokenKind::Operator, &token.hash) {
            self.found.operators.push(hash);
        }
    }

    /// The hash, unless it is none or there already: one token for two purposes is nearly always a slip.
    fn hash(&mut self, kind: TokenKind, written: &Spanned<String>) -> Option<TokenHash> {
        let key = kind.name();
        let Ok(hash) = written.get_ref().parse::<TokenHash>() else {
            let remedy = "write \"sha256:\" and 64 hexadecimal digits, as `surgetank token new` does";
            self.problem(written, &format!("{key}.hash: is not the hash of a token; {remedy}"));
            return None;
        };
        let line = line_of(self.text, written.span().start);
        if let Some(first) = self.lines.insert(hash.handle(), line) {
            let remedy = "make a token of its own with `surgetank token new`";
            self.problem(written, &format!("{key}.hash: is the one of line {first} again; {remedy}"));
            return None;
        }
        Some(hash)
    }

    fn problem<T>(&mut self, at: &Spanned<T>, what: &str) {
        let line = line_of(self.text, at.span().start);
        self.problems.push((line, format!("{}:{line}: {what}", self.name)));
    }
}

/// What the parser says, without the value that it may quote.
fn without_values(message: &str) -> String {
    let quotes = message.starts_with("invalid type: ") || message.starts_with("invalid value: ");
    match message.rsplit_once(", expected ") {
        Some((_, expected)) if quotes => format!("a value of the wrong kind; write {expected}"),
        _ => message.trim().replace('\n', ", "),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.bytes().take(offset).filter(|byte| *byte == b'\n').count() + 1
}

// === impl CredentialsError ===

impl fmt::Display for CredentialsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (_, problem)) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for CredentialsError {}
