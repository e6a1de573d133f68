//! The reasons that travel as one byte: why a message or package was rejected, why a connection was refused, why the
//! server says goodbye.
//!
//! A byte that a later server added reads as `Other`, so that an old client keeps working.

use super::layout::{BodyError, UnknownLayout};

/// Why a message, or a whole package, was rejected. It will be rejected again however often it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RejectReason {
    /// The checksum does not fit the message's bytes.
    BadChecksum = 1,
    /// No layout is declared for the message's type.
    UnknownType = 2,
    /// The type is known, this version of it is not.
    UnknownVersion = 3,
    /// A field's value lies outside the range that its layout declares.
    OutOfRange = 4,
    /// The body does not follow its layout: too short, too long, bad text, or the package's structure broke before it.
    Undecodable = 5,
    /// The event time lies further in the future, or in the past, than the server accepts.
    EventTimeOutOfRange = 6,
    /// Whole package: not a Snappy block.
    BadSnappy = 16,
    /// Whole package: larger after decompression than Welcome allows.
    PackageTooLarge = 17,
    /// Whole package: more messages than Welcome allows.
    TooManyMessages = 18,
    /// Whole package: shorter than its count of messages needs.
    MalformedPackage = 19,
    /// The server fails on this input time and again; it has kept the bytes for its operator.
    Internal = 32,
    /// A reason that this program does not know.
    Other = 255,
}

/// Why the server refuses, or ends, a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum RefusalReason {
    /// The first bytes are not a surgetank Hello.
    BadMagic = 1,
    /// The server does not speak this version of the protocol.
    UnsupportedVersion = 2,
    /// The device id is empty, too long or not printable.
    BadDeviceId = 3,
    /// The credential is not the one that the server asks for.
    BadCredential = 4,
    /// The server has as many connections as it allows.
    TooManyConnections = 5,
    /// The server is stopping.
    ShuttingDown = 6,
    /// A frame is longer than Welcome (or the handshake) allows.
    FrameTooLarge = 7,
    /// A frame that is malformed, or not allowed at this point.
    ProtocolViolation = 8,
    /// No complete Hello arrived in time.
    HelloTimeout = 9,
    /// Nothing arrived for longer than Welcome's idle timeout.
    IdleTimeout = 10,
    /// The same device opened another connection.
    Replaced = 11,
    /// The device sent more packages without a receipt than Welcome allows.
    TooManyUnacknowledged = 12,
    /// The server cannot take anything in at the moment.
    Unavailable = 13,
    /// A reason that this program does not know.
    Other = 255,
}

/// Why the server asks the device to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum GoodbyeReason {
    /// The server is stopping.
    ShuttingDown = 1,
    /// The device should connect again, to be placed elsewhere.
    Rebalance = 2,
    /// The device itself leaves.
    Leaving = 3,
    /// A reason that this program does not know.
    Other = 255,
}

// === impl RejectReason ===

impl RejectReason {
    /// Every reason, for documents, metrics and tests.
    pub const ALL: [Self; 12] = [
        Self::BadChecksum,
        Self::UnknownType,
        Self::UnknownVersion,
        Self::OutOfRange,
        Self::Undecodable,
        Self::EventTimeOutOfRange,
        Self::BadSnappy,
        Self::PackageTooLarge,
        Self::TooManyMessages,
        Self::MalformedPackage,
        Self::Internal,
        Self::Other,
    ];

    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason for a byte; `None` for 0, which stands for "no reason".
    pub fn from_code(code: u8) -> Option<Self> {
        from_code(&Self::ALL, code, Self::code, Self::Other)
    }

    /// The name in documents, metrics and dead letters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadChecksum => "bad_checksum",
            Self::UnknownType => "unknown_type",
            Self::UnknownVersion => "unknown_version",
            Self::OutOfRange => "out_of_range",
            Self::Undecodable => "undecodable",
            Self::EventTimeOutOfRange => "event_time_out_of_range",
            Self::BadSnappy => "bad_snappy",
            Self::PackageTooLarge => "package_too_large",
            Self::TooManyMessages => "too_many_messages",
            Self::MalformedPackage => "malformed_package",
            Self::Internal => "internal",
            Self::Other => "other",
        }
    }
}

