//! (being built)

pub mod logging;
