//! Single values out of JSON, checked against what the layout declares and written as Avro.

use std::fmt;

use serde::de::{DeserializeSeed, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::exact::Doubt;
use super::fault::{FaultReason, Step};
use super::plan::Node;
use super::read::Context;
use crate::codec::avro::sink::{self, NULL, write_bytes, write_f32, write_f64, write_int, write_long, write_uint};
use crate::schema::Scale;
use crate::schema::number::{Decimal, Whole, is_single_in_doubt, to_resolution};
use crate::schema::time::{Instant, NO_LEAP_SECONDS, nanoseconds, rounded};

/// From here on a double does not hold every integer.
const EXACT_INTEGERS: f64 = 9_007_199_254_740_992.0;

/// Reads the value of one field.
pub(super) struct NodeSeed<'c> {
    pub node: &'c Node,
    /// Where null is written, if the field may be null: what came after that is dropped.
    pub nullable_at: Option<u32>,
    pub context: &'c mut Context,
}

/// A float as people read it: with an exponent where its digits would be many.
struct Short<T>(T);

/// The integer that a number with a fraction or an exponent stands for, such as 5.0 or 1e3; and what is in doubt of it,
/// because the double is only next to what is written.
#[inline]
pub(super) fn whole(number: f64) -> (Option<i64>, Doubt) {
    if number.abs() >= EXACT_INTEGERS {
        return (None, Doubt::Certain);
    }
    let integer = number as i64;
    // A decimal that is whole is the double; one that is not may be so near that it reads as a whole one.
    if integer as f64 == number { (Some(integer), Doubt::IfLong) } else { (None, Doubt::None) }
}

// === impl NodeSeed ===

impl<'de> DeserializeSeed<'de> for NodeSeed<'_> {
    type Value = ();

    #[inline]
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

    #[inline]
    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.node {
            Node::Bool => {
                self.context.out.push(value.into());
                Ok(())
            }
            _ => Err(E::invalid_type(Unexpected::Bool(value), &self)),
        }
    }

    #[inline]
    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        if let Some(text) = self.context.text_of_number() {
            return self.exactly(&text);
        }
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

    #[inline]
    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        if let Some(text) = self.context.text_of_number() {
            return self.exactly(&text);
        }
        match self.node {
            node if node.is_integer() => self.integer(value),
            _ => self.number(value as f64),
        }
    }

    #[inline]
    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if let Some(text) = self.context.text_of_number() {
            return self.exactly(&text);
        }
        if !self.node.is_integer() {
            return self.number(value);
        }
        let (integer, doubt) = whole(value);
        self.context.doubt(doubt);
        match integer {
            Some(integer) => self.integer(integer),
            None => Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
    }

    #[inline]
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
            Node::Timestamp { resolution, .. } => match nanoseconds(text) {
                Some(Instant::Nanoseconds(time)) => {
                    Self { node, nullable_at: None, context }.integer(rounded(time, *resolution))
                }
                Some(Instant::LeapSecond) => Err(context.fail(FaultReason::OutOfRange, NO_LEAP_SECONDS)),
                None => Err(context.fail(FaultReason::WrongKind, "not a time in RFC 3339 with Z or an offset")),
            },
            Node::Bytes { max } => write_hex(text, *max, context),
            _ => Err(E::invalid_type(Unexpected::Str(text), &Self { node, nullable_at: None, context })),
        }
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        match self.nullable_at {
            Some(start) => {
                self.context.out.truncate(start as usize);
                self.context.out.push(NULL);
                Ok(())
            }
            None => Err(E::invalid_type(Unexpected::Unit, &self)),
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.node {
            Node::Group(group) => self.context.read_group(group, map),
            _ => Err(A::Error::invalid_type(Unexpected::Map, &self)),
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Node::Array { min, max, item } = self.node else {
            return Err(A::Error::invalid_type(Unexpected::Seq, &self));
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
            context.out[start..].rotate_right(count_len);
        }
        sink::end_array(&mut context.out);
        Ok(())
    }
}

