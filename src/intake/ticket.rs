//! The ticket of a package: collects what becomes of its messages and turns it into one receipt.
//!
//! Parts of a package go to several partitions at once. Each part holds the ticket; when the last holder drops it, for
//! whatever reason, the receipt goes to the source's [`Answer`]. A message that nobody reported on is "retry later": an
//! actor that panics with a part in its hands thereby tells the device to send again.
//!
//! A chunk of a request's events goes the same way, as one package.

use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use crate::flow::memory::Reserved;
use crate::log::AppendError;
use crate::protocol::reason::RejectReason;
use crate::protocol::receipt::{Outcome, Receipt, ReceiptBuilder};
use crate::telemetry::Telemetry;
use crate::telemetry::counters::{Counters, add};

/// Gives the receipt to whoever waits for it.
pub type Answer = Box<dyn FnOnce(Receipt) + Send + Sync>;

/// Where the receipt of a package goes, made by the source that takes it in.
pub struct ReplyTo {
    /// Gets the receipt, always, and exactly once.
    pub answer: Answer,
    /// The sender's name for the package.
    pub package_id: u32,
    /// The package's memory, given back when its receipt is made.
    pub memory: Reserved,
    /// The delay to give with "retry later", in milliseconds.
    pub retry_after_ms: u32,
    /// Counts what is confirmed.
    pub telemetry: Arc<Telemetry>,
}

/// A package on its way. Shared by all of its parts; the receipt goes out when the last of them is dropped.
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
        let receipt = match self.verdict.get_mut() {
            PackageVerdict::Unknown => {
                add(&counters.packages.retry_later, 1);
                Receipt::retry_later(reply_to.package_id, reply_to.retry_after_ms)
            }
            PackageVerdict::Whole(reason) => {
                add(&counters.packages.rejected, 1);
                add(&counters.rejected, 1);
                Receipt::rejected(reply_to.package_id, *reason)
            }
            PackageVerdict::PerMessage(builder) => {
                count_outcomes(builder, counters);
                builder.build(reply_to.retry_after_ms)
            }
        };
        drop((reply_to.memory, self.outgrown.take()));
        (reply_to.answer)(receipt);
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
    let packages = &counters.packages;
    let of_package = match (retry_later, rejected) {
        (0, 0) => &packages.accepted,
        (0, _) => &packages.rejected,
        _ => &packages.retry_later,
    };
    add(of_package, 1);
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, channel};

    use super::*;
    use crate::flow::memory::MemoryBudget;

    const RETRY_AFTER_MS: u32 = 250;

    fn ticket(budget: &MemoryBudget) -> (Arc<Ticket>, Receiver<Receipt>) {
        counted_ticket(budget, &Arc::default())
    }

    fn counted_ticket(budget: &MemoryBudget, telemetry: &Arc<Telemetry>) -> (Arc<Ticket>, Receiver<Receipt>) {
        let (answer, receipts) = channel();
        let reply_to = ReplyTo {
            answer: Box::new(move |receipt| answer.send(receipt).unwrap()),
            package_id: 7,
            memory: budget.try_reserve(100).unwrap(),
            retry_after_ms: RETRY_AFTER_MS,
            telemetry: Arc::clone(telemetry),
        };
        (Ticket::new(reply_to), receipts)
    }

    fn outcomes(receipts: &Receiver<Receipt>, num_messages: u16) -> Vec<Outcome> {
        receipts.try_recv().unwrap().outcomes(num_messages).unwrap().collect()
    }

    fn unavailable() -> AppendError {
        AppendError::unavailable("the log is away")
    }

    #[test]
    fn test_a_ticket_of_which_nothing_was_said_asks_for_the_package_again() {
        let (ticket, receipts) = ticket(&MemoryBudget::new(1000));
        drop(ticket);
        assert_eq!(receipts.try_recv().unwrap(), Receipt::retry_later(7, RETRY_AFTER_MS));
    }

    #[test]
    fn test_only_a_confirmed_part_marks_its_messages_and_the_last_holder_sends_the_receipt() {
        let (ticket, receipts) = ticket(&MemoryBudget::new(1000));
        ticket.expect_messages(ReceiptBuilder::new(7, 4));
        let confirmed = ticket.part(vec![(0, Outcome::Accepted), (2, Outcome::Duplicate)]);
        let failed = ticket.part(vec![(1, Outcome::Accepted)]);
        let dropped = ticket.part(vec![(3, Outcome::Accepted)]);
        drop(ticket);
        confirmed.finish(Ok(()));
        failed.finish(Err(unavailable()));
        assert!(receipts.try_recv().is_err(), "one part is still on its way");
        drop(dropped);
        assert_eq!(
            outcomes(&receipts, 4),
            [Outcome::Accepted, Outcome::RetryLater, Outcome::Duplicate, Outcome::RetryLater]
        );
    }

    #[test]
    fn test_a_whole_package_is_rejected_only_once_its_dead_letter_is_in_the_log() {
        let reason = RejectReason::MalformedPackage;
        for (answer, receipt) in
            [(Ok(()), Receipt::rejected(7, reason)), (Err(unavailable()), Receipt::retry_later(7, RETRY_AFTER_MS))]
        {
            let (ticket, receipts) = ticket(&MemoryBudget::new(1000));
            let part = ticket.part(Vec::new());
            drop(ticket);
            part.finish_whole(reason, answer);
            assert_eq!(receipts.try_recv().unwrap(), receipt);
        }
    }

    #[test]
    fn test_a_package_counts_once_by_what_it_asks_of_its_sender() {
        let (budget, telemetry) = (MemoryBudget::new(1000), Arc::default());
        let rejected = Outcome::Rejected(RejectReason::OutOfRange);
        for outcomes in [
            vec![Outcome::Accepted, Outcome::Duplicate],
            vec![Outcome::Accepted, rejected],
            vec![rejected, Outcome::RetryLater],
            vec![Outcome::RetryLater, Outcome::Accepted],
        ] {
            let (ticket, _receipts) = counted_ticket(&budget, &telemetry);
            ticket.expect_messages(ReceiptBuilder::new(7, 2));
            ticket.part((0..).zip(outcomes).collect()).finish(Ok(()));
            drop(ticket);
        }
        let (whole, _receipts) = counted_ticket(&budget, &telemetry);
        whole.part(Vec::new()).finish_whole(RejectReason::MalformedPackage, Ok(()));
        drop(whole);
        let (unknown, _receipts) = counted_ticket(&budget, &telemetry);
        drop(unknown);
        let counters = &telemetry.counters;
        assert_eq!(counters.packages.read(), [("accepted", 1), ("rejected", 2), ("retry_later", 3)]);
        assert_eq!(counters.snapshot().packages, 6);
    }

    #[test]
    fn test_the_room_of_a_package_and_what_it_outgrew_is_returned_with_its_receipt() {
        let budget = MemoryBudget::new(1000);
        let (ticket, receipts) = ticket(&budget);
        ticket.takes(300);
        assert_eq!(budget.in_use(), 300);
        let part = ticket.part(Vec::new());
        drop(ticket);
        assert_eq!(budget.in_use(), 300, "a part still holds the package");
        drop(part);
        assert_eq!(budget.in_use(), 0);
        assert!(receipts.try_recv().is_ok());
    }
}
