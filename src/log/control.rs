//! The control channel: what processes that share a log tell each other.

use bytes::Bytes;
use futures_util::future::BoxFuture;

/// A place on the control channel. Everybody hears everybody, himself included, in the same order; what was said before
/// joining is not heard, and a word may be lost. One of them at most has the office of the leader, except for a moment
/// when the office goes over.
pub trait Control: Send {
    /// Says something to all. Returns at once and does not tell whether it was heard.
    fn publish(&self, message: Bytes);

    /// Waits for the next word of anybody. Cancel-safe.
    fn receive(&mut self) -> BoxFuture<'_, Bytes>;

    /// Whether this process has the office.
    fn is_leader(&self) -> bool;

    /// Gives up the office and the place, so that another leads at once.
    fn close(&mut self) -> BoxFuture<'_, ()>;
}
