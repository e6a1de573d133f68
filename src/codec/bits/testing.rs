//! Arbitrary layouts and values that fit them, for property tests.

use proptest::prelude::*;

use crate::codec::Codecs;
use crate::schema::{Count, Field, Kind, Resolution, Value};

/// A kind as TOML keys, and in an item of an array without a name.
fn kind_toml() -> impl Strategy<Value = String> {
    let scalar =
        prop_oneof![
        (1u32..=64).prop_map(|bits| format!("kind = 'uint', bits = {bits}")),
        (1u32..=64).prop_map(|bits| format!("kind = 'int', bits = {bits}")),
        Just("kind = 'bool'".to_owned()),
        (2u32..=16).prop_map(|bits| format!("kind = 'enum', bits = {bits}, symbols = {{ a = 3, b = 0, C_1 = 2 }}")),
        (1u32..=32, any::<bool>(), 1u32..100, 0u32..8, -50i32..50).prop_map(|(bits, signed, step, exponent, offset)| {
            format!("kind = 'fixed', bits = {bits}, signed = {signed}, scale = {step}e-{exponent}, offset = {offset}")
        }),
        Just("kind = 'f32', min = -1e30, max = 1e30".to_owned()),
        Just("kind = 'f64', min = -1e300, max = 1e300".to_owned()),
        (1u32..=48, prop::sample::select(vec!["s", "ms", "us"])).prop_map(|(bits, resolution)| {
            format!("kind = 'timestamp', bits = {bits}, resolution = '{resolution}', epoch = '2020-01-01T00:00:00Z'")
        }),
        (1u32..=6).prop_map(|bits| format!("kind = 'bytes', length_bits = {bits}")),
        (1u32..=6).prop_map(|bits| format!("kind = 'text', length_bits = {bits}")),
    ];
    scalar.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            fields_toml(inner.clone()).prop_map(|fields| format!("kind = 'group', fields = {fields}")),
            (inner.clone(), 1u32..4)
                .prop_map(|(item, count)| format!("kind = 'array', count = {count}, item = {{ {item} }}")),
            (inner, 1u32..4)
                .prop_map(|(item, bits)| format!("kind = 'array', count_bits = {bits}, item = {{ {item} }}")),
        ]
    })
}

fn fields_toml(kind: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    prop::collection::vec((kind, any::<bool>(), prop::option::of(1u32..70)), 1..6).prop_map(|fields| {
        let mut toml = String::from("[");
        for (position, (kind, optional, reserved)) in fields.into_iter().enumerate() {
            if let Some(bits) = reserved.filter(|bits| bits % 3 == 0) {
                toml += &format!("{{ kind = 'reserved', bits = {bits} }}, ");
            }
            toml += &format!("{{ name = 'f{position}', optional = {optional}, {kind} }}, ");
        }
        toml + "]"
    })
}

/// Codecs of one type `t` with id 7 and versions 1 and 2. Version 2 has the fields in another order, one more, and
/// one with a default, so that version 1 lacks fields and version 2 is reordered.
pub(crate) fn codecs() -> impl Strategy<Value = Codecs> {
    fields_toml(kind_toml()).prop_map(|fields| {
        let added = "{ name = 'added', kind = 'int', bits = 5 }, { name = 'defaulted', kind = 'text', length_bits = 4, default = 'none' }, ";
        let reordered = fields.replacen('[', &format!("[{added}"), 1);
        let text = format!(
            "type = 't'\nid = 7\ndoc = 'd'\n[[version]]\nversion = 1\nfields = {fields}\n[[version]]\nversion = 2\nfields = {reordered}\n"
        );
        Codecs::from_sources([("t.toml", text)]).unwrap()
    })
}

/// A value for each field.
pub(crate) fn values_of(fields: &[Field]) -> BoxedStrategy<Vec<Value>> {
    fields.iter().filter(|field| !field.kind.is_reserved()).map(field_value).collect::<Vec<_>>().boxed()
}

fn field_value(field: &Field) -> BoxedStrategy<Value> {
    let value = kind_value(&field.kind);
    if field.optional { prop_oneof![Just(Value::Null), value].boxed() } else { value }
}

fn kind_value(kind: &Kind) -> BoxedStrategy<Value> {
    match kind {
        Kind::Uint { range, .. } => range.clone().prop_map(Value::Uint).boxed(),
        Kind::Int { range, .. } => range.clone().prop_map(Value::Int).boxed(),
        Kind::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Kind::Enum { symbols, .. } => {
            prop::sample::select(symbols.clone()).prop_map(|symbol| Value::Symbol(symbol.name)).boxed()
        }
        Kind::Fixed { range, scale, .. } => {
            let scale = *scale;
            range.clone().prop_map(move |raw| Value::Double(scale.physical(raw))).boxed()
        }
        Kind::F32 { .. } => (-1e30f32..1e30).prop_map(Value::Float).boxed(),
        Kind::F64 { .. } => (-1e300f64..1e300).prop_map(Value::Double).boxed(),
        Kind::Timestamp { bits, resolution, epoch } => {
            let (resolution, epoch): (Resolution, i64) = (*resolution, *epoch);
            (0..1i64 << bits)
                .prop_map(move |ticks| Value::Timestamp((ticks + epoch) * resolution.units_per_tick()))
                .boxed()
        }
        Kind::Bytes { max, .. } => prop::collection::vec(any::<u8>(), 0..=*max as usize).prop_map(Value::Bytes).boxed(),
        Kind::Text { max, .. } => {
            let max = *max as usize;
            prop::collection::vec(any::<char>(), 0..=max)
                .prop_map(move |chars| {
                    let mut text = String::new();
                    text.extend(chars.into_iter().filter(|char| char.is_ascii() || max > 8));
                    while text.len() > max {
                        text.pop();
                    }
                    Value::Text(text)
                })
                .boxed()
        }
        Kind::Group { fields } => values_of(fields).prop_map(Value::Group).boxed(),
        Kind::Array { count, item } => {
            let num_items = match count {
                Count::Fixed(count) => *count as usize..=*count as usize,
                Count::Counted { max, .. } => 0..=*max as usize,
            };
            prop::collection::vec(kind_value(&item.kind), num_items).prop_map(Value::Array).boxed()
        }
        Kind::Reserved { .. } => Just(Value::Null).boxed(),
    }
}
