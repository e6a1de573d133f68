//! One simulated device: makes messages when they are due, connects, and comes back whenever it is cut off.
//!
//! One task each, so tens of thousands share a process. What to send is `queue`'s decision, what happens on a
//! connection is `session`'s.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use tokio::net::TcpSocket;
use tokio::sync::watch;
use tokio::time::{sleep_until, timeout};

use super::channel::{Channel, DeviceTls, FleetTls, Target};
use super::ledger::{DeviceLedger, LedgerEntry};
use super::packer::{Made, Motion, Workshops};
use super::progress::Progress;
use super::queue::DeviceQueue;
use super::session::Session;
use crate::flow::backoff::Backoff;
use crate::protocol::device_id::DeviceId;
use crate::protocol::hello::Credential;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// What all devices of a run share.
#[derive(Debug)]
pub(super) struct Crew {
    pub targets: Vec<Target>,
    pub tls: Option<FleetTls>,
    pub credential: Credential,
    pub package_size: usize,
    pub max_queue: usize,
    pub backoff: Backoff,
    pub source_addresses: u16,
    /// From one package's making to the next; `None` if packages are made as fast as they go.
    pub interval: Option<Duration>,
    pub workshops: Workshops,
    pub progress: Arc<Progress>,
}

/// How far the run is. Only goes forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// Messages are made and sent.
    Generate,
    /// No more messages are made; those that are there are sent until all are settled.
    Drain,
    /// Time is up.
    End,
}

/// How a connection, or the attempt to get one, ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionEnd {
    /// The run is over for this device.
    Finished,
    /// Come back: after this time if the server named one, otherwise by the backoff.
    Lost(Option<Duration>),
    /// The server said not to come back.
    GaveUp,
}

/// One device.
#[derive(Debug)]
pub(super) struct Device {
    pub id: DeviceId,
    pub queue: DeviceQueue<Made>,
    pub ledger: DeviceLedger,
    pub crew: Arc<Crew>,
    number: usize,
    num_connects: usize,
    tls: Option<DeviceTls>,
    rng: SmallRng,
    motion: Motion,
    next_sequence: u32,
    next_due: Instant,
}

// === impl Device ===

impl Device {
    pub fn new(
        id: DeviceId,
        number: usize,
        start: Instant,
        seed: u64,
        crew: Arc<Crew>,
        tls: Option<DeviceTls>,
    ) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed ^ (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        // A random part of the interval, so that the fleet's packages come evenly from the first one on. Without one it is not
        // looked at.
        let next_due = start + crew.interval.unwrap_or_default().mul_f64(rng.random());
        Self {
            ledger: DeviceLedger { device_id: id.to_string(), ..DeviceLedger::default() },
            id,
            queue: DeviceQueue::new(crew.max_queue),
            motion: Motion::new(&mut rng),
            crew,
            number,
            num_connects: 0,
            tls,
            rng,
            next_sequence: 0,
            next_due,
        }
    }

    /// Lives until the run is over or the server wants no more of it.
    pub async fn run(mut self, connect_at: Instant, mut phase: watch::Receiver<Phase>) -> DeviceLedger {
        let mut backoff = self.crew.backoff.clone();
        let mut connect_at = connect_at;
        while self.make_until(connect_at, &mut phase).await {
            if self.num_connects > 0 {
                self.crew.progress.reconnects.add(1);
            }
            let connected = self.connect().await;
            self.num_connects += 1;
            let end = match connected {
                Some(channel) => Session::new(&mut self).run(channel, &mut phase, &mut backoff).await,
                None => SessionEnd::Lost(None),
            };
            self.queue.on_disconnect();
            match end {
                SessionEnd::Finished => break,
                SessionEnd::GaveUp => {
                    self.crew.progress.gave_up.add(1);
                    break;
                }
                SessionEnd::Lost(wait) => {
                    let jitter = backoff.next_delay(self.rng.random());
                    connect_at = Instant::now() + wait.unwrap_or_default() + jitter;
                }
            }
        }
        self.crew.progress.held_back.add(self.queue.num_held_back());
        let sent = self.queue.into_unsettled().filter(|queued| queued.first_sent.is_some());
        self.ledger.open.extend(sent.map(|queued| LedgerEntry::from(&queued.message.header)));
        self.ledger
    }

