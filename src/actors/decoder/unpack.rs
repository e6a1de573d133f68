//! What a decoder does with one package, as a pure function: decompress, find duplicates, unpack, turn into Avro.
//!
//! The outcome says where every message goes and which outcome it gets once it is there. Duplicates are found by
//! checksum, length and then bytes, before any body is looked at.

use crate::actors::intake::{EventWindow, IntakeRules};
use crate::flow::clock::Trust;
use crate::protocol::avro::DeadLetter;
use crate::protocol::device_id::DeviceId;
use crate::protocol::message::{Identity, MessageHeader};
use crate::protocol::package::{Duplicates, Entry, Message, Messages, PackageError, PackageLimits, Tail, decompress};
use crate::protocol::reason::RejectReason;
use crate::protocol::receipt::{Outcome, ReceiptBuilder};

/// Most bytes that one dead letter keeps. Longer ones are kept in parts, because a log has a limit for one record
/// (Kafka: 1 MiB unless configured) and a letter that does not fit would come back with every retry.
const MAX_LETTER_BYTES: usize = 512 * 1024;

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
}

/// Records for one place, and the messages that they come from.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Destined {
    /// The records, one after the other.
    pub values: Vec<u8>,
    /// Where each record ends.
    pub ends: Vec<u32>,
    /// The messages, and what each becomes once the records are durable.
    pub messages: Vec<(u16, Outcome)>,
}

