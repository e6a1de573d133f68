//! Headers of a record as a batch keeps them: behind the value, each as the length of its name in four bytes, little-endian,
//! the name, the length of its value, the value. A value that is not there has the length 2^32 - 1.

/// The length of a value that is not there.
const ABSENT: u32 = u32::MAX;

/// The headers of one record: name and value. Names are not unique; a value may be absent.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a>(&'a [u8]);

/// Adds a header behind those that a record has already.
pub fn write_header(name: &[u8], value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(&(name.len() as u32).to_le_bytes());
    out.extend_from_slice(name);
    out.extend_from_slice(&value.map_or(ABSENT, |value| value.len() as u32).to_le_bytes());
    out.extend_from_slice(value.unwrap_or_default());
}

// === impl Headers ===

impl<'a> Headers<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// Those that were written into these bytes by [`write_header`].
    #[cfg(test)]
    pub(crate) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// No headers.
    pub fn none() -> Self {
        Self(&[])
    }

    /// Bytes that they take.
    pub fn num_bytes(self) -> usize {
        self.0.len()
    }

    /// The value of the last header of this name, which is what counts for most programs; `None` if there is none, or if it
    /// has no value.
    pub fn last(self, name: &[u8]) -> Option<&'a [u8]> {
        self.filter(|(own, _)| *own == name).last().and_then(|(_, value)| value)
    }

    fn length(&mut self) -> u32 {
        let Some((length, rest)) = self.0.split_first_chunk::<4>() else { unreachable!("a header has its lengths") };
        self.0 = rest;
        u32::from_le_bytes(*length)
    }

    fn take(&mut self, length: u32) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(length as usize);
        self.0 = rest;
        taken
    }
}

impl<'a> Iterator for Headers<'a> {
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let length = self.length();
        let name = self.take(length);
        let value = match self.length() {
            ABSENT => None,
            length => Some(self.take(length)),
        };
        Some((name, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_headers_are_read_as_they_were_written() {
        let mut bytes = Vec::new();
        let written: [(&[u8], Option<&[u8]>); 4] =
            [(b"a", Some(b"one")), (b"", Some(b"")), (b"gone", None), (b"a", Some(b"two"))];
        for (name, value) in written {
            write_header(name, value, &mut bytes);
        }
        let headers = Headers::new(&bytes);
        assert_eq!(headers.collect::<Vec<_>>(), written);
        assert_eq!((headers.last(b"a"), headers.last(b"gone"), headers.last(b"b")), (Some(&b"two"[..]), None, None));
        assert_eq!(Headers::new(b"").next(), None);
    }
}
