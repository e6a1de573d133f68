//! Avro: the schema of a type's records, and records decoded into rows.
//!
//! [`bits`](super::bits) and [`json`](super::json) write records through `sink`; `RowPlan` reads them, also those of a newer
//! or older writer. [`foreign`] reads records of others, by whatever schema they were written with.

pub(crate) mod canonical;
mod dead_letter;
pub mod foreign;
mod identity;
mod json;
mod letter_parts;
mod node;
mod registered;
mod row_plan;
pub(crate) mod schema;
pub(crate) mod single_object;
pub(crate) mod sink;
mod varint;

pub use canonical::{earlier_fingerprint, fingerprint};
pub use dead_letter::{
    DeadLetter, Header, NotDeadLetter, OwnedDeadLetter, OwnedHeader, OwnedSource, Source, dead_letter_fingerprint,
};
pub use identity::RecordIdentity;
pub use letter_parts::{Joined, LetterParts};
pub use node::RowError;
pub use registered::{Incompatible, check_reads};
pub use row_plan::{RowPlan, RowPlanError};
pub use schema::NAMESPACE;
pub use single_object::{Fingerprint, HEADER_LEN, NotSingleObject, split_single_object};
