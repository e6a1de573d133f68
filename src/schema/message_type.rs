//! A message type: the fields of all its versions, and the record and table that they share.

use std::sync::Arc;

use thiserror::Error;

use super::check::Declaration;
use super::evolution::{EvolutionError, merge};
use super::field::Field;
use super::row::Table;
use super::shape::RecordShape;
use super::table::table_of;
use super::{TypeId, Version};

/// A message type with all its versions.
#[derive(Debug)]
pub struct MessageType {
    /// The file that declares it, for messages to people.
    pub file: String,
    /// The name, which is also the table's.
    pub name: String,
    /// The number on the wire.
    pub id: TypeId,
    /// What messages of this type tell.
    pub doc: String,
    /// All versions in ascending order, at least one.
    pub versions: Vec<TypeVersion>,
    /// The fields that all versions together hold.
    pub record: RecordShape,
    /// The table that records become rows of.
    pub table: Arc<Table>,
}

/// One version of a message type.
#[derive(Debug, Clone, PartialEq)]
pub struct TypeVersion {
    /// Its number on the wire.
    pub number: Version,
    /// The declared fields, in the order of the bits.
    pub fields: Arc<[Field]>,
}

/// Versions of a type that do not fit together.
#[derive(Debug, Error)]
pub enum TypeError {
    /// A version does not follow from those before it.
    #[error(transparent)]
    Evolution(#[from] EvolutionError),
    /// Two fields would share a column.
    #[error(
        "two fields, or a field and an identity column, share the column {0} (names of nested fields are joined with _)"
    )]
    Column(String),
}

// === impl MessageType ===

impl MessageType {
    pub(super) fn new(file: String, declaration: Declaration) -> Result<MessageType, TypeError> {
        let Declaration { name, id, doc, versions } = declaration;
        let versions: Vec<TypeVersion> =
            versions.into_iter().map(|(number, fields)| TypeVersion { number, fields: fields.into() }).collect();
        let record = record_of(&versions)?;
        let table = Arc::new(table_of(&name, &record).map_err(TypeError::Column)?);
        Ok(MessageType { file, name, id, doc, versions, record, table })
    }

    /// A version.
    pub fn version(&self, number: Version) -> Option<&TypeVersion> {
        self.versions.iter().find(|version| version.number == number)
    }
}

/// The fields that these versions, in ascending order, hold together.
pub fn record_of(versions: &[TypeVersion]) -> Result<RecordShape, EvolutionError> {
    let declared: Vec<_> = versions.iter().map(|version| (version.number, &*version.fields)).collect();
    merge(&declared)
}
