//! Between bytes and the values of a [schema](crate::schema): bit-packed bodies, JSON events, Avro records.
//!
//! Pure functions: no I/O, no clock. On the data path no value is built in between: `bits` and `json` write Avro directly,
//! and `avro` reads it into the cells of rows. [`Codecs`] is all of it compiled for the message types of a catalog.

pub mod avro;
pub mod bits;
mod codecs;
#[cfg(test)]
mod codecs_tests;
pub mod json;
pub mod raw;
pub mod value;

pub use codecs::{CodecError, Codecs, CodecsError, MessageCodec, UnknownLayout};
