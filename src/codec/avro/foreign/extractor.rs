//! Records in Confluent's frame: a zero byte, the id of the schema in a registry as four bytes, the datum.
//!
//! Whoever has records to read has the schemas of their ids learnt first ([`RegistrySchemas::learn`]), because that may
//! take a request; reading then never waits.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;
use thiserror::Error;

use super::{Types, Walker};
use crate::codec::value::{Extract, Malformed, Path, Unreadable, Value};

/// Bytes that have no such frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("no Avro of a registry: it does not start with a zero byte and a schema id of 4 bytes")]
pub struct NotFramed;

/// What is known of a registry's schemas. Shared by all extractors.
#[derive(Debug, Default)]
pub struct RegistrySchemas {
    known: RwLock<HashMap<u32, Known>>,
}

/// What is known of one id.
#[derive(Debug, Clone)]
enum Known {
    Types(Arc<Types>),
    /// No record of this id can be read, for this reason.
    Unusable(Arc<str>),
    /// The registry had no such schema. In doubt it may have one by now.
    Missing {
        reason: Arc<str>,
        is_doubted: bool,
    },
}

/// Reads the values at some paths out of records in Confluent's frame.
pub struct RegistryExtractor {
    paths: Vec<Path>,
    schemas: Arc<RegistrySchemas>,
    walkers: HashMap<u32, Walker>,
}

/// The id of the writer's schema, and the datum.
///
/// # Errors
/// If the record has no such frame.
pub fn split_framed(record: &[u8]) -> Result<(u32, &[u8]), NotFramed> {
    let rest = record.strip_prefix(&[0]).ok_or(NotFramed)?;
    let (id, datum) = rest.split_first_chunk::<4>().ok_or(NotFramed)?;
    Ok((u32::from_be_bytes(*id), datum))
}

// === impl RegistrySchemas ===

impl RegistrySchemas {
    /// Whether records of this id can be read, or it is known why not.
    pub fn knows(&self, id: u32) -> bool {
        match self.known.read().get(&id) {
            Some(Known::Types(_) | Known::Unusable(_)) => true,
            Some(Known::Missing { is_doubted, .. }) => !is_doubted,
            None => false,
        }
    }

    /// Whether records of this id can be read.
    pub fn is_usable(&self, id: u32) -> bool {
        matches!(self.known.read().get(&id), Some(Known::Types(_)))
    }

    /// Learns the schema of an id, with those that it refers to, each after those that it refers to itself.
    ///
    /// # Errors
    /// Why it cannot be used. Records of this id are malformed then, for this reason.
    pub fn learn(&self, id: u32, schema: &str, references: &[String]) -> Result<(), String> {
        match Types::parse(schema, references) {
            Ok(types) => {
                self.known.write().insert(id, Known::Types(Arc::new(types)));
                Ok(())
            }
            Err(reason) => {
                self.refuse(id, format!("schema {id} cannot be used: {reason}"));
                Err(reason)
            }
        }
    }

    /// Says why no record of an id can be read.
    pub fn refuse(&self, id: u32, reason: String) {
        self.known.write().insert(id, Known::Unusable(reason.into()));
    }

    /// Says that the registry has no such schema.
    pub fn miss(&self, id: u32, registry: &str) {
        let reason = format!("the registry {registry} has no schema {id}").into();
        self.known.write().insert(id, Known::Missing { reason, is_doubted: false });
    }

    /// Says that the registry may have by now what it did not have.
    pub fn doubt(&self, id: u32) {
        if let Some(Known::Missing { is_doubted, .. }) = self.known.write().get_mut(&id) {
            *is_doubted = true;
        }
    }

    /// Forgets an id.
    pub fn forget(&self, id: u32) {
        self.known.write().remove(&id);
    }

    fn get(&self, id: u32) -> Option<Known> {
        self.known.read().get(&id).cloned()
    }
}

// === impl RegistryExtractor ===

impl RegistryExtractor {
    /// For these paths.
    pub fn new(paths: &[Path], schemas: Arc<RegistrySchemas>) -> Self {
        Self { paths: paths.to_vec(), schemas, walkers: HashMap::new() }
    }

    fn walker(&self, id: u32) -> Result<Walker, Unreadable> {
        let unknown = |reason: String| Err(Unreadable::UnknownSchema(reason));
        match self.schemas.get(id) {
            Some(Known::Types(types)) => match Walker::compile(types, &self.paths) {
                Ok(walker) => Ok(walker),
                Err(reason) => unknown(format!("schema {id} cannot be used: {reason}")),
            },
            Some(Known::Unusable(reason) | Known::Missing { reason, .. }) => unknown(reason.as_ref().to_owned()),
            None => unknown(format!("schema {id} was not learnt")),
        }
    }
}

impl Extract for RegistryExtractor {
    fn extract<'a>(&mut self, record: &'a [u8], values: &mut Vec<Value<'a>>) -> Result<(), Unreadable> {
        let (id, datum) = split_framed(record).map_err(|error| Malformed(error.to_string()))?;
        if !self.walkers.contains_key(&id) {
            self.walkers.insert(id, self.walker(id)?);
        }
        let Some(walker) = self.walkers.get(&id) else { unreachable!("it was put there") };
        Ok(walker.read(datum, values)?)
    }
}
