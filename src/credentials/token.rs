//! Tokens and their hashes. Only hashes are kept; a token itself is known to whoever presents it.

use std::fmt;
use std::str::FromStr;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rand::TryRng;
use rand::rngs::SysRng;
use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

/// Random bytes of a token. Nobody guesses them, so one round of SHA-256 hides them: no salt, no slow hash.
const TOKEN_BYTES: usize = 32;

/// What a hash begins with when it is written down.
const NOTATION: &str = "sha256:";

/// What a token is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A device's, in its Hello.
    Device,
    /// An HTTP client's, as a bearer token.
    Http,
    /// Somebody's or something's that looks at the engine over the operators' HTTP.
    Observer,
    /// An operator's: whatever changes the engine's state over HTTP asks for it. May look, too.
    Operator,
}

/// The SHA-256 of a token. What somebody presents is compared by [`ConstantTimeEq`]; `==` is for files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TokenHash([u8; 32]);

/// The system has no random bytes to give.
#[derive(Debug, thiserror::Error)]
#[error("the system gives no random bytes")]
pub struct NoRandomness;

/// A fresh token of a kind and how its hash is written. The kind's mark in front lets people, and scanners for leaked
/// secrets, tell what it is.
pub fn new_token(kind: TokenKind) -> Result<(String, String), NoRandomness> {
    let mut bytes = [0; TOKEN_BYTES];
    SysRng.try_fill_bytes(&mut bytes).map_err(|_| NoRandomness)?;
    let token = format!("{}_{}", kind.mark(), URL_SAFE_NO_PAD.encode(bytes));
    let hash = TokenHash::of(token.as_bytes()).to_string();
    Ok((token, hash))
}

// === impl TokenKind ===

impl TokenKind {
    /// The name of the kind's tables in the file.
    pub fn name(self) -> &'static str {
        match self {
            Self::Device => "device",
            Self::Http => "http",
            Self::Observer => "observer",
            Self::Operator => "operator",
        }
    }

    fn mark(self) -> &'static str {
        match self {
            Self::Device => "sgd",
            Self::Http => "sgh",
            Self::Observer => "sgob",
            Self::Operator => "sgop",
        }
    }
}

// === impl TokenHash ===

impl TokenHash {
    /// The hash of what somebody presents.
    pub fn of(token: &[u8]) -> Self {
        Self(Sha256::digest(token).into())
    }

    /// The part of the hash that tokens are looked up by.
    pub(super) fn handle(&self) -> u64 {
        self.0.iter().take(8).fold(0, |handle, byte| handle << 8 | u64::from(*byte))
    }
}

impl ConstantTimeEq for TokenHash {
    fn ct_eq(&self, other: &Self) -> Choice {
        self.0.ct_eq(&other.0)
    }
}

impl FromStr for TokenHash {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let digits = text.strip_prefix(NOTATION).ok_or(())?;
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(());
        }
        let mut hash = [0; 32];
        for (byte, pair) in hash.iter_mut().zip(digits.as_bytes().chunks(2)) {
            let pair = std::str::from_utf8(pair).map_err(|_| ())?;
            *byte = u8::from_str_radix(pair, 16).map_err(|_| ())?;
        }
        Ok(Self(hash))
    }
}

impl fmt::Display for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(NOTATION)?;
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TokenHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TokenHash({:016x}…)", self.handle())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_hash_is_sha256_and_round_trips() {
        let hash = TokenHash::of(b"secret");
        let written = "sha256:2bb80d537b1da3e38bd30361aa855686bde0eacd7162fef6a25fe97bf527a25b";
        assert_eq!(hash.to_string(), written);
        let read: TokenHash = written.parse().unwrap();
        assert!(bool::from(read.ct_eq(&hash)));
        let upper = written.replace("2bb80d", "2BB80D").parse::<TokenHash>().unwrap();
        assert!(bool::from(upper.ct_eq(&hash)));
    }

    #[test]
    fn test_hash_refuses_other_notations() {
        let long = format!("sha256:{}", "a".repeat(65));
        let letters = format!("sha256:{}", "g".repeat(64));
        let wide = format!("sha256:{}", "ä".repeat(32));
        for text in ["", "sha256:", &"a".repeat(64), &long, &letters, &wide, "sha512:00"] {
            assert!(text.parse::<TokenHash>().is_err(), "{text}");
        }
    }

    #[test]
    fn test_new_tokens_differ_and_fit_a_hello() {
        let (first, hash) = new_token(TokenKind::Device).unwrap();
        let (second, _) = new_token(TokenKind::Device).unwrap();
        assert_ne!(first, second);
        assert!(first.starts_with("sgd_") && first.len() == 47, "{first}");
        assert_eq!(TokenHash::of(first.as_bytes()).to_string(), hash);
    }
}
