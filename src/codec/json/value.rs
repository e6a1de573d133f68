//! Single values out of JSON, checked against what the layout declares and written as Avro.

use std::borrow::Cow;
use std::fmt;
use std::time::UNIX_EPOCH;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Visitor};

use super::fault::{FaultReason, Step};
use super::plan::Node;
use super::read::Context;
use crate::codec::avro::sink::{self, NULL, write_bytes, write_f32, write_f64, write_int, write_long, write_uint};
use crate::codec::range::is_valid;

/// From here on a double does not hold every integer.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// Reads the value of one field.
pub(super) struct NodeSeed<'c> {
    pub node: &'c Node,
    /// Where null is written, if the field may be null: what came after that is dropped.
    pub nullable_at: Option<u32>,
    pub context: &'c mut Context,
}

/// A number, a text or null, for the members that every event has.
pub(super) enum Primitive<'de> {
    Null,
    Integer(i128),
    Text(Cow<'de, str>),
}

pub(super) struct PrimitiveSeed;

/// A time as RFC 3339 text in UTC: milliseconds or microseconds since the Unix epoch.
pub(super) fn time_in(text: &str, in_micros: bool) -> Option<i64> {
    let time = humantime::parse_rfc3339(text).ok()?;
    let micros = match time.duration_since(UNIX_EPOCH) {
        Ok(since) => i64::try_from(since.as_micros()).ok()?,
        Err(before) => -i64::try_from(before.duration().as_micros()).ok()?,
    };
    Some(if in_micros { micros } else { micros.div_euclid(1000) })
}

/// The integer that a number with a fraction or an exponent stands for, such as 5.0 or 1e3.
fn whole(number: f64) -> Option<i64> {
    (number.fract() == 0.0 && number.abs() <= EXACT_INTEGERS).then_some(number as i64)
}

