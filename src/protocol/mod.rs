//! What is on a device's wire: frames, packages, receipts and the header of a message. Nothing of records.
//!
//! Pure functions: no I/O, no actors, no clock. `frame` moves bytes to frames; `package` and `receipt` know the format of
//! what frames carry. `docs/protocol.md` is the full text.

pub mod device_id;
pub mod frame;
pub mod hello;
pub mod message;
pub mod package;
pub mod reason;
pub mod receipt;
