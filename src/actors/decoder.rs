//! Decoder: a few actors, each on its own thread. Unpacks packages and sends their records to the partition producers.
//!
//! While a producer has no room the decoder takes no further package, its mailbox fills, and connections stop reading;
//! after a while it gives up on the batch instead, and the device is told to send it again later.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

use actix::fut::wrap_future;
use actix::{Actor, AsyncContext, Context, Handler};
use bytes::Bytes;
use tracing::error;

use crate::flow::clock::Trust;
use crate::intake::Path;
use crate::intake::append::Unsent;
use crate::intake::decode::Decode;
use crate::intake::routes::RecordLimits;
use crate::intake::ticket::Part;
use crate::intake::unpack::{PackageRef, TopicRecords, Unpacker, bury_package};
use crate::log::{AppendBatch, Completion, Keys};
use crate::protocol::device_id::DeviceId;
use crate::protocol::reason::RejectReason;
use crate::supervision::Lifeline;
use crate::telemetry::{Recorder, Telemetry};

/// Unpacks packages.
pub struct Decoder {
    path: Arc<Path>,
    unpacker: Unpacker,
    limits: RecordLimits,
    telemetry: Arc<Telemetry>,
    decode: Recorder,
    _lifeline: Lifeline,
}

// === impl Decoder ===

impl Decoder {
    /// A decoder.
    pub fn new(path: Arc<Path>, telemetry: Arc<Telemetry>, lifeline: Lifeline) -> Self {
        let decode = telemetry.decode.recorder();
        let limits = path.routes.limits();
        Self { path, unpacker: Unpacker::default(), limits, telemetry, decode, _lifeline: lifeline }
    }

    fn forward(
        &self,
        ctx: &mut Context<Self>,
        device: &DeviceId,
        package: &Decode,
        to: Destination,
        records: TopicRecords,
    ) {
        let route = match to {
            Destination::Topic(index) => &self.path.routes.topics[index],
            Destination::DeadLetter | Destination::DeadPackage(_) => &self.path.routes.dead_letter,
        };
        let part = package.ticket.part(records.messages);
        let letters = records.letters;
        let telemetry = Arc::clone(&self.telemetry);
        let batch = AppendBatch {
            keys: Keys::Same(Bytes::copy_from_slice(device.as_bytes())),
            values: records.records.values.into(),
            ends: records.records.ends,
            trace: package.trace.clone(),
        };
        let done = Completion::new(move |answer| {
            if answer.is_ok() {
                let dead_letters = &telemetry.counters.dead_letters;
                letters.iter().for_each(|(reason, count)| dead_letters.add(&reason.name(), *count));
            }
            finish(part, to, answer);
        });
        // Takes no further package until the producer has room, or has had none for too long: the batch is given up then,
        // which tells the device to send again later.
        let unsent = Unsent::new(Arc::clone(route.producer_of(device.as_bytes())), batch, done);
        if let Some(unsent) = unsent.try_send() {
            ctx.wait(wrap_future(unsent.send_within(self.path.max_wait)));
        }
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
        let trust = self.path.trust(decode.received_at_us, started);
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
            trace: decode.trace.as_deref(),
        };
        let (rules, unpacker, limits) = (self.path.rules.load(), &mut self.unpacker, &self.limits);
        // A defect that one input sets off must not come back with every retry until the process gives up: such a
        // package is kept for the operator like any other that cannot be read.
        let outcome = catch_unwind(AssertUnwindSafe(|| unpacker.unpack(package, &rules, limits)));
        match outcome {
            Ok(Ok(unpacked)) => {
                decode.ticket.expect_messages(unpacked.receipt);
                let all = unpacked.topics.iter().chain([&unpacked.dead]);
                decode.ticket.takes(decode.block.len() + all.map(TopicRecords::num_bytes).sum::<usize>());
                for (index, records) in unpacked.topics.into_iter().enumerate() {
                    if !records.records.is_empty() {
                        self.forward(ctx, &device_id, &decode, Destination::Topic(index), records);
                    }
                }
                if !unpacked.dead.records.is_empty() {
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
