//! Bits in and out: most significant bit first, no alignment. Knows nothing of fields.

/// There were fewer bits than asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OutOfBits;

/// Reads bits from the front of a body.
#[derive(Debug, Clone)]
pub(super) struct BitReader<'a> {
    body: &'a [u8],
    position: usize,
}

/// Appends bits to a buffer.
#[derive(Debug)]
pub(super) struct BitWriter<'a> {
    out: &'a mut Vec<u8>,
    /// Bits already used in the last byte, 0 to 7.
    used: u32,
}

// === impl BitReader ===

impl<'a> BitReader<'a> {
    pub(super) fn new(body: &'a [u8]) -> BitReader<'a> {
        BitReader { body, position: 0 }
    }

    /// Bits not yet read.
    #[inline]
    pub(super) fn num_left(&self) -> usize {
        self.body.len() * 8 - self.position
    }

    /// The next `bits` bits, 0 to 64, in the low end of the result.
    #[inline]
    pub(super) fn read(&mut self, bits: u32) -> Result<u64, OutOfBits> {
        if bits as usize > self.num_left() {
            return Err(OutOfBits);
        }
        if bits == 0 {
            return Ok(0);
        }
        let shift = (self.position % 8) as u32;
        let word = self.word_at(self.position / 8);
        let value = if shift + bits <= 64 {
            (word << shift) >> (64 - bits)
        } else {
            // Nine bytes hold it: the last one has the bits that the word lacks.
            let num_missing = shift + bits - 64;
            // It is there, as was checked. Indexing says so no better, and keeps this from being inlined.
            let last = self.body.get(self.position / 8 + 8).copied().unwrap_or(0);
            let high = (word << shift) >> shift;
            (high << num_missing) | u64::from(last >> (8 - num_missing))
        };
        self.position += bits as usize;
        Ok(value)
    }

    /// The next `bits` bits, 1 to 64, as two's complement.
    #[inline]
    pub(super) fn read_signed(&mut self, bits: u32) -> Result<i64, OutOfBits> {
        let unused = 64 - bits;
        Ok(((self.read(bits)? << unused) as i64) >> unused)
    }

    /// Passes over `bits` bits.
    pub(super) fn skip(&mut self, bits: usize) -> Result<(), OutOfBits> {
        if bits > self.num_left() {
            return Err(OutOfBits);
        }
        self.position += bits;
        Ok(())
    }

    /// Appends the next `num_bytes` bytes to `out`, or nothing.
    pub(super) fn read_bytes(&mut self, num_bytes: usize, out: &mut Vec<u8>) -> Result<(), OutOfBits> {
        if num_bytes.saturating_mul(8) > self.num_left() {
            return Err(OutOfBits);
        }
        if self.position.is_multiple_of(8) {
            let start = self.position / 8;
            out.extend_from_slice(&self.body[start..start + num_bytes]);
            self.position += num_bytes * 8;
            return Ok(());
        }
        for _ in 0..num_bytes / 8 {
            out.extend_from_slice(&self.read(64)?.to_be_bytes());
        }
        let num_over = num_bytes % 8;
        if num_over > 0 {
            let bits = 8 * num_over as u32;
            let word = self.read(bits)? << (64 - bits);
            out.extend_from_slice(&word.to_be_bytes()[..num_over]);
        }
        Ok(())
    }

    /// Eight bytes from `start`, which lies within the body; zeros past the end.
    #[inline]
    fn word_at(&self, start: usize) -> u64 {
        // Never empty. Indexing would keep `read` from being inlined.
        let rest = self.body.get(start..).unwrap_or_default();
        if let Some(chunk) = rest.first_chunk::<8>() {
            return u64::from_be_bytes(*chunk);
        }
        match self.body.last_chunk::<8>() {
            // The body's last eight bytes, those before `start` pushed out.
            Some(chunk) => u64::from_be_bytes(*chunk) << (64 - 8 * rest.len()),
            None => rest.iter().enumerate().fold(0, |word, (i, byte)| word | (u64::from(*byte) << (56 - 8 * i))),
        }
    }
}

// === impl BitWriter ===

impl<'a> BitWriter<'a> {
    /// Appends from the end of `out`, at a byte boundary.
    pub(super) fn new(out: &'a mut Vec<u8>) -> BitWriter<'a> {
        BitWriter { out, used: 0 }
    }

    /// Appends the low `bits` bits of `value`, 0 to 64. What is left of the last byte is zero.
    pub(super) fn write(&mut self, value: u64, bits: u32) {
        let mut num_left = bits;
        while num_left > 0 {
            if self.used == 0 {
                self.out.push(0);
            }
            let num_now = num_left.min(8 - self.used);
            let part = (value >> (num_left - num_now)) & ((1 << num_now) - 1);
            let Some(last) = self.out.last_mut() else { unreachable!("the byte that the bits go into is there") };
            *last |= (part << (8 - self.used - num_now)) as u8;
            self.used = (self.used + num_now) % 8;
            num_left -= num_now;
        }
    }

    /// Appends bytes, aligned or not.
    pub(super) fn write_bytes(&mut self, bytes: &[u8]) {
        if self.used == 0 {
            self.out.extend_from_slice(bytes);
            return;
        }
        for byte in bytes {
            self.write(u64::from(*byte), 8);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn test_bits_are_packed_most_significant_first() {
        let mut out = Vec::new();
        let mut writer = BitWriter::new(&mut out);
        writer.write(0b101, 3);
        writer.write(0xff, 8);
        writer.write(0, 2);
        assert_eq!(out, [0b1011_1111, 0b1110_0000]);
    }

    #[test]
    fn test_read_past_the_end_is_refused_and_moves_nothing() {
        let mut reader = BitReader::new(&[0xf0]);
        assert_eq!(reader.read(9), Err(OutOfBits));
        assert_eq!(reader.read_bytes(2, &mut Vec::new()), Err(OutOfBits));
        assert_eq!(reader.read(8), Ok(0xf0));
        assert_eq!(reader.read(1), Err(OutOfBits));
    }

    proptest! {
        #[test]
        fn test_written_bits_are_read_back(values in prop::collection::vec((any::<u64>(), 1u32..=64), 0..40), bytes in any::<Vec<u8>>()) {
            let mut out = Vec::new();
            let mut writer = BitWriter::new(&mut out);
            for (value, bits) in &values {
                writer.write(*value, *bits);
            }
            writer.write_bytes(&bytes);
            let mut reader = BitReader::new(&out);
            for (value, bits) in &values {
                prop_assert_eq!(reader.clone().read_signed(*bits), Ok(((value << (64 - bits)) as i64) >> (64 - bits)));
                prop_assert_eq!(reader.read(*bits), Ok((value << (64 - bits)) >> (64 - bits)));
            }
            let mut read = Vec::new();
            prop_assert_eq!(reader.read_bytes(bytes.len(), &mut read), Ok(()));
            prop_assert_eq!(read, bytes);
            prop_assert!(reader.num_left() < 8);
        }
    }
}
