//! The body of a request, part by part: read as fast as it is worked on, unpacked within limits.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Instant;

use actix_web::error::PayloadError;
use actix_web::http::header::{CONTENT_ENCODING, CONTENT_LENGTH};
use actix_web::{HttpRequest, web};
use bytes::Bytes;
use futures_util::Stream;
use tokio::time::timeout;

use super::IngestLimits;
use super::access::Meter;
use super::body_deadline::BodyDeadline;
use super::inflate::{Coding, Corrupt, Inflate};
use super::snappy::NotSnappy;
use crate::http::problem::{Kind, Problem};

/// A body that is shorter than this after decompression may have been packed as tightly as can be.
const FREE_EXPANSION: u64 = 1 << 20;

/// What decompression may always hold, in bytes: all that gzip needs.
const FREE_HELD: usize = 64 << 10;

/// The body of one request.
pub(super) struct Body<'a> {
    payload: &'a mut web::Payload,
    meter: Meter,
    inflate: Inflate,
    /// What came and is not unpacked yet.
    wire: Bytes,
    has_ended: bool,
    num_wire: u64,
    num_plain: u64,
    max_plain: u64,
    max_expansion: u64,
    /// Bytes on the wire, if the request tells.
    declared: Option<u64>,
    coding: Coding,
    deadline: BodyDeadline,
    /// What decompression may hold before somebody has to find room for it.
    may_hold: usize,
}

// === impl Body ===

impl<'a> Body<'a> {
    /// The body of a request whose head alone does not rule it out. `max_block` is as of [`Inflate::new`].
    pub(super) fn new(
        request: &HttpRequest,
        payload: &'a mut web::Payload,
        meter: Meter,
        limits: &IngestLimits,
        max_block: usize,
    ) -> Result<Self, Problem> {
        let mut names = request.headers().get_all(CONTENT_ENCODING);
        let named = match (names.next(), names.next()) {
            (Some(name), None) => name.to_str().ok(),
            (None, _) => Some(""),
            (Some(_), Some(_)) => None,
        };
        let coding = named.and_then(Coding::of).ok_or_else(|| {
            Problem::new(Kind::Encoding, "taken are gzip, zstd, snappy and identity, and only one of them")
        })?;
        let declared = request.headers().get(CONTENT_LENGTH);
        let declared: Option<u64> = declared.and_then(|length| length.to_str().ok()?.parse().ok());
        let body = Self {
            payload,
            meter,
            inflate: Inflate::new(coding, max_block).map_err(corrupt)?,
            wire: Bytes::new(),
            has_ended: false,
            num_wire: 0,
            num_plain: 0,
            max_plain: limits.max_body,
            max_expansion: limits.max_expansion.into(),
            declared,
            coding,
            deadline: BodyDeadline::new(limits.body_timeout, limits.min_body_rate),
            may_hold: FREE_HELD,
        };
        match declared {
            Some(length) if length > limits.max_body => Err(body.too_large()),
            _ => Ok(body),
        }
    }

    /// How it is packed.
    pub(super) fn coding(&self) -> Coding {
        self.coding
    }

    /// Whether the head tells the length on the wire.
    pub(super) fn is_declared(&self) -> bool {
        self.declared.is_some()
    }

    /// Most bytes that are still to come, as far as the head tells.
    pub(super) fn at_most(&self) -> u64 {
        let most = match (self.declared, self.coding) {
            (Some(length), Coding::Identity) => length,
            (Some(length), _) => length.saturating_mul(self.max_expansion).saturating_add(FREE_EXPANSION),
            (None, _) => self.max_plain,
        };
        most.min(self.max_plain).saturating_sub(self.num_plain)
    }

    /// Bytes that decompression needs room for, so that it can go on for about `more` bytes; zero while it holds little.
    pub(super) fn wants_to_hold(&self, more: usize) -> usize {
        let num_held = self.inflate.num_held();
        if num_held > self.may_hold { num_held + more } else { 0 }
    }

