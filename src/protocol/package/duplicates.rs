//! Finds messages that occur twice in one package, before any body is parsed.
//!
//! Only a comparison of all bytes makes a duplicate: two different messages with the same checksum are both kept. A
//! message that is missed here does no harm either, because its row has the same key.

use super::Message;

/// Checksums are easy to forge, so the search for one message looks at this many places and no further: otherwise a
/// package of crafted collisions would cost the square of its count.
const MAX_PROBES: usize = 16;

/// Spreads checksums whose low bits agree (2^64 divided by the golden ratio).
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A table of the messages of one package, by checksum and length. Reusable: it allocates only when a package has
/// more messages than any before.
#[derive(Debug, Default)]
pub struct Duplicates {
    /// A power of two of them, at least twice the count of messages; none for a package of up to one message.
    pub(super) slots: Vec<Option<Slot>>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    crc: u32,
    len: u32,
    offset: usize,
    index: u16,
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

    /// The index of the first message with exactly these bytes, or `None`, in which case the message is remembered.
    ///
    /// `package` is the one that all messages since [`Self::begin`] were cut out of.
    pub fn first_of(&mut self, package: &[u8], message: &Message<'_>) -> Option<u16> {
        let mask = self.slots.len().checked_sub(1)?;
        // Bounded by the package limit, which has 32 bits.
        let len = message.raw.len() as u32;
        let key = (u64::from(len) << 32) | u64::from(message.crc);
        let start = (key.wrapping_mul(SPREAD) >> 32) as usize;
        for probe in 0..MAX_PROBES {
            let slot = self.slots.get_mut(start.wrapping_add(probe) & mask)?;
            match slot {
                Some(earlier) => {
                    let same_key = earlier.crc == message.crc && earlier.len == len;
                    if same_key && package.get(earlier.offset..earlier.offset + message.raw.len()) == Some(message.raw)
                    {
                        return Some(earlier.index);
                    }
                }
                None => {
                    *slot = Some(Slot { crc: message.crc, len, offset: message.offset, index: message.index });
                    return None;
                }
            }
        }
        None
    }
}
