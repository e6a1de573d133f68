//! How an actor can end.

/// Every way in which an actor ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// It stopped as part of an ordered stop.
    Stopped,
    /// It stopped by itself though nobody asked it to.
    Quit,
    /// It panicked.
    Panicked,
}
