//! A whole run: starts the devices, tells them when to stop, and collects what they know.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rand::SeedableRng;
use rand::rngs::SmallRng;
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::channel::{FleetTls, Target};
use super::device::{Crew, Device, Phase, unix_ms};
use super::fleet::Maker;
use super::ledger::Ledger;
use super::options::SimulateOptions;
use super::progress::Progress;
use super::workshop::{Workshops, new_latency_histogram};
use crate::codec::Codecs;
use crate::codec::bits::EncodeError;
use crate::flow::backoff::Backoff;
use crate::protocol::device_id::{BadDeviceId, DeviceId};
use crate::protocol::hello::{Credential, MAX_CREDENTIAL_LEN};
use crate::tls::TlsError;

/// Devices that connect per second at the start: a listener's backlog is finite.
const CONNECTS_PER_SECOND: f64 = 5000.0;

/// How long devices have to come to an end once time is up.
const END_TIMEOUT: Duration = Duration::from_secs(5);

/// Why a simulation could not begin.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// A number that makes no sense.
    #[error("{name} is {value}, allowed is {allowed}")]
    Option {
        /// Which option.
        name: &'static str,
        /// Its value.
        value: String,
        /// What it has to be.
        allowed: &'static str,
    },
    /// The prefix makes no device id.
    #[error(transparent)]
    DeviceId(#[from] BadDeviceId),
    /// The token fits no Hello.
    #[error("token has {0} bytes, allowed are {MAX_CREDENTIAL_LEN}")]
    Token(usize),
    /// The certificates cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The host cannot be resolved.
    #[error("cannot resolve {target}: {reason}")]
    Target {
        /// As told.
        target: String,
        /// The resolver's answer.
        reason: String,
    },
    /// A layout does not take the values that are made up for it.
    #[error("cannot make messages of type {type_name}: {source}")]
    Layout {
        /// The type.
        type_name: String,
        /// Why.
        source: EncodeError,
    },
    /// The latency histogram could not be made.
    #[error("no latency histogram: {0}")]
    Histogram(#[from] hdrhistogram::CreationError),
}

/// What came of a run. `sent` is `acked` plus `rejected` plus `unacked_at_end`.
#[derive(Debug)]
pub struct SimulateReport {
    /// Messages sent at least once.
    pub sent: u64,
    /// Messages that the server has taken over, duplicates included.
    pub acked: u64,
    /// Messages among them that the server already had.
    pub duplicates: u64,
    /// Messages that the server turned away for good.
    pub rejected: u64,
    /// Sendings of messages beyond their first.
    pub retried: u64,
    /// Messages that were sent and neither taken over nor turned away.
    pub unacked_at_end: u64,
    /// Messages that were due but not made, because a device's memory was full.
    pub held_back: u64,
    /// Connections opened after a device's first.
    pub reconnects: u64,
    /// Connections that the server refused.
    pub refused: u64,
    /// Devices that the server told not to come back.
    pub gave_up: u64,
    /// The last reason for which a connection failed or was refused.
    pub last_trouble: Option<String>,
    /// The longest time that a message waited from its making to its acknowledgement, in milliseconds.
    pub longest_wait_ms: u64,
    /// From the start to the last device's end.
    pub seconds: f64,
    /// For each acknowledged message the microseconds from when its package was handed to the socket for the *first*
    /// time to the receipt, so that retries and reconnects count.
    pub ack_latency_us: Histogram<u64>,
    /// The identity of every message that was sent.
    pub ledger: Ledger,
}

/// Runs a fleet until its time is over or `stop` becomes true (or its sender is gone); either way what was made is
/// sent until it is settled or the drain timeout is over.
pub async fn simulate(
    codecs: &Codecs,
    options: &SimulateOptions,
    progress: Arc<Progress>,
    mut stop: watch::Receiver<bool>,
) -> Result<SimulateReport, SimulateError> {
    let crew = Arc::new(crew(codecs, options, progress).await?);
    let start = Instant::now();
    let (phase, phases) = watch::channel(Phase::Generate);
    let mut tasks = JoinSet::new();
    for number in 0..options.devices {
        let id = DeviceId::new(&format!("{}{number:06}", options.device_prefix))?;
        let connect_at = start + Duration::from_secs_f64(number as f64 / CONNECTS_PER_SECOND);
        let tls = crew.tls.as_ref().map(|tls| tls.of(&id)).transpose()?;
        let device = Device::new(id, number, connect_at, options.seed, Arc::clone(&crew), tls);
        tasks.spawn(device.run(connect_at, phases.clone()));
    }
    drop(phases);

    let _ = tokio::time::timeout(options.duration, stop.wait_for(|stop| *stop)).await;
    phase.send_replace(Phase::Drain);
    let mut ledger = Ledger::default();
    if tokio::time::timeout(options.drain_timeout, collect(&mut tasks, &mut ledger)).await.is_err() {
        phase.send_replace(Phase::End);
        let _ = tokio::time::timeout(END_TIMEOUT, collect(&mut tasks, &mut ledger)).await;
    }

    let mut ack_latency_us = new_latency_histogram()?;
    crew.workshops.latencies(&mut ack_latency_us);
    let progress = &crew.progress;
    Ok(SimulateReport {
        sent: progress.sent.get(),
        acked: progress.acked.get(),
        duplicates: progress.duplicates.get(),
        rejected: progress.rejected.get(),
        retried: progress.retried.get(),
        unacked_at_end: ledger.devices.iter().map(|device| device.open.len() as u64).sum(),
        held_back: progress.held_back.get(),
        reconnects: progress.reconnects.get(),
        refused: progress.refused.get(),
        gave_up: progress.gave_up.get(),
        last_trouble: progress.trouble.get(),
        longest_wait_ms: progress.longest_wait_ms.get(),
        seconds: start.elapsed().as_secs_f64(),
        ack_latency_us,
        ledger,
    })
}

/// Keeps what it has collected when it is dropped.
async fn collect(tasks: &mut JoinSet<super::ledger::DeviceLedger>, ledger: &mut Ledger) {
    while let Some(joined) = tasks.join_next().await {
        match joined {
            Ok(device) if device.acked.is_empty() && device.rejected.is_empty() && device.open.is_empty() => {}
            Ok(device) => ledger.devices.push(device),
            Err(error) => tracing::error!(%error, "a simulated device failed, its messages are not in the ledger"),
        }
    }
}

async fn crew(codecs: &Codecs, options: &SimulateOptions, progress: Arc<Progress>) -> Result<Crew, SimulateError> {
    let wrong = |name, value: &dyn ToString, allowed| SimulateError::Option { name, value: value.to_string(), allowed };
    if options.devices == 0 {
        return Err(wrong("devices", &options.devices, "1 or more"));
    }
    if options.package_size == 0 {
        return Err(wrong("package_size", &options.package_size, "1 or more"));
    }
    if options.max_queue < usize::from(options.package_size) {
        return Err(wrong("max_queue", &options.max_queue, "package_size or more"));
    }
    if options.source_addresses == 0 {
        return Err(wrong("source_addresses", &options.source_addresses, "1 or more"));
    }
    if !(options.rate >= 0.0 && options.rate.is_finite()) {
        return Err(wrong("rate", &options.rate, "0 or more"));
    }
    let credential =
        Credential::new(options.token.clone().into_bytes().into()).ok_or(SimulateError::Token(options.token.len()))?;

    let mut targets = Vec::new();
    for target in options.target.split(',') {
        let unresolved = |reason: String| SimulateError::Target { target: target.to_owned(), reason };
        let found = tokio::net::lookup_host(target).await.map_err(|error| unresolved(error.to_string()))?;
        let num_before = targets.len();
        targets.extend(found.map(|address| Target::new(target, address)));
        if targets.len() == num_before {
            return Err(unresolved("no address".to_owned()));
        }
    }
    let package_size = usize::from(options.package_size);
    let interval_s = (package_size * options.devices) as f64 / options.rate;
    Ok(Crew {
        targets,
        tls: options.tls.as_ref().map(FleetTls::new).transpose()?,
        credential,
        package_size,
        max_queue: options.max_queue,
        backoff: Backoff::new(options.backoff.0, options.backoff.1),
        source_addresses: options.source_addresses,
        interval: (options.rate > 0.0).then(|| longest_if_too_long(interval_s)),
        workshops: workshops(codecs, options)?,
        progress,
    })
}

/// A year stands for every interval that is longer than any run.
fn longest_if_too_long(seconds: f64) -> Duration {
    Duration::from_secs_f64(seconds.clamp(1e-6, 365.0 * 86_400.0))
}

fn workshops(codecs: &Codecs, options: &SimulateOptions) -> Result<Workshops, SimulateError> {
    let weight_of = |name: &str| options.mix.iter().find(|(known, _)| known == name).map_or(0.0, |(_, weight)| *weight);
    let is_mixed = codecs.types().iter().any(|codec| weight_of(&codec.message_type.name) > 0.0);
    let mut rng = SmallRng::seed_from_u64(options.seed);
    let mut failed = None;
    let workshops = Workshops::new(|| {
        let mut makers = Vec::new();
        for codec in codecs.types() {
            let type_name = &codec.message_type.name;
            let weight = if is_mixed { weight_of(type_name) } else { 1.0 };
            if weight <= 0.0 {
                continue;
            }
            match Maker::new(Arc::clone(codec), &mut rng, unix_ms()) {
                Ok(maker) => makers.push((weight, maker)),
                Err(source) => failed = Some(SimulateError::Layout { type_name: type_name.clone(), source }),
            }
        }
        makers
    })?;
    failed.map_or(Ok(workshops), Err)
}
