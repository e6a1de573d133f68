//! The members that every event has, whatever its type: who sent it, when it happened, and what tells it apart.

use std::borrow::Cow;
use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, Unexpected, Visitor};

use super::fault::{FaultReason, Step};
use super::read::Context;
use super::value::whole;
use crate::protocol::device_id::DeviceId;
use crate::protocol::package::EVENT_TIME_END_MS;
use crate::schema::number::{Decimal, Whole};
use crate::schema::time::{Instant, NO_LEAP_SECONDS, nanoseconds, rounded};
use crate::schema::{IdentityColumn, Resolution};

/// Their names; no field of a type has one of these.
pub(super) const DEVICE_ID: &str = IdentityColumn::DeviceId.name();
pub(super) const EVENT_TIME: &str = IdentityColumn::EventTime.name();
pub(super) const SEQUENCE: &str = IdentityColumn::Sequence.name();

/// One of these members.
#[derive(Debug, Clone, Copy)]
pub(super) enum OwnMember {
    DeviceId,
    EventTime,
    Sequence,
}

/// An event's own members as they come.
#[derive(Debug, Default)]
pub(super) struct OwnMembers<'de> {
    pub device_id: Option<Cow<'de, str>>,
    pub event_time_ms: Option<u64>,
    pub sequence: Option<Option<u32>>,
}

/// A number, a text or null, for the members that every event has.
enum Primitive<'de> {
    Null,
    Integer(i128),
    Text(Cow<'de, str>),
}

struct PrimitiveSeed<'c> {
    context: &'c mut Context,
}

// === impl OwnMembers ===

impl<'de> OwnMembers<'de> {
    /// Reads the value of one of them.
    pub(super) fn read<A: MapAccess<'de>>(
        &mut self,
        member: OwnMember,
        map: &mut A,
        context: &mut Context,
    ) -> Result<(), A::Error> {
        let (name, is_there) = match member {
            OwnMember::DeviceId => (DEVICE_ID, self.device_id.is_some()),
            OwnMember::EventTime => (EVENT_TIME, self.event_time_ms.is_some()),
            OwnMember::Sequence => (SEQUENCE, self.sequence.is_some()),
        };
        if is_there {
            return Err(context.twice(name));
        }
        let value = map.next_value_seed(PrimitiveSeed { context: &mut *context });
        let value = value.map_err(|error| context.at(Step::Member(name.into()), error))?;
        let taken = match member {
            OwnMember::DeviceId => self.take_device_id(value),
            OwnMember::EventTime => self.take_event_time(value),
            OwnMember::Sequence => self.take_sequence(value),
        };
        taken.map_err(|(reason, detail)| context.fail_at(name, reason, detail))
    }

    #[inline]
    fn take_device_id(&mut self, value: Primitive<'de>) -> Result<(), (FaultReason, String)> {
        let Primitive::Text(text) = value else {
            return Err((FaultReason::WrongKind, "the id of a device is a text".to_owned()));
        };
        DeviceId::check(&text).map_err(|bad| (FaultReason::BadDeviceId, bad.to_string()))?;
        self.device_id = Some(text);
        Ok(())
    }

    #[inline]
    fn take_event_time(&mut self, value: Primitive<'_>) -> Result<(), (FaultReason, String)> {
        let time = match value {
            Primitive::Integer(time) => Some(time),
            Primitive::Text(text) => match nanoseconds(&text) {
                Some(Instant::Nanoseconds(time)) => Some(rounded(time, Resolution::Milliseconds).into()),
                Some(Instant::LeapSecond) => {
                    return Err((FaultReason::EventTimeOutOfRange, NO_LEAP_SECONDS.to_owned()));
                }
                None => None,
            },
            Primitive::Null => None,
        };
        let time = time.ok_or_else(|| {
            let allowed = "a time is a number of milliseconds since 1970, or RFC 3339 with Z or an offset";
            (FaultReason::WrongKind, allowed.to_owned())
        })?;
        let time = u64::try_from(time).ok().filter(|time| *time < EVENT_TIME_END_MS).ok_or_else(|| {
            let last = EVENT_TIME_END_MS - 1;
            (FaultReason::EventTimeOutOfRange, format!("{time}; an event time is 0 to {last} ms since 1970"))
        })?;
        self.event_time_ms = Some(time);
        Ok(())
    }

    #[inline]
    fn take_sequence(&mut self, value: Primitive<'_>) -> Result<(), (FaultReason, String)> {
        let sequence = match value {
            Primitive::Null => None,
            Primitive::Integer(number) => {
                let number = u32::try_from(number);
                Some(number.map_err(|_| (FaultReason::OutOfRange, "allowed are 0 to 4294967295".to_owned()))?)
            }
            Primitive::Text(_) => return Err((FaultReason::WrongKind, "a sequence is a number".to_owned())),
        };
        self.sequence = Some(sequence);
        Ok(())
    }
}

// === impl PrimitiveSeed ===

impl<'de> DeserializeSeed<'de> for PrimitiveSeed<'_> {
    type Value = Primitive<'de>;

    #[inline]
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Primitive<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PrimitiveSeed<'_> {
    type Value = Primitive<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a whole number")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Primitive<'de>, E> {
        if let Some(text) = self.context.text_of_number() {
            return self.exactly(&text);
        }
        Ok(Primitive::Integer(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Primitive<'de>, E> {
        if let Some(text) = self.context.text_of_number() {
            return self.exactly(&text);
        }
        Ok(Primitive::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Primitive<'de>, E> {
        if let Some(text) = self.context.text_of_number() {
            return self.exactly(&text);
        }
        let (integer, doubt) = whole(value);
        self.context.doubt(doubt);
        match integer {
            Some(integer) => Ok(Primitive::Integer(integer.into())),
            None => Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
    }

    #[inline]
    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Primitive<'de>, E> {
        Ok(Primitive::Text(Cow::Borrowed(text)))
    }

    #[inline]
    fn visit_str<E: Error>(self, text: &str) -> Result<Primitive<'de>, E> {
        Ok(Primitive::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Primitive<'de>, E> {
        Ok(Primitive::Null)
    }
}

impl PrimitiveSeed<'_> {
    #[cold]
    #[inline(never)]
    fn exactly<'de, E: Error>(self, text: &str) -> Result<Primitive<'de>, E> {
        let Some(decimal) = Decimal::parse(text) else { panic!("{text} was read as a number before") };
        match decimal.whole() {
            Whole::Integer(integer) => Ok(Primitive::Integer(integer)),
            // What takes integers takes far smaller ones.
            Whole::Below => Ok(Primitive::Integer(i128::MIN)),
            Whole::Above => Ok(Primitive::Integer(i128::MAX)),
            Whole::Fraction => Err(E::invalid_type(Unexpected::Other("a number with a fraction"), &self)),
        }
    }
}
