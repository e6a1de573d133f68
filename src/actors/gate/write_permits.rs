//! Write permits, the way through the gate: who asks for leave to write gets a permit, in fair turns, and says with it
//! what became of the write.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::flow::fair::{Fair, LaneId};
use crate::flow::limiter::{ClassSample, NUM_SIZE_CLASSES, Sample, size_class};
use crate::telemetry::Recorder;
use crate::telemetry::histogram::quantiles;

/// The writes in flight, who waits for leave, and what was measured of them. Outlives the gate's actor, so that what is
/// in flight stays counted when that is restarted.
pub struct WritePermits {
    fair: Mutex<Fair<Waiter>>,
    epoch: Instant,
    latency: Recorder,
    classes: [ClassCells; NUM_SIZE_CLASSES],
    num_dropped: AtomicU64,
    /// When a write was last answered, or let in while none was in flight; microseconds since `epoch`.
    last_sign_us: AtomicU64,
}

#[derive(Default)]
struct ClassCells {
    num_writes: AtomicU64,
    latency_us: AtomicU64,
}

/// A partition's way through the gate. It is given up with its last clone and permit.
#[derive(Clone)]
pub struct Admission {
    lane: Arc<Lane>,
}

/// One partition's place, and its own measurements.
pub(super) struct Lane {
    id: LaneId,
    write_permits: Arc<WritePermits>,
    pub(super) latency: Recorder,
    pub(super) wait: Recorder,
    pub(super) num_rows: AtomicU64,
    pub(super) num_dropped: AtomicU64,
}

/// Leave for one write; it ends when this is dropped. Dropped without a word, the write says nothing about the store.
pub struct WritePermit {
    lane: Arc<Lane>,
    granted: Instant,
    /// When it was answered, if that is known: reading the clock is the dearest part of a permit.
    answered: Option<Instant>,
}

/// Who waits for a permit.
struct Waiter {
    lane: Arc<Lane>,
    answer: oneshot::Sender<WritePermit>,
}

/// What one partition does at a moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct LaneUsage {
    pub num_in_flight: u32,
    pub num_waiting: usize,
    /// How long the first of those has waited.
    pub oldest_wait: Duration,
}

// === impl WritePermits ===

impl WritePermits {
    /// A write_permits that lets `limit` writes through at a time.
    pub fn new(limit: u32) -> Arc<Self> {
        Arc::new(Self {
            fair: Mutex::new(Fair::new(limit)),
            epoch: Instant::now(),
            latency: Recorder::new(),
            classes: Default::default(),
            num_dropped: AtomicU64::new(0),
            last_sign_us: AtomicU64::new(0),
        })
    }

    /// A way through for one more partition.
    pub fn join(self: &Arc<Self>) -> Admission {
        let id = self.fair.lock().join();
        Admission {
            lane: Arc::new(Lane {
                id,
                write_permits: Arc::clone(self),
                latency: Recorder::new(),
                wait: Recorder::new(),
                num_rows: AtomicU64::new(0),
                num_dropped: AtomicU64::new(0),
            }),
        }
    }

    /// Time since the write_permits was made: the clock of everything that is decided here.
    pub(super) fn now(&self) -> Duration {
        self.epoch.elapsed()
    }

    /// Changes the limit and lets in whom it allows.
    pub(super) fn set_limit(&self, limit: u32) {
        self.fair.lock().set_limit(limit);
        self.let_in();
    }

    /// Writes that the store has not taken, since the last sample.
    #[cfg(test)]
    pub(in crate::actors) fn num_dropped_so_far(&self) -> u64 {
        self.num_dropped.load(Ordering::Relaxed)
    }

    /// Writes in flight and the limit.
    pub(super) fn in_flight(&self) -> (u32, u32) {
        let fair = self.fair.lock();
        (fair.num_in_flight(), fair.limit())
    }

