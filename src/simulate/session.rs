//! One connection of a simulated device, from Hello to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::watch;
use tokio::time::sleep_until;

use super::channel::Channel;
use super::device::{Device, Phase, SessionEnd, unix_ms};
use super::ledger::LedgerEntry;
use crate::flow::backoff::Backoff;
use crate::protocol::frame::{self, Frame, HANDSHAKE_FRAME_LIMIT, PackageFrame};
use crate::protocol::hello::{Goodbye, Hello, Pong, Welcome};
use crate::protocol::package::PackageLimits;
use crate::protocol::reason::GoodbyeReason;
use crate::protocol::receipt::{Outcome, Receipt};

const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(30);

/// Packages are handed to the socket while less than this is waiting for it: enough to keep it busy, and small times
/// tens of thousands of devices.
const OUTBOX_TARGET: usize = 32 * 1024;

/// Largest frame that a server sends: a receipt with an exception for each of 65,535 messages.
const RECEIVE_FRAME_LIMIT: usize = 512 * 1024;

/// One connection.
pub(super) struct Session<'a> {
    device: &'a mut Device,
    inbox: BytesMut,
    outbox: BytesMut,
    /// Whether something was written that may not have left: TLS has a buffer of its own.
    is_unflushed: bool,
    opened: Instant,
    last_queued: Instant,
    last_received: Instant,
    welcome: Option<Welcome>,
    /// Set once the server has said goodbye: how long to stay away.
    leaving: Option<Duration>,
}

// === impl Session ===

impl<'a> Session<'a> {
    pub fn new(device: &'a mut Device) -> Self {
        let now = Instant::now();
        Self {
            device,
            inbox: BytesMut::new(),
            outbox: BytesMut::new(),
            is_unflushed: false,
            opened: now,
            last_queued: now,
            last_received: now,
            welcome: None,
            leaving: None,
        }
    }

    pub async fn run(self, channel: Channel, phase: &mut watch::Receiver<Phase>, backoff: &mut Backoff) -> SessionEnd {
        match channel {
            Channel::Plain(mut stream) => {
                let (reader, writer) = stream.split();
                self.converse(reader, writer, phase, backoff).await
            }
            Channel::Tls(stream) => {
                let (reader, writer) = tokio::io::split(*stream);
                self.converse(reader, writer, phase, backoff).await
            }
        }
    }

    async fn converse(
        mut self,
        mut reader: impl AsyncRead + Unpin,
        mut writer: impl AsyncWrite + Unpin,
        phase: &mut watch::Receiver<Phase>,
        backoff: &mut Backoff,
    ) -> SessionEnd {
        let credential = self.device.crew.credential.clone();
        self.queue_frame(&Frame::Hello(Hello { device_id: self.device.id.clone(), credential }), Instant::now());
        loop {
            let now = Instant::now();
            let current = *phase.borrow_and_update();
            if let Some(end) = self.advance(now, current) {
                if end == SessionEnd::Finished && current == Phase::Drain {
                    self.queue_frame(
                        &Frame::Goodbye(Goodbye { reason: GoodbyeReason::Leaving, reconnect_after_ms: 0 }),
                        now,
                    );
                    // A courtesy: nothing is lost if it does not arrive.
                    let _ = writer.write_all(&self.outbox).await;
                    let _ = writer.shutdown().await;
                }
                return end;
            }
            let wake = self.wake_at(now, current);
            tokio::select! {
                read = reader.read_buf(&mut self.inbox) => {
                    if !matches!(read, Ok(1..)) {
                        return self.cut_off(read.err());
                    }
                    if let Some(end) = self.receive(backoff) {
                        return end;
                    }
                }
                written = send(&mut writer, &mut self.outbox, &mut self.is_unflushed),
                    if !self.outbox.is_empty() || self.is_unflushed =>
                {
                    if written.is_err() {
                        return self.read_the_refusal(&mut reader, backoff).await;
                    }
                }
                () = sleep_until(wake.into()) => {}
                changed = phase.changed() => if changed.is_err() { return SessionEnd::Finished },
            }
        }
    }

