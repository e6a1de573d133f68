//! Events as JSON: the way in for those who do not speak the device protocol.
//!
//! An event is an object: `device_id`, `event_time` and `sequence`, and beside them one member for each field of the
//! newest version of its type. It becomes the same record that a device's message of that version would become: the
//! declared ranges hold, no value is built in between (`read`, `value`, by the steps of `plan`). `split` cuts a body into
//! events while it arrives; `schema` tells clients what an event looks like.
//!
//! Records that others wrote as JSON have no plan: `extract` reads the values at the paths of routes out of them.

mod exact;
mod extract;
#[cfg(test)]
mod extract_tests;
mod fault;
mod identity;
mod mark;
mod own_members;
mod plan;
mod read;
mod schema;
mod split;
#[cfg(test)]
mod tests;
mod value;
mod walk;

pub use extract::JsonExtract;
pub use fault::{EventFault, FaultReason};
pub use identity::{EventKey, derived_sequence};
pub use plan::JsonPlan;
pub use read::{Event, EventReader};
pub use schema::event_schema;
pub use split::{Framing, Split, Splitter};
