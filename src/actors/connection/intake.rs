//! What a connection does with a package: finds room for it in memory, then with the decoder, or sends it back.

use std::sync::Arc;
use std::time::Instant;

use actix::Recipient;

use super::{Edge, Wire, retry_ms};
use crate::actors::decoder::Decode;
use crate::actors::ticket::{Deliver, ReplyTo};
use crate::flow::credit::Credit;
use crate::protocol::device_id::DeviceId;
use crate::protocol::frame::{Frame, PackageFrame};
use crate::protocol::receipt::Receipt;
use crate::telemetry::now_us;

/// Sends a package to the device's decoder, once that has room for it. Without room in memory the device is told at once
/// to send it again later.
pub(super) async fn take_in(
    wire: &Wire,
    edge: &Arc<Edge>,
    device_id: &DeviceId,
    window: Credit,
    receipts: &Recipient<Deliver>,
    package: PackageFrame,
) {
    let (received, received_at_us) = (Instant::now(), now_us());
    let memory = match edge.make_room(&package.block) {
        Ok(memory) => memory,
        Err(retry_after_ms) => {
            drop(window);
            return wire.queue(&Frame::Receipt(Receipt::retry_later(package.package_id, retry_after_ms)));
        }
    };
    let decoder = edge.decoder_of(device_id);
    let credit = decoder.credits().take().await;
    let reply_to = ReplyTo {
        connection: receipts.clone(),
        package_id: package.package_id,
        received,
        window,
        memory,
        retry_after_ms: retry_ms(edge.limits.retry_delay),
        telemetry: Arc::clone(&edge.telemetry),
    };
    decoder.send(Decode::new(device_id.clone(), package.block, received_at_us, reply_to, credit));
}
