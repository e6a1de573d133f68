//! The one door behind every source.
//!
//! A source says who sends, and hands over a package ([`Intake::take_package`]) or records ([`chunk::Chunk`]) together with
//! where the receipt goes. Here stand the rules that hold for all of them: event times (`rules`), limits of addresses and
//! rates (`admission`), room in memory, the split by partition (`routes`, `append`) and the receipt (`ticket`). What is
//! behind it are mailboxes: nothing here knows an actor.

pub mod admission;
pub mod append;
pub mod chunk;
pub mod decode;
pub mod held_back;
mod opening;
pub mod records;
mod reject;
pub mod routes;
pub mod rules;
pub mod ticket;
pub mod unpack;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use bytes::Bytes;

use self::admission::AdmissionControl;
use self::decode::{Decode, DecoderMailbox};
use self::opening::Opening;
pub use self::opening::{Closed, WaitsFor};
use self::routes::Routes;
use self::rules::{LiveEvidence, LiveIntakeRules};
use self::ticket::{Answer, ReplyTo};
use crate::flow::clock::Trust;
use crate::flow::credit::{Credit, Credits};
use crate::flow::memory::{MemoryBudget, Reserved, retry_delay};
use crate::flow::trace::Trace;
use crate::log::partitioner::partition_for;
use crate::protocol::device_id::DeviceId;
use crate::protocol::package::{self, PackageLimits};
use crate::supervision::jitter;
use crate::telemetry::Telemetry;
use crate::telemetry::counters::add;

/// What all sources announce to their senders or tell them. A reload replaces it.
#[derive(Debug, Clone, Copy)]
pub struct IntakeLimits {
    /// What one package may be.
    pub package: PackageLimits,
    /// Bytes of a package's block.
    pub max_block: usize,
    /// The delay given with "retry later".
    pub retry_delay: Duration,
    /// Within which senders that are sent away together are to come back.
    pub reconnect_spread: Duration,
}

/// The way from here into the log.
pub struct Path {
    /// Where records go.
    pub routes: Routes,
    /// How messages are taken in.
    pub rules: LiveIntakeRules,
    /// How far this machine's clock can be believed.
    pub clock: LiveEvidence,
    /// How long to wait for a producer's room.
    pub max_wait: Duration,
}

/// See the module. Shared by all sources; closed until there is a way into the log.
pub struct Intake {
    /// Limits of addresses, devices and tokens.
    pub admission: Arc<AdmissionControl>,
    /// Where packages and chunks have to find room.
    pub memory: MemoryBudget,
    /// Counters and stages.
    pub telemetry: Arc<Telemetry>,
    limits: ArcSwap<IntakeLimits>,
    opening: Opening,
    inner: OnceLock<(Arc<Path>, Vec<DecoderMailbox>)>,
}

/// A package as a source hands it over.
pub struct Package {
    /// Who sends it.
    pub device_id: DeviceId,
    /// The sender's name for it.
    pub id: u32,
    /// The Snappy block.
    pub block: Bytes,
    /// Size limits, as the sender has been told them.
    pub limits: PackageLimits,
    /// When it was read, in microseconds since the Unix epoch.
    pub received_at_us: u64,
    /// The trace of the request that it came with.
    pub trace: Option<Trace>,
    /// Its room in memory, from [`Intake::reserve`].
    pub memory: Reserved,
    /// One of [`Intake::decoder_credits`]. Taken by the source: who waits for it keeps nothing else meanwhile, which counts
    /// where tens of thousands of connections do.
    pub credit: Credit,
}

// === impl Intake ===

impl Intake {
    /// Takes nothing in before [`Intake::open`].
    pub fn new(
        limits: IntakeLimits,
        admission: Arc<AdmissionControl>,
        memory: MemoryBudget,
        telemetry: Arc<Telemetry>,
        waits_for: WaitsFor,
    ) -> Self {
        let (limits, opening) = (ArcSwap::from_pointee(limits), Opening::new(waits_for));
        Self { admission, memory, telemetry, limits, opening, inner: OnceLock::new() }
    }

    /// Takes in from now on what all sources bring: packages go to these decoders.
    pub fn open(&self, path: Arc<Path>, decoders: Vec<DecoderMailbox>) {
        let is_first = self.inner.set((path, decoders)).is_ok();
        assert!(is_first, "intake was opened before");
        self.opening.open();
    }

