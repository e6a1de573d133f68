//! Avro records of others: a datum is walked by the schema that it was written with, and the values at some paths are
//! taken out on the way.
//!
//! [`Types`] is a schema of any kind, parsed; [`Walker`] is what it becomes for a set of paths; [`RegistryExtractor`] has a
//! walker for each schema id of a registry. Records of our own types have a quicker way to their table,
//! [`RowPlan`](super::RowPlan).

mod extractor;
mod json;
mod kept;
mod parse;
mod plan;
mod types;
mod value;
mod walk;

#[cfg(test)]
mod tests;

pub use extractor::{NotFramed, RegistryExtractor, RegistrySchemas, split_framed};
pub use kept::KeptSchema;
pub use plan::Walker;
pub use types::Types;
