//! The reasons that travel as one byte: why a message or package was rejected, why a connection was refused, why the
//! server says goodbye.
//!
//! A byte that a later server added reads as `Other`, so that an old client keeps working.

/// Declares an enum of reasons, each with its byte on the wire and its name in documents, metrics and dead letters. One
/// list, so that no reason can be missing where bytes are read.
macro_rules! reasons {
    (
        $(#[$enum_doc:meta])*
        pub enum $Reason:ident {
            $($(#[$doc:meta])* $Variant:ident = $code:literal => $name:literal,)*
        }
    ) => {
        $(#[$enum_doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum $Reason {
            $($(#[$doc])* $Variant = $code,)*
            /// A reason that this program does not know.
            Other = 255,
        }

        impl $Reason {
            /// Every reason, for documents, metrics and tests.
            pub const ALL: &[Self] = &[$(Self::$Variant,)* Self::Other];

            /// The byte on the wire.
            pub const fn code(self) -> u8 {
                self as u8
            }

            /// The reason for a byte; `None` for 0, which stands for "no reason".
            pub const fn from_code(code: u8) -> Option<Self> {
                match code {
                    0 => None,
                    $($code => Some(Self::$Variant),)*
                    _ => Some(Self::Other),
                }
            }

            /// The name in documents, metrics and dead letters.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$Variant => $name,)*
                    Self::Other => "other",
                }
            }
        }
    };
}

reasons! {
    /// Why a message, or a whole package, was rejected. It will be rejected again however often it is sent.
    pub enum RejectReason {
        /// The checksum does not fit the message's bytes.
        BadChecksum = 1 => "bad_checksum",
        /// No layout is declared for the message's type.
        UnknownType = 2 => "unknown_type",
        /// The type is known, this version of it is not.
        UnknownVersion = 3 => "unknown_version",
        /// A field's value lies outside the range that its layout declares.
        OutOfRange = 4 => "out_of_range",
        /// The body does not follow its layout: too short, too long, bad text, or the package's structure broke before
        /// it.
        Undecodable = 5 => "undecodable",
        /// The event time lies further in the future, or in the past, than the server accepts.
        EventTimeOutOfRange = 6 => "event_time_out_of_range",
        /// The message is larger than the log takes in one record.
        TooLarge = 7 => "too_large",
        /// Whole package: not a Snappy block.
        BadSnappy = 16 => "bad_snappy",
        /// Whole package: larger after decompression than Welcome allows.
        PackageTooLarge = 17 => "package_too_large",
        /// Whole package: more messages than Welcome allows.
        TooManyMessages = 18 => "too_many_messages",
        /// Whole package: shorter than its count of messages needs, or bytes without a message.
        MalformedPackage = 19 => "malformed_package",
        /// The server fails on this input time and again; it has kept the bytes for its operator.
        Internal = 32 => "internal",
    }
}

reasons! {
    /// Why the server refuses, or ends, a connection.
    pub enum RefusalReason {
        /// The first bytes are not a surgetank Hello.
        BadMagic = 1 => "bad_magic",
        /// The server does not speak this version of the protocol.
        UnsupportedVersion = 2 => "unsupported_version",
        /// The device id is empty, too long or not printable.
        BadDeviceId = 3 => "bad_device_id",
        /// The credential is not the one that the server asks for.
        BadCredential = 4 => "bad_credential",
        /// The server has as many connections as it allows.
        TooManyConnections = 5 => "too_many_connections",
        /// The server is stopping.
        ShuttingDown = 6 => "shutting_down",
        /// A frame is longer than Welcome (or the handshake) allows.
        FrameTooLarge = 7 => "frame_too_large",
        /// A frame that is malformed, or not allowed at this point.
        ProtocolViolation = 8 => "protocol_violation",
        /// No complete Hello arrived in time.
        HelloTimeout = 9 => "hello_timeout",
        /// Nothing arrived for longer than Welcome's idle timeout.
        IdleTimeout = 10 => "idle_timeout",
        /// The same device opened another connection.
        Replaced = 11 => "replaced",
        /// The device sent more packages without a receipt than Welcome allows.
        TooManyUnacknowledged = 12 => "too_many_unacknowledged",
        /// The server cannot take anything in at the moment.
        Unavailable = 13 => "unavailable",
        /// The device's address has as many connections as one may have.
        TooManyFromAddress = 14 => "too_many_from_address",
        /// Too many connections from the device's address have ended without a valid Hello.
        TooManyAttempts = 15 => "too_many_attempts",
        /// A frame has begun and does not arrive fast enough.
        TooSlow = 16 => "too_slow",
        /// The device does not read what it is sent.
        NotHeard = 17 => "not_heard",
    }
}

reasons! {
    /// Why the server asks the device to leave.
    pub enum GoodbyeReason {
        /// The server is stopping.
        ShuttingDown = 1 => "shutting_down",
        /// The device should connect again, to be placed elsewhere.
        Rebalance = 2 => "rebalance",
        /// The device itself leaves.
        Leaving = 3 => "leaving",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_reason_codes_round_trip_and_unknown_codes_are_other() {
        for &reason in RejectReason::ALL {
            assert_eq!(RejectReason::from_code(reason.code()), Some(reason));
        }
        for &reason in RefusalReason::ALL {
            assert_eq!(RefusalReason::from_code(reason.code()), Some(reason));
        }
        for &reason in GoodbyeReason::ALL {
            assert_eq!(GoodbyeReason::from_code(reason.code()), Some(reason));
        }
        assert_eq!(RejectReason::from_code(200), Some(RejectReason::Other));
        assert_eq!(RejectReason::from_code(0), None);
        assert_eq!(RefusalReason::from_code(0), None);
        assert_eq!(GoodbyeReason::from_code(0), None);
    }
}
