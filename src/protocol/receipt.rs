//! Receipts: what became of every message of a package.
//!
//! The default outcome of a message is "send it again": a message counts as accepted only where somebody said so.

use bytes::{Buf, BufMut, Bytes, BytesMut};

use super::frame::FrameError;
use super::reason::RejectReason;

const STATUS_PER_MESSAGE: u8 = 0;
const STATUS_PACKAGE_REJECTED: u8 = 1;
const STATUS_PACKAGE_RETRY_LATER: u8 = 2;

const OUTCOME_DUPLICATE: u8 = 1;
const OUTCOME_REJECTED: u8 = 2;
const OUTCOME_RETRY_LATER: u8 = 3;

const NO_REASON: u8 = 0;
const EXCEPTION_LEN: usize = 4;

/// What became of one package.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The package's.
    pub package_id: u32,
    /// What became of it.
    pub verdict: Verdict,
}

/// What became of a package, as a whole or message by message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Every message that is not listed is accepted.
    PerMessage {
        /// How many messages the package has.
        num_messages: u16,
        /// The other messages, by ascending index, each at most once.
        exceptions: Vec<Exception>,
        /// How long to wait before the messages marked retry-later are sent again; 0 if there are none.
        retry_after_ms: u32,
    },
    /// No message of the package is accepted, and none will be.
    Rejected(RejectReason),
    /// No message of the package is accepted now.
    RetryLater {
        /// How long to wait before the package is sent again.
        retry_after_ms: u32,
    },
}

/// A message that is not accepted, or was already there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exception {
    /// Which message of the package, from 0.
    pub index: u16,
    /// Never [`Outcome::Accepted`].
    pub outcome: Outcome,
}

/// What became of one message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Outcome {
    /// Durable. The device forgets it.
    Accepted,
    /// Another message of the package with its identity is durable already. The device forgets it.
    Duplicate,
    /// Will never be accepted. The device forgets it and counts it.
    Rejected(RejectReason),
    /// Not durable. The device keeps it and sends it again.
    #[default]
    RetryLater,
}

/// Why a receipt contradicts itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReceiptError {
    /// No such status of a receipt or of an exception.
    #[error("unknown receipt status {0}")]
    UnknownStatus(u8),
    /// A rejection needs a reason, everything else must not have one.
    #[error("receipt status {status} with reason {reason}")]
    Reason {
        /// The status of the receipt or exception.
        status: u8,
        /// The reason beside it.
        reason: u8,
    },
    /// A delay although there is nothing to send again.
    #[error("receipt asks to wait {0} ms for nothing")]
    Delay(u32),
    /// More exceptions than messages, or counts in a receipt for a whole package.
    #[error("receipt with {num_exceptions} exceptions for {num_messages} messages")]
    Counts {
        /// The receipt's count of messages.
        num_messages: u16,
        /// The receipt's count of exceptions.
        num_exceptions: u16,
    },
    /// Exceptions out of order, repeated, or beyond the last message.
    #[error("receipt lists message {0} out of order or out of range")]
    Index(u16),
}

/// Collects outcomes while a package's messages go different ways.
#[derive(Debug)]
pub struct ReceiptBuilder {
    package_id: u32,
    entries: Vec<Entry>,
}

#[derive(Debug, Clone, Copy)]
enum Entry {
    Outcome(Outcome),
    DuplicateOf(u16),
}

// === impl Receipt ===

impl Receipt {
    /// A receipt that turns the whole package away for good.
    pub fn rejected(package_id: u32, reason: RejectReason) -> Self {
        Self { package_id, verdict: Verdict::Rejected(reason) }
    }

    /// A receipt that asks for the whole package again.
    pub fn retry_later(package_id: u32, retry_after_ms: u32) -> Self {
        Self { package_id, verdict: Verdict::RetryLater { retry_after_ms } }
    }

    /// How long the device has to wait before it sends again what is to be sent again.
    pub fn retry_after_ms(&self) -> u32 {
        match self.verdict {
            Verdict::PerMessage { retry_after_ms, .. } | Verdict::RetryLater { retry_after_ms } => retry_after_ms,
            Verdict::Rejected(_) => 0,
        }
    }

