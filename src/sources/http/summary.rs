//! What became of the events of a request: counts, and each event that was not plainly accepted.

use std::collections::HashSet;

use serde::Serialize;

use crate::codec::json::EventFault;
use crate::protocol::receipt::{Outcome, Receipt};

/// The outcomes of a request.
#[derive(Debug, Default, Serialize)]
pub(super) struct Summary {
    /// Events that are durable now.
    pub accepted: u64,
    /// Events that are the same as an earlier one of the request.
    #[serde(skip_serializing_if = "is_zero")]
    pub duplicates: u64,
    /// Events that will never be accepted.
    #[serde(skip_serializing_if = "is_zero")]
    pub rejected: u64,
    /// Events that are to be sent again.
    #[serde(skip_serializing_if = "is_zero")]
    pub retry_later: u64,
    /// The first event that was not looked at; those after it were not either.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_from: Option<u32>,
    /// Every event that is not accepted, by ascending index.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub items: Vec<Listed>,
    /// Places of the events that the log did not confirm.
    #[serde(skip)]
    unconfirmed: HashSet<u32>,
}

/// An event that is not plainly accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Listed {
    /// Its place in the request, from 0.
    pub index: u32,
    /// The line of the body that it begins on, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub line: Option<u64>,
    /// `duplicate`, `rejected` or `retry_later`.
    pub outcome: &'static str,
    /// Of a duplicate: the place of the event that it is the same as.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<u32>,
    /// Of a rejected event: why, in a word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// Where in it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Why, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

const DUPLICATE: &str = "duplicate";
const REJECTED: &str = "rejected";
const RETRY_LATER: &str = "retry_later";

// serde hands over a reference.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

// === impl Summary ===

impl Summary {
    /// Notes an event that is refused.
    pub(super) fn reject(&mut self, index: u32, line: u64, fault: EventFault) {
        let EventFault { reason, path, detail } = fault;
        let (reason, path, detail) = (Some(reason.name()), Some(path), Some(detail));
        self.items.push(Listed { index, line: Some(line), outcome: REJECTED, of: None, reason, path, detail });
    }

    /// Notes an event that is the same as an earlier one.
    pub(super) fn repeat(&mut self, index: u32, line: u64, first: u32) {
        self.items.push(Listed { line: Some(line), of: Some(first), ..Listed::bare(index, DUPLICATE) });
    }

    /// Takes in the receipt of a chunk whose first event is at `first`. What was noted before stands.
    pub(super) fn settle(&mut self, first: u32, num_events: u16, receipt: &Receipt) {
        let Some(outcomes) = receipt.outcomes(num_events) else {
            unreachable!("the receipt of a chunk has an outcome for each of its events")
        };
        for (index, outcome) in (first..).zip(outcomes) {
            match outcome {
                Outcome::Accepted => self.accepted += 1,
                Outcome::RetryLater => {
                    self.unconfirmed.insert(index);
                }
                // Noted when it was found.
                Outcome::Duplicate | Outcome::Rejected(_) => {}
            }
        }
    }

    /// The summary of a package.
    pub(super) fn of_package(receipt: &Receipt, num_messages: u16) -> Self {
        let mut summary = Self::default();
        summary.settle(0, num_messages, receipt);
        for (index, outcome) in (0..).zip(receipt.outcomes(num_messages).into_iter().flatten()) {
            match outcome {
                Outcome::Duplicate => summary.items.push(Listed::bare(index, DUPLICATE)),
                Outcome::Rejected(reason) => {
                    summary.items.push(Listed { reason: Some(reason.name()), ..Listed::bare(index, REJECTED) });
                }
                Outcome::Accepted | Outcome::RetryLater => {}
            }
        }
        summary.finish();
        summary
    }

    /// To be called when all is settled: counts, and lists what the log did not confirm.
    pub(super) fn finish(&mut self) {
        if !self.unconfirmed.is_empty() {
            // "Duplicate" lets the client forget an event, so it has to share the fate of the first.
            for item in self.items.iter_mut().filter(|item| item.outcome == DUPLICATE) {
                if item.of.is_some_and(|first| self.unconfirmed.contains(&first)) {
                    self.unconfirmed.insert(item.index);
                    item.outcome = RETRY_LATER;
                }
            }
            let listed: HashSet<u32> = self.items.iter().map(|item| item.index).collect();
            let unlisted = self.unconfirmed.iter().filter(|index| !listed.contains(index));
            self.items.extend(unlisted.map(|index| Listed::bare(*index, RETRY_LATER)));
            self.items.sort_unstable_by_key(|item| item.index);
        }
        let count = |outcome| self.items.iter().filter(|item| item.outcome == outcome).count() as u64;
        (self.duplicates, self.rejected, self.retry_later) = (count(DUPLICATE), count(REJECTED), count(RETRY_LATER));
    }
}

// === impl Listed ===

impl Listed {
    fn bare(index: u32, outcome: &'static str) -> Self {
        Self { index, line: None, outcome, of: None, reason: None, path: None, detail: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::json::FaultReason;
    use crate::protocol::receipt::ReceiptBuilder;

    #[test]
    fn test_all_accepted_is_told_in_one_number() {
        let mut builder = ReceiptBuilder::new(0, 3);
        (0..3).for_each(|index| builder.set(index, Outcome::Accepted));
        let mut summary = Summary::default();
        summary.settle(0, 3, &builder.build(1000));
        summary.finish();
        assert_eq!(serde_json::to_string(&summary).unwrap(), r#"{"accepted":3}"#);
    }

    #[test]
    fn test_a_duplicate_shares_the_fate_of_the_first() {
        let mut summary = Summary::default();
        // 0 accepted, 1 refused, 2 not confirmed; 3 repeats 2, 4 repeats 0, in the next chunk.
        summary.reject(1, 2, EventFault::new(FaultReason::OutOfRange, "$.speed", "too fast"));
        summary.repeat(3, 4, 2);
        summary.repeat(4, 5, 0);
        let mut builder = ReceiptBuilder::new(0, 3);
        builder.set(0, Outcome::Accepted);
        builder.set(1, Outcome::Rejected(crate::protocol::reason::RejectReason::OutOfRange));
        summary.settle(0, 3, &builder.build(1000));
        let mut builder = ReceiptBuilder::new(0, 2);
        (0..2).for_each(|index| builder.set(index, Outcome::Duplicate));
        summary.settle(3, 2, &builder.build(1000));
        summary.finish();
        let outcomes: Vec<_> = summary.items.iter().map(|item| (item.index, item.outcome)).collect();
        assert_eq!(outcomes, [(1, REJECTED), (2, RETRY_LATER), (3, RETRY_LATER), (4, DUPLICATE)]);
        assert_eq!((summary.accepted, summary.duplicates, summary.rejected, summary.retry_later), (1, 1, 1, 2));
    }
}
