//! Avro's primitives as bytes: zigzag integers of variable length, and what is built from them.

/// The longest varint: ten groups of seven bits.
pub(crate) const MAX_VARINT_LEN: usize = 10;

/// Appends an int or long.
#[inline]
pub(crate) fn write_long(value: i64, out: &mut Vec<u8>) {
    let zigzag = ((value << 1) ^ (value >> 63)) as u64;
    if zigzag < 0x80 {
        out.push(zigzag as u8);
    } else if zigzag < 1 << 56 {
        write_longer(zigzag, out);
    } else {
        write_longest(zigzag, out);
    }
}

/// Appends up to eight groups of seven bits, all at once: counters and times have four to eight of them.
fn write_longer(zigzag: u64, out: &mut Vec<u8>) {
    // Groups move apart by halves: two of 28 bits, four of 14, eight of 7, each at the low end of its part of the word.
    let halves = (zigzag & 0x0fff_ffff) | (zigzag & !0x0fff_ffff) << 4;
    let quarters = (halves & 0x0000_3fff_0000_3fff) | (halves & 0x0fff_c000_0fff_c000) << 2;
    let groups = (quarters & 0x007f_007f_007f_007f) | (quarters & 0x3f80_3f80_3f80_3f80) << 1;
    let last = groups.checked_ilog2().unwrap_or(0) / 8;
    // All groups but the last say that another one follows.
    let bytes = groups | (0x8080_8080_8080_8080 & ((1 << (8 * last)) - 1));
    out.extend_from_slice(&bytes.to_le_bytes()[..=last as usize]);
}

/// Appends groups one by one, whatever their number.
#[cold]
fn write_longest(zigzag: u64, out: &mut Vec<u8>) {
    let mut rest = zigzag;
    // One append for the whole number: growing the buffer byte by byte costs a check for each.
    let mut buffer = [0u8; MAX_VARINT_LEN];
    let mut len = 0;
    for byte in &mut buffer {
        len += 1;
        *byte = (rest & 0x7f) as u8;
        rest >>= 7;
        if rest == 0 {
            break;
        }
        *byte |= 0x80;
    }
    out.extend_from_slice(&buffer[..len]);
}

/// Appends bytes or a string.
#[inline]
pub(crate) fn write_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    write_long(bytes.len() as i64, out);
    out.extend_from_slice(bytes);
}

/// Appends an unsigned integer as a decimal: two's complement, big-endian, no longer than needed.
#[inline]
pub(crate) fn write_unsigned(value: u64, out: &mut Vec<u8>) {
    let bytes = value.to_be_bytes();
    let num_zero = (value.leading_zeros() / 8).min(7) as usize;
    let significant = &bytes[num_zero..];
    let needs_sign = significant.first().is_some_and(|byte| *byte >= 0x80);
    write_long((significant.len() + usize::from(needs_sign)) as i64, out);
    if needs_sign {
        out.push(0);
    }
    out.extend_from_slice(significant);
}

/// Reads an int or long from the front of `bytes`; the rest, or `None` if it is cut off or longer than 64 bits.
#[inline]
pub(crate) fn read_long(bytes: &[u8]) -> Option<(i64, &[u8])> {
    // Lengths, branches and small numbers.
    if let [byte @ 0..0x80, rest @ ..] = bytes {
        return Some((i64::from(byte >> 1) ^ -i64::from(byte & 1), rest));
    }
    read_longer(bytes)
}

fn read_longer(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut value = 0u64;
    for (i, byte) in bytes.iter().take(MAX_VARINT_LEN).enumerate() {
        if i == MAX_VARINT_LEN - 1 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * i);
        if *byte < 0x80 {
            let long = (value >> 1) as i64 ^ -((value & 1) as i64);
            return Some((long, &bytes[i + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn test_long_is_zigzag() {
        let bytes = |value| {
            let mut out = Vec::new();
            write_long(value, &mut out);
            out
        };
        assert_eq!(bytes(0), [0]);
        assert_eq!(bytes(-1), [1]);
        assert_eq!(bytes(1), [2]);
        assert_eq!(bytes(-64), [0x7f]);
        assert_eq!(bytes(64), [0x80, 0x01]);
        // Both sides of where another way of writing begins.
        assert_eq!(bytes((1 << 55) - 1), [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(bytes(1 << 55), [0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]);
        assert_eq!(bytes(i64::MIN).len(), MAX_VARINT_LEN);
    }

    #[test]
    fn test_long_that_never_ends_is_refused() {
        assert_eq!(read_long(&[0x80; 20]), None);
        assert_eq!(read_long(&[0x80]), None);
        assert_eq!(read_long(&[]), None);
    }

    proptest! {
        #[test]
        fn test_long_round_trips(value in any::<i64>(), shift in 0u32..64) {
            let mut out = Vec::new();
            write_long(value >> shift, &mut out);
            let mut groups = Vec::new();
            write_longest((((value >> shift) << 1) ^ ((value >> shift) >> 63)) as u64, &mut groups);
            prop_assert_eq!(&out, &groups);
            out.push(7);
            prop_assert_eq!(read_long(&out), Some((value >> shift, &[7u8][..])));
        }
    }
}