    /// When the next package has to be made; `None` if that does not depend on time.
    pub fn next_due(&self) -> Option<Instant> {
        self.crew.interval.map(|_| self.next_due)
    }

    /// Makes what is due. What finds no room is not made later: a real device with full memory loses it, too.
    pub fn make_due(&mut self, now: Instant) {
        let Some(interval) = self.crew.interval else { return };
        while self.next_due <= now {
            self.next_due += interval;
            self.make(self.crew.package_size);
        }
    }

    /// Without a rate: makes enough for the next package, if there is room.
    pub fn make_ahead(&mut self) {
        let num_missing = self.crew.package_size.saturating_sub(self.queue.num_waiting());
        if self.crew.interval.is_none() && num_missing > 0 {
            self.make(num_missing.min(self.queue.room()));
        }
    }

    pub fn number(&self) -> usize {
        self.number
    }

    fn make(&mut self, num_due: usize) {
        let num_messages = num_due.min(self.queue.room());
        self.queue.hold_back(num_due - num_messages);
        if num_messages == 0 {
            return;
        }
        let event_time_ms = unix_ms();
        let sequence = self.next_sequence;
        let crew = Arc::clone(&self.crew);
        let mut packer = crew.workshops.of(self.number);
        packer.make(&mut self.rng, &mut self.motion, num_messages, event_time_ms, sequence, |made| {
            // There is room: it was counted above.
            let _ = self.queue.push(made);
        });
        self.next_sequence = sequence.wrapping_add(num_messages as u32);
    }

    /// Waits, making what is due meanwhile: a device works on while it is cut off. `false` if there is nothing left
    /// to connect for.
    async fn make_until(&mut self, moment: Instant, phase: &mut watch::Receiver<Phase>) -> bool {
        loop {
            let now = Instant::now();
            let current = *phase.borrow_and_update();
            match current {
                Phase::Generate => self.make_due(now),
                Phase::Drain if self.queue.num_unsettled() == 0 => return false,
                Phase::Drain => {}
                Phase::End => return false,
            }
            if moment <= now {
                return true;
            }
            let due = self.next_due().filter(|_| current == Phase::Generate);
            let wake = due.map_or(moment, |due| due.min(moment));
            tokio::select! {
                () = sleep_until(wake.into()) => {}
                changed = phase.changed() => if changed.is_err() { return false },
            }
        }
    }

    async fn connect(&self) -> Option<Channel> {
        let target = self.crew.targets.get((self.number + self.num_connects) % self.crew.targets.len().max(1))?;
        let Target { address: target, host } = target;
        let connecting = async {
            let socket = if target.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
            if let SocketAddr::V4(address) = target
                && address.ip().is_loopback()
                && self.crew.source_addresses > 1
            {
                let [high, low] = ((self.number % usize::from(self.crew.source_addresses)) as u16).to_be_bytes();
                socket.bind((Ipv4Addr::new(127, 1, high, low), 0).into())?;
            }
            let stream = socket.connect(*target).await?;
            stream.set_nodelay(true)?;
            match &self.tls {
                None => Ok(Channel::Plain(stream)),
                Some(tls) => tls.connect(host, stream).await,
            }
        };
        let error = match timeout(CONNECT_TIMEOUT, connecting).await {
            Ok(Ok(channel)) => return Some(channel),
            Ok(Err(error)) => error,
            Err(_) => std::io::ErrorKind::TimedOut.into(),
        };
        tracing::debug!(device = %self.id, %error, "cannot connect");
        self.crew.progress.trouble.note(format!("cannot connect to {target}: {error}"));
        None
    }
}

pub(super) fn unix_ms() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_epoch.as_millis()).unwrap_or(u64::MAX)
}