/// An unpacked package.
#[derive(Debug)]
pub struct Unpacked {
    /// Knows of the messages and which of them are duplicates.
    pub receipt: ReceiptBuilder,
    /// Records for each topic, by index; topics without records are empty.
    pub topics: Vec<Destined>,
    /// Dead letters.
    pub dead: Destined,
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
        num_topics: usize,
    ) -> Result<Unpacked, PackageError> {
        decompress(package.block, package.limits, &mut self.plain)?;
        let messages = Messages::new(&self.plain, package.limits)?;
        let num_messages = messages.num_messages();
        self.duplicates.begin(num_messages);
        let mut topics: Vec<Destined> = Vec::new();
        topics.resize_with(num_topics, Destined::default);
        let receipt = ReceiptBuilder::new(package.package_id, num_messages);
        let mut unpacked = Unpacked { receipt, topics, dead: Destined::default() };
        let room = Room { num_messages, num_bytes: self.plain.len() };
        let window = rules.window(package.received_at_us);
        for entry in messages {
            let message = match entry {
                Entry::Message(message) => message,
                Entry::Tail(tail) => {
                    unpacked.bury_tail(package, tail, num_messages);
                    break;
                }
            };
            if let Some(first) = self.duplicates.first_of(&self.plain, &message) {
                unpacked.receipt.set_duplicate(message.index, first);
                continue;
            }
            if let Err((reason, detail)) = unpacked.admit(package, &message, window, rules, room) {
                let header = message.crc_ok.then_some(message.header);
                unpacked.dead.bury(package, reason, &detail, header, message.raw);
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
pub fn bury_package(package: PackageRef<'_>, reason: RejectReason, detail: &str) -> Destined {
    let mut dead = Destined::default();
    dead.bury(package, reason, detail, None, package.block);
    dead
}

// === impl Unpacked ===

impl Unpacked {
    fn admit(
        &mut self,
        package: PackageRef<'_>,
        message: &Message<'_>,
        window: EventWindow,
        rules: &IntakeRules,
        room: Room,
    ) -> Result<(), (RejectReason, String)> {
        if !message.crc_ok {
            return Err((RejectReason::BadChecksum, format!("the message carries checksum {:08x}", message.crc)));
        }
        let header = message.header;
        if !window.holds(header.event_time_ms) {
            return match package.trust {
                Trust::Sound => {
                    let detail = format!("the event time is {}", window.fault(header.event_time_ms));
                    Err((RejectReason::EventTimeOutOfRange, detail))
                }
                // Perhaps it is our clock: without an outcome the device is told to send the message again.
                Trust::Doubtful | Trust::Wrong => Ok(()),
            };
        }
        let layout = rules
            .catalog
            .layout(header.type_id, header.version)
            .map_err(|unknown| (RejectReason::from(unknown), unknown.to_string()))?;
        let topic = rules
            .topic_of
            .get(&header.type_id)
            .and_then(|index| self.topics.get_mut(*index))
            .ok_or_else(|| (RejectReason::UnknownType, "no topic takes this type".to_owned()))?;
        let identity = Identity { device_id: package.device_id, header, received_at_us: package.received_at_us };
        if topic.messages.is_empty() {
            // One allocation for the package: records are about as long as their messages, plus names and times.
            topic.values.reserve(room.for_records(package.device_id, message));
            topic.ends.reserve(room.num_messages.into());
            topic.messages.reserve(room.num_messages.into());
        }
        layout
            .transcode(&identity, message.body, &mut topic.values)
            .map_err(|error| (RejectReason::from(&error), error.to_string()))?;
        topic.ends.push(topic.values.len() as u32);
        topic.messages.push((message.index, Outcome::Accepted));
        Ok(())
    }

    /// The rest of a package whose structure is broken: kept once, rejected message by message.
    fn bury_tail(&mut self, package: PackageRef<'_>, tail: Tail<'_>, num_messages: u16) {
        let reason = RejectReason::Undecodable;
        let detail = format!("the package breaks off at message {} of {num_messages}", tail.first_index);
        self.dead.bury(package, reason, &detail, None, tail.raw);
        self.dead.messages.extend((tail.first_index..num_messages).map(|index| (index, Outcome::Rejected(reason))));
    }
}

// === impl Destined ===

impl Destined {
    /// Bytes of memory that the records take.
    pub fn num_bytes(&self) -> usize {
        self.values.capacity()
    }

    fn bury(
        &mut self,
        package: PackageRef<'_>,
        reason: RejectReason,
        detail: &str,
        header: Option<MessageHeader>,
        payload: &[u8],
    ) {
        let num_parts = payload.len().div_ceil(MAX_LETTER_BYTES).max(1);
        for part in 0..num_parts {
            let start = part * MAX_LETTER_BYTES;
            let end = payload.len().min(start + MAX_LETTER_BYTES);
            let of_parts = match num_parts {
                1 => String::new(),
                _ => format!(" (part {} of {num_parts})", part + 1),
            };
            DeadLetter {
                device_id: package.device_id,
                reason_code: reason.name(),
                detail: &format!("{detail}{of_parts}"),
                origin: "decoder",
                at_us: package.received_at_us,
                type_id: header.map(|header| header.type_id),
                version: header.map(|header| header.version),
                sequence: header.map(|header| header.sequence),
                event_time_ms: header.map(|header| header.event_time_ms),
                payload: &payload[start..end],
            }
            .encode(&mut self.values);
            self.ends.push(self.values.len() as u32);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;
    use crate::protocol::avro::OwnedDeadLetter;
    use crate::protocol::layout::Catalog;
    use crate::protocol::message::TypeId;
    use crate::protocol::package::Builder;

    const RECEIVED_AT_US: u64 = 1_800_000_000_000_000;
    const LIMITS: PackageLimits = PackageLimits { max_bytes: 4 << 20, max_messages: 1000 };

    fn unpack(block: &[u8]) -> Result<Unpacked, PackageError> {
        unpack_with(block, Trust::Sound)
    }

    fn unpack_with(block: &[u8], trust: Trust) -> Result<Unpacked, PackageError> {
        let catalog = Catalog::builtin().unwrap();
        let topic_of = catalog.types().iter().map(|message_type| (message_type.id, 0)).collect();
        let (max_event_time_ahead, max_event_time_behind) = (Duration::from_secs(60), Duration::from_secs(86_400));
        let rules = IntakeRules { catalog: Arc::new(catalog), topic_of, max_event_time_ahead, max_event_time_behind };
        let device_id = DeviceId::new("truck-1").unwrap();
        Unpacker::default().unpack(PackageRef { trust, ..package(block, &device_id) }, &rules, 1)
    }

    fn package<'a>(block: &'a [u8], device_id: &'a DeviceId) -> PackageRef<'a> {
        let (limits, received_at_us, trust) = (LIMITS, RECEIVED_AT_US, Trust::Sound);
        PackageRef { device_id, package_id: 7, block, limits, received_at_us, trust }
    }

    fn header(type_id: TypeId, sequence: u32, event_time_ms: u64) -> MessageHeader {
        MessageHeader { type_id, version: 1, sequence, event_time_ms }
    }

    #[test]
    fn test_no_memory_is_set_aside_on_the_word_of_a_package() {
        let position = Catalog::builtin().unwrap().by_name("position").unwrap().id;
        let mut builder = Builder::new(LIMITS);
        // As if all messages were as long as the first one.
        let now_ms = RECEIVED_AT_US / 1000;
        builder.push(&header(position, 0, now_ms), &[0; 60_000]).unwrap();
        (1..1000).for_each(|sequence| builder.push(&header(position, sequence, now_ms), &[]).unwrap());
        let size = builder.size();
        let unpacked = unpack(&builder.finish().unwrap()).unwrap();
        assert_eq!(unpacked.dead.messages.len(), 1000);
        assert!(unpacked.topics[0].values.capacity() < 2 * size, "{}", unpacked.topics[0].values.capacity());
    }

    #[test]
    fn test_unpacker_sends_every_message_to_one_place_with_its_outcome() {
        let catalog = Catalog::builtin().unwrap();
        let position = catalog.by_name("position").unwrap();
        let layout = position.layout(1).unwrap();
        let body =
            (0..=layout.max_body_len()).map(|len| vec![0; len]).find(|body| layout.decode(body).is_ok()).unwrap();
        let now_ms = RECEIVED_AT_US / 1000;
        let mut builder = Builder::new(LIMITS);
        builder.push(&header(position.id, 1, now_ms), &body).unwrap();
        builder.push(&header(position.id, 1, now_ms), &body).unwrap();
        builder.push(&header(999, 2, now_ms), &body).unwrap();
        builder.push(&header(position.id, 3, now_ms + 60_001), &body).unwrap();
        builder.push(&header(position.id, 4, now_ms), &[]).unwrap();
        let unpacked = unpack(&builder.finish().unwrap()).unwrap();

        assert_eq!(unpacked.topics[0].messages, [(0, Outcome::Accepted)]);
        let rejected = [
            (2, Outcome::Rejected(RejectReason::UnknownType)),
            (3, Outcome::Rejected(RejectReason::EventTimeOutOfRange)),
            (4, Outcome::Rejected(RejectReason::Undecodable)),
        ];
        assert_eq!(unpacked.dead.messages, rejected);
        assert_eq!(unpacked.dead.ends.len(), 3);
        let mut receipt = unpacked.receipt;
        assert_eq!(receipt.outcome(1), Outcome::RetryLater, "a duplicate shares the fate of the first, still unknown");
        receipt.set(0, Outcome::Accepted);
        assert_eq!(receipt.outcome(1), Outcome::Duplicate);
    }

    #[test]
    fn test_a_time_out_of_range_is_refused_only_by_a_clock_that_is_believed() {
        let position = Catalog::builtin().unwrap().by_name("position").unwrap().id;
        let now_ms = RECEIVED_AT_US / 1000;
        for event_time_ms in [now_ms + 60_001, now_ms - 86_400_001, 1_795_995_013] {
            let mut builder = Builder::new(LIMITS);
            builder.push(&header(position, 1, event_time_ms), &[]).unwrap();
            let block = builder.finish().unwrap();
            let refused = unpack(&block).unwrap();
            let outcome = Outcome::Rejected(RejectReason::EventTimeOutOfRange);
            assert_eq!(refused.dead.messages, [(0, outcome)], "{event_time_ms}");
            let doubtful = unpack_with(&block, Trust::Doubtful).unwrap();
            assert!(doubtful.dead.ends.is_empty() && doubtful.topics[0].ends.is_empty());
            assert_eq!(doubtful.receipt.outcome(0), Outcome::RetryLater);
        }
    }

    #[test]
    fn test_dead_letters_of_large_packages_come_in_parts_that_make_the_whole() {
        let device_id = DeviceId::new("truck-1").unwrap();
        let block: Vec<u8> = (0..MAX_LETTER_BYTES * 2 + 17).map(|index| index as u8).collect();
        let dead = bury_package(package(&block, &device_id), RejectReason::BadSnappy, "not a snappy block");
        let mut kept = Vec::new();
        let mut start = 0;
        for end in dead.ends {
            let letter = OwnedDeadLetter::decode(&dead.values[start..end as usize]).unwrap();
            assert!(letter.detail.contains("of 3)"), "{}", letter.detail);
            kept.extend_from_slice(&letter.payload);
            start = end as usize;
        }
        assert_eq!(kept, block);
    }
}
