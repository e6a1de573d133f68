//! `POST /v1/events/{type}`: events as JSON, in one object, an array, or one on each line.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use actix_web::http::Method;
use actix_web::http::header::HeaderName;
use actix_web::{HttpRequest, HttpResponse, web};

use super::body::Body;
use super::headers::{media_type, trace};
use super::summary::Summary;
use super::{IDEMPOTENCY_HEADER, Ingest, PATHS, answer, no_such_path};
use crate::codec::json::{
    EventFault, EventKey, EventReader, FaultReason, Framing, JsonPlan, Split, Splitter, derived_sequence,
};
use crate::flow::memory::Reserved;
use crate::flow::trace::Trace;
use crate::http::headers::single;
use crate::http::problem::{Kind, Problem};
use crate::intake::Path;
use crate::intake::chunk::{Chunk, SentChunk};
use crate::intake::routes::TopicRoute;
use crate::intake::rules::{EventWindow, Untimely};
use crate::protocol::reason::RejectReason;
use crate::protocol::receipt::Outcome;
use crate::telemetry::now_us;

/// Memory of a chunk beside its bytes: tables, tickets, what the reader keeps.
const CHUNK_OVERHEAD: u64 = 1024;
/// A chunk takes its bytes twice: as JSON, and as the records made of it.
const RECORDS_AND_JSON: u64 = 2;
/// Memory of an event that is remembered to find those that are there twice, tables half full.
const REMEMBERED_BYTES: u64 = 40;
/// The longest `Idempotency-Key`.
const MAX_KEY_LEN: usize = 255;

/// A request under way.
struct Request<'a> {
    ingest: &'a Ingest,
    plan: &'a JsonPlan,
    path: &'a Path,
    route: &'a TopicRoute,
    idempotency_key: Option<&'a [u8]>,
    received_at_us: u64,
    /// The trace that the request is a part of.
    trace: Option<Trace>,
    /// The event times that are taken.
    window: EventWindow,
    reader: EventReader,
    splitter: Splitter,
    /// What was read and not worked on yet.
    buffer: Vec<u8>,
    num_events: u32,
    seen: HashMap<EventKey, u32>,
    sent: VecDeque<SentChunk>,
    summary: Summary,
    /// The only fault so far, for a request that is one event.
    single: Option<(u64, EventFault)>,
    /// Memory that is given back with the answer.
    held: Vec<Reserved>,
    num_held: u64,
}

/// Takes events in, of the type that the rest of the path names.
pub(super) async fn post(ingest: web::Data<Ingest>, request: HttpRequest, payload: web::Payload) -> HttpResponse {
    answer(&request, payload, async |payload| take(&ingest, &request, payload).await).await
}

async fn take(ingest: &Ingest, request: &HttpRequest, payload: &mut web::Payload) -> Result<HttpResponse, Problem> {
    let since = Instant::now();
    let rest = request.match_info().unprocessed().strip_prefix('/');
    let type_name =
        rest.filter(|name| !name.is_empty() && !name.contains('/')).ok_or_else(|| no_such_path(request, PATHS))?;
    if request.method() != Method::POST {
        return Err(Problem::method_not_allowed("POST"));
    }
    let path = ingest.path().await?;
    let rules = path.rules.load_full();
    let meter = ingest.admit_events(request, type_name).await?;
    let unknown = || {
        let known: Vec<&str> = rules.codecs.types().iter().map(|known| known.message_type.name.as_str()).collect();
        Problem::new(Kind::UnknownType, format!("known are {}", known.join(", ")))
    };
    let codec = rules.codecs.by_name(type_name).ok_or_else(unknown)?;
    let index = rules.topic_of.get(&codec.message_type.id);
    let route = index.and_then(|index| path.routes.topics.get(*index)).ok_or_else(unknown)?;
    let framing = framing(request)?;
    let idempotency_key = idempotency_key(request)?;
    let max_block = ingest.intake.limits().package.max_bytes;
    let mut body = Body::new(request, payload, meter, &ingest.limits, max_block)?;
    let _credit = ingest.admit()?;

    let received_at_us = now_us();
    let trust = ingest.trust(received_at_us, since)?;
    let times = (received_at_us, rules.window(received_at_us, trust));
    let mut under_way = Request::new(ingest, &codec.json, (path, route), framing, idempotency_key, times);
    under_way.trace = trace(request);
    let outcome = under_way.take_in(&mut body).await;
    let answer = under_way.finish(outcome).await;
    ingest.acknowledge.record(since.elapsed().as_micros() as u64);
    answer
}

