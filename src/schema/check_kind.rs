//! Checks what belongs to one kind of field: its keys, widths, ranges, symbols and default.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use super::check::{Problem, Progress, check_fields, check_item, check_symbol};
use super::field::{Count, DefaultValue, Kind, Resolution, Symbol};
use super::number::{double_range, single_range};
use super::scale::Scale;
use super::source::{FieldSource, Number, Symbols};

/// The most symbols of one enum.
const MAX_SYMBOLS: usize = 1024;
/// The longest text or bytes, and the most items of an array.
const MAX_LENGTH: i64 = 65_535;

type Checked<T> = Result<T, Problem>;

/// The kind that `source` declares, with its default.
pub(super) fn check_kind(
    source: FieldSource,
    depth: usize,
    progress: &mut Progress,
) -> Checked<(Kind, Option<DefaultValue>)> {
    check_keys(&source)?;
    let kind = match source.kind.as_str() {
        "uint" => uint(&source)?,
        "int" => int(&source)?,
        "bool" => Kind::Bool,
        "enum" => symbols(&source)?,
        "fixed" => fixed(&source)?,
        "f32" => Kind::F32 { range: float_range(&source)? },
        "f64" => Kind::F64 { range: float_range(&source)? },
        "timestamp" => timestamp(&source)?,
        "bytes" => {
            let (length_bits, max) = length(&source)?;
            Kind::Bytes { length_bits, max }
        }
        "text" => {
            let (length_bits, max) = length(&source)?;
            Kind::Text { length_bits, max }
        }
        // Without fields it is refused as one that has none.
        "group" => Kind::Group { fields: check_fields(source.fields.unwrap_or_default(), depth + 1, progress)? },
        "array" => {
            let count = count(&source)?;
            let item = *source.item.ok_or_else(|| Problem::new("item is missing: what the array holds"))?;
            let item = Box::new(check_item(item, depth + 1, progress).map_err(|problem| problem.within("item"))?);
            return Ok((Kind::Array { count, item }, None));
        }
        "reserved" => Kind::Reserved { bits: bits(&source, 65_535)? },
        other => unreachable!("{other} is no kind that has keys"),
    };
    let default = match (source.default, &kind) {
        // An enum's default stands for unknown numbers and for the field missing from a version alike.
        (Some(default), kind) => Some(default_value(&default, kind)?),
        (None, _) => None,
    };
    Ok((kind, default))
}

/// Refuses kinds that do not exist and keys that mean nothing for the kind.
fn check_keys(source: &FieldSource) -> Checked<()> {
    let allowed: &[&str] = match source.kind.as_str() {
        "uint" => &["bits", "min", "max", "unit", "default"],
        "int" => &["bits", "min", "max", "unit", "default"],
        "bool" => &["default"],
        "enum" => &["bits", "symbols", "default"],
        "fixed" => &["bits", "signed", "scale", "offset", "min", "max", "unit", "default"],
        "f32" | "f64" => &["min", "max", "unit", "default"],
        "timestamp" => &["bits", "resolution", "epoch"],
        "text" => &["length_bits", "max", "default"],
        "bytes" => &["length_bits", "max"],
        "group" => &["fields"],
        "array" => &["count", "count_bits", "max", "item", "unit"],
        "reserved" => &["bits"],
        other => {
            return Err(Problem::new(format!(
                "there is no kind {other:?}; allowed are uint, int, bool, enum, fixed, f32, f64, timestamp, bytes, \
                 text, group, array, reserved"
            )));
        }
    };
    match source.kind_keys().find(|key| !allowed.contains(key)) {
        Some(key) => Err(Problem::new(format!(
            "the key {key} means nothing for kind {}; allowed are {}",
            source.kind,
            allowed.join(", ")
        ))),
        None => Ok(()),
    }
}

fn bits(source: &FieldSource, max: u32) -> Checked<u32> {
    in_range("bits", source.bits, 1, i64::from(max))
}

fn in_range(key: &str, value: Option<i64>, min: i64, max: i64) -> Checked<u32> {
    let value = value.ok_or_else(|| Problem::new(format!("{key} is missing; allowed are {min} to {max}")))?;
    u32::try_from(value)
        .ok()
        .filter(|_| (min..=max).contains(&value))
        .ok_or_else(|| Problem::new(format!("{key} is {value}; allowed are {min} to {max}")))
}

fn uint(source: &FieldSource) -> Checked<Kind> {
    let bits = bits(source, 64)?;
    let most = u64::MAX >> (64 - bits);
    let bound = |key: &str, number: Option<Number>, full: u64| match number {
        None => Ok(full),
        Some(Number::Int(bound)) if u64::try_from(bound).is_ok_and(|bound| bound <= most) => Ok(bound as u64),
        Some(number) => Err(bad_bound(key, number, &format!("an integer from 0 to {most}"))),
    };
    let range = not_empty(bound("min", source.min, 0)?..=bound("max", source.max, most)?)?;
    Ok(Kind::Uint { bits, range })
}

