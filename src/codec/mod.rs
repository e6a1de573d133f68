//! Between bytes and the values of a [schema](crate::schema): bit-packed bodies, JSON events, Avro records.
//!
//! Pure functions: no I/O, no clock. On the data path no value is built in between: `bits` and `json` write Avro directly,
//! and `avro` reads it into the cells of rows.

pub mod avro;
pub mod bits;
pub mod json;
