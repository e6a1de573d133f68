//! The compiled side of a [`Catalog`]: for each message type its Avro schema and the plans that read and write its records.
//!
//! Avro has the last word on what may change between versions, so that a catalog by our own rules may still be refused here.

use std::path::Path;
use std::sync::Arc;

use apache_avro::Schema;
use thiserror::Error;

use super::avro::schema::record_schema_json;
use super::avro::{Fingerprint, Incompatible, check_reads, fingerprint};
use super::bits::Layout;
use super::json::JsonPlan;
use crate::schema::{Catalog, CatalogError, MessageType, Positions, TypeId, TypeVersion, Version, record_of};

/// The codecs of all message types, found by number or by name: compiled once, shared read-only, swapped whole.
#[derive(Debug)]
pub struct Codecs {
    catalog: Arc<Catalog>,
    /// In the order of the catalog's types.
    types: Vec<Arc<MessageCodec>>,
    positions: Positions,
}

/// What reads and writes the records of one message type.
#[derive(Debug)]
pub struct MessageCodec {
    /// The type.
    pub message_type: Arc<MessageType>,
    /// The schema that records of every version are written with.
    pub schema: Schema,
    /// The same as JSON, with documentation and defaults: what a log registers.
    pub schema_json: String,
    /// The schema's fingerprint, which every record starts with.
    pub fingerprint: Fingerprint,
    /// How a JSON event becomes a record of the newest version.
    pub json: JsonPlan,
    /// By version; most types have few, and the first ones.
    layouts: Vec<Option<Layout>>,
}

/// Layout files that cannot be used.
#[derive(Debug, Error)]
pub enum CodecsError {
    /// By the rules of message types.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// By Avro's.
    #[error("{file}: type {type_name}: {source}")]
    Type {
        /// The file's name.
        file: String,
        /// The type.
        type_name: String,
        /// Why.
        source: Box<CodecError>,
    },
}

/// A type whose records Avro does not take.
#[derive(Debug, Error)]
pub enum CodecError {
    /// The versions do not fit together.
    #[error("the schema with version {version} cannot read records of the versions before it: {source}")]
    Incompatible {
        /// The first version with which it fails.
        version: Version,
        /// Avro's reason.
        source: Incompatible,
    },
    /// The schema is none.
    #[error("no Avro schema: {0}")]
    Schema(#[source] Box<apache_avro::Error>),
}

/// A message that no layout describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnknownLayout {
    /// No version of the type is known.
    #[error("message type {0} is not known")]
    Type(TypeId),
    /// Other versions of the type are known.
    #[error("version {1} of message type {0} is not known")]
    Version(TypeId, Version),
}

// === impl Codecs ===

impl Codecs {
    /// Compiles the codecs of a catalog's types.
    pub fn compile(catalog: Arc<Catalog>) -> Result<Codecs, CodecsError> {
        let compile = |message_type: &Arc<MessageType>| {
            MessageCodec::compile(Arc::clone(message_type)).map(Arc::new).map_err(|source| CodecsError::Type {
                file: message_type.file.clone(),
                type_name: message_type.name.clone(),
                source: Box::new(source),
            })
        };
        let types = catalog.types().iter().map(compile).collect::<Result<_, _>>()?;
        let positions = catalog.positions().clone();
        Ok(Codecs { catalog, types, positions })
    }

    /// The codecs of the types that the engine ships with.
    pub fn builtin() -> Result<Codecs, CodecsError> {
        Codecs::compile(Arc::new(Catalog::builtin()?))
    }

    /// The codecs of the layouts in a directory, see [`Catalog::load`].
    pub fn load(dir: &Path) -> Result<Codecs, CodecsError> {
        Codecs::compile(Arc::new(Catalog::load(dir)?))
    }

    /// The codecs of layout files given as (name, text).
    pub fn from_sources<N, T>(sources: impl IntoIterator<Item = (N, T)>) -> Result<Codecs, CodecsError>
    where
        N: Into<String>,
        T: AsRef<str>,
    {
        Codecs::compile(Arc::new(Catalog::from_sources(sources)?))
    }

    /// What they were compiled from.
    pub fn catalog(&self) -> &Arc<Catalog> {
        &self.catalog
    }

    /// All codecs, in the order of the catalog's types.
    pub fn types(&self) -> &[Arc<MessageCodec>] {
        &self.types
    }

    /// The codec of the type of a number.
    #[inline]
    pub fn by_id(&self, id: TypeId) -> Option<&Arc<MessageCodec>> {
        self.types.get(self.positions.of(id)?)
    }

    /// The codec of the type of a name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<MessageCodec>> {
        self.types.iter().find(|codec| codec.message_type.name == name)
    }

    /// The layout of a version of a type.
    #[inline]
    pub fn layout(&self, id: TypeId, version: Version) -> Result<&Layout, UnknownLayout> {
        let codec = self.by_id(id).ok_or(UnknownLayout::Type(id))?;
        codec.layout(version).ok_or(UnknownLayout::Version(id, version))
    }
}

// === impl MessageCodec ===

impl MessageCodec {
    fn compile(message_type: Arc<MessageType>) -> Result<MessageCodec, CodecError> {
        check_evolution(&message_type)?;
        let MessageType { name, id, doc, versions, record, .. } = &*message_type;
        let schema_json = record_schema_json(name, doc, record);
        let schema = parse(&schema_json)?;
        let Some(fingerprint) = fingerprint(&schema_json) else { unreachable!("Avro has just taken the schema") };
        let Some(newest) = versions.last() else { unreachable!("a type without a version is refused when it is read") };
        let json = JsonPlan::compile(*id, newest, record, fingerprint);
        let mut layouts = Vec::new();
        for version in versions {
            layouts.resize_with(usize::from(version.number), || None);
            layouts.push(Some(Layout::new(version, record, fingerprint)));
        }
        Ok(MessageCodec { message_type, schema, schema_json, fingerprint, json, layouts })
    }

    /// The layout of a version.
    #[inline]
    pub fn layout(&self, version: Version) -> Option<&Layout> {
        self.layouts.get(usize::from(version))?.as_ref()
    }
}

/// That the schema after each version reads what was written with the one before it.
fn check_evolution(message_type: &MessageType) -> Result<(), CodecError> {
    let MessageType { name, doc, versions, .. } = message_type;
    let mut before: Option<String> = None;
    for (index, TypeVersion { number, .. }) in versions.iter().enumerate() {
        let record = record_of(&versions[..=index]);
        let Ok(record) = record else { unreachable!("all versions together make a record, so the first ones do") };
        let schema_json = record_schema_json(name, doc, &record);
        let schema = parse(&schema_json)?;
        if let Some(before) = before {
            check_reads(&schema, &before).map_err(|source| CodecError::Incompatible { version: *number, source })?;
        }
        before = Some(schema_json);
    }
    Ok(())
}

fn parse(json: &str) -> Result<Schema, CodecError> {
    Schema::parse_str(json).map_err(|error| CodecError::Schema(Box::new(error)))
}