fn int(source: &FieldSource) -> Checked<Kind> {
    let bits = bits(source, 64)?;
    let (least, most) = (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits));
    let bound = |key: &str, number: Option<Number>, full: i64| match number {
        None => Ok(full),
        Some(Number::Int(bound)) if (least..=most).contains(&bound) => Ok(bound),
        Some(number) => Err(bad_bound(key, number, &format!("an integer from {least} to {most}"))),
    };
    let range = not_empty(bound("min", source.min, least)?..=bound("max", source.max, most)?)?;
    Ok(Kind::Int { bits, range })
}

fn fixed(source: &FieldSource) -> Checked<Kind> {
    let bits = bits(source, 53)?;
    let signed = source.signed.unwrap_or(false);
    let (least, most) =
        if signed { (i64::MIN >> (64 - bits), i64::MAX >> (64 - bits)) } else { (0, (u64::MAX >> (64 - bits)) as i64) };
    let factor = source.scale.ok_or_else(|| Problem::new("scale is missing: what one raw step is worth"))?.as_f64();
    let offset = source.offset.map_or(0.0, Number::as_f64);
    if !(factor.is_finite() && factor > 0.0 && offset.is_finite()) {
        return Err(Problem::new(format!(
            "scale is {factor}, offset is {offset}; allowed are a scale above zero and a finite offset"
        )));
    }
    let scale = Scale::new(factor, offset, least, most);
    let (lowest, highest) = (scale.physical(least), scale.physical(most));
    if !(lowest.is_finite() && highest.is_finite()) {
        return Err(Problem::new(format!("with scale {factor} and {bits} bits values exceed what a double holds")));
    }
    let bound = |key: &str, number: Option<Number>, full: f64| match number.map(Number::as_f64) {
        None => Ok(full),
        Some(bound) if (lowest..=highest).contains(&bound) => Ok(bound),
        Some(bound) => {
            Err(bad_bound(key, Number::Float(bound), &format!("what {bits} bits reach, {lowest} to {highest}")))
        }
    };
    let min = scale.raw_at_least(bound("min", source.min, lowest)?).clamp(least, most);
    let max = scale.raw_at_most(bound("max", source.max, highest)?).clamp(least, most);
    Ok(Kind::Fixed { bits, signed, scale, range: not_empty(min..=max)? })
}

fn float_range(source: &FieldSource) -> Checked<Option<RangeInclusive<f64>>> {
    if source.min.is_none() && source.max.is_none() {
        return Ok(None);
    }
    let min = source.min.map_or(f64::NEG_INFINITY, Number::as_f64);
    let max = source.max.map_or(f64::INFINITY, Number::as_f64);
    not_empty(min..=max).map(Some)
}

fn not_empty<T: PartialOrd + std::fmt::Debug>(range: RangeInclusive<T>) -> Checked<RangeInclusive<T>> {
    if range.start() <= range.end() {
        return Ok(range);
    }
    Err(Problem::new(format!("no value is valid between min {:?} and max {:?}", range.start(), range.end())))
}

fn bad_bound(key: &str, number: Number, allowed: &str) -> Problem {
    match number {
        Number::Int(number) => Problem::new(format!("{key} is {number}; allowed is {allowed}")),
        Number::Float(number) => Problem::new(format!("{key} is {number:?}; allowed is {allowed}")),
    }
}

fn symbols(source: &FieldSource) -> Checked<Kind> {
    let bits = bits(source, 16)?;
    let numbered: Vec<(String, i64)> = match source.symbols.clone() {
        None => return Err(Problem::new("symbols are missing: a list, or name = number")),
        Some(Symbols::List(names)) => names.into_iter().zip(0..).collect(),
        Some(Symbols::Numbered(numbers)) => numbers.into_iter().collect(),
    };
    if numbered.is_empty() || numbered.len() > MAX_SYMBOLS {
        return Err(Problem::new(format!("there are {} symbols; allowed are 1 to {MAX_SYMBOLS}", numbered.len())));
    }
    let most = (1u64 << bits) - 1;
    let mut symbols = Vec::with_capacity(numbered.len());
    for (name, number) in numbered {
        let name = check_symbol(&name)?;
        let number = u64::try_from(number).ok().filter(|number| *number <= most).ok_or_else(|| {
            Problem::new(format!("the symbol {name} has number {number}; {bits} bits allow 0 to {most}"))
        })?;
        symbols.push(Symbol { name, number });
    }
    symbols.sort_by_key(|symbol| symbol.number);
    let mut pairs = symbols.iter().zip(symbols.iter().skip(1));
    if let Some((one, next)) = pairs.find(|(one, next)| one.number == next.number) {
        return Err(Problem::new(format!("symbols {} and {} share number {}", one.name, next.name, one.number)));
    }
    let mut names: Vec<&str> = symbols.iter().map(|symbol| &*symbol.name).collect();
    names.sort_unstable();
    if let Some((name, _)) = names.iter().zip(names.iter().skip(1)).find(|(name, next)| name == next) {
        return Err(Problem::new(format!("the symbol {name} is listed twice")));
    }
    let unknown = match &source.default {
        None => None,
        Some(default) => Some(known_symbol(default, &symbols)?),
    };
    Ok(Kind::Enum { bits, symbols, unknown })
}

