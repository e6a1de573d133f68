//! Which reason a device or client is told for a message that the schema does not take.

use crate::codec::UnknownLayout;
use crate::codec::bits::BodyError;
use crate::protocol::reason::RejectReason;

// === impl RejectReason ===

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