impl NodeSeed<'_> {
    /// A whole number for a field that takes nothing else.
    #[inline]
    fn integer<E: Error>(self, value: i64) -> Result<(), E> {
        match self.node {
            Node::Uint { min, max, into } => match u64::try_from(value) {
                Ok(value) if (*min..=*max).contains(&value) => {
                    write_uint(value, *into, &mut self.context.out);
                    Ok(())
                }
                _ => Err(self.out_of_range(value, min, max)),
            },
            Node::Int { min, max, into } if (*min..=*max).contains(&value) => {
                write_int(value, *into, &mut self.context.out);
                Ok(())
            }
            Node::Timestamp { min, max, resolution } => {
                let rounded = to_resolution(value, resolution.units_per_tick());
                if !(*min..=*max).contains(&rounded) {
                    return Err(self.out_of_range(value, min, max));
                }
                write_long(rounded, &mut self.context.out);
                Ok(())
            }
            Node::Int { min, max, .. } => Err(self.out_of_range(value, min, max)),
            _ => Err(E::invalid_type(Unexpected::Signed(value), &self)),
        }
    }

    /// A number for a field that may have a fraction.
    #[inline]
    fn number<E: Error>(self, value: f64) -> Result<(), E> {
        match self.node {
            Node::Fixed { min, max, scale } => {
                let raw = scale.raw_in_doubles(value).unwrap_or_else(|| {
                    self.context.doubt(Doubt::IfLong);
                    scale.raw(value)
                });
                self.step(raw, Short(value), (*min, *max), scale)
            }
            Node::F32 { .. } => {
                if is_single_in_doubt(value) {
                    self.context.doubt(Doubt::Certain);
                }
                self.single(value as f32, Short(value))
            }
            Node::F64 { .. } => self.double(value, Short(value)),
            _ => Err(E::invalid_type(Unexpected::Float(value), &self)),
        }
    }

    /// A step of a fixed-point number, for which `number` was sent.
    #[inline]
    fn step<E: Error>(
        self,
        raw: i64,
        number: impl fmt::Display,
        (min, max): (i64, i64),
        scale: &Scale,
    ) -> Result<(), E> {
        if !(min..=max).contains(&raw) {
            return Err(self.out_of_range(number, Short(scale.physical(min)), Short(scale.physical(max))));
        }
        write_f64(scale.physical(raw), &mut self.context.out);
        Ok(())
    }

    #[inline]
    fn single<E: Error>(self, single: f32, number: impl fmt::Display) -> Result<(), E> {
        match self.node {
            Node::F32 { min, max, into } if (*min..=*max).contains(&single.into()) => {
                write_f32(single, *into, &mut self.context.out);
                Ok(())
            }
            Node::F32 { min, max, .. } => Err(self.out_of_range(number, Short(*min as f32), Short(*max as f32))),
            node => unreachable!("a single for {node:?}"),
        }
    }

    #[inline]
    fn double<E: Error>(self, double: f64, number: impl fmt::Display) -> Result<(), E> {
        match self.node {
            Node::F64 { min, max } if (*min..=*max).contains(&double) => {
                write_f64(double, &mut self.context.out);
                Ok(())
            }
            Node::F64 { min, max } => Err(self.out_of_range(number, Short(*min), Short(*max))),
            node => unreachable!("a double for {node:?}"),
        }
    }

    /// A number as it is written, when the event is read for the second time.
    #[cold]
    #[inline(never)]
    fn exactly<E: Error>(self, text: &str) -> Result<(), E> {
        let Some(decimal) = Decimal::parse(text) else { panic!("{text} was read as a number before") };
        match self.node {
            node if node.is_integer() && decimal.whole() == Whole::Fraction => {
                Err(E::invalid_type(Unexpected::Other("a number with a fraction"), &self))
            }
            Node::Uint { min, max, into } => match decimal.whole() {
                Whole::Integer(integer) if (i128::from(*min)..=i128::from(*max)).contains(&integer) => {
                    write_uint(integer as u64, *into, &mut self.context.out);
                    Ok(())
                }
                _ => Err(self.out_of_range(text, min, max)),
            },
            Node::Int { min, max, .. } | Node::Timestamp { min, max, .. } => match decimal.whole() {
                Whole::Integer(integer) if i64::try_from(integer).is_ok() => self.integer(integer as i64),
                _ => Err(self.out_of_range(text, min, max)),
            },
            Node::Fixed { min, max, scale } => self.step(scale.raw_of(&decimal), text, (*min, *max), scale),
            Node::F32 { .. } => match text.parse() {
                Ok(single) => self.single(single, text),
                Err(error) => panic!("{text} was read as a number before: {error}"),
            },
            Node::F64 { .. } => match text.parse() {
                Ok(double) => self.double(double, text),
                Err(error) => panic!("{text} was read as a number before: {error}"),
            },
            _ => Err(E::invalid_type(Unexpected::Other("a number"), &self)),
        }
    }

    #[cold]
    fn out_of_range<E: Error>(self, value: impl fmt::Display, min: impl fmt::Display, max: impl fmt::Display) -> E {
        self.context.fail(FaultReason::OutOfRange, format!("{value}; allowed are {min} to {max}"))
    }

    fn above_all_integers<E: Error>(self, value: u64) -> E {
        match self.node {
            Node::Int { min, max, .. } | Node::Timestamp { min, max, .. } => self.out_of_range(value, min, max),
            _ => E::invalid_type(Unexpected::Unsigned(value), &self),
        }
    }
}

fn write_hex<E: Error>(text: &str, max: u32, context: &mut Context) -> Result<(), E> {
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    let digit = |byte: u8| match char::from(byte).to_digit(16) {
        Some(digit) => digit as u8,
        None => unreachable!("the text was checked to be hexadecimal"),
    };
    if !rest.is_empty() || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err(context.fail(FaultReason::WrongKind, "not bytes as hexadecimal text"));
    }
    if pairs.len() > max as usize {
        let detail = format!("{} bytes; allowed are at most {max}", pairs.len());
        return Err(context.fail(FaultReason::WrongLength, detail));
    }
    write_long(pairs.len() as i64, &mut context.out);
    context.out.extend(pairs.iter().map(|[high, low]| digit(*high) << 4 | digit(*low)));
    Ok(())
}

// === impl Short ===

impl<T: Copy + fmt::Display + fmt::Debug + Into<f64>> fmt::Display for Short<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.into().abs();
        if size == 0.0 || (1e-5..1e16).contains(&size) { write!(f, "{}", self.0) } else { write!(f, "{:?}", self.0) }
    }
}
