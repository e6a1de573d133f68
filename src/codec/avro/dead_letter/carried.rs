//! How much of a record's key and headers the first part of its letter carries: all of it, unless the record is larger than
//! what the dead-letter topic takes.

use super::Source;

/// What key and headers take beside their bytes, at most: which branch, lengths, how many there are, and their end.
const OVERHEAD: usize = 16;
/// What one header takes beside its bytes, at most.
const HEADER_OVERHEAD: usize = 12;

/// So much of the key, and so many headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Carried {
    key_bytes: usize,
    num_headers: usize,
}

// === impl Carried ===

impl Carried {
    /// What has room in `max_bytes`: the key first, then headers in their order.
    pub(super) fn of(source: &Source<'_>, max_bytes: usize) -> Self {
        let mut left = max_bytes.saturating_sub(OVERHEAD);
        let key_bytes = source.key.map_or(0, <[u8]>::len).min(left);
        left -= key_bytes;
        let has_room = |(name, value): &&super::Header<'_>| {
            let num_bytes = String::from_utf8_lossy(name).len() + value.map_or(0, <[u8]>::len) + HEADER_OVERHEAD;
            let rest = left.checked_sub(num_bytes);
            left = rest.unwrap_or(0);
            rest.is_some()
        };
        Self { key_bytes, num_headers: source.headers.iter().take_while(has_room).count() }
    }

    /// The record with just that.
    pub(super) fn cut<'a>(self, source: &Source<'a>) -> Source<'a> {
        let key = source.key.map(|key| &key[..self.key_bytes]);
        // A piece of nothing tells nothing, and takes room where there may be none.
        let is_told = |key: &&[u8]| !key.is_empty() || source.key.is_some_and(<[u8]>::is_empty);
        Source { key: key.filter(is_told), headers: &source.headers[..self.num_headers], ..*source }
    }

    /// What is to be said of what is left out; `None` if nothing is.
    pub(super) fn note(self, source: &Source<'_>) -> Option<String> {
        let (key_bytes, num_headers) = (source.key.map_or(0, <[u8]>::len), source.headers.len());
        let is_all = self.key_bytes == key_bytes && self.num_headers == num_headers;
        (!is_all)
            .then(|| format!(" (its key of {key_bytes} bytes and its {num_headers} headers had no room, and are cut)"))
    }
}