fn framing(request: &HttpRequest) -> Result<Framing, Problem> {
    let media_type = media_type(request)?;
    let is = |name: &str| media_type.eq_ignore_ascii_case(name);
    if is("application/json") {
        Ok(Framing::Json)
    } else if is("application/x-ndjson") || is("application/ndjson") || is("application/jsonl") {
        Ok(Framing::Lines)
    } else {
        Err(Problem::new(Kind::MediaType, "taken are application/json and application/x-ndjson"))
    }
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<&[u8]>, Problem> {
    match single(request, &HeaderName::from_static(IDEMPOTENCY_HEADER))?.map(|key| key.as_bytes()) {
        Some(key) if key.is_empty() || key.len() > MAX_KEY_LEN || !key.iter().all(u8::is_ascii_graphic) => {
            let detail =
                format!("Idempotency-Key has 1 to {MAX_KEY_LEN} printable characters of ASCII, without blanks");
            Err(Problem::new(Kind::BadHeader, detail))
        }
        key => Ok(key),
    }
}

// === impl Request ===

impl<'a> Request<'a> {
    fn new(
        ingest: &'a Ingest,
        plan: &'a JsonPlan,
        (path, route): (&'a Path, &'a TopicRoute),
        framing: Framing,
        idempotency_key: Option<&'a [u8]>,
        (received_at_us, window): (u64, EventWindow),
    ) -> Self {
        Self {
            ingest,
            plan,
            path,
            route,
            idempotency_key,
            received_at_us,
            trace: None,
            window,
            reader: EventReader::default(),
            splitter: Splitter::new(framing, ingest.limits.max_event),
            buffer: Vec::new(),
            num_events: 0,
            seen: HashMap::new(),
            sent: VecDeque::new(),
            summary: Summary::default(),
            single: None,
            held: Vec::new(),
            num_held: 0,
        }
    }

    /// Reads the body and sends its events on, until its end or until it cannot go on.
    async fn take_in(&mut self, body: &mut Body<'_>) -> Result<(), Problem> {
        let limits = &self.ingest.limits;
        let mut chunk = self.new_chunk(body).await?;
        loop {
            // One more than can come: the end of a short body is then noticed at once.
            let room = limits.piece.min(usize::try_from(body.at_most()).unwrap_or(usize::MAX).saturating_add(1));
            self.buffer.reserve(room);
            let is_last = body.fill(&mut self.buffer, room).await?;
            if !is_last {
                let num_held = body.wants_to_hold(limits.piece);
                self.hold(num_held as u64).await?;
                body.may_hold(num_held);
            }
            let mut start = 0;
            loop {
                let buffer = std::mem::take(&mut self.buffer);
                let (num_consumed, split) = self.splitter.next(&buffer[start..], is_last);
                let taken = match &split {
                    Split::Event { range, line } => {
                        let json = &buffer[start + range.start..start + range.end];
                        self.take_event(json, *line, &mut chunk)
                    }
                    Split::TooLarge { line } => self.take_too_large(*line, &mut chunk),
                    Split::More | Split::End => Ok(()),
                    Split::Broken { line, detail } => Err(Problem::new(Kind::MalformedBody, *detail).at_line(*line)),
                };
                self.buffer = buffer;
                start += num_consumed;
                let has_more = matches!(split, Split::Event { .. } | Split::TooLarge { .. });
                if taken.is_err() || split == Split::End {
                    self.send(chunk).await;
                    return taken;
                }
                if !has_more {
                    break;
                }
                if chunk.is_full(limits.piece) {
                    self.send(chunk).await;
                    chunk = self.new_chunk(body).await?;
                }
            }
            self.buffer.drain(..start);
            if !chunk.is_empty() {
                // On its way before more is read, so that nothing that was looked at is left behind.
                self.send(chunk).await;
                chunk = self.new_chunk(body).await?;
            }
        }
    }

    fn take_event(&mut self, json: &[u8], line: u64, chunk: &mut Chunk) -> Result<(), Problem> {
        self.check_count()?;
        let index = self.num_events;
        self.num_events += 1;
        let plan = self.plan;
        let event = match self.reader.read(plan, json) {
            Ok(event) => event,
            Err(fault) => {
                self.reject(index, line, fault, chunk);
                return Ok(());
            }
        };
        let derived = self.idempotency_key.map(|key| derived_sequence(key, index));
        let Some(sequence) = event.sequence.or(derived) else {
            let detail = "an event has a sequence, or the request an Idempotency-Key";
            let fault = EventFault::new(FaultReason::MissingField, "$.sequence", detail);
            self.reject(index, line, fault, chunk);
            return Ok(());
        };
        match self.window.check(event.event_time_ms) {
            Ok(()) => {}
            Err(Untimely::OutOfRange(detail)) => {
                let fault = EventFault::new(FaultReason::EventTimeOutOfRange, "$.event_time", detail);
                self.reject(index, line, fault, chunk);
                return Ok(());
            }
            Err(Untimely::RetryLater) => {
                chunk.decide(Outcome::RetryLater);
                return Ok(());
            }
        }
        // Nothing of a request with one event can be there twice.
        if !self.splitter.is_single() {
            let key = EventKey::new(&event.device_id, event.event_time_ms, sequence);
            if let Some(first) = self.seen.get(&key) {
                self.summary.repeat(index, line, *first);
                chunk.decide(Outcome::Duplicate);
                return Ok(());
            }
            self.seen.insert(key, index);
        }
        let identity = event.identity(plan, sequence, self.received_at_us);
        let added = chunk.add(&event.device_id, self.route, |out| self.reader.write(plan, &identity, out));
        if let Err(error) = added {
            // One that is the same is too large as well, and not a duplicate of one that was taken.
            self.seen.remove(&EventKey::new(&event.device_id, event.event_time_ms, sequence));
            self.reject(index, line, EventFault::new(FaultReason::TooLarge, "$", error.to_string()), chunk);
        }
        Ok(())
    }

    fn take_too_large(&mut self, line: u64, chunk: &mut Chunk) -> Result<(), Problem> {
        self.check_count()?;
        let index = self.num_events;
        self.num_events += 1;
        let detail = format!("allowed are {} bytes", self.ingest.limits.max_event);
        self.reject(index, line, EventFault::new(FaultReason::TooLarge, "$", detail), chunk);
        Ok(())
    }

    /// Whether one event more may be looked at.
    fn check_count(&mut self) -> Result<(), Problem> {
        let limits = &self.ingest.limits;
        let problem = if self.num_events >= limits.max_events {
            Problem::new(Kind::TooManyEvents, format!("allowed are {}", limits.max_events))
        } else if self.summary.items.len() >= limits.max_listed {
            Problem::new(Kind::TooManyRejected, format!("{} events were refused or there twice", limits.max_listed))
        } else {
            return Ok(());
        };
        Err(problem)
    }

    fn reject(&mut self, index: u32, line: u64, fault: EventFault, chunk: &mut Chunk) {
        chunk.decide(Outcome::Rejected(RejectReason::from(fault.reason)));
        if self.splitter.is_single() {
            self.single = Some((line, fault.clone()));
        }
        self.summary.reject(index, line, fault);
    }

    /// Room for the next chunk. A request that has chunks on their way waits for those first.
    async fn new_chunk(&mut self, body: &Body<'_>) -> Result<Chunk, Problem> {
        let limits = &self.ingest.limits;
        let num_bytes = body.at_most().saturating_add(self.buffer.len() as u64);
        let weight = RECORDS_AND_JSON * num_bytes.min((limits.piece + limits.max_event) as u64) + CHUNK_OVERHEAD;
        let memory = self.make_room(weight).await?;
        Ok(Chunk::new(self.num_events, memory))
    }

    /// Holds so many bytes until the answer, and those of the events that are remembered.
    async fn hold(&mut self, num_bytes: u64) -> Result<(), Problem> {
        let wanted = num_bytes + REMEMBERED_BYTES * self.seen.len() as u64;
        if wanted > self.num_held {
            let more = (wanted - self.num_held).max(CHUNK_OVERHEAD);
            let memory = self.make_room(more).await?;
            self.held.push(memory);
            self.num_held += more;
        }
        Ok(())
    }

    async fn make_room(&mut self, num_bytes: u64) -> Result<Reserved, Problem> {
        loop {
            match self.ingest.make_room(num_bytes) {
                Ok(memory) => return Ok(memory),
                Err(problem) if self.sent.is_empty() => return Err(problem),
                Err(_) => self.settle_oldest().await,
            }
        }
    }

    async fn send(&mut self, chunk: Chunk) {
        if chunk.is_empty() {
            return;
        }
        while self.sent.len() >= self.ingest.limits.max_pieces {
            self.settle_oldest().await;
        }
        let sent = chunk.send(self.route, self.path, &self.ingest.intake, self.trace.as_ref()).await;
        self.sent.push_back(sent);
    }

    async fn settle_oldest(&mut self) {
        if let Some(sent) = self.sent.pop_front() {
            let (first, num_events) = (sent.first, sent.num_messages);
            let receipt = sent.receipt().await;
            self.summary.settle(first, num_events, &receipt);
        }
    }

    /// Waits for the log and makes the answer.
    async fn finish(mut self, outcome: Result<(), Problem>) -> Result<HttpResponse, Problem> {
        while !self.sent.is_empty() {
            self.settle_oldest().await;
        }
        let mut summary = self.summary;
        summary.finish();
        if let Err(problem) = outcome {
            summary.unread_from = Some(self.num_events);
            return Err(problem.with(&summary));
        }
        if let Some((line, EventFault { reason, path, detail })) = self.single {
            let kind = if reason == FaultReason::TooLarge { Kind::TooLarge } else { Kind::Rejected };
            return Err(Problem::new(kind, detail).at(reason.name(), Some(path), line));
        }
        if summary.retry_later > 0 {
            let retry_after = Duration::from_millis(self.ingest.intake.retry_ms().into());
            let detail = "send the request again, or those of its events that are listed as retry_later";
            return Err(Problem::new(Kind::NotConfirmed, detail).retry_after(retry_after).with(&summary));
        }
        if summary.accepted == 0 && summary.rejected > 0 {
            let detail = format!("{} events were refused", summary.rejected);
            return Err(Problem::new(Kind::Rejected, detail).with(&summary));
        }
        Ok(HttpResponse::Ok().json(summary))
    }
}
