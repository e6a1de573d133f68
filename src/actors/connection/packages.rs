//! What a connection does with a package: finds room for it in memory, then with the decoder, or sends it back.

use std::time::{Duration, Instant};

use tokio::time::sleep;

use super::session::Session;
use super::{Deliver, Framed};
use crate::flow::credit::Credit;
use crate::intake::{Intake, Package, millis};
use crate::protocol::frame::{Frame, PackageFrame};
use crate::protocol::receipt::Receipt;
use crate::telemetry::counters::add;
use crate::telemetry::now_us;

/// Not to read from a device for longer than this keeps an eye on it.
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Answers a package that is over a rate, and reads nothing further until more may come: a device that is told to wait
/// and does not is held up by its own socket.
pub(super) async fn send_back(framed: &Framed, intake: &Intake, package_id: u32, wait: Duration) {
    intake.count_sent_back();
    framed.queue(&Frame::Receipt(Receipt::retry_later(package_id, millis(intake.come_back_after(wait)))));
    hold_up(wait).await;
}

/// Reads nothing from a device that is over a rate, until more may come.
pub(super) async fn hold_up(wait: Duration) {
    sleep(wait.min(LONGEST_PAUSE)).await;
}

/// Hands a package to intake, once that has room for it. Without room in memory the device is told at once to send it again
/// later.
pub(super) async fn take_in(session: &Session<'_>, window: Credit, package: PackageFrame) {
    let Session { framed, intake, limits, device_id, receipts, .. } = *session;
    let (received, received_at_us, limits) = (Instant::now(), now_us(), limits.of_package());
    let memory = match intake.reserve(&package.block, limits) {
        Ok(memory) => memory,
        Err(wait) => {
            drop(window);
            return framed.queue(&Frame::Receipt(Receipt::retry_later(package.package_id, millis(wait))));
        }
    };
    let credit = intake.decoder_credits(device_id).take().await;
    let receipts = receipts.clone();
    // A connection that has ended meanwhile is told nothing; its device sends again.
    let answer = Box::new(move |receipt| receipts.do_send(Deliver { receipt, received, window }));
    let PackageFrame { package_id: id, block } = package;
    let num_bytes = block.len() as u64;
    let package =
        Package { device_id: device_id.clone(), id, block, limits, received_at_us, trace: None, memory, credit };
    intake.take_package(package, answer);
    add(&intake.telemetry.counters.received.devices, num_bytes);
}
