//! The ticket of a package: collects what becomes of its messages and turns it into one receipt.
//!
//! Parts of a package go to several partitions at once. Each part carries a share of the ticket; when the last share
//! is dropped, for whatever reason, the receipt goes to who waits for it. A message that nobody reported on is
//! "retry later": an actor that panics with a part in its hands thereby tells the device to send again.
//!
//! What a request over HTTP brings goes the same way, a piece of its body as one package.

use std::sync::{Arc, OnceLock};
use std::time::Instant;

use actix::{Message, Recipient};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::flow::credit::Credit;
use crate::flow::memory::Reserved;
use crate::log::AppendError;
use crate::protocol::reason::RejectReason;
use crate::protocol::receipt::{Outcome, Receipt, ReceiptBuilder};
use crate::telemetry::Telemetry;
use crate::telemetry::counters::{Counters, add};

/// Tells a connection what became of one of its packages.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Deliver {
    /// For the device.
    pub receipt: Receipt,
    /// When the package was read off the socket.
    pub received: Instant,
    /// The connection's credit for this package, returned when the receipt is on its way.
    pub window: Credit,
}

/// Who waits for a receipt.
#[derive(Debug)]
pub enum Waiting {
    /// The connection of a device.
    Connection {
        /// Where to.
        connection: Recipient<Deliver>,
        /// When the package was read off the socket.
        received: Instant,
        /// The connection's credit for this package.
        window: Credit,
    },
    /// A request over HTTP.
    Request(oneshot::Sender<Receipt>),
}

/// Where the receipt of a package goes, made by who takes it in.
#[derive(Debug)]
pub struct ReplyTo {
    /// Who waits for it.
    pub waiting: Waiting,
    /// The sender's name for the package.
    pub package_id: u32,
    /// The package's memory, given back when its receipt is made.
    pub memory: Reserved,
    /// The delay to give with "retry later".
    pub retry_after_ms: u32,
    /// Counts what is confirmed.
    pub telemetry: Arc<Telemetry>,
}

/// A package on its way. Shared by all of its parts; the receipt goes out when the last of them is dropped.
#[derive(Debug)]
pub struct Ticket {
    verdict: Mutex<PackageVerdict>,
    /// What the package took beside what was reserved for it.
    outgrown: OnceLock<Reserved>,
    reply_to: Option<ReplyTo>,
}

#[derive(Debug)]
enum PackageVerdict {
    /// Nothing could be said of single messages yet.
    Unknown,
    Whole(RejectReason),
    PerMessage(ReceiptBuilder),
}

/// Some messages of a package that share their fate, such as one batch for one partition.
#[derive(Debug)]
pub struct Part {
    ticket: Arc<Ticket>,
    /// Index of each message in its package, and what it becomes once the log has confirmed the part.
    messages: Vec<(u16, Outcome)>,
}

// === impl Ticket ===

impl Ticket {
    /// A ticket for a package of which nothing is known yet: dropped like this it says "retry later".
    pub fn new(reply_to: ReplyTo) -> Arc<Self> {
        Arc::new(Self {
            verdict: Mutex::new(PackageVerdict::Unknown),
            outgrown: OnceLock::new(),
            reply_to: Some(reply_to),
        })
    }

    /// Says how many bytes the package takes now that it is unpacked, all in all. To be said once.
    pub fn takes(&self, num_bytes: usize) {
        let memory = self.reply_to.as_ref().map(|reply_to| &reply_to.memory);
        if let Some(outgrown) = memory.and_then(|memory| memory.outgrown_by(num_bytes as u64)) {
            // A second one would be given back at once.
            let _ = self.outgrown.set(outgrown);
        }
    }

    /// Says how many messages there are. Each is "retry later" until reported otherwise.
    pub fn expect_messages(&self, builder: ReceiptBuilder) {
        *self.verdict.lock() = PackageVerdict::PerMessage(builder);
    }

    /// A part of the package: the given messages get their outcomes when the part is confirmed.
    pub fn part(self: &Arc<Self>, messages: Vec<(u16, Outcome)>) -> Part {
        Part { ticket: Arc::clone(self), messages }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let Some(reply_to) = self.reply_to.take() else { return };
        let counters = &reply_to.telemetry.counters;
        add(&counters.packages, 1);
        let receipt = match self.verdict.get_mut() {
            PackageVerdict::Unknown => Receipt::retry_later(reply_to.package_id, reply_to.retry_after_ms),
            PackageVerdict::Whole(reason) => {
                add(&counters.rejected, 1);
                Receipt::rejected(reply_to.package_id, *reason)
            }
            PackageVerdict::PerMessage(builder) => {
                count_outcomes(builder, counters);
                builder.build(reply_to.retry_after_ms)
            }
        };
        drop((reply_to.memory, self.outgrown.take()));
        // Who has gone meanwhile sends again.
        match reply_to.waiting {
            Waiting::Connection { connection, received, window } => {
                connection.do_send(Deliver { receipt, received, window });
            }
            Waiting::Request(answer) => drop(answer.send(receipt)),
        }
    }
}

fn count_outcomes(builder: &ReceiptBuilder, counters: &Counters) {
    let (mut accepted, mut duplicates, mut rejected, mut retry_later) = (0, 0, 0, 0);
    for index in 0..builder.num_messages() {
        match builder.outcome(index as u16) {
            Outcome::Accepted => accepted += 1,
            Outcome::Duplicate => duplicates += 1,
            Outcome::Rejected(_) => rejected += 1,
            Outcome::RetryLater => retry_later += 1,
        }
    }
    add(&counters.accepted, accepted);
    add(&counters.duplicates, duplicates);
    add(&counters.rejected, rejected);
    add(&counters.retry_later, retry_later);
}

// === impl Part ===

impl Part {
    /// Reports the log's answer. Without a confirmation the messages stay "retry later".
    pub fn finish(self, answer: Result<(), AppendError>) {
        if answer.is_err() {
            return;
        }
        if let PackageVerdict::PerMessage(builder) = &mut *self.ticket.verdict.lock() {
            for (index, outcome) in &self.messages {
                builder.set(*index, *outcome);
            }
        }
    }

    /// Reports the log's answer to the dead letter that stands for the whole package.
    pub fn finish_whole(self, reason: RejectReason, answer: Result<(), AppendError>) {
        if answer.is_ok() {
            *self.ticket.verdict.lock() = PackageVerdict::Whole(reason);
        }
    }
}
