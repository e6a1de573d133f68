//! Where messages come from: the device port and HTTP; each starts before there is a way into the log, says so to its
//! senders, and hands what it takes to [`Intake`](crate::intake::Intake).
//!
//! A source implements [`Source`], is a folder here, and is started by one line of `engine/sources.rs`.

pub mod devices;
pub mod http;

use futures_util::future::BoxFuture;

/// A way for messages to come in, that accepts from its making until it is closed.
pub trait Source: Send {
    /// What its senders are called, for logs: `connections`.
    fn senders(&self) -> &'static str;

    /// Accepts nothing more. The future ends when everything under way has its answer, or is cut off if that is not to be
    /// waited for.
    fn close(&self, is_graceful: bool) -> BoxFuture<'static, ()>;
}
