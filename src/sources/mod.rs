//! Where messages come from beside the device port.

pub mod http;