    /// The way into the log, or why there is none yet. At the very beginning of a start this waits for a moment.
    pub async fn path(&self) -> Result<&Arc<Path>, Closed> {
        if self.inner.get().is_none() {
            self.opening.wait().await;
        }
        self.check_open()?;
        Ok(self.opened().0)
    }

    /// Whether there is a way into the log, without waiting for it.
    pub fn check_open(&self) -> Result<(), Closed> {
        if self.inner.get().is_some() {
            return Ok(());
        }
        Err(self
            .opening
            .closed(|spread| self.come_back_after(spread.mul_f64(jitter())), self.limits.load().reconnect_spread))
    }

    /// Sets other limits for what comes from now on.
    pub fn set_limits(&self, limits: IntakeLimits) {
        self.limits.store(Arc::new(limits));
    }

    /// The limits in force.
    pub fn limits(&self) -> IntakeLimits {
        **self.limits.load()
    }

    /// How far the clock can be believed that says this, in microseconds since the Unix epoch. While it is wrong, nothing
    /// is taken in: what is stored under a wrong time cannot be mended.
    pub fn trust(&self, received_at_us: u64, now: Instant) -> Trust {
        self.opened().0.trust(received_at_us, now)
    }

    /// Room in memory for a package until it has its receipt; without room, how long its sender is to wait. The package
    /// counts as answered then.
    pub fn reserve(&self, block: &[u8], limits: PackageLimits) -> Result<Reserved, Duration> {
        self.memory.try_reserve(package::weight(block, limits) as u64).ok_or_else(|| {
            self.count_sent_back();
            self.retry_delay()
        })
    }

    /// Where a package of this device needs a credit.
    pub fn decoder_credits(&self, device_id: &DeviceId) -> &Credits {
        self.decoder_of(device_id).credits()
    }

    /// Hands a package to the decoder of its device. The answer gets the receipt.
    pub fn take_package(&self, package: Package, answer: Answer) {
        let Package { device_id, id, block, limits, received_at_us, trace, memory, credit } = package;
        let reply_to = ReplyTo {
            answer,
            package_id: id,
            memory,
            retry_after_ms: self.retry_ms(),
            telemetry: Arc::clone(&self.telemetry),
        };
        let decoder = self.decoder_of(&device_id);
        decoder.send(Decode::new(device_id, block, limits, received_at_us, trace, reply_to, credit));
    }

    /// Counts a package that was answered "retry later" without a look into it.
    pub fn count_sent_back(&self) {
        let counters = &self.telemetry.counters;
        add(&counters.packages.retry_later, 1);
        // How many messages there are is known only after decompression, which is not worth its while.
        add(&counters.retry_later, 1);
    }

    /// The delay to give with "retry later", in milliseconds.
    pub fn retry_ms(&self) -> u32 {
        millis(self.limits.load().retry_delay)
    }

    /// How long a sender is to stay away for whom there is no room: longer the fuller the memory is, and spread, so that
    /// those who were sent away together do not come back together.
    pub fn retry_delay(&self) -> Duration {
        retry_delay(self.limits.load().retry_delay, self.memory.pressure(), jitter())
    }

    /// How long a sender is to stay away for whom nothing can be done in this time; spread like [`Intake::retry_delay`].
    pub fn come_back_after(&self, wait: Duration) -> Duration {
        wait.saturating_add(retry_delay(self.limits.load().retry_delay, 1.0, jitter()))
    }

    /// When one of many is to come back that are sent away at the same moment: each draws its own.
    pub fn reconnect_delay(&self) -> Duration {
        self.limits.load().reconnect_spread.mul_f64(jitter())
    }

    /// A device always meets the same decoder, so that its packages keep their order.
    fn decoder_of(&self, device_id: &DeviceId) -> &DecoderMailbox {
        let decoders = self.opened().1;
        &decoders[partition_for(device_id.as_bytes(), decoders.len() as u32) as usize]
    }

    fn opened(&self) -> (&Arc<Path>, &[DecoderMailbox]) {
        let Some((path, decoders)) = self.inner.get() else {
            unreachable!("nothing is taken in before there is a way")
        };
        (path, decoders)
    }
}

// === impl Path ===

impl Path {
    /// See [`Intake::trust`].
    pub fn trust(&self, received_at_us: u64, now: Instant) -> Trust {
        self.clock.load().trust(received_at_us / 1000, now)
    }
}

/// A delay as the protocol tells it, in milliseconds.
pub fn millis(delay: Duration) -> u32 {
    delay.as_millis().try_into().unwrap_or(u32::MAX)
}
