//! A message type: the layouts of all its versions, and the schema and table that they share.

use std::sync::Arc;

use apache_avro::Schema;
use thiserror::Error;

use super::check::Declaration;
use crate::codec::avro::schema::record_schema_json;
use crate::codec::avro::single_object::{Fingerprint, fingerprint};
use crate::codec::avro::{Incompatible, check_reads};
use crate::codec::bits::Layout;
use crate::codec::json::JsonPlan;
use crate::schema::RecordShape;
use crate::schema::row::Table;
use crate::schema::table::table_of;
use crate::schema::{EvolutionError, merge};
use crate::schema::{TypeId, Version};

/// A message type with all its versions.
#[derive(Debug)]
pub struct MessageType {
    /// The name, which is also the table's.
    pub name: String,
    /// The number on the wire.
    pub id: TypeId,
    /// What messages of this type tell.
    pub doc: String,
    /// All versions, ascending.
    pub versions: Vec<Version>,
    /// The schema that records of every version are written with.
    pub schema: Schema,
    /// The same as JSON, with documentation and defaults: what a log registers.
    pub schema_json: String,
    /// The schema's fingerprint, which every record starts with.
    pub fingerprint: Fingerprint,
    /// The table that records become rows of.
    pub table: Arc<Table>,
    /// How a JSON event becomes a record of the newest version.
    pub json: JsonPlan,
    /// By version; most types have few, and the first ones.
    layouts: Vec<Option<Layout>>,
}

/// Versions of a type that do not fit together.
#[derive(Debug, Error)]
pub enum TypeError {
    /// By our rules, in words.
    #[error(transparent)]
    Evolution(#[from] EvolutionError),
    /// By Avro's rules, which have the last word.
    #[error("the schema with version {version} cannot read records of the versions before it: {source}")]
    Incompatible {
        /// The first version with which it fails.
        version: Version,
        /// Avro's reason.
        source: Incompatible,
    },
    /// Two fields would share a column.
    #[error(
        "two fields, or a field and an identity column, share the column {0} (names of nested fields are joined with _)"
    )]
    Column(String),
    /// Avro does not take the schema.
    #[error("no Avro schema: {0}")]
    Schema(Box<apache_avro::Error>),
}

// === impl MessageType ===

impl MessageType {
    pub(super) fn new(declaration: Declaration) -> Result<MessageType, TypeError> {
        let Declaration { name, id, doc, versions } = declaration;
        let declared: Vec<_> = versions.iter().map(|(version, fields)| (*version, fields.as_slice())).collect();
        let record = merge(&declared)?;
        let table = table_of(&name, &record).map_err(TypeError::Column)?;
        let (schema, schema_json) = schema_of(&name, &doc, &record)?;
        let mut earlier_json: Option<String> = None;
        for num_versions in 1..=declared.len() {
            let prefix = declared.get(..num_versions).unwrap_or_default();
            let (prefix_schema, prefix_json) = schema_of(&name, &doc, &merge(prefix)?)?;
            if let (Some(earlier), Some((version, _))) = (&earlier_json, prefix.last()) {
                check_reads(&prefix_schema, earlier)
                    .map_err(|source| TypeError::Incompatible { version: *version, source })?;
            }
            earlier_json = Some(prefix_json);
        }
        let fingerprint = fingerprint(&schema);
        let numbers: Vec<Version> = versions.iter().map(|(version, _)| *version).collect();
        let newest = versions.last().map(|(version, fields)| (*version, fields.as_slice())).unwrap_or_default();
        let json = JsonPlan::compile(id, newest, &record, fingerprint);
        let mut layouts = Vec::new();
        for (version, fields) in versions {
            layouts.resize_with(usize::from(version), || None);
            layouts.push(Some(Layout::new(version, fields, &record, fingerprint)));
        }
        let table = Arc::new(table);
        Ok(MessageType { name, id, doc, versions: numbers, schema, schema_json, fingerprint, table, json, layouts })
    }

    /// The layout of a version.
    #[inline]
    pub fn layout(&self, version: Version) -> Option<&Layout> {
        self.layouts.get(usize::from(version))?.as_ref()
    }
}

fn schema_of(name: &str, doc: &str, record: &RecordShape) -> Result<(Schema, String), TypeError> {
    let json = record_schema_json(name, doc, record);
    let schema = Schema::parse_str(&json).map_err(|error| TypeError::Schema(Box::new(error)))?;
    Ok((schema, json))
}
