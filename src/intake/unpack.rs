//! What a decoder does with one package, as a pure function: decompress, find duplicates, unpack, turn into Avro.
//!
//! The outcome says where every message goes and which outcome it gets once it is there. Among the messages that are taken
//! the first of an identity wins, here as in a request of events (`src/sources/http/events.rs`).

use super::records::Records;
use super::routes::RecordLimits;
use super::rules::{EventWindow, IntakeRules, Untimely};
use crate::codec::avro::DeadLetter;
use crate::flow::clock::Trust;
use crate::flow::trace::TraceContext;
use crate::protocol::device_id::DeviceId;
use crate::protocol::message::{Identity, MessageHeader};
use crate::protocol::package::{
    Duplicates, Entry, Message, Messages, PackageError, PackageLimits, Repeat, Tail, decompress,
};
use crate::protocol::reason::RejectReason;
use crate::protocol::receipt::{Outcome, ReceiptBuilder};

/// About what a record has beside the device and what is in the message, in bytes: times and lengths.
const RECORD_OVERHEAD: usize = 40;

/// One package to unpack.
#[derive(Debug, Clone, Copy)]
pub struct PackageRef<'a> {
    /// Who sent it.
    pub device_id: &'a DeviceId,
    /// The device's name for it.
    pub package_id: u32,
    /// The Snappy block.
    pub block: &'a [u8],
    /// Size limits, as this device has been told them.
    pub limits: PackageLimits,
    /// When it was read off its socket, in microseconds since the Unix epoch.
    pub received_at_us: u64,
    /// How far the clock that said so can be believed; never [`Trust::Wrong`].
    pub trust: Trust,
    /// The trace of the request that it came with.
    pub trace: Option<&'a TraceContext>,
}

/// Records of one device for one topic, and so for one partition of it, and the messages that they come from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct TopicRecords {
    /// The records.
    pub records: Records,
    /// The messages, and what each becomes once the records are durable.
    pub messages: Vec<(u16, Outcome)>,
    /// Dead letters among the records by reason; one that was too large for one record counts once.
    pub letters: Vec<(RejectReason, u64)>,
}

/// An unpacked package.
#[derive(Debug)]
pub struct Unpacked {
    /// Knows of the messages and which of them are duplicates.
    pub receipt: ReceiptBuilder,
    /// Records for each topic, by index; topics without records are empty.
    pub topics: Vec<TopicRecords>,
    /// Dead letters.
    pub dead: TopicRecords,
}

/// Unpacks packages; keeps its buffers from one to the next.
#[derive(Default)]
pub struct Unpacker {
    plain: Vec<u8>,
    duplicates: Duplicates,
}

// === impl Unpacker ===

impl Unpacker {
    /// Unpacks one package. An error turns the package away as a whole.
    pub fn unpack(
        &mut self,
        package: PackageRef<'_>,
        rules: &IntakeRules,
        limits: &RecordLimits,
    ) -> Result<Unpacked, PackageError> {
        decompress(package.block, package.limits, &mut self.plain)?;
        let messages = Messages::new(&self.plain, package.limits)?;
        let num_messages = messages.num_messages();
        self.duplicates.begin(num_messages);
        let mut topics: Vec<TopicRecords> = Vec::new();
        topics.resize_with(limits.topics.len(), TopicRecords::default);
        let receipt = ReceiptBuilder::new(package.package_id, num_messages);
        let mut unpacked = Unpacked { receipt, topics, dead: TopicRecords::default() };
        let room = Room { num_messages, num_bytes: self.plain.len() };
        let window = rules.window(package.received_at_us, package.trust);
        for entry in messages {
            let message = match entry {
                Entry::Message(message) => message,
                Entry::Tail(tail) => {
                    unpacked.bury_tail(package, tail, num_messages, limits);
                    break;
                }
            };
            let first = match self.duplicates.first_of(&self.plain, &message) {
                None => None,
                Some(Repeat::Identity(first)) => Some(first),
                Some(Repeat::Bytes(first)) => {
                    unpacked.receipt.set_duplicate(message.index, first);
                    continue;
                }
            };
            if let Err((reason, detail)) = unpacked.admit(package, (&message, first), window, rules, room, limits) {
                self.duplicates.reject(&message);
                let header = message.crc_ok.then_some(message.header);
                unpacked.dead.bury(package, (reason, &detail), header, message.raw, limits);
                unpacked.dead.messages.push((message.index, Outcome::Rejected(reason)));
            }
        }
        Ok(unpacked)
    }
}

/// What a package says of itself, and what that is worth.
#[derive(Debug, Clone, Copy)]
struct Room {
    num_messages: u16,
    num_bytes: usize,
}

// === impl Room ===

impl Room {
    /// Bytes for the records of all messages, if all are like the first one; never more than their bytes can become.
    fn for_records(self, device_id: &DeviceId, first: &Message<'_>) -> usize {
        let num_messages = usize::from(self.num_messages);
        let bodies = (num_messages * first.raw.len()).min(self.num_bytes);
        bodies + num_messages * (device_id.len() + RECORD_OVERHEAD)
    }
}