// === impl NodeSeed ===

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for NodeSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.node {
            Node::Uint { .. } | Node::Int { .. } => f.write_str("a whole number"),
            Node::Fixed { .. } | Node::F32 { .. } | Node::F64 { .. } => f.write_str("a number"),
            Node::Bool => f.write_str("true or false"),
            Node::Enum(_) => f.write_str("a symbol as text"),
            Node::Timestamp { .. } => f.write_str("a time as a whole number or as RFC 3339 text"),
            Node::Bytes { .. } => f.write_str("bytes as hexadecimal text"),
            Node::Text { .. } => f.write_str("text"),
            Node::Group(_) => f.write_str("an object"),
            Node::Array { .. } => f.write_str("an array"),
        }
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.node {
            Node::Bool => {
                self.context.out.push(value.into());
                Ok(())
            }
            _ => Err(E::invalid_type(serde::de::Unexpected::Bool(value), &self)),
        }
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match self.node {
            Node::Uint { min, max, into } => {
                if !(*min..=*max).contains(&value) {
                    return Err(self.out_of_range(value, min, max));
                }
                write_uint(value, *into, &mut self.context.out);
                Ok(())
            }
            node if node.is_integer() => match i64::try_from(value) {
                Ok(value) => self.integer(value),
                Err(_) => Err(self.above_all_integers(value)),
            },
            _ => self.number(value as f64),
        }
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.node {
            Node::Uint { min, max, .. } => match u64::try_from(value) {
                Ok(value) => self.visit_u64(value),
                Err(_) => Err(self.out_of_range(value, min, max)),
            },
            node if node.is_integer() => self.integer(value),
            _ => self.number(value as f64),
        }
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match (self.node.is_integer(), whole(value)) {
            (true, Some(integer)) => self.visit_i64(integer),
            (true, None) => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
            (false, _) => self.number(value),
        }
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        let Self { node, context, .. } = self;
        match node {
            Node::Text { max } => {
                if text.len() > *max as usize {
                    let detail = format!("{} bytes; allowed are at most {max}", text.len());
                    return Err(context.fail(FaultReason::WrongLength, detail));
                }
                write_bytes(text.as_bytes(), &mut context.out);
                Ok(())
            }
            Node::Enum(symbols) => match symbols.iter().find(|(symbol, _)| **symbol == *text) {
                Some((_, index)) => {
                    write_long(*index, &mut context.out);
                    Ok(())
                }
                None => {
                    let known = symbols.iter().map(|(symbol, _)| &**symbol).collect::<Vec<_>>().join(", ");
                    Err(context.fail(FaultReason::UnknownSymbol, format!("known are {known}")))
                }
            },
            Node::Timestamp { in_micros, .. } => match time_in(text, *in_micros) {
                Some(time) => Self { node, nullable_at: None, context }.integer(time),
                None => Err(context.fail(FaultReason::WrongKind, "not a time in RFC 3339 that ends in Z")),
            },
            Node::Bytes { max } => write_hex(text, *max, context),
            _ => Err(E::invalid_type(serde::de::Unexpected::Str(text), &Self { node, nullable_at: None, context })),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match self.nullable_at {
            Some(start) => {
                self.context.out.truncate(start as usize);
                self.context.out.push(NULL);
                Ok(())
            }
            None => Err(E::invalid_type(serde::de::Unexpected::Unit, &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.node {
            Node::Group(group) => self.context.read_group(group, map),
            _ => Err(A::Error::invalid_type(serde::de::Unexpected::Map, &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Node::Array { min, max, item } = self.node else {
            return Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self));
        };
        let Self { context, .. } = self;
        let start = context.out.len();
        let mut count = 0;
        while let Some(()) = seq
            .next_element_seed(NodeSeed { node: item, nullable_at: None, context })
            .map_err(|error| context.at(Step::Item(count), error))?
        {
            count += 1;
            if count > *max {
                return Err(context.fail(FaultReason::WrongLength, format!("more than {max} items")));
            }
        }
        if count < *min {
            return Err(context.fail(FaultReason::WrongLength, format!("{count} items; there have to be {min}")));
        }
        if count > 0 {
            // Avro has the count before the items, and JSON tells it after them.
            let end = context.out.len();
            sink::begin_array(count, &mut context.out);
            let count_len = context.out.len() - end;
            if let Some(array) = context.out.get_mut(start..) {
                array.rotate_right(count_len);
            }
        }
        sink::end_array(&mut context.out);
        Ok(())
    }
}

impl NodeSeed<'_> {
    /// A whole number for a field that takes nothing else.
    fn integer<E: Error>(self, value: i64) -> Result<(), E> {
        match self.node {
            Node::Int { min, max, into } if (*min..=*max).contains(&value) => {
                write_int(value, *into, &mut self.context.out);
                Ok(())
            }
            Node::Timestamp { min, max, .. } if (*min..=*max).contains(&value) => {
                write_long(value, &mut self.context.out);
                Ok(())
            }
            Node::Int { min, max, .. } | Node::Timestamp { min, max, .. } => Err(self.out_of_range(value, min, max)),
            _ => Err(E::invalid_type(serde::de::Unexpected::Signed(value), &self)),
        }
    }

    /// A number for a field that may have a fraction.
    fn number<E: Error>(self, value: f64) -> Result<(), E> {
        match self.node {
            Node::Fixed { min, max, scale } => {
                let (low, high) = (scale.physical(*min), scale.physical(*max));
                if !(low..=high).contains(&value) {
                    return Err(self.out_of_range(value, low, high));
                }
                // What a device could have sent: the closest step, within the range in spite of rounding.
                let raw = scale.raw(value).clamp(*min, *max);
                write_f64(scale.physical(raw), &mut self.context.out);
                Ok(())
            }
            Node::F32 { min, max, into } => {
                let single = value as f32;
                if !single.is_finite() || !is_valid(value, *min, *max) || !is_valid(single.into(), *min, *max) {
                    return Err(self.out_of_range(value, min, max));
                }
                write_f32(single, *into, &mut self.context.out);
                Ok(())
            }
            Node::F64 { min, max } => {
                if !is_valid(value, *min, *max) {
                    return Err(self.out_of_range(value, min, max));
                }
                write_f64(value, &mut self.context.out);
                Ok(())
            }
            _ => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
    }

    fn out_of_range<E: Error>(self, value: impl fmt::Display, min: impl fmt::Display, max: impl fmt::Display) -> E {
        self.context.fail(FaultReason::OutOfRange, format!("{value}; allowed are {min} to {max}"))
    }

    fn above_all_integers<E: Error>(self, value: u64) -> E {
        match self.node {
            Node::Int { min, max, .. } | Node::Timestamp { min, max, .. } => self.out_of_range(value, min, max),
            _ => E::invalid_type(serde::de::Unexpected::Unsigned(value), &self),
        }
    }
}

fn write_hex<E: Error>(text: &str, max: u32, context: &mut Context) -> Result<(), E> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    if !rest.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(context.fail(FaultReason::WrongKind, "not bytes as hexadecimal text"));
    }
    if pairs.len() > max as usize {
        let detail = format!("{} bytes; allowed are at most {max}", pairs.len());
        return Err(context.fail(FaultReason::WrongLength, detail));
    }
    write_long(pairs.len() as i64, &mut context.out);
    let bytes = pairs.iter().map(|[high, low]| digit(*high).unwrap_or(0) << 4 | digit(*low).unwrap_or(0));
    context.out.extend(bytes);
    Ok(())
}

// === impl PrimitiveSeed ===

impl<'de> DeserializeSeed<'de> for PrimitiveSeed {
    type Value = Primitive<'de>;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Primitive<'de>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for PrimitiveSeed {
    type Value = Primitive<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a text or a whole number")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Primitive<'de>, E> {
        Ok(Primitive::Integer(value.into()))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Primitive<'de>, E> {
        Ok(Primitive::Integer(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Primitive<'de>, E> {
        match whole(value) {
            Some(integer) => Ok(Primitive::Integer(integer.into())),
            None => Err(E::invalid_type(serde::de::Unexpected::Float(value), &self)),
        }
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Primitive<'de>, E> {
        Ok(Primitive::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Primitive<'de>, E> {
        Ok(Primitive::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: Error>(self) -> Result<Primitive<'de>, E> {
        Ok(Primitive::Null)
    }
}
