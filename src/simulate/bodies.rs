//! What the messages of a simulated fleet say: plausible values for every field of every layout, so that packages,
//! records and rows have the sizes that real ones have.
//!
//! Made by the kind and the name of a field, not by message type: the operator's own layouts get values, too.

use std::sync::Arc;

use rand::RngExt;
use rand::rngs::SmallRng;

use super::typical;
use crate::codec::MessageCodec;
use crate::codec::bits::EncodeError;
use crate::schema::{Count, Field, Kind, Resolution, Value};
use crate::schema::{TypeId, TypeVersion, Version};

/// Items that an array has at most: a long one is rare in practice, and would decide what is measured.
const MAX_ITEMS: u32 = 40;

/// How often an optional field is there.
const PRESENCE: f64 = 0.9;

/// Seconds that a vehicle drives between two of its positions.
const STEP_S: f64 = 5.0;

const METRES_PER_DEGREE: f64 = 111_320.0;

/// Where a device is and where it goes.
#[derive(Debug, Clone)]
pub(super) struct Motion {
    latitude: f64,
    longitude: f64,
    heading: f64,
    speed: f64,
    odometer: f64,
    /// Which of a type's versions its firmware speaks.
    firmware: usize,
}

/// Makes bodies of one message type. Reuses one tree of values per version.
#[derive(Debug)]
pub(super) struct Maker {
    codec: Arc<MessageCodec>,
    values: Vec<(Version, Vec<Value>)>,
}

// === impl Motion ===

impl Motion {
    pub fn new(rng: &mut SmallRng) -> Self {
        Self {
            latitude: rng.random_range(47.5..54.5),
            longitude: rng.random_range(6.5..14.5),
            heading: rng.random_range(0.0..359.9),
            speed: rng.random_range(0.0..110.0),
            odometer: rng.random_range(1e5..3e8),
            firmware: rng.random_range(0..1024),
        }
    }

    fn drive(&mut self, rng: &mut SmallRng) {
        self.speed = (self.speed + rng.random_range(-6.0..6.0)).clamp(0.0, 130.0);
        self.heading = (self.heading + rng.random_range(-12.0..12.0)).rem_euclid(359.9);
        let metres = self.speed / 3.6 * STEP_S;
        let (east, north) = self.heading.to_radians().sin_cos();
        self.latitude = (self.latitude + north * metres / METRES_PER_DEGREE).clamp(-89.0, 89.0);
        let metres_per_degree = METRES_PER_DEGREE * self.latitude.to_radians().cos();
        self.longitude = (self.longitude + east * metres / metres_per_degree).clamp(-179.0, 179.0);
        self.odometer += metres;
    }
}

// === impl Maker ===

impl Maker {
    /// Makes one body of each version, to be sure that the layouts take what is made.
    pub fn new(codec: Arc<MessageCodec>, rng: &mut SmallRng, now_ms: u64) -> Result<Self, EncodeError> {
        let mut values = Vec::new();
        let motion = Motion::new(rng);
        for TypeVersion { number, fields } in &codec.message_type.versions {
            let Some(layout) = codec.layout(*number) else { unreachable!("every version has a layout") };
            let mut tree = Vec::new();
            fill_all(fields, &mut tree, rng, &motion, now_ms);
            layout.encode_fields(&tree, &mut Vec::new())?;
            values.push((*number, tree));
        }
        Ok(Self { codec, values })
    }

    pub fn type_id(&self) -> TypeId {
        self.codec.message_type.id
    }

    /// Appends a body and says of which version it is.
    pub fn append(&mut self, rng: &mut SmallRng, motion: &mut Motion, now_ms: u64, out: &mut Vec<u8>) -> Version {
        motion.drive(rng);
        // A type has at least one version.
        let choice = motion.firmware % self.values.len();
        let (version, tree) = &mut self.values[choice];
        let Some(layout) = self.codec.layout(*version) else { unreachable!("every version has a layout") };
        fill_all(layout.fields(), tree, rng, motion, now_ms);
        let encoded = layout.encode_fields(tree, out);
        assert!(encoded.is_ok(), "{encoded:?}");
        *version
    }
}

fn fill_all(fields: &[Field], values: &mut Vec<Value>, rng: &mut SmallRng, motion: &Motion, now_ms: u64) {
    let fields = fields.iter().filter(|field| !field.kind.is_reserved());
    let mut num_values = 0;
    for (index, field) in fields.enumerate() {
        if values.len() <= index {
            values.push(Value::Null);
        }
        fill(field, &mut values[index], rng, motion, now_ms);
        num_values = index + 1;
    }
    values.truncate(num_values);
}

