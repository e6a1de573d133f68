//! Where devices make and pack messages: one bench with its buffers for many devices, because a simulated fleet must
//! not cost more than the engine that it is to measure.

use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use parking_lot::{Mutex, MutexGuard};
use rand::RngExt;
use rand::rngs::SmallRng;

use super::bodies::Maker;
use super::queue::DeviceQueue;
use crate::protocol::message::MessageHeader;
use crate::protocol::package::{Builder, PackageLimits};

pub(super) use super::bodies::Motion;

/// More than threads that simulate, so that two rarely want the same one.
const NUM_WORKSHOPS: usize = 8;

/// Longest latency that is told apart, in microseconds: an hour.
const MAX_LATENCY_US: u64 = 3_600_000_000;

/// A message as the queue keeps it. The bodies that were made together share one buffer.
#[derive(Debug, Clone)]
pub(super) struct Made {
    pub header: MessageHeader,
    pub body: Bytes,
}

/// A package ready to be sent.
#[derive(Debug)]
pub(super) struct Packed {
    pub package_id: u32,
    pub block: Bytes,
    /// Messages in it that were never sent before.
    pub num_first: u64,
    /// Messages in it that were sent before.
    pub num_again: u64,
}

/// All workshops of a run.
#[derive(Debug)]
pub(super) struct Workshops(Vec<Mutex<Packer>>);

/// Buffers, values and a histogram that devices take turns with.
#[derive(Debug)]
pub(super) struct Packer {
    /// With the weights of the mix, summed up.
    makers: Vec<(f64, Maker)>,
    builder: Builder,
    bodies: Vec<u8>,
    headers: Vec<(MessageHeader, usize)>,
    latency_us: Histogram<u64>,
}

// === impl Workshops ===

impl Workshops {
    /// `makers` makes the makers of one packer, each with its weight.
    pub fn new(mut makers: impl FnMut() -> Vec<(f64, Maker)>) -> Result<Self, hdrhistogram::CreationError> {
        let mut workshops = Vec::with_capacity(NUM_WORKSHOPS);
        for _ in 0..NUM_WORKSHOPS {
            let mut sum = 0.0;
            let summed = makers().into_iter().map(|(weight, maker)| {
                sum += weight;
                (sum, maker)
            });
            workshops.push(Mutex::new(Packer {
                makers: summed.collect(),
                builder: Builder::new(PackageLimits { max_bytes: 0, max_messages: 0 }),
                bodies: Vec::new(),
                headers: Vec::new(),
                latency_us: new_latency_histogram()?,
            }));
        }
        Ok(Self(workshops))
    }

    /// The packer of a device. Not to be held over an await.
    pub fn of(&self, device_number: usize) -> MutexGuard<'_, Packer> {
        self.0[device_number % self.0.len()].lock()
    }

    /// The latencies of all workshops.
    pub fn latencies(&self, into: &mut Histogram<u64>) {
        for packer in &self.0 {
            // All have the same bounds: adding cannot fail.
            let _ = into.add(&packer.lock().latency_us);
        }
    }
}

/// A histogram of microseconds for latencies.
pub(super) fn new_latency_histogram() -> Result<Histogram<u64>, hdrhistogram::CreationError> {
    Histogram::new_with_max(MAX_LATENCY_US, 3)
}

// === impl Packer ===

impl Packer {
    /// Makes messages with consecutive sequence numbers.
    pub fn make(
        &mut self,
        rng: &mut SmallRng,
        motion: &mut Motion,
        num_messages: usize,
        event_time_ms: u64,
        first_sequence: u32,
        mut keep: impl FnMut(Made),
    ) {
        self.bodies.clear();
        self.headers.clear();
        let Some((total, _)) = self.makers.last() else { unreachable!("a mix has at least one type") };
        let total = *total;
        for offset in 0..num_messages as u32 {
            let choice = rng.random::<f64>() * total;
            // Rounding may bring the product up to the sum.
            let position = self.makers.partition_point(|(sum, _)| *sum <= choice).min(self.makers.len() - 1);
            let (_, maker) = &mut self.makers[position];
            let version = maker.append(rng, motion, event_time_ms, &mut self.bodies);
            let sequence = first_sequence.wrapping_add(offset);
            let header = MessageHeader { type_id: maker.type_id(), version, sequence, event_time_ms };
            self.headers.push((header, self.bodies.len()));
        }
        let bodies = Bytes::copy_from_slice(&self.bodies);
        let mut start = 0;
        for (header, end) in &self.headers {
            keep(Made { header: *header, body: bodies.slice(start..*end) });
            start = *end;
        }
    }

    /// Packs the next package of a device.
    pub fn pack(
        &mut self,
        queue: &mut DeviceQueue<Made>,
        limits: PackageLimits,
        now: std::time::Instant,
    ) -> Option<Packed> {
        let (mut num_first, mut num_again) = (0, 0);
        self.builder.begin(limits);
        let package_id = queue.send(now, |queued| {
            let fits = self.builder.push(&queued.message.header, &queued.message.body).is_ok();
            let count = if queued.first_sent.is_none() { &mut num_first } else { &mut num_again };
            *count += u64::from(fits);
            fits
        })?;
        let Some(block) = self.builder.finish() else {
            unreachable!("only a package of more than 4 GiB cannot be compressed, and its limit has 32 bits")
        };
        Some(Packed { package_id, block, num_first, num_again })
    }

    pub fn record_latency(&mut self, latency: Duration) {
        let latency_us = u64::try_from(latency.as_micros()).unwrap_or(u64::MAX);
        self.latency_us.saturating_record(latency_us);
    }
}
