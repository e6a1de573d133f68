//! The device protocol and the record formats behind it: pure functions, no I/O, no actors, no clock.
//!
//! Three layers that never mix: `frame` moves bytes to frames, `package` and `receipt` know the wire format of what
//! frames carry, `layout` and `avro` know what a message means. `docs/protocol.md` is the full text. `json` is the other
//! way in: events as JSON, for the same layouts (`docs/http.md`).

pub mod avro;
pub mod device_id;
pub mod frame;
pub mod hello;
pub mod json;
pub mod layout;
pub mod message;
pub mod package;
pub mod reason;
pub mod receipt;
pub mod row;
