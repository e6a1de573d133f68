//! What a connection does with a package: finds room for it in memory, then with the decoder, or sends it back.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::Recipient;
use tokio::time::sleep;

use super::{Edge, EdgeLimits, Wire};
use crate::actors::decoder::Decode;
use crate::flow::credit::Credit;
use crate::intake::ticket::{Deliver, ReplyTo, Waiting};
use crate::protocol::device_id::DeviceId;
use crate::protocol::frame::{Frame, PackageFrame};
use crate::protocol::receipt::Receipt;
use crate::telemetry::now_us;

/// Not to read from a device for longer than this keeps an eye on it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Answers a package that is over a rate, and reads nothing further until more may come: a device that is told to wait
/// and does not is held up by its own socket.
pub(super) async fn send_back(wire: &Wire, edge: &Edge, package_id: u32, wait: Duration) {
    edge.count_sent_back();
    wire.queue(&Frame::Receipt(Receipt::retry_later(package_id, edge.come_back_ms(wait))));
    hold_up(wait).await;
}

/// Reads nothing from a device that is over a rate, until more may come.
pub(super) async fn hold_up(wait: Duration) {
    sleep(wait.min(LONGEST_PAUSE)).await;
}

/// Sends a package to the device's decoder, once that has room for it. Without room in memory the device is told at once
/// to send it again later.
pub(super) async fn take_in(
    wire: &Wire,
    edge: &Arc<Edge>,
    limits: &EdgeLimits,
    device_id: &DeviceId,
    window: Credit,
    receipts: &Recipient<Deliver>,
    package: PackageFrame,
) {
    let (received, received_at_us) = (Instant::now(), now_us());
    let memory = match edge.make_room(&package.block, limits.of_package()) {
        Ok(memory) => memory,
        Err(retry_after_ms) => {
            drop(window);
            return wire.queue(&Frame::Receipt(Receipt::retry_later(package.package_id, retry_after_ms)));
        }
    };
    let decoder = edge.decoder_of(device_id);
    let credit = decoder.credits().take().await;
    let reply_to = ReplyTo {
        waiting: Waiting::Connection { connection: receipts.clone(), received, window },
        package_id: package.package_id,
        memory,
        retry_after_ms: edge.retry_ms(),
        telemetry: Arc::clone(&edge.telemetry),
    };
    let decode = Decode::new(device_id.clone(), package.block, limits.of_package(), received_at_us, reply_to, credit);
    decoder.send(decode);
}