    /// What was measured since the last time, with the latencies (µs) as a histogram.
    pub(super) fn take_sample(&self, length: Duration) -> (Sample, Histogram<u64>) {
        let (usage, num_in_flight) = {
            let mut fair = self.fair.lock();
            (fair.take_usage(), fair.num_in_flight())
        };
        let latencies = self.latency.take();
        let mut classes = [ClassSample::default(); NUM_SIZE_CLASSES];
        for (class, cells) in classes.iter_mut().zip(&self.classes) {
            class.num_writes = cells.num_writes.swap(0, Ordering::Relaxed);
            class.latency_us = cells.latency_us.swap(0, Ordering::Relaxed);
        }
        let silent_us = self.now_us().saturating_sub(self.last_sign_us.load(Ordering::Relaxed));
        let sample = Sample {
            length,
            classes,
            num_dropped: self.num_dropped.swap(0, Ordering::Relaxed),
            max_in_flight: usage.max_in_flight,
            num_waiting: usage.num_waiting,
            oldest_in_flight: Duration::from_micros(if num_in_flight > 0 { silent_us } else { 0 }),
            p99_us: quantiles(&latencies).p99,
        };
        (sample, latencies)
    }

    fn now_us(&self) -> u64 {
        self.epoch.elapsed().as_micros() as u64
    }

    fn let_in(&self) {
        loop {
            // The lock is let go before the answer: when nobody waits for it any more, the permit is dropped in here,
            // which locks again.
            let next = self.fair.lock().next_in();
            let Some((_, Waiter { lane, answer })) = next else { return };
            let _ = answer.send(WritePermit::new(lane));
        }
    }
}

// === impl Admission ===

impl Admission {
    /// Waits for leave to write.
    pub async fn enter(&self) -> WritePermit {
        let write_permits = &self.lane.write_permits;
        let answered = {
            let mut fair = write_permits.fair.lock();
            if fair.try_enter(self.lane.id) {
                if fair.num_in_flight() == 1 {
                    write_permits.last_sign_us.store(write_permits.now_us(), Ordering::Relaxed);
                }
                None
            } else {
                let (answer, answered) = oneshot::channel();
                fair.wait(self.lane.id, write_permits.now_us(), Waiter { lane: Arc::clone(&self.lane), answer });
                Some(answered)
            }
        };
        let Some(answered) = answered else {
            self.lane.wait.record(0);
            return WritePermit::new(Arc::clone(&self.lane));
        };
        let asked = Instant::now();
        // A place may have become free between the two looks at it.
        write_permits.let_in();
        let Ok(permit) = answered.await else { unreachable!("no waiter is dropped unanswered while its lane lives") };
        self.lane.wait.record(asked.elapsed().as_micros() as u64);
        permit
    }

    pub(super) fn lane(&self) -> &Arc<Lane> {
        &self.lane
    }
}

// === impl Lane ===

impl Lane {
    pub(super) fn usage(&self) -> LaneUsage {
        let (num_in_flight, num_waiting, since) = self.write_permits.fair.lock().lane_usage(self.id);
        let waited_us = since.map_or(0, |since| self.write_permits.now_us().saturating_sub(since));
        LaneUsage { num_in_flight, num_waiting, oldest_wait: Duration::from_micros(waited_us) }
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        let waiting = self.write_permits.fair.lock().leave(self.id);
        assert!(waiting.is_empty(), "who waits holds the lane");
    }
}

// === impl WritePermit ===

impl WritePermit {
    fn new(lane: Arc<Lane>) -> Self {
        Self { lane, granted: Instant::now(), answered: None }
    }

