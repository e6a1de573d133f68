//! The name of a device, checked once where it enters.

use std::fmt;
use std::ops::Deref;
use std::sync::Arc;

/// Longest device id in bytes of UTF-8: it is part of every record, every row key and many log lines.
pub const MAX_DEVICE_ID_LEN: usize = 128;

/// A device id: 1 to [`MAX_DEVICE_ID_LEN`] bytes of UTF-8, all of them characters that can be seen, so that it can
/// be printed, logged and used as a key without quoting. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DeviceId(Arc<str>);

/// Why a text is not a device id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadDeviceId {
    /// Empty, or longer than [`MAX_DEVICE_ID_LEN`].
    #[error("device id has {0} bytes, allowed are 1 to {MAX_DEVICE_ID_LEN}")]
    Length(usize),
    /// Not UTF-8, or a character that cannot be seen: white space, control and format characters.
    #[error("device id holds white space, characters that cannot be printed or invalid UTF-8")]
    Characters,
}

/// Whether a character can be seen: no white space, no control or format character (which turn text around or join
/// it, unseen), nothing that Unicode has not assigned.
fn is_printable(character: char) -> bool {
    if character.is_ascii() {
        return character.is_ascii_graphic();
    }
    // Debug text escapes what cannot be printed. A combining mark it escapes only where there is nothing before it to
    // combine with.
    let is_combining = || {
        let text = String::from_iter(['a', character]);
        text.escape_debug().eq(text.chars())
    };
    !character.is_whitespace() && (character.escape_debug().eq([character]) || is_combining())
}

// === impl DeviceId ===

impl DeviceId {
    /// Checks and copies.
    pub fn new(text: &str) -> Result<Self, BadDeviceId> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Checks only.
    pub fn check(text: &str) -> Result<(), BadDeviceId> {
        if text.is_empty() || text.len() > MAX_DEVICE_ID_LEN {
            return Err(BadDeviceId::Length(text.len()));
        }
        if !text.chars().all(is_printable) {
            return Err(BadDeviceId::Characters);
        }
        Ok(())
    }

    /// Checks bytes from the wire.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, BadDeviceId> {
        Self::new(std::str::from_utf8(bytes).map_err(|_| BadDeviceId::Characters)?)
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Deref for DeviceId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DeviceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Debug for DeviceId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&*self.0, formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_device_id_accepts_printable_text() {
        for text in ["a", "truck-000123", "Löffel/7", "車-7", "e\u{301}tat", "\"'\\", &"x".repeat(MAX_DEVICE_ID_LEN)]
        {
            assert_eq!(DeviceId::new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn test_device_id_refuses_what_cannot_be_printed_or_is_too_long() {
        let long = "x".repeat(MAX_DEVICE_ID_LEN + 1);
        assert_eq!(DeviceId::new(""), Err(BadDeviceId::Length(0)));
        assert_eq!(DeviceId::new(&long), Err(BadDeviceId::Length(MAX_DEVICE_ID_LEN + 1)));
        for text in [
            "a b",
            "a\n",
            "\u{0}",
            "a\u{a0}b",
            "a\u{202e}b",
            "a\u{200b}b",
            "\u{feff}a",
            "a\u{ad}b",
            "a\u{2028}",
            "a\u{378}",
            "a\u{e000}",
        ] {
            assert_eq!(DeviceId::new(text), Err(BadDeviceId::Characters), "{text:?}");
        }
        assert_eq!(DeviceId::from_bytes(&[0xff]), Err(BadDeviceId::Characters));
    }
}
