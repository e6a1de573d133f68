//! Decoder: a few actors, each on its own thread. Unpacks packages and sends their records to the partition producers.
//!
//! While a producer has no room the decoder takes no further package, its mailbox fills, and connections stop reading;
//! after a while it gives up on the batch instead, and the device is told to send it again later.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler, Message};
use bytes::Bytes;
use tracing::error;

use super::partition_producer::{Append, PartitionProducer};
use crate::flow::clock::Trust;
use crate::flow::credit::Credit;
use crate::intake::routes::{RecordLimits, Routes};
use crate::intake::rules::{LiveEvidence, LiveIntakeRules};
use crate::intake::ticket::{Part, ReplyTo, Ticket};
use crate::intake::unpack::{Destined, PackageRef, Unpacker, bury_package};
use crate::log::{AppendBatch, Completion, Keys};
use crate::protocol::device_id::DeviceId;
use crate::protocol::package::PackageLimits;
use crate::protocol::reason::RejectReason;
use crate::supervision::{ActorRef, Lifeline};
use crate::telemetry::counters::add;
use crate::telemetry::{Recorder, Telemetry};

/// What all decoders share.
pub struct DecoderParts {
    /// Where records go.
    pub routes: Routes,
    /// How messages are taken in.
    pub rules: LiveIntakeRules,
    /// How far this machine's clock can be believed.
    pub clock: LiveEvidence,
    /// How long to wait for a producer's room.
    pub max_wait: Duration,
    /// Counters and stages.
    pub telemetry: Arc<Telemetry>,
}

/// Unpacks packages.
pub struct Decoder {
    parts: Arc<DecoderParts>,
    unpacker: Unpacker,
    limits: RecordLimits,
    decode: Recorder,
    _lifeline: Lifeline,
}

/// Unpacks one package.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Decode {
    device_id: DeviceId,
    package_id: u32,
    block: Bytes,
    limits: PackageLimits,
    received_at_us: u64,
    ticket: Arc<Ticket>,
    _credit: Credit,
}

// === impl Decode ===

impl Decode {
    /// A package with its way back; `limits` are those that its device has been told. Dropped unhandled, it tells the
    /// device to send again.
    pub fn new(
        device_id: DeviceId,
        block: Bytes,
        limits: PackageLimits,
        received_at_us: u64,
        reply_to: ReplyTo,
        credit: Credit,
    ) -> Self {
        let package_id = reply_to.package_id;
        let ticket = Ticket::new(reply_to);
        Self { device_id, package_id, block, limits, received_at_us, ticket, _credit: credit }
    }
}

// === impl Decoder ===

impl Decoder {
    /// A decoder.
    pub fn new(parts: Arc<DecoderParts>, lifeline: Lifeline) -> Self {
        let decode = parts.telemetry.decode.recorder();
        let limits = parts.routes.limits();
        Self { parts, unpacker: Unpacker::default(), limits, decode, _lifeline: lifeline }
    }

    fn forward(
        &self,
        ctx: &mut Context<Self>,
        device: &DeviceId,
        package: &Decode,
        to: Destination,
        destined: Destined,
    ) {
        let route = match to {
            Destination::Topic(index) => &self.parts.routes.topics[index],
            Destination::DeadLetter | Destination::DeadPackage(_) => &self.parts.routes.dead_letter,
        };
        let producer = route.producer_of(device.as_bytes()).clone();
        let part = package.ticket.part(destined.messages);
        let num_dead = destined.num_letters;
        let telemetry = Arc::clone(&self.parts.telemetry);
        let batch = AppendBatch {
            keys: Keys::Same(Bytes::copy_from_slice(device.as_bytes())),
            values: destined.values.into(),
            ends: destined.ends,
        };
        let done = Completion::new(move |answer| {
            if answer.is_ok() {
                add(&telemetry.counters.dead_letters, num_dead);
            }
            finish(part, to, answer);
        });
        match producer.credits().try_take() {
            Some(credit) => producer.send(Append { batch, done, credit }),
            None => self.wait_for_room(ctx, producer, batch, done),
        }
    }

    /// Takes no further package until the producer has room, or has had none for too long; `done`, dropped unused,
    /// then tells the device to send again later.
    fn wait_for_room(
        &self,
        ctx: &mut Context<Self>,
        producer: ActorRef<PartitionProducer>,
        batch: AppendBatch,
        done: Completion,
    ) {
        let max_wait = self.parts.max_wait;
        ctx.wait(wrap_future(async move {
            if let Some(credit) = producer.credits().take_within(max_wait).await {
                producer.send(Append { batch, done, credit });
            }
        }));
    }
}

#[derive(Clone, Copy)]
enum Destination {
    Topic(usize),
    DeadLetter,
    DeadPackage(RejectReason),
}

fn finish(part: Part, to: Destination, answer: Result<(), crate::log::AppendError>) {
    match to {
        Destination::DeadPackage(reason) => part.finish_whole(reason, answer),
        Destination::Topic(_) | Destination::DeadLetter => part.finish(answer),
    }
}

impl Actor for Decoder {
    type Context = Context<Self>;
}

impl Handler<Decode> for Decoder {
    type Result = ();

    fn handle(&mut self, decode: Decode, ctx: &mut Self::Context) {
        fail::fail_point!("decoder");
        let started = Instant::now();
        let trust = self.parts.clock.load().trust(decode.received_at_us / 1000, started);
        if trust == Trust::Wrong {
            // Dropped like this, the package is "retry later": what is stored under a wrong time cannot be mended.
            return;
        }
        let device_id = decode.device_id.clone();
        let package = PackageRef {
            device_id: &device_id,
            package_id: decode.package_id,
            block: &decode.block,
            limits: decode.limits,
            received_at_us: decode.received_at_us,
            trust,
        };
        let (rules, unpacker, limits) = (self.parts.rules.load(), &mut self.unpacker, &self.limits);
        // A defect that one input sets off must not come back with every retry until the process gives up: such a
        // package is kept for the operator like any other that cannot be read.
        let outcome = catch_unwind(AssertUnwindSafe(|| unpacker.unpack(package, &rules, limits)));
        match outcome {
            Ok(Ok(unpacked)) => {
                decode.ticket.expect_messages(unpacked.receipt);
                let destined = unpacked.topics.iter().chain([&unpacked.dead]);
                decode.ticket.takes(decode.block.len() + destined.map(Destined::num_bytes).sum::<usize>());
                for (index, destined) in unpacked.topics.into_iter().enumerate() {
                    if !destined.ends.is_empty() {
                        self.forward(ctx, &device_id, &decode, Destination::Topic(index), destined);
                    }
                }
                if !unpacked.dead.ends.is_empty() {
                    self.forward(ctx, &device_id, &decode, Destination::DeadLetter, unpacked.dead);
                }
            }
            Ok(Err(reason)) => {
                let dead = bury_package(package, reason.reason(), &reason.to_string(), &self.limits);
                decode.ticket.takes(decode.block.len() + dead.num_bytes());
                self.forward(ctx, &device_id, &decode, Destination::DeadPackage(reason.reason()), dead);
            }
            Err(_) => {
                error!(device = %device_id, "a package made the decoder fail; its bytes go to the dead-letter topic");
                self.unpacker = Unpacker::default();
                let dead =
                    bury_package(package, RejectReason::Internal, "the decoder failed on this package", &self.limits);
                self.forward(ctx, &device_id, &decode, Destination::DeadPackage(RejectReason::Internal), dead);
            }
        }
        self.decode.record(started.elapsed().as_micros() as u64);
    }
}