impl From<&BodyError> for RejectReason {
    fn from(error: &BodyError) -> Self {
        match error {
            BodyError::OutOfRange { .. } | BodyError::UnknownSymbol { .. } => Self::OutOfRange,
            BodyError::TooShort { .. }
            | BodyError::TrailingBytes { .. }
            | BodyError::BadText { .. }
            | BodyError::TooLong { .. } => Self::Undecodable,
        }
    }
}

impl From<UnknownLayout> for RejectReason {
    fn from(unknown: UnknownLayout) -> Self {
        match unknown {
            UnknownLayout::Type(_) => Self::UnknownType,
            UnknownLayout::Version(..) => Self::UnknownVersion,
        }
    }
}

// === impl RefusalReason ===

impl RefusalReason {
    /// Every reason, for documents, metrics and tests.
    pub const ALL: [Self; 14] = [
        Self::BadMagic,
        Self::UnsupportedVersion,
        Self::BadDeviceId,
        Self::BadCredential,
        Self::TooManyConnections,
        Self::ShuttingDown,
        Self::FrameTooLarge,
        Self::ProtocolViolation,
        Self::HelloTimeout,
        Self::IdleTimeout,
        Self::Replaced,
        Self::TooManyUnacknowledged,
        Self::Unavailable,
        Self::Other,
    ];

    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason for a byte; `None` for 0, which is not a reason.
    pub fn from_code(code: u8) -> Option<Self> {
        from_code(&Self::ALL, code, Self::code, Self::Other)
    }

    /// The name in documents and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadMagic => "bad_magic",
            Self::UnsupportedVersion => "unsupported_version",
            Self::BadDeviceId => "bad_device_id",
            Self::BadCredential => "bad_credential",
            Self::TooManyConnections => "too_many_connections",
            Self::ShuttingDown => "shutting_down",
            Self::FrameTooLarge => "frame_too_large",
            Self::ProtocolViolation => "protocol_violation",
            Self::HelloTimeout => "hello_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Replaced => "replaced",
            Self::TooManyUnacknowledged => "too_many_unacknowledged",
            Self::Unavailable => "unavailable",
            Self::Other => "other",
        }
    }
}

// === impl GoodbyeReason ===

impl GoodbyeReason {
    /// Every reason, for documents, metrics and tests.
    pub const ALL: [Self; 4] = [Self::ShuttingDown, Self::Rebalance, Self::Leaving, Self::Other];

    /// The byte on the wire.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The reason for a byte; `None` for 0, which is not a reason.
    pub fn from_code(code: u8) -> Option<Self> {
        from_code(&Self::ALL, code, Self::code, Self::Other)
    }

    /// The name in documents and metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ShuttingDown => "shutting_down",
            Self::Rebalance => "rebalance",
            Self::Leaving => "leaving",
            Self::Other => "other",
        }
    }
}

fn from_code<R: Copy>(all: &[R], code: u8, code_of: fn(R) -> u8, other: R) -> Option<R> {
    if code == 0 {
        return None;
    }
    Some(all.iter().copied().find(|reason| code_of(*reason) == code).unwrap_or(other))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_reason_codes_round_trip_and_unknown_codes_are_other() {
        for reason in RejectReason::ALL {
            assert_eq!(RejectReason::from_code(reason.code()), Some(reason));
        }
        for reason in RefusalReason::ALL {
            assert_eq!(RefusalReason::from_code(reason.code()), Some(reason));
        }
        for reason in GoodbyeReason::ALL {
            assert_eq!(GoodbyeReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(RejectReason::from_code(200), Some(RejectReason::Other));
        assert_eq!(RejectReason::from_code(0), None);
        assert_eq!(RefusalReason::from_code(0), None);
        assert_eq!(GoodbyeReason::from_code(0), None);
    }
}