    /// The store has confirmed the write.
    pub fn confirmed(mut self, num_rows: u32) {
        let now = Instant::now();
        self.answered = Some(now);
        let (lane, write_permits) = (&self.lane, &self.lane.write_permits);
        let latency_us = now.saturating_duration_since(self.granted).as_micros() as u64;
        write_permits.latency.record(latency_us);
        lane.latency.record(latency_us);
        lane.num_rows.fetch_add(u64::from(num_rows), Ordering::Relaxed);
        let class = &write_permits.classes[size_class(num_rows)];
        class.num_writes.fetch_add(1, Ordering::Relaxed);
        class.latency_us.fetch_add(latency_us, Ordering::Relaxed);
    }

    /// The store has not taken the write: a timeout, overload, or it cannot be reached.
    pub fn dropped(self) {
        self.lane.write_permits.num_dropped.fetch_add(1, Ordering::Relaxed);
        self.lane.num_dropped.fetch_add(1, Ordering::Relaxed);
    }
}

impl Drop for WritePermit {
    fn drop(&mut self) {
        let write_permits = &self.lane.write_permits;
        let answered = self.answered.unwrap_or_else(Instant::now).saturating_duration_since(write_permits.epoch);
        write_permits.last_sign_us.store(answered.as_micros() as u64, Ordering::Relaxed);
        let next = {
            let mut fair = write_permits.fair.lock();
            fair.done(self.lane.id);
            fair.next_in()
        };
        if let Some((_, Waiter { lane, answer })) = next {
            let _ = answer.send(WritePermit::new(lane));
            write_permits.let_in();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn test_who_comes_over_the_limit_waits_for_the_end_of_a_write() {
        let permits = WritePermits::new(1);
        let (one, other) = (permits.join(), permits.join());
        let first = one.enter().await;
        let mut waiting = Box::pin(other.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        assert_eq!((permits.in_flight(), other.lane().usage().num_waiting), ((1, 1), 1));
        drop(first);
        let second = waiting.await;
        assert_eq!((permits.in_flight(), other.lane().usage().num_in_flight), ((1, 1), 1));
        drop(second);
        assert_eq!(permits.in_flight(), (0, 1));
    }

    #[tokio::test]
    async fn test_a_permit_that_nobody_waits_for_any_more_goes_to_the_next() {
        let permits = WritePermits::new(1);
        let admission = permits.join();
        let first = admission.enter().await;
        let (mut gone, mut waiting) = (Box::pin(admission.enter()), Box::pin(admission.enter()));
        assert!(gone.as_mut().now_or_never().is_none() && waiting.as_mut().now_or_never().is_none());
        drop(gone);
        drop(first);
        let second = waiting.now_or_never();
        assert!(second.is_some(), "the permit of who has gone is handed on");
        drop(second);
        assert_eq!(permits.in_flight(), (0, 1));
    }

    #[tokio::test]
    async fn test_a_higher_limit_lets_in_at_once_who_waits() {
        let permits = WritePermits::new(1);
        let admission = permits.join();
        let _first = admission.enter().await;
        let mut waiting = Box::pin(admission.enter());
        assert!(waiting.as_mut().now_or_never().is_none());
        permits.set_limit(2);
        assert!(waiting.now_or_never().is_some());
    }

    #[tokio::test]
    async fn test_a_sample_counts_what_was_said_of_each_write_once() {
        let permits = WritePermits::new(10);
        let admission = permits.join();
        for num_rows in [1, 1, 100] {
            admission.enter().await.confirmed(num_rows);
        }
        admission.enter().await.dropped();
        drop(admission.enter().await);
        let (sample, latencies) = permits.take_sample(Duration::from_secs(1));
        let counted = |rows| sample.classes[size_class(rows)].num_writes;
        assert_eq!((counted(1), counted(100), sample.num_dropped), (2, 1, 1));
        assert_eq!((sample.num_writes(), latencies.len()), (3, 3), "a permit without a word says nothing");
        assert_eq!(admission.lane().num_rows.load(Ordering::Relaxed), 102);
        let (sample, latencies) = permits.take_sample(Duration::from_secs(1));
        assert_eq!((sample.num_writes(), sample.num_dropped, latencies.len()), (0, 0, 0));
    }
}
