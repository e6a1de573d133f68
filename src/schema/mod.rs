//! Message types: what a layout file declares, checked; how its versions make one record; and what a row of it is.
//!
//! A layout file declares one type with all its versions (`source`, `check`). `evolution` merges the fields of all
//! versions into one record `shape`, from which `table` makes the columns; what identifies a record comes before these, see
//! `identity`. The [`Catalog`] holds the types.
//!
//! This is the one model of a record, and it knows nothing of the rest of the crate. Bytes are the codecs' business, which
//! are compiled from it.

mod catalog;
pub mod cell_text;
mod check;
mod check_kind;
pub mod cql;
#[cfg(test)]
pub(crate) mod documented;
mod evolution;
mod field;
pub mod identity;
mod message_type;
pub(crate) mod number;
pub mod rewrites;
pub mod row;
mod scale;
mod shape;
mod source;
mod succession;
mod table;
pub(crate) mod time;
mod value;

pub use catalog::{Catalog, CatalogError, Positions};
pub use check::{LayoutError, MAX_BODY_BITS, MAX_DEPTH, MAX_FIELD_NAME_LEN, MAX_FIELDS, MAX_TYPE_NAME_LEN};
pub use evolution::{EvolutionError, merge};
pub use field::{Count, DefaultValue, Field, Kind, Resolution, Symbol};
pub use identity::{Bucket, IdentityColumn};
pub use message_type::{MessageType, TypeError, TypeVersion, record_of};
pub use scale::Scale;
pub use shape::{EnumShape, FieldShape, RecordShape, Shape};
pub use succession::Withdrawn;
pub use value::Value;

/// The number of a message type, as declared in its layout file.
pub type TypeId = u16;

/// The version of a message type. Every version of a type has a layout of its own.
pub type Version = u8;
