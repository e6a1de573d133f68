//! A package on its way to a decoder.

use std::sync::Arc;

use actix::Message;
use bytes::Bytes;

use super::ticket::{ReplyTo, Ticket};
use crate::flow::credit::Credit;
use crate::flow::trace::Trace;
use crate::protocol::device_id::DeviceId;
use crate::protocol::package::PackageLimits;
use crate::supervision::Mailbox;

/// Where packages of some devices go.
pub type DecoderMailbox = Arc<dyn Mailbox<Decode>>;

/// Unpacks one package. Dropped unhandled, it tells the device to send again.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Decode {
    /// Who sent it.
    pub device_id: DeviceId,
    /// The device's name for it.
    pub package_id: u32,
    /// The Snappy block.
    pub block: Bytes,
    /// Size limits, as this device has been told them.
    pub limits: PackageLimits,
    /// When it was read, in microseconds since the Unix epoch.
    pub received_at_us: u64,
    /// The trace of the request that it came with.
    pub trace: Option<Trace>,
    /// Its way back.
    pub ticket: Arc<Ticket>,
    _credit: Credit,
}

// === impl Decode ===

impl Decode {
    /// A package with its way back and a credit of the decoder's mailbox.
    pub(super) fn new(
        device_id: DeviceId,
        block: Bytes,
        limits: PackageLimits,
        received_at_us: u64,
        trace: Option<Trace>,
        reply_to: ReplyTo,
        credit: Credit,
    ) -> Self {
        let package_id = reply_to.package_id;
        let ticket = Ticket::new(reply_to);
        Self { device_id, package_id, block, limits, received_at_us, trace, ticket, _credit: credit }
    }
}