fn known_symbol(default: &toml::Value, symbols: &[Symbol]) -> Checked<Arc<str>> {
    let known = default.as_str().and_then(|name| symbols.iter().find(|symbol| &*symbol.name == name));
    known
        .map(|symbol| symbol.name.clone())
        .ok_or_else(|| Problem::new(format!("default is {default}; allowed is one of the symbols")))
}

fn timestamp(source: &FieldSource) -> Checked<Kind> {
    let bits = bits(source, 64)?;
    let resolution = match source.resolution.as_deref() {
        Some("s") => Resolution::Seconds,
        Some("ms") => Resolution::Milliseconds,
        Some("us") => Resolution::Microseconds,
        Some(other) => return Err(Problem::new(format!("resolution is {other:?}; allowed are s, ms, us"))),
        None => return Err(Problem::new("resolution is missing; allowed are s, ms, us")),
    };
    let epoch_s = match source.epoch.as_deref() {
        None => 0,
        Some(text) => {
            let time = humantime::parse_rfc3339(text).ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let time = time.ok_or_else(|| {
                Problem::new(format!(
                    "epoch is {text:?}; allowed is a time from 1970 on such as \"2020-01-01T00:00:00Z\""
                ))
            })?;
            time.as_secs()
        }
    };
    let epoch = i128::from(epoch_s) * i128::from(resolution.ticks_per_second());
    let latest = (i128::from(u64::MAX >> (64 - bits)) + epoch) * i128::from(resolution.units_per_tick());
    match i64::try_from(epoch) {
        Ok(epoch) if latest <= i128::from(i64::MAX) => Ok(Kind::Timestamp { bits, resolution, epoch }),
        _ => Err(Problem::new(format!("with {bits} bits a time may exceed 64 bits in Avro; use fewer bits"))),
    }
}

fn length(source: &FieldSource) -> Checked<(u32, u32)> {
    let length_bits = in_range("length_bits", source.length_bits, 1, 16)?;
    Ok((length_bits, max_of(source, length_bits)?))
}

fn count(source: &FieldSource) -> Checked<Count> {
    match (source.count, source.count_bits) {
        (Some(_), None) if source.max.is_some() => Err(Problem::new("max belongs to count_bits, not to count")),
        (Some(_), None) => Ok(Count::Fixed(in_range("count", source.count, 1, MAX_LENGTH)?)),
        (None, Some(_)) => {
            let bits = in_range("count_bits", source.count_bits, 1, 16)?;
            Ok(Count::Counted { bits, max: max_of(source, bits)? })
        }
        _ => Err(Problem::new("one of count and count_bits is needed, and not both")),
    }
}

/// The declared longest length; without one, the longest that the prefix can say.
fn max_of(source: &FieldSource, prefix_bits: u32) -> Checked<u32> {
    let most = (1i64 << prefix_bits) - 1;
    match source.max {
        None => in_range("max", Some(most), 1, MAX_LENGTH),
        Some(Number::Int(max)) => in_range("max", Some(max), 1, most),
        Some(number) => Err(bad_bound("max", number, &format!("an integer from 1 to {most}"))),
    }
}

fn default_value(default: &toml::Value, kind: &Kind) -> Checked<DefaultValue> {
    let number = || default.as_float().or_else(|| default.as_integer().map(|int| int as f64));
    let found = match kind {
        // Avro would need it as decimal bytes; a null says the same with less.
        Kind::Uint { bits: 64, .. } => None,
        Kind::Uint { range, .. } => default
            .as_integer()
            .filter(|int| u64::try_from(*int).is_ok_and(|int| range.contains(&int)))
            .map(DefaultValue::Int),
        Kind::Int { range, .. } => default.as_integer().filter(|int| range.contains(int)).map(DefaultValue::Int),
        Kind::Bool => default.as_bool().map(DefaultValue::Bool),
        Kind::Enum { .. } => default.as_str().map(|symbol| DefaultValue::Text(symbol.to_owned())),
        Kind::Fixed { scale, range, .. } => number()
            .filter(|value| value.is_finite())
            .map(|value| scale.raw(value))
            .filter(|raw| range.contains(raw))
            .map(|raw| DefaultValue::Double(scale.physical(raw))),
        Kind::F32 { range } => {
            let (min, max) = single_range(range.as_ref());
            number().filter(|value| (min..=max).contains(&f64::from(*value as f32))).map(DefaultValue::Double)
        }
        Kind::F64 { range } => {
            let (min, max) = double_range(range.as_ref());
            number().filter(|value| (min..=max).contains(value)).map(DefaultValue::Double)
        }
        Kind::Text { max, .. } => {
            default.as_str().filter(|text| text.len() <= *max as usize).map(|text| DefaultValue::Text(text.to_owned()))
        }
        // These have none that could be declared.
        _ => None,
    };
    found.ok_or_else(|| {
        Problem::new(format!(
            "default is {default}; allowed is a valid value of kind {} (uint of 64 bits has none, leave it out for null)",
            kind.name()
        ))
    })
}
