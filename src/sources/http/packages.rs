//! `POST /v1/packages`: a package as devices send it, in a request.

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::BytesMut;
use tokio::sync::oneshot;

use super::body::Body;
use super::headers::{essence, media_type};
use super::inflate::Coding;
use super::tally::Tally;
use super::{Entrance, refuse};
use crate::actors::decoder::Decode;
use crate::http::problem::{Kind, Problem};
use crate::intake::ticket::{ReplyTo, Waiting};
use crate::protocol::frame::Frame;
use crate::protocol::receipt::{Outcome, Receipt, Verdict};
use crate::telemetry::now_us;

/// The media type of a package: one Snappy block, as in a Package frame.
pub(super) const PACKAGE: &str = "application/vnd.surgetank.package";
/// The media type of a receipt: one Receipt frame.
pub(super) const RECEIPT: &str = "application/vnd.surgetank.receipt";

/// Takes a package in.
pub(super) async fn post(
    entrance: web::Data<Entrance>,
    request: HttpRequest,
    mut payload: web::Payload,
) -> HttpResponse {
    match take(&entrance, &request, &mut payload).await {
        Ok(answer) => answer,
        Err(problem) => refuse(&request, payload, &problem).await,
    }
}

async fn take(entrance: &Entrance, request: &HttpRequest, payload: &mut web::Payload) -> Result<HttpResponse, Problem> {
    let since = Instant::now();
    let ingest = entrance.ingest().await?;
    let (device_id, meter) = ingest.admit_package(request).await?;
    if !media_type(request)?.eq_ignore_ascii_case(PACKAGE) {
        return Err(Problem::new(Kind::MediaType, format!("taken is {PACKAGE}")));
    }
    let (edge, limits) = (&ingest.edge, ingest.edge.limits());
    let mut body = Body::new(request, payload, meter, &ingest.limits, limits.max_package as usize)?;
    if body.coding() != Coding::Identity {
        return Err(Problem::new(Kind::Encoding, "a package is compressed already"));
    }
    let max_block = limits.max_frame as usize;
    if body.at_most() > max_block as u64 && body.is_declared() {
        return Err(too_large(max_block));
    }
    let _credit = ingest.admit()?;
    // One more than can come: the end of the body, or that it is too large, is then noticed at once.
    let num_bytes = (body.at_most() as usize).min(max_block) + 1;
    let room = ingest.make_room(num_bytes as u64)?;
    let mut block = Vec::with_capacity(num_bytes);
    let is_whole = body.fill(&mut block, num_bytes).await?;
    if !is_whole || block.len() > max_block {
        return Err(too_large(max_block));
    }
    drop(room);
    // Without a length told, there was room for the largest; from here on only what came is counted.
    block.shrink_to_fit();

    let full = |retry_ms: u32| {
        let delay = Duration::from_millis(retry_ms.into());
        Problem::new(Kind::MemoryFull, "the memory budget is used up").retry_after(delay)
    };
    let memory = edge.make_room(&block, limits.of_package()).map_err(full)?;
    let decoder = edge.decoder_of(&device_id);
    let credit = decoder
        .credits()
        .take_within(ingest.parts.max_wait)
        .await
        .ok_or_else(|| Problem::new(Kind::Busy, "the decoders are busy").retry_after(ingest.retry_delay()))?;
    let (answer, receipt) = oneshot::channel();
    let reply_to = ReplyTo {
        waiting: Waiting::Request(answer),
        package_id: 0,
        memory,
        retry_after_ms: edge.retry_ms(),
        telemetry: Arc::clone(&edge.telemetry),
    };
    decoder.send(Decode::new(device_id, block.into(), limits.of_package(), now_us(), reply_to, credit));
    // The ticket always answers; if that ever changed, sending again is the only safe advice.
    let receipt = receipt.await.unwrap_or_else(|_| Receipt::retry_later(0, 0));
    ingest.acknowledge.record(since.elapsed().as_micros() as u64);
    let mut accepted = request.headers().get_all(ACCEPT).filter_map(|value| value.to_str().ok());
    let is_receipt = |range: &str| essence(range).eq_ignore_ascii_case(RECEIPT);
    if accepted.any(|ranges| ranges.split(',').any(is_receipt)) { Ok(as_receipt(receipt)) } else { as_json(&receipt) }
}

fn too_large(max_block: usize) -> Problem {
    Problem::new(Kind::TooLarge, format!("a package has at most {max_block} bytes on the wire"))
}

/// What a receipt says as a status.
fn status_of(receipt: &Receipt) -> StatusCode {
    match &receipt.verdict {
        Verdict::Rejected(_) => Kind::Rejected.status(),
        Verdict::PerMessage { retry_after_ms: 0, num_messages, .. } if is_refused(receipt, *num_messages) => {
            Kind::Rejected.status()
        }
        Verdict::PerMessage { retry_after_ms: 0, .. } => StatusCode::OK,
        Verdict::RetryLater { .. } | Verdict::PerMessage { .. } => Kind::NotConfirmed.status(),
    }
}

/// Whether nothing was accepted and something rejected.
fn is_refused(receipt: &Receipt, num_messages: u16) -> bool {
    let outcomes = || receipt.outcomes(num_messages).into_iter().flatten();
    outcomes().any(|outcome| matches!(outcome, Outcome::Rejected(_)))
        && outcomes().all(|outcome| matches!(outcome, Outcome::Rejected(_) | Outcome::Duplicate))
}

fn as_receipt(receipt: Receipt) -> HttpResponse {
    let retry_after = Duration::from_millis(receipt.retry_after_ms().into());
    let mut response = match status_of(&receipt) {
        status if status == Kind::NotConfirmed.status() => {
            Problem::new(Kind::NotConfirmed, String::new()).retry_after(retry_after).head()
        }
        status => HttpResponse::build(status),
    };
    let mut frame = BytesMut::new();
    Frame::Receipt(receipt).encode(&mut frame);
    response.content_type(RECEIPT).body(frame.freeze())
}

fn as_json(receipt: &Receipt) -> Result<HttpResponse, Problem> {
    let retry_after = Duration::from_millis(receipt.retry_after_ms().into());
    match &receipt.verdict {
        Verdict::Rejected(reason) => {
            Err(Problem::new(Kind::Rejected, "the package was refused as a whole").because(reason.name()))
        }
        Verdict::RetryLater { .. } => {
            Err(Problem::new(Kind::NotConfirmed, "send the package again").retry_after(retry_after))
        }
        Verdict::PerMessage { num_messages, .. } => {
            let tally = Tally::of_package(receipt, *num_messages);
            if tally.retry_later > 0 {
                let detail = "send the package again, or those of its messages that are listed as retry_later";
                return Err(Problem::new(Kind::NotConfirmed, detail).retry_after(retry_after).with(&tally));
            }
            if is_refused(receipt, *num_messages) {
                let detail = format!("{} messages were refused; they are kept as dead letters", tally.rejected);
                return Err(Problem::new(Kind::Rejected, detail).with(&tally));
            }
            Ok(HttpResponse::Ok().json(tally))
        }
    }
}