    /// Makes and queues what is due, and says whether the connection has to end.
    fn advance(&mut self, now: Instant, phase: Phase) -> Option<SessionEnd> {
        match phase {
            Phase::Generate => self.device.make_due(now),
            Phase::Drain if self.device.queue.num_unsettled() == 0 => return Some(SessionEnd::Finished),
            Phase::Drain => {}
            Phase::End => return Some(SessionEnd::Finished),
        }
        let Some(welcome) = self.welcome else {
            return (now >= self.opened + HANDSHAKE_TIMEOUT).then(|| {
                self.trouble(format!("the server did not answer Hello within {} s", HANDSHAKE_TIMEOUT.as_secs()));
                SessionEnd::Lost(None)
            });
        };
        if let Some(wait) = self.leaving {
            // What is under way still gets its receipts, then the device goes as asked.
            return (self.device.queue.num_under_way() == 0).then_some(SessionEnd::Lost(Some(wait)));
        }
        let idle = idle_timeout(&welcome);
        if now >= self.last_received + idle {
            return Some(SessionEnd::Lost(None));
        }
        self.send_packages(&welcome, now, phase);
        if now >= self.last_queued + idle / 3 {
            self.queue_frame(&Frame::Ping { nonce: 0 }, now);
        }
        None
    }

    fn send_packages(&mut self, welcome: &Welcome, now: Instant, phase: Phase) {
        let package_size = u16::try_from(self.device.crew.package_size).unwrap_or(u16::MAX);
        let limits = PackageLimits {
            max_bytes: welcome.max_package as usize,
            max_messages: welcome.max_messages.min(package_size),
        };
        while self.outbox.len() < OUTBOX_TARGET && self.device.queue.may_send(now) {
            if phase == Phase::Generate {
                self.device.make_ahead();
            }
            let crew = Arc::clone(&self.device.crew);
            let mut packer = crew.workshops.of(self.device.number());
            let Some(packed) = packer.pack(&mut self.device.queue, limits, now) else { return };
            crew.progress.sent.add(packed.num_first);
            crew.progress.retried.add(packed.num_again);
            self.queue_frame(&Frame::Package(PackageFrame { package_id: packed.package_id, block: packed.block }), now);
        }
    }

    fn wake_at(&self, now: Instant, phase: Phase) -> Instant {
        let Some(welcome) = self.welcome else { return self.opened + HANDSHAKE_TIMEOUT };
        let idle = idle_timeout(&welcome);
        let mut wake = (self.last_received + idle).min(self.last_queued + idle / 3);
        for moment in [self.device.queue.wake_at(), self.device.next_due().filter(|_| phase == Phase::Generate)] {
            wake = moment.map_or(wake, |moment| moment.min(wake));
        }
        // After a goodbye nothing is due that could be done: only receipts and the end are awaited.
        if self.leaving.is_some() { now + idle } else { wake }
    }

    /// Takes in every complete frame.
    fn receive(&mut self, backoff: &mut Backoff) -> Option<SessionEnd> {
        self.last_received = Instant::now();
        loop {
            let limit = if self.welcome.is_some() { RECEIVE_FRAME_LIMIT } else { HANDSHAKE_FRAME_LIMIT };
            match frame::decode(&mut self.inbox, limit) {
                Ok(None) => return None,
                Ok(Some(frame)) => {
                    if let Some(end) = self.on_frame(frame, backoff) {
                        return Some(end);
                    }
                }
                Err(error) => {
                    tracing::warn!(device = %self.device.id, %error, "the server sent something that is not a frame");
                    self.trouble(format!("what the server sent is not of the device protocol: {error}"));
                    return Some(SessionEnd::Lost(None));
                }
            }
        }
    }

    fn on_frame(&mut self, frame: Frame, backoff: &mut Backoff) -> Option<SessionEnd> {
        match frame {
            Frame::Welcome(welcome) if self.welcome.is_none() => {
                self.welcome = Some(welcome);
                self.device.queue.on_connect(welcome.max_unacknowledged.into());
                self.device.crew.progress.connected.add(1);
                backoff.reset();
                None
            }
            Frame::Refused(refused) => {
                self.device.crew.progress.refused.add(1);
                self.trouble(format!("refused as {}: {}", refused.reason.name(), refused.text));
                if refused.retry_after_ms == 0 {
                    tracing::warn!(device = %self.device.id, reason = refused.reason.name(), text = %refused.text, "refused for good");
                    return Some(SessionEnd::GaveUp);
                }
                Some(SessionEnd::Lost(Some(Duration::from_millis(refused.retry_after_ms.into()))))
            }
            Frame::Receipt(receipt) if self.welcome.is_some() => self.on_receipt(&receipt),
            Frame::Ping { nonce } => {
                self.queue_frame(&Frame::Pong(Pong { nonce, server_time_ms: 0 }), Instant::now());
                None
            }
            Frame::Pong(_) => None,
            Frame::Goodbye(goodbye) => {
                self.leaving = Some(Duration::from_millis(goodbye.reconnect_after_ms.into()));
                None
            }
            Frame::Hello(_) | Frame::Package(_) | Frame::Welcome(_) | Frame::Receipt(_) => {
                tracing::warn!(device = %self.device.id, "the server sent a frame that has no place here");
                Some(SessionEnd::Lost(None))
            }
        }
    }

