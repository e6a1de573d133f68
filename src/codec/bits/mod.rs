//! Bit-packed bodies of messages: read into Avro, into values, and written.
//!
//! Each version of a type is compiled into a flat plan (`compile`, `plan`) that three walks follow: bits to Avro
//! (`transcode`, the data path), bits to values (`decode`) and values to bits (`encode`), the latter two for tests, the
//! simulator and tools.

mod bit_io;
mod body_error;
mod compile;
mod decode;
mod encode;
mod layout;
mod plan;
#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
mod transcode;
mod unpack;

pub use body_error::{BodyError, EncodeError};
pub use layout::Layout;
