//! What a device keeps: every message from its making until the server has taken it over or turned it away.
//!
//! Pure: knows neither sockets nor a clock. `device` carries out what it says.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::protocol::receipt::{Outcome, Receipt};

/// The messages of one device that are not settled, in the order of their making.
///
/// A message is in one of two places: waiting, or in a package under way. It leaves for good only when a receipt
/// says accepted, duplicate or rejected; whatever else happens, it comes back to its place among the waiting.
#[derive(Debug)]
pub struct DeviceQueue<M> {
    max_len: usize,
    max_unacknowledged: usize,
    waiting: VecDeque<Queued<M>>,
    under_way: Vec<Package<M>>,
    /// Nothing is sent before this moment: sending newer messages first would break the order.
    not_before: Option<Instant>,
    next_place: u64,
    next_package_id: u32,
    num_held_back: u64,
}

/// A message that is not settled.
#[derive(Debug)]
pub struct Queued<M> {
    /// The message.
    pub message: M,
    /// When it was sent for the first time, if it was.
    pub first_sent: Option<Instant>,
    place: u64,
}

#[derive(Debug)]
struct Package<M> {
    package_id: u32,
    messages: Vec<Queued<M>>,
}

/// Why a receipt was not taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum UnexpectedReceipt {
    /// No package of this id is under way.
    #[error("receipt for package {0}, which is not under way")]
    Package(u32),
    /// It speaks of another number of messages.
    #[error("receipt for package {0} with another number of messages")]
    Count(u32),
}

// === impl DeviceQueue ===

impl<M> DeviceQueue<M> {
    /// An empty queue for at most `max_len` messages.
    pub fn new(max_len: usize) -> Self {
        Self {
            max_len,
            max_unacknowledged: 0,
            waiting: VecDeque::new(),
            under_way: Vec::new(),
            not_before: None,
            next_place: 0,
            next_package_id: 0,
            num_held_back: 0,
        }
    }

    /// Adds a message, or hands it back if the queue is full.
    pub fn push(&mut self, message: M) -> Result<(), M> {
        if self.room() == 0 {
            return Err(message);
        }
        self.waiting.push_back(Queued { message, first_sent: None, place: self.next_place });
        self.next_place += 1;
        Ok(())
    }

    /// How many more messages fit.
    pub fn room(&self) -> usize {
        self.max_len.saturating_sub(self.num_unsettled())
    }

    /// Counts messages that were due but not made, because there was no room for them.
    pub fn hold_back(&mut self, num_messages: usize) {
        self.num_held_back += num_messages as u64;
    }

    /// How many messages were due but not made.
    pub fn num_held_back(&self) -> u64 {
        self.num_held_back
    }

    /// How many messages wait to be sent.
    pub fn num_waiting(&self) -> usize {
        self.waiting.len()
    }

    /// How many packages are under way.
    pub fn num_under_way(&self) -> usize {
        self.under_way.len()
    }

    /// How many messages are neither taken over nor turned away.
    pub fn num_unsettled(&self) -> usize {
        self.waiting.len() + self.under_way.iter().map(|package| package.messages.len()).sum::<usize>()
    }

    /// A connection is open, on which this many packages may be under way.
    pub fn on_connect(&mut self, max_unacknowledged: usize) {
        self.max_unacknowledged = max_unacknowledged;
    }

    /// The connection is gone, and with it every receipt that was to come: all that was under way waits again.
    pub fn on_disconnect(&mut self) {
        self.max_unacknowledged = 0;
        for package in std::mem::take(&mut self.under_way) {
            for queued in package.messages {
                self.put_back(queued);
            }
        }
    }

    /// Whether another package may go on its way, if there are messages for it.
    pub fn may_send(&self, now: Instant) -> bool {
        self.under_way.len() < self.max_unacknowledged && self.not_before.is_none_or(|moment| moment <= now)
    }

    /// When sending may go on after a retry-later; `None` if nothing has to wait for that.
    pub fn wake_at(&self) -> Option<Instant> {
        self.not_before.filter(|_| !self.waiting.is_empty())
    }

    /// Forms the next package of the oldest waiting messages, as long as `take` accepts them, and returns its id.
    /// `None` if nothing may be sent, nothing waits, or `take` refused the first message.
    pub fn send(&mut self, now: Instant, mut take: impl FnMut(&Queued<M>) -> bool) -> Option<u32> {
        if !self.may_send(now) {
            return None;
        }
        self.not_before = None;
        let num_taken = self.waiting.iter().take_while(|queued| take(queued)).count();
        if num_taken == 0 {
            return None;
        }
        let mut messages: Vec<Queued<M>> = self.waiting.drain(..num_taken).collect();
        for queued in &mut messages {
            queued.first_sent.get_or_insert(now);
        }
        let package_id = self.next_package_id;
        self.next_package_id = package_id.wrapping_add(1);
        self.under_way.push(Package { package_id, messages });
        Some(package_id)
    }

    /// Takes in a receipt. `settle` hears of every message of the package and its outcome, in order.
    pub fn on_receipt(
        &mut self,
        now: Instant,
        receipt: &Receipt,
        mut settle: impl FnMut(&Queued<M>, Outcome),
    ) -> Result<(), UnexpectedReceipt> {
        let package_id = receipt.package_id;
        let position = self
            .under_way
            .iter()
            .position(|package| package.package_id == package_id)
            .ok_or(UnexpectedReceipt::Package(package_id))?;
        let num_messages = self.under_way[position].messages.len();
        let outcomes = u16::try_from(num_messages)
            .ok()
            .and_then(|num_messages| receipt.outcomes(num_messages))
            .ok_or(UnexpectedReceipt::Count(package_id))?;

        let package = self.under_way.remove(position);
        let mut wait = false;
        for (queued, outcome) in package.messages.into_iter().zip(outcomes) {
            settle(&queued, outcome);
            match outcome {
                Outcome::Accepted | Outcome::Duplicate | Outcome::Rejected(_) => {}
                Outcome::RetryLater => {
                    wait = true;
                    self.put_back(queued);
                }
            }
        }
        if wait {
            let moment = now + Duration::from_millis(receipt.retry_after_ms().into());
            self.not_before = Some(self.not_before.map_or(moment, |earlier| earlier.max(moment)));
        }
        Ok(())
    }

    /// What is not settled, in order; for the end of a run.
    pub fn into_unsettled(mut self) -> impl Iterator<Item = Queued<M>> {
        self.on_disconnect();
        self.waiting.into_iter()
    }

    /// Messages come back near the front, where an insertion moves little.
    fn put_back(&mut self, queued: Queued<M>) {
        let position = self.waiting.partition_point(|other| other.place < queued.place);
        self.waiting.insert(position, queued);
    }
}

#[cfg(test)]
mod tests;
