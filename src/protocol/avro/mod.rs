//! Avro: the schema that all versions of a type share, its evolution, and records decoded into rows.
//!
//! `evolution` merges versions into one `shape`, from which `schema` and `table` are written. Records are written by
//! `layout::Layout::transcode`; `RowPlan` reads them, also those of a newer or older writer.

mod dead_letter;
pub(crate) mod evolution;
mod identity;
mod json;
mod letter_parts;
mod node;
mod registered;
mod row_plan;
pub(crate) mod schema;
pub(crate) mod shape;
pub(crate) mod single_object;
pub(crate) mod table;
pub(crate) mod varint;

pub use dead_letter::{
    DeadLetter, NotDeadLetter, OwnedDeadLetter, SCHEMA_JSON as DEAD_LETTER_SCHEMA_JSON, dead_letter_fingerprint,
};
pub use evolution::{EvolutionError, merge};
pub use identity::RecordIdentity;
pub use letter_parts::{Joined, LetterParts};
pub use node::RowError;
pub use registered::{Incompatible, check_reads};
pub use row_plan::{Bucket, RowPlan, RowPlanError};
pub use schema::NAMESPACE;
pub use shape::{EnumShape, FieldShape, RecordShape, Shape};
pub use single_object::{Fingerprint, HEADER_LEN, NotSingleObject, fingerprint, split_single_object};
