//! `POST /v1/packages`: a package as devices send it, in a request.

use std::time::{Duration, Instant};

use actix_web::http::StatusCode;
use actix_web::http::header::ACCEPT;
use actix_web::{HttpRequest, HttpResponse, web};
use bytes::BytesMut;
use tokio::sync::oneshot;

use super::body::Body;
use super::headers::{essence, media_type, trace};
use super::inflate::Coding;
use super::summary::Summary;
use super::{Ingest, answer, no_memory};
use crate::http::problem::{Kind, Problem};
use crate::intake::Package;
use crate::protocol::frame::Frame;
use crate::protocol::receipt::{Outcome, Receipt, Verdict};
use crate::telemetry::now_us;

/// The media type of a package: one Snappy block, as in a Package frame.
pub(super) const PACKAGE: &str = "application/vnd.surgetank.package";
/// The media type of a receipt: one Receipt frame.
pub(super) const RECEIPT: &str = "application/vnd.surgetank.receipt";

/// Takes a package in.
pub(super) async fn post(ingest: web::Data<Ingest>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    answer(&request, payload, async |payload| take(&ingest, &request, payload).await).await
}

async fn take(ingest: &Ingest, request: &HttpRequest, payload: &mut web::Payload) -> Result<HttpResponse, Problem> {
    let since = Instant::now();
    let path = ingest.path().await?;
    let (device_id, meter) = ingest.admit_package(path, request).await?;
    if !media_type(request)?.eq_ignore_ascii_case(PACKAGE) {
        return Err(Problem::new(Kind::MediaType, format!("taken is {PACKAGE}")));
    }
    let (intake, limits) = (&ingest.intake, ingest.intake.limits());
    let mut body = Body::new(request, payload, meter, &ingest.limits, limits.package.max_bytes)?;
    if body.coding() != Coding::Identity {
        return Err(Problem::new(Kind::Encoding, "a package is compressed already"));
    }
    let max_block = limits.max_block;
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

    let memory = intake.reserve(&block, limits.package).map_err(no_memory)?;
    let received_at_us = now_us();
    let Some(credit) = intake.decoder_credits(&device_id).take_within(path.max_wait).await else {
        return Err(Problem::new(Kind::Busy, "the decoders are busy").retry_after(intake.retry_delay()));
    };
    let (answer, receipt) = oneshot::channel();
    let (block, limits, trace) = (block.into(), limits.package, trace(request));
    let package = Package { device_id, id: 0, block, limits, received_at_us, trace, memory, credit };
    // A client that left needs no receipt.
    let answer = Box::new(move |receipt| drop(answer.send(receipt)));
    intake.take_package(package, answer);
    let Ok(receipt) = receipt.await else { unreachable!("a ticket always answers") };
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
            let summary = Summary::of_package(receipt, *num_messages);
            if summary.retry_later > 0 {
                let detail = "send the package again, or those of its messages that are listed as retry_later";
                return Err(Problem::new(Kind::NotConfirmed, detail).retry_after(retry_after).with(&summary));
            }
            if is_refused(receipt, *num_messages) {
                let detail = format!("{} messages were refused; they are kept as dead letters", summary.rejected);
                return Err(Problem::new(Kind::Rejected, detail).with(&summary));
            }
            Ok(HttpResponse::Ok().json(summary))
        }
    }
}
