//! The actors of the data path, one file each, and what they share.
//!
//! Actors are thin: they receive, call the pure parts, and carry out. Bounds are credits that ride inside messages
//! (see [`crate::flow::credit`]); restarts are the [`crate::supervision`] module's.

pub mod batch_ack;
mod batch_builder;
pub mod batch_slots;
pub mod connection;
pub mod coordinator;
pub mod decoder;
pub mod gate;
pub mod group;
mod lags;
pub mod listener;
pub mod partition_consumer;
pub mod partition_producer;
pub mod reader_slot;
pub mod routing;
pub mod schemas;
pub mod writer;
