//! The one door behind every source: rules of event times, duplicates, receipts, and the split by partition.

mod reject;
pub mod routes;
pub mod rules;
pub mod ticket;
pub mod unpack;