    /// The outcome of each message of a package of `num_messages`. `None` if the receipt is about another number of
    /// messages: whoever sent it does not speak of this package.
    pub fn outcomes(&self, num_messages: u16) -> Option<impl Iterator<Item = Outcome> + '_> {
        let (default, exceptions) = match &self.verdict {
            Verdict::PerMessage { num_messages: answered, exceptions, .. } => {
                if *answered != num_messages {
                    return None;
                }
                (Outcome::Accepted, exceptions.as_slice())
            }
            Verdict::Rejected(reason) => (Outcome::Rejected(*reason), [].as_slice()),
            Verdict::RetryLater { .. } => (Outcome::RetryLater, [].as_slice()),
        };
        let mut exceptions = exceptions.iter().peekable();
        Some((0..num_messages).map(move |index| {
            exceptions.next_if(|exception| exception.index == index).map_or(default, |exception| exception.outcome)
        }))
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        out.put_u32(self.package_id);
        let (status, reason, num_messages, exceptions) = match &self.verdict {
            Verdict::PerMessage { num_messages, exceptions, .. } => {
                (STATUS_PER_MESSAGE, NO_REASON, *num_messages, exceptions.as_slice())
            }
            Verdict::Rejected(reason) => (STATUS_PACKAGE_REJECTED, reason.code(), 0, [].as_slice()),
            Verdict::RetryLater { .. } => (STATUS_PACKAGE_RETRY_LATER, NO_REASON, 0, [].as_slice()),
        };
        out.put_u8(status);
        out.put_u8(reason);
        out.put_u32(self.retry_after_ms());
        out.put_u16(num_messages);
        let listed = exceptions.iter().filter(|exception| exception.outcome != Outcome::Accepted);
        // At most one exception per message, and messages are counted in 16 bits: the cast is exact.
        out.put_u16(listed.clone().count() as u16);
        for exception in listed {
            let (status, reason) = match exception.outcome {
                Outcome::Accepted => continue,
                Outcome::Duplicate => (OUTCOME_DUPLICATE, NO_REASON),
                Outcome::Rejected(reason) => (OUTCOME_REJECTED, reason.code()),
                Outcome::RetryLater => (OUTCOME_RETRY_LATER, NO_REASON),
            };
            out.put_u16(exception.index);
            out.put_u8(status);
            out.put_u8(reason);
        }
    }

    pub(super) fn decode(payload: &mut Bytes) -> Result<Self, FrameError> {
        let package_id = payload.try_get_u32()?;
        let status = payload.try_get_u8()?;
        let reason = payload.try_get_u8()?;
        let retry_after_ms = payload.try_get_u32()?;
        let num_messages = payload.try_get_u16()?;
        let num_exceptions = payload.try_get_u16()?;

        let verdict = match (status, RejectReason::from_code(reason)) {
            (STATUS_PER_MESSAGE, None) => {
                let exceptions = decode_exceptions(payload, num_messages, num_exceptions)?;
                let retries = exceptions.iter().any(|exception| exception.outcome == Outcome::RetryLater);
                if retry_after_ms != 0 && !retries {
                    return Err(ReceiptError::Delay(retry_after_ms).into());
                }
                Verdict::PerMessage { num_messages, exceptions, retry_after_ms }
            }
            (STATUS_PACKAGE_REJECTED, Some(_)) if retry_after_ms != 0 => {
                return Err(ReceiptError::Delay(retry_after_ms).into());
            }
            (STATUS_PACKAGE_REJECTED, Some(reason)) => Verdict::Rejected(reason),
            (STATUS_PACKAGE_RETRY_LATER, None) => Verdict::RetryLater { retry_after_ms },
            (STATUS_PER_MESSAGE | STATUS_PACKAGE_REJECTED | STATUS_PACKAGE_RETRY_LATER, _) => {
                return Err(ReceiptError::Reason { status, reason }.into());
            }
            (unknown, _) => return Err(ReceiptError::UnknownStatus(unknown).into()),
        };
        if status != STATUS_PER_MESSAGE && (num_messages != 0 || num_exceptions != 0) {
            return Err(ReceiptError::Counts { num_messages, num_exceptions }.into());
        }
        Ok(Self { package_id, verdict })
    }
}

