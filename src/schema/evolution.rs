//! What may change between versions of a type, and the one record shape that all versions map onto.
//!
//! A version may add fields, leave fields out, add symbols, and widen numbers. A field that some version lacks is
//! null in that version's records, or its declared default. What a reader of the evolved schema could not read from
//! an older record, or would read with another meaning, is refused here in words; Avro's own rule is the final judge
//! and also guards schemas that a log has already registered (`check_reads`).

use std::collections::BTreeMap;

use thiserror::Error;

use super::shape::{EnumShape, FieldShape, RecordShape, Shape};
use crate::schema::Version;
use crate::schema::{DefaultValue, Field, Kind};

/// A version does not follow from the versions before it.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("field {field}, from version {earlier} to {later}: {reason}")]
pub struct EvolutionError {
    /// The field, nested names joined with dots.
    pub field: String,
    /// The version that the field is compared with.
    pub earlier: Version,
    /// The version that does not follow.
    pub later: Version,
    /// What changed, and what is allowed.
    pub reason: String,
}

/// A kind as one version declares it.
type Declared<'a, T> = (Version, &'a T);

/// One shape for all `versions`, which must be in ascending order.
pub fn merge(versions: &[(Version, &[Field])]) -> Result<RecordShape, EvolutionError> {
    merge_record("", versions)
}

fn merge_record(path: &str, versions: &[(Version, &[Field])]) -> Result<RecordShape, EvolutionError> {
    let mut names: Vec<&str> = Vec::new();
    let mut declared: BTreeMap<&str, Vec<Declared<'_, Field>>> = BTreeMap::new();
    for (version, fields) in versions {
        for field in fields.iter().filter(|field| !field.kind.is_reserved()) {
            let same = declared.entry(&field.name).or_default();
            if same.is_empty() {
                names.push(&field.name);
            }
            same.push((*version, field));
        }
    }
    let mut fields = Vec::with_capacity(names.len());
    for name in names {
        let Some(same) = declared.remove(name) else {
            unreachable!("{name} was noted once, when it was declared first")
        };
        let path = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        fields.push(merge_field(&path, name, &same, same.len() == versions.len())?);
    }
    Ok(RecordShape { fields })
}

