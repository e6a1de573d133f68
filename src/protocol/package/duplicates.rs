//! Finds messages that a package holds twice, before any body is parsed.
//!
//! Among the messages that are taken the identity decides: type, event time and sequence, since all messages of a
//! package are of one device. Those that were rejected give their identity free, but the same bytes once more share their
//! fate. What is missed here does no harm either, because its row has the same key.

use super::{Message, MessageHeader};

/// The hash is easy to forge, so the search for one message looks at this many places and no further: otherwise a
/// package of crafted collisions would cost the square of its count.
const MAX_PROBES: usize = 16;

/// Spreads identities whose low bits agree (2^64 divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// What a message repeats.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// The bytes of this earlier message, whatever became of that one.
    Bytes(u16),
    /// The identity of this earlier message, which was not rejected, with other bytes.
    Identity(u16),
}

/// A table of the messages of one package, by identity. Reusable: it allocates only when a package has more messages
/// than any before.
#[derive(Debug, Default)]
pub struct Duplicates {
    /// A power of two of them, at least twice the count of messages; none for a package of up to one message.
    pub(super) slots: Vec<Option<Slot>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    key: Key,
    /// Bounded by the package limit, which has 32 bits.
    offset: u32,
    index: u16,
    /// Whether the identity belongs to this message: its checksum is right, and it was not rejected.
    is_taken: bool,
}

/// A message's identity within a package, packed so that it takes two comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Key {
    /// 48 bits and 16.
    event_time_and_type: u64,
    sequence: u32,
}

// === impl Duplicates ===

impl Duplicates {
    /// Forgets the last package and makes room for one of `num_messages`.
    pub fn begin(&mut self, num_messages: u16) {
        self.slots.clear();
        if num_messages > 1 {
            self.slots.resize((usize::from(num_messages) * 2).next_power_of_two(), None);
        }
    }

    /// What the message repeats of an earlier one, or `None`, in which case it is remembered as one that is taken if its
    /// checksum is right. [`Self::reject`] takes that back.
    ///
    /// `package` is the one that all messages since [`Self::begin`] were cut out of.
    pub fn first_of(&mut self, package: &[u8], message: &Message<'_>) -> Option<Repeat> {
        let mask = self.slots.len().checked_sub(1)?;
        let key = Key::of(message.header);
        let start = key.start();
        for place in (0..MAX_PROBES).map(|probe| start.wrapping_add(probe)) {
            match self.slots.get_mut(place & mask)? {
                Some(earlier) if earlier.key != key => {}
                Some(_) => return self.repeat_at(place, package, message),
                empty @ None => {
                    *empty = Some(Slot::new(key, message, message.crc_ok));
                    return None;
                }
            }
        }
        None
    }

    /// Like [`Self::first_of`], from the first place that has the message's key. Apart from the search, which is done for
    /// each message, since it seldom finds any.
    #[cold]
    fn repeat_at(&mut self, start: usize, package: &[u8], message: &Message<'_>) -> Option<Repeat> {
        let mask = self.slots.len().checked_sub(1)?;
        let key = Key::of(message.header);
        let mut taken = None;
        for place in (0..MAX_PROBES).map(|probe| start.wrapping_add(probe)) {
            match self.slots.get_mut(place & mask)? {
                Some(earlier) if earlier.key != key => {}
                Some(earlier) if earlier.has_bytes(package, message.raw) => return Some(Repeat::Bytes(earlier.index)),
                // One that was rejected with these bytes may come behind it.
                Some(earlier) if earlier.is_taken && message.crc_ok => taken = Some(Repeat::Identity(earlier.index)),
                Some(_) => {}
                None if taken.is_some() => break,
                empty @ None => {
                    *empty = Some(Slot::new(key, message, message.crc_ok));
                    break;
                }
            }
        }
        taken
    }

    /// Notes that a message was rejected: the next one of its identity may be taken.
    pub fn reject(&mut self, message: &Message<'_>) {
        // A package of one message has no places.
        let Some(mask) = self.slots.len().checked_sub(1) else { return };
        let key = Key::of(message.header);
        let start = key.start();
        for probe in 0..MAX_PROBES {
            match &mut self.slots[start.wrapping_add(probe) & mask] {
                Some(slot) if slot.index == message.index => {
                    slot.is_taken = false;
                    return;
                }
                Some(_) => {}
                // It had the identity of another one.
                empty @ None => {
                    *empty = Some(Slot::new(key, message, false));
                    return;
                }
            }
        }
    }
}

// === impl Slot ===

impl Slot {
    fn new(key: Key, message: &Message<'_>, is_taken: bool) -> Self {
        Self { key, offset: message.offset as u32, index: message.index, is_taken }
    }

    /// Messages do not overlap, and their lengths are among their bytes: no length has to be remembered.
    fn has_bytes(&self, package: &[u8], raw: &[u8]) -> bool {
        package.get(self.offset as usize..).is_some_and(|rest| rest.starts_with(raw))
    }
}

// === impl Key ===

impl Key {
    fn of(header: MessageHeader) -> Self {
        let event_time_and_type = header.event_time_ms << 16 | u64::from(header.type_id);
        Self { event_time_and_type, sequence: header.sequence }
    }

    /// Where the search begins. Messages of a package differ in their sequence or their time, often in both by one step.
    fn start(self) -> usize {
        let mixed = self.event_time_and_type.wrapping_add(u64::from(self.sequence)).wrapping_mul(SPREAD);
        (mixed >> 32) as usize
    }
}