    /// Says that there is room for so many bytes.
    pub(super) fn may_hold(&mut self, num_bytes: usize) {
        self.may_hold = self.may_hold.max(num_bytes);
    }

    /// Appends up to about `room` bytes, waiting for as many unless the body ends before, or decompression wants to hold
    /// more than it may. Returns whether the body has ended.
    pub(super) async fn fill(&mut self, out: &mut Vec<u8>, room: usize) -> Result<bool, Problem> {
        let end = out.len() + room;
        while out.len() < end && !self.has_ended && self.inflate.num_held() <= self.may_hold {
            let before = out.len();
            let mut rest: &[u8] = &self.wire;
            self.inflate.run(&mut rest, out, end - before).map_err(corrupt)?;
            let num_taken = self.wire.len() - rest.len();
            self.wire = self.wire.split_off(num_taken);
            self.num_wire += num_taken as u64;
            // Only when nothing is left inside of the decoder either.
            if self.wire.is_empty() && out.len() == before {
                match self.next_wire().await? {
                    Some(wire) => self.wire = wire,
                    None => {
                        self.has_ended = true;
                        self.inflate.finish(out).map_err(corrupt)?;
                    }
                }
            }
            self.num_plain += (out.len() - before) as u64;
            self.check()?;
        }
        Ok(self.has_ended)
    }

    /// The next bytes off the wire, counted.
    async fn next_wire(&mut self) -> Result<Option<Bytes>, Problem> {
        let wire = self.await_wire().await?;
        if let Some(wire) = &wire {
            self.meter.count(wire.len());
        }
        Ok(wire)
    }

    /// The next bytes off the wire. The clock runs only while there are none.
    async fn await_wire(&mut self) -> Result<Option<Bytes>, Problem> {
        let mut payload = Pin::new(&mut *self.payload);
        let ready = poll_fn(|context| match payload.as_mut().poll_next(context) {
            Poll::Ready(item) => Poll::Ready(Some(item)),
            Poll::Pending => Poll::Ready(None),
        })
        .await;
        let item = match ready {
            Some(item) => item,
            None => {
                let since = Instant::now();
                let next = timeout(self.deadline.left(), poll_fn(|context| payload.as_mut().poll_next(context))).await;
                let item = next.map_err(|_| Problem::new(Kind::TooSlow, "it kept the server waiting for too long"))?;
                let num_bytes = item.as_ref().and_then(|item| item.as_ref().ok()).map_or(0, Bytes::len);
                self.deadline.on_bytes(num_bytes, since.elapsed());
                return item.transpose().map_err(unreadable);
            }
        };
        if let Some(Ok(bytes)) = &item {
            self.deadline.on_bytes(bytes.len(), std::time::Duration::ZERO);
        }
        item.transpose().map_err(unreadable)
    }

    fn check(&self) -> Result<(), Problem> {
        if self.num_plain > self.max_plain {
            return Err(self.too_large());
        }
        if self.num_plain > self.num_wire.saturating_mul(self.max_expansion).saturating_add(FREE_EXPANSION) {
            let detail = format!("it is more than {} times its size on the wire", self.max_expansion);
            return Err(Problem::new(Kind::ExpandsTooMuch, detail));
        }
        Ok(())
    }

    fn too_large(&self) -> Problem {
        Problem::new(Kind::TooLarge, format!("allowed are {} bytes after decompression", self.max_plain))
    }
}

fn corrupt(error: Corrupt) -> Problem {
    let kind = match error {
        Corrupt::Snappy(NotSnappy::TooLarge { .. }) => Kind::TooLarge,
        _ => Kind::MalformedBody,
    };
    Problem::new(kind, error.to_string())
}

fn unreadable(error: PayloadError) -> Problem {
    let detail = match error {
        PayloadError::Http2Payload(_) => "its stream was reset before the body had ended",
        // The library does not tell the two apart.
        _ => "it ended too early, or its chunks are not as they should be",
    };
    Problem::new(Kind::MalformedBody, detail).broken_off()
}