fn decode_exceptions(
    payload: &mut Bytes,
    num_messages: u16,
    num_exceptions: u16,
) -> Result<Vec<Exception>, FrameError> {
    if num_exceptions > num_messages {
        return Err(ReceiptError::Counts { num_messages, num_exceptions }.into());
    }
    // Checked before the allocation, so that a short frame cannot ask for a long list.
    if payload.remaining() < usize::from(num_exceptions) * EXCEPTION_LEN {
        return Err(FrameError::Truncated);
    }
    let mut exceptions = Vec::with_capacity(num_exceptions.into());
    let mut lowest_allowed = 0u32;
    for _ in 0..num_exceptions {
        let index = payload.try_get_u16()?;
        let status = payload.try_get_u8()?;
        let reason = payload.try_get_u8()?;
        if u32::from(index) < lowest_allowed || index >= num_messages {
            return Err(ReceiptError::Index(index).into());
        }
        lowest_allowed = u32::from(index) + 1;
        let outcome = match (status, RejectReason::from_code(reason)) {
            (OUTCOME_DUPLICATE, None) => Outcome::Duplicate,
            (OUTCOME_REJECTED, Some(reason)) => Outcome::Rejected(reason),
            (OUTCOME_RETRY_LATER, None) => Outcome::RetryLater,
            (OUTCOME_DUPLICATE | OUTCOME_REJECTED | OUTCOME_RETRY_LATER, _) => {
                return Err(ReceiptError::Reason { status, reason }.into());
            }
            (unknown, _) => return Err(ReceiptError::UnknownStatus(unknown).into()),
        };
        exceptions.push(Exception { index, outcome });
    }
    Ok(exceptions)
}

// === impl ReceiptBuilder ===

impl ReceiptBuilder {
    /// Every one of the messages starts as [`Outcome::RetryLater`].
    pub fn new(package_id: u32, num_messages: u16) -> Self {
        Self { package_id, entries: vec![Entry::Outcome(Outcome::RetryLater); num_messages.into()] }
    }

    /// How many messages the package has.
    pub fn num_messages(&self) -> usize {
        self.entries.len()
    }

    /// Says what became of a message; the last word counts. An index beyond the last message is ignored.
    pub fn set(&mut self, index: u16, outcome: Outcome) {
        if let Some(entry) = self.entries.get_mut(usize::from(index)) {
            *entry = Entry::Outcome(outcome);
        }
    }

    /// Marks a message as a copy of an earlier one of the same package. It shares that one's fate: a duplicate if
    /// that one is accepted, otherwise the same outcome, because "duplicate" lets the device forget the message.
    pub fn set_duplicate(&mut self, index: u16, first_index: u16) {
        if let Some(entry) = self.entries.get_mut(usize::from(index)) {
            *entry = Entry::DuplicateOf(first_index);
        }
    }

    /// What would be said of a message now.
    pub fn outcome(&self, index: u16) -> Outcome {
        match self.entries.get(usize::from(index)) {
            Some(Entry::Outcome(outcome)) => *outcome,
            Some(Entry::DuplicateOf(first_index)) => match self.entries.get(usize::from(*first_index)) {
                Some(Entry::Outcome(Outcome::Accepted)) => Outcome::Duplicate,
                Some(Entry::Outcome(outcome)) => *outcome,
                // A duplicate of a duplicate is a caller's mistake; the safe answer is to ask again.
                Some(Entry::DuplicateOf(_)) | None => Outcome::RetryLater,
            },
            None => Outcome::RetryLater,
        }
    }

    /// The receipt. `retry_after_ms` is told only where something has to be sent again.
    pub fn build(&self, retry_after_ms: u32) -> Receipt {
        let outcomes = (0u16..).take(self.entries.len()).map(|index| (index, self.outcome(index)));
        let exceptions: Vec<Exception> = outcomes
            .filter(|(_, outcome)| *outcome != Outcome::Accepted)
            .map(|(index, outcome)| Exception { index, outcome })
            .collect();
        let num_retries = exceptions.iter().filter(|exception| exception.outcome == Outcome::RetryLater).count();
        if num_retries > 0 && num_retries == self.entries.len() {
            return Receipt::retry_later(self.package_id, retry_after_ms);
        }
        Receipt {
            package_id: self.package_id,
            verdict: Verdict::PerMessage {
                // Built from a 16-bit count: the cast is exact.
                num_messages: self.entries.len() as u16,
                exceptions,
                retry_after_ms: if num_retries > 0 { retry_after_ms } else { 0 },
            },
        }
    }
}

#[cfg(test)]
mod tests;