/// The dead letter that stands for a package that is turned away as a whole.
pub fn bury_package(
    package: PackageRef<'_>,
    reason: RejectReason,
    detail: &str,
    limits: &RecordLimits,
) -> TopicRecords {
    let mut dead = TopicRecords::default();
    dead.bury(package, (reason, detail), None, package.block, limits);
    dead
}

// === impl Unpacked ===

impl Unpacked {
    /// Makes a record of a message, or says why it is rejected. With `first`, which was taken and has the same identity, a
    /// message that would have become a record is its duplicate.
    fn admit(
        &mut self,
        package: PackageRef<'_>,
        (message, first): (&Message<'_>, Option<u16>),
        window: EventWindow,
        rules: &IntakeRules,
        room: Room,
        limits: &RecordLimits,
    ) -> Result<(), (RejectReason, String)> {
        if !message.crc_ok {
            return Err((RejectReason::BadChecksum, format!("the message carries checksum {:08x}", message.crc)));
        }
        let header = message.header;
        match window.check(header.event_time_ms) {
            Ok(()) => {}
            Err(Untimely::OutOfRange(fault)) => {
                return Err((RejectReason::EventTimeOutOfRange, format!("the event time is {fault}")));
            }
            // Without an outcome the device is told to send the message again.
            Err(Untimely::RetryLater) => return Ok(()),
        }
        let layout = rules
            .codecs
            .layout(header.type_id, header.version)
            .map_err(|unknown| (RejectReason::from(unknown), unknown.to_string()))?;
        let (topic, limit) = rules
            .topic_of
            .get(&header.type_id)
            .and_then(|index| self.topics.get_mut(*index).zip(limits.topics.get(*index)))
            .ok_or_else(|| (RejectReason::UnknownType, "no topic takes this type".to_owned()))?;
        let identity = Identity { device_id: package.device_id, header, received_at_us: package.received_at_us };
        if topic.messages.is_empty() {
            // One allocation for the package: records are about as long as their messages, plus names and times.
            topic.records.values.reserve(room.for_records(package.device_id, message));
            topic.records.ends.reserve(room.num_messages.into());
            topic.messages.reserve(room.num_messages.into());
        }
        let start = topic.records.values.len();
        layout
            .transcode(&identity, message.body, &mut topic.records.values)
            .map_err(|error| (RejectReason::from(&error), error.to_string()))?;
        if let Some(first) = first {
            topic.records.values.truncate(start);
            self.receipt.set_duplicate(message.index, first);
            return Ok(());
        }
        topic
            .records
            .end_record(start, package.device_id, limit)
            .map_err(|error| (RejectReason::TooLarge, error.to_string()))?;
        topic.messages.push((message.index, Outcome::Accepted));
        Ok(())
    }

    /// The rest of a package whose structure is broken: kept once, rejected message by message.
    fn bury_tail(&mut self, package: PackageRef<'_>, tail: Tail<'_>, num_messages: u16, limits: &RecordLimits) {
        let reason = RejectReason::Undecodable;
        let detail = format!("the package breaks off at message {} of {num_messages}", tail.first_index);
        self.dead.bury(package, (reason, &detail), None, tail.raw, limits);
        self.dead.messages.extend((tail.first_index..num_messages).map(|index| (index, Outcome::Rejected(reason))));
    }
}

// === impl TopicRecords ===

impl TopicRecords {
    /// Bytes of memory that the records take.
    pub fn num_bytes(&self) -> usize {
        self.records.values.capacity()
    }

    fn bury(
        &mut self,
        package: PackageRef<'_>,
        (reason, detail): (RejectReason, &str),
        header: Option<MessageHeader>,
        payload: &[u8],
        limits: &RecordLimits,
    ) {
        let letter = DeadLetter {
            device_id: package.device_id,
            reason_code: reason.name(),
            detail,
            origin: "decoder",
            at_us: package.received_at_us,
            type_id: header.map(|header| header.type_id),
            version: header.map(|header| header.version),
            sequence: header.map(|header| header.sequence),
            event_time_ms: header.map(|header| header.event_time_ms),
            payload,
            trace: package.trace.map(TraceContext::parent),
            source: None,
        };
        // No two letters of a device share it: packages of one device are unpacked one after the other.
        let number = self.num_letters();
        let whole = || format!("{}/{}/{number}", package.received_at_us, package.package_id);
        let max_bytes = limits.dead_letter.max_bytes().saturating_sub(package.device_id.len());
        letter.encode_within(max_bytes, whole, &mut self.records.values, &mut self.records.ends);
        match self.letters.iter_mut().find(|(known, _)| *known == reason) {
            Some((_, count)) => *count += 1,
            None => self.letters.push((reason, 1)),
        }
    }

    /// How many dead letters there are.
    fn num_letters(&self) -> u64 {
        self.letters.iter().map(|(_, count)| count).sum()
    }
}

#[cfg(test)]
mod tests;