    fn on_receipt(&mut self, receipt: &Receipt) -> Option<SessionEnd> {
        let now = Instant::now();
        let crew = Arc::clone(&self.device.crew);
        let mut packer = crew.workshops.of(self.device.number());
        let (mut num_acked, mut num_duplicates, mut num_rejected) = (0, 0, 0);
        let mut oldest_ms = u64::MAX;
        let device = &mut *self.device;
        let ledger = &mut device.ledger;
        let taken_in = device.queue.on_receipt(now, receipt, |queued, outcome| {
            let entry = LedgerEntry::from(&queued.message.header);
            match outcome {
                Outcome::Accepted | Outcome::Duplicate => {
                    num_acked += 1;
                    oldest_ms = oldest_ms.min(queued.message.header.event_time_ms);
                    num_duplicates += u64::from(outcome == Outcome::Duplicate);
                    ledger.acked.push(entry);
                    packer.record_latency(now.saturating_duration_since(queued.first_sent.unwrap_or(now)));
                }
                Outcome::Rejected(_) => {
                    num_rejected += 1;
                    ledger.rejected.push(entry);
                }
                Outcome::RetryLater => {}
            }
        });
        crew.progress.acked.add(num_acked);
        crew.progress.longest_wait_ms.at_least(unix_ms().saturating_sub(oldest_ms));
        crew.progress.duplicates.add(num_duplicates);
        crew.progress.rejected.add(num_rejected);
        let error = taken_in.err()?;
        tracing::warn!(device = %self.device.id, %error, "the server sent a receipt that fits no package");
        Some(SessionEnd::Lost(None))
    }

    /// A server that refuses may have closed before it read everything: what it said is still there to be read.
    async fn read_the_refusal(&mut self, reader: &mut (impl AsyncRead + Unpin), backoff: &mut Backoff) -> SessionEnd {
        while let Ok(1..) = reader.read_buf(&mut self.inbox).await {
            if let Some(end) = self.receive(backoff) {
                return end;
            }
        }
        self.cut_off(None)
    }

    /// The connection ended, with this error if there was one. After a goodbye that is as it should be.
    fn cut_off(&self, error: Option<std::io::Error>) -> SessionEnd {
        if self.leaving.is_none() {
            let when = if self.welcome.is_some() { "" } else { " before Welcome" };
            let why = error.map(|error| format!(": {error}")).unwrap_or_default();
            self.trouble(format!("the server closed the connection{when}{why}"));
        }
        SessionEnd::Lost(self.leaving)
    }

    /// Keeps for the end of the run what went wrong.
    fn trouble(&self, what: String) {
        self.device.crew.progress.trouble.note(what);
    }

    fn queue_frame(&mut self, frame: &Frame, now: Instant) {
        frame.encode(&mut self.outbox);
        self.last_queued = now;
    }
}

impl Drop for Session<'_> {
    fn drop(&mut self) {
        if self.welcome.is_some() {
            self.device.crew.progress.connected.subtract(1);
        }
    }
}

/// Writes some of `outbox` and sends it off. If it is dropped in between, the next call goes on.
async fn send(
    writer: &mut (impl AsyncWrite + Unpin),
    outbox: &mut BytesMut,
    is_unflushed: &mut bool,
) -> std::io::Result<()> {
    if !outbox.is_empty() {
        writer.write_buf(outbox).await?;
        *is_unflushed = true;
    }
    writer.flush().await?;
    *is_unflushed = false;
    Ok(())
}

/// A server that announces no idle timeout, or a tiny one, must not make a device spin.
fn idle_timeout(welcome: &Welcome) -> Duration {
    Duration::from_millis(welcome.idle_timeout_ms.into()).max(Duration::from_secs(3))
}