/// Writes into the value that is there, so that its text and lists keep their memory.
fn fill(field: &Field, value: &mut Value, rng: &mut SmallRng, motion: &Motion, now_ms: u64) {
    if field.optional && rng.random::<f64>() > PRESENCE {
        *value = Value::Null;
        return;
    }
    let number = |rng: &mut SmallRng, low: f64, high: f64| known(&field.name, motion, rng).clamp_to(low, high, rng);
    match &field.kind {
        Kind::Uint { range, .. } => {
            let made = number(rng, *range.start() as f64, *range.end() as f64) as u64;
            *value = Value::Uint(made.clamp(*range.start(), *range.end()));
        }
        Kind::Int { range, .. } => {
            let made = number(rng, *range.start() as f64, *range.end() as f64) as i64;
            *value = Value::Int(made.clamp(*range.start(), *range.end()));
        }
        Kind::Fixed { scale, range, .. } => {
            let (low, high) = (scale.physical(*range.start()), scale.physical(*range.end()));
            *value = Value::Double(number(rng, low, high));
        }
        Kind::F32 { range } => {
            let (low, high) = range.as_ref().map_or((-1e3, 1e3), |range| (*range.start(), *range.end()));
            *value = Value::Float(number(rng, low, high) as f32);
        }
        Kind::F64 { range } => {
            let (low, high) = range.as_ref().map_or((-1e3, 1e3), |range| (*range.start(), *range.end()));
            *value = Value::Double(number(rng, low, high));
        }
        Kind::Bool => *value = Value::Bool(typical::is_usual(&field.name) == rng.random_bool(0.95)),
        Kind::Enum { symbols, .. } => {
            // An enum has at least one symbol.
            let symbol = &symbols[rng.random_range(0..symbols.len())];
            *value = Value::Symbol(Arc::clone(&symbol.name));
        }
        Kind::Timestamp { resolution, .. } => {
            // An operator's field may count from another epoch or for a shorter time than this program lives in.
            let now_ms = i64::try_from(now_ms).unwrap_or(i64::MAX);
            *value = Value::Timestamp(match resolution {
                Resolution::Seconds => now_ms / 1000 * 1000,
                Resolution::Milliseconds => now_ms,
                Resolution::Microseconds => now_ms.saturating_mul(1000),
            });
        }
        Kind::Bytes { max, .. } => {
            let mut bytes = match std::mem::replace(value, Value::Null) {
                Value::Bytes(bytes) => bytes,
                _ => Vec::new(),
            };
            bytes.clear();
            bytes.extend(motion.firmware.to_be_bytes().into_iter().cycle().take((*max).min(16) as usize));
            *value = Value::Bytes(bytes);
        }
        Kind::Text { max, .. } => {
            let mut text = match std::mem::replace(value, Value::Null) {
                Value::Text(text) => text,
                _ => String::new(),
            };
            text.clear();
            typical::write_text(&field.name, motion.firmware, &mut text);
            // ASCII: any byte is a boundary.
            text.truncate(*max as usize);
            *value = Value::Text(text);
        }
        Kind::Group { fields } => {
            let mut values = match std::mem::replace(value, Value::Null) {
                Value::Group(values) => values,
                _ => Vec::new(),
            };
            fill_all(fields, &mut values, rng, motion, now_ms);
            *value = Value::Group(values);
        }
        Kind::Array { count, item } => {
            let num_items = match count {
                Count::Fixed(count) => *count,
                Count::Counted { max, .. } => {
                    rng.random_range(0..=(*max).min(typical::max_items(&field.name, MAX_ITEMS)))
                }
            };
            let mut items = match std::mem::replace(value, Value::Null) {
                Value::Array(items) => items,
                // It is filled for the first time, or was null.
                _ => Vec::new(),
            };
            items.resize(num_items as usize, Value::Null);
            for value in &mut items {
                fill(item, value, rng, motion, now_ms);
            }
            *value = Value::Array(items);
        }
        Kind::Reserved { .. } => unreachable!("reserved bits have no value"),
    }
}

/// What is known of a number before its range is looked at.
enum Known {
    Value(f64),
    Anything,
}

fn known(name: &str, motion: &Motion, rng: &mut SmallRng) -> Known {
    match name {
        "latitude" => Known::Value(motion.latitude),
        "longitude" => Known::Value(motion.longitude),
        "speed" | "speed_before" => Known::Value(motion.speed),
        "heading" => Known::Value(motion.heading),
        "odometer" => Known::Value(motion.odometer),
        name => typical::range(name).map_or(Known::Anything, |(low, high)| Known::Value(rng.random_range(low..high))),
    }
}

impl Known {
    fn clamp_to(self, low: f64, high: f64, rng: &mut SmallRng) -> f64 {
        match self {
            Self::Value(value) => value.max(low).min(high),
            Self::Anything => low + (high - low) * rng.random::<f64>(),
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;
    use crate::codec::Codecs;

    #[test]
    fn test_every_shipped_layout_takes_what_is_made() {
        let mut rng = SmallRng::seed_from_u64(1);
        let now_ms = 1_780_000_000_123;
        for codec in Codecs::builtin().unwrap().types() {
            let mut maker = Maker::new(Arc::clone(codec), &mut rng, now_ms).unwrap();
            for _ in 0..500 {
                let mut motion = Motion::new(&mut rng);
                let mut body = Vec::new();
                let version = maker.append(&mut rng, &mut motion, now_ms, &mut body);
                let layout = codec.layout(version).unwrap();
                assert!(layout.decode(&body).is_ok(), "{} {version}", codec.message_type.name);
            }
        }
    }

    #[test]
    fn test_positions_follow_from_each_other() {
        let mut rng = SmallRng::seed_from_u64(2);
        let mut motion = Motion::new(&mut rng);
        for _ in 0..1000 {
            let before = motion.clone();
            motion.drive(&mut rng);
            assert!((motion.latitude - before.latitude).abs() < 0.01);
            assert!((motion.longitude - before.longitude).abs() < 0.01);
            assert!(motion.odometer >= before.odometer);
        }
    }
}