fn merge_field(
    path: &str,
    name: &str,
    declared: &[Declared<'_, Field>],
    is_in_every_version: bool,
) -> Result<FieldShape, EvolutionError> {
    let kinds: Vec<_> = declared.iter().map(|(version, field)| (*version, &field.kind)).collect();
    let shape = merge_kind(path, &kinds)?;
    let unit = merge_unit(path, declared)?;
    let default = merge_default(path, declared)?;
    let is_optional = declared.iter().any(|(_, field)| field.optional);
    let nullable = is_optional || (!is_in_every_version && default.is_none());
    // The newest words describe the field best; there may be none.
    let doc = declared.iter().rev().map(|(_, field)| &field.doc).find(|doc| !doc.is_empty());
    Ok(FieldShape { name: name.to_owned(), doc: doc.cloned().unwrap_or_default(), unit, nullable, default, shape })
}

fn merge_unit(path: &str, declared: &[Declared<'_, Field>]) -> Result<Option<String>, EvolutionError> {
    let mut known: Option<(Version, &String)> = None;
    for (version, field) in declared {
        let Some(unit) = &field.unit else { continue };
        match known {
            Some((earlier, before)) if before != unit => {
                let reason = format!("the unit changed from {before} to {unit}; a new unit needs a new field");
                return Err(error(path, earlier, *version, reason));
            }
            Some(_) => {}
            None => known = Some((*version, unit)),
        }
    }
    Ok(known.map(|(_, unit)| unit.clone()))
}

/// The default that the first version of the field declares. Later versions may repeat it, not change it: records
/// that were written with the earlier schema would change their value.
fn merge_default(path: &str, declared: &[Declared<'_, Field>]) -> Result<Option<DefaultValue>, EvolutionError> {
    let Some((first, field)) = declared.first() else { unreachable!("{path} is declared by a version") };
    for (version, later) in declared {
        // An enum's default may come later: it then stands for unknown numbers only.
        let is_enum = matches!(later.kind, Kind::Enum { .. });
        if later.optional && field.default.is_some() && !is_enum {
            let reason = "the field became optional but has a default; an absent optional field is null".to_owned();
            return Err(error(path, *first, *version, reason));
        }
        if later.default.is_some() && later.default != field.default && !is_enum {
            let reason = "the default changed; it is the first version of a field that declares it".to_owned();
            return Err(error(path, *first, *version, reason));
        }
    }
    let is_optional = declared.iter().any(|(_, field)| field.optional);
    Ok(field.default.clone().filter(|_| !is_optional))
}

fn merge_kind(path: &str, declared: &[Declared<'_, Kind>]) -> Result<Shape, EvolutionError> {
    let Some(((first, first_kind), rest)) = declared.split_first() else {
        unreachable!("{path} is declared by a version")
    };
    for (version, kind) in rest {
        let same_structure = matches!(
            (first_kind, kind),
            (Kind::Group { .. }, Kind::Group { .. })
                | (Kind::Array { .. }, Kind::Array { .. })
                | (Kind::Enum { .. }, Kind::Enum { .. })
        );
        let structured = |kind: &Kind| matches!(kind, Kind::Group { .. } | Kind::Array { .. } | Kind::Enum { .. });
        if !same_structure && (structured(first_kind) || structured(kind)) {
            let reason = format!("the kind changed from {} to {}", first_kind.name(), kind.name());
            return Err(error(path, *first, *version, reason + "; a new kind needs a new field"));
        }
    }
    match first_kind {
        Kind::Group { .. } => {
            let groups: Vec<_> = declared
                .iter()
                .map(|(version, kind)| match kind {
                    Kind::Group { fields } => (*version, fields.as_slice()),
                    other => unreachable!("all are groups, and none is {}", other.name()),
                })
                .collect();
            merge_record(path, &groups).map(Shape::Record)
        }
        Kind::Array { .. } => {
            let items: Vec<_> = declared
                .iter()
                .map(|(version, kind)| match kind {
                    Kind::Array { item, .. } => (*version, &item.kind),
                    other => unreachable!("all are arrays, and none is {}", other.name()),
                })
                .collect();
            merge_kind(&format!("{path}.item"), &items).map(|item| Shape::Array(Box::new(item)))
        }
        Kind::Enum { .. } => merge_enum(path, declared).map(Shape::Enum),
        _ => merge_scalar(path, declared),
    }
}

fn merge_enum(path: &str, declared: &[Declared<'_, Kind>]) -> Result<EnumShape, EvolutionError> {
    let mut merged = EnumShape { symbols: Vec::new(), unknown: None };
    let mut numbers: Vec<(Version, u64)> = Vec::new();
    for (version, kind) in declared {
        let Kind::Enum { symbols, unknown, .. } = kind else {
            unreachable!("all are enums, and none is {}", kind.name())
        };
        for symbol in symbols {
            let known = merged.symbols.iter().position(|name| *name == symbol.name);
            match known.and_then(|position| numbers.get(position)) {
                // A device that announces the wrong version would be understood, and wrongly.
                Some((earlier, number)) if *number != symbol.number => {
                    let reason = format!(
                        "the symbol {} changed its number from {number} to {}; symbols keep their numbers",
                        symbol.name, symbol.number
                    );
                    return Err(error(path, *earlier, *version, reason));
                }
                Some(_) => {}
                None => {
                    let taken = numbers.iter().zip(&merged.symbols).find(|((_, number), _)| *number == symbol.number);
                    if let Some(((earlier, number), name)) = taken {
                        let reason = format!(
                            "number {number} was {name} and is {}; a number is not used again for another symbol",
                            symbol.name
                        );
                        return Err(error(path, *earlier, *version, reason));
                    }
                    merged.symbols.push(symbol.name.clone());
                    numbers.push((*version, symbol.number));
                }
            }
        }
        merged.unknown = unknown.clone().or(merged.unknown);
    }
    Ok(merged)
}

fn merge_scalar(path: &str, declared: &[Declared<'_, Kind>]) -> Result<Shape, EvolutionError> {
    let mut merged: Option<(Version, Shape)> = None;
    for (version, kind) in declared {
        let Some(shape) = Shape::of_single(kind) else {
            unreachable!("{path} is {} in version {version}: groups, arrays and enums go their own way", kind.name())
        };
        let Some((earlier, before)) = merged else {
            merged = Some((*version, shape));
            continue;
        };
        match widest(&before, &shape) {
            Some(widest) => merged = Some((earlier, widest)),
            None => {
                let reason = format!(
                    "it was {} and is {}; allowed are wider integers of up to 63 bits without sign or 64 with, and \
                     numbers with a fraction in place of integers",
                    before.name(),
                    shape.name()
                );
                return Err(error(path, earlier, *version, reason));
            }
        }
    }
    let Some((_, shape)) = merged else {
        unreachable!("{path} is declared by a version, or it would not be looked at")
    };
    Ok(shape)
}

/// The narrowest shape that both can be promoted to. A single does not hold every integer of 32 bits, so integers
/// and singles meet at double.
fn widest(one: &Shape, other: &Shape) -> Option<Shape> {
    use Shape::{Double, Float, Int, Long};
    match (one, other) {
        (one, other) if one == other => Some(one.clone()),
        (Int, Long) | (Long, Int) => Some(Long),
        (Int | Long | Float | Double, Int | Long | Float | Double) => Some(Double),
        _ => None,
    }
}

fn error(path: &str, earlier: Version, later: Version, reason: String) -> EvolutionError {
    EvolutionError { field: path.to_owned(), earlier, later, reason }
}
