//! Message layouts: how the bits of a body are declared, read and written.
//!
//! A layout file declares one message type with all its versions (`source`, `check`). Each version is compiled into a
//! flat plan (`compile`, `plan`) that three walks follow: bits to Avro (`transcode`, the data path), bits to values
//! (`decode`) and values to bits (`encode`), the latter two for tests, the simulator and tools. The Avro schema that
//! all versions share comes from `avro::evolution`.

mod bits;
mod body_error;
mod catalog;
#[cfg(test)]
mod catalog_tests;
mod check;
mod check_kind;
pub(crate) mod compile;
mod decode;
mod encode;
mod field;
mod message_type;
pub(crate) mod plan;
mod scale;
mod source;
mod succession;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
pub(crate) mod transcode;
pub(crate) mod unpack;
mod value;
mod version_layout;

pub use body_error::{BodyError, EncodeError};
pub use catalog::{Catalog, CatalogError, UnknownLayout};
pub use check::{LayoutError, MAX_BODY_BITS, MAX_DEPTH, MAX_FIELD_NAME_LEN, MAX_FIELDS, MAX_TYPE_NAME_LEN};
pub use field::{Count, DefaultValue, Field, Kind, Resolution, Symbol};
pub use message_type::{MessageType, TypeError};
pub use scale::Scale;
pub use succession::Withdrawn;
pub use value::Value;
pub use version_layout::Layout;
