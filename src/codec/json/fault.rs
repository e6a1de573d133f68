//! Why an event was refused: one word for programs, a path into the event, and a sentence for people.

use std::fmt::Write;
use std::sync::Arc;

use crate::protocol::reason::RejectReason;

/// Longest text of a fault, in bytes: what a client sent may be quoted, but not at length.
const MAX_DETAIL_LEN: usize = 200;

/// An event that cannot become a record. It will be refused again however often it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventFault {
    /// One word for programs.
    pub reason: FaultReason,
    /// Where in the event: `$.battery.voltage`, `$.trace[3].x`.
    pub path: String,
    /// For people.
    pub detail: String,
}

/// What is wrong with an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultReason {
    /// Not JSON.
    Malformed,
    /// A member that the type does not have.
    UnknownField,
    /// A member that every event of the type has.
    MissingField,
    /// The same member twice.
    RepeatedField,
    /// A value of another kind than the field.
    WrongKind,
    /// A value outside the declared range.
    OutOfRange,
    /// A text that is none of the declared symbols.
    UnknownSymbol,
    /// Text, bytes or an array longer, or an array shorter, than declared.
    WrongLength,
    /// Not the name of a device.
    BadDeviceId,
    /// The event time lies further ahead than the server accepts.
    EventTimeOutOfRange,
    /// More bytes than one event may have.
    TooLarge,
}

/// One step of a path.
#[derive(Debug, Clone)]
pub(super) enum Step {
    Member(Arc<str>),
    Item(u32),
}

// === impl FaultReason ===

impl FaultReason {
    /// Every reason, for documents and tests.
    pub const ALL: &[Self] = &[
        Self::Malformed,
        Self::UnknownField,
        Self::MissingField,
        Self::RepeatedField,
        Self::WrongKind,
        Self::OutOfRange,
        Self::UnknownSymbol,
        Self::WrongLength,
        Self::BadDeviceId,
        Self::EventTimeOutOfRange,
        Self::TooLarge,
    ];

    /// The name in answers.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::UnknownField => "unknown_field",
            Self::MissingField => "missing_field",
            Self::RepeatedField => "repeated_field",
            Self::WrongKind => "wrong_kind",
            Self::OutOfRange => "out_of_range",
            Self::UnknownSymbol => "unknown_symbol",
            Self::WrongLength => "wrong_length",
            Self::BadDeviceId => "bad_device_id",
            Self::EventTimeOutOfRange => "event_time_out_of_range",
            Self::TooLarge => "too_large",
        }
    }
}

impl From<FaultReason> for RejectReason {
    fn from(reason: FaultReason) -> Self {
        match reason {
            FaultReason::OutOfRange | FaultReason::UnknownSymbol => Self::OutOfRange,
            FaultReason::EventTimeOutOfRange => Self::EventTimeOutOfRange,
            FaultReason::TooLarge => Self::TooLarge,
            _ => Self::Undecodable,
        }
    }
}

// === impl EventFault ===

impl EventFault {
    /// A fault at a path.
    pub fn new(reason: FaultReason, path: impl Into<String>, detail: impl Into<String>) -> Self {
        let mut detail = detail.into();
        if detail.len() > MAX_DETAIL_LEN {
            detail.truncate(shortened(&detail, MAX_DETAIL_LEN).len());
            detail.push('…');
        }
        Self { reason, path: path.into(), detail }
    }
}

/// The longest beginning of a text that has at most so many bytes.
pub(super) fn shortened(text: &str, max_len: usize) -> &str {
    let mut len = max_len.min(text.len());
    while !text.is_char_boundary(len) {
        len -= 1;
    }
    &text[..len]
}

/// The path whose last step is the first of `steps`.
pub(super) fn path_of(steps: &[Step]) -> String {
    let mut path = String::from("$");
    for step in steps.iter().rev() {
        // Writing to a string does not fail.
        let _ = match step {
            Step::Member(name) => write!(path, ".{name}"),
            Step::Item(index) => write!(path, "[{index}]"),
        };
    }
    path
}

impl std::fmt::Display for EventFault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} ({})", self.path, self.detail, self.reason.name())
    }
}
