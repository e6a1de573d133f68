//! A schema's JSON, as a registry has it.
//!
//! Not strict where that changes no byte of a record: names that the specification does not allow (`Outer$Inner`) and
//! defaults that do not fit are taken, and a logical type that is unknown or stands where it has no meaning is left out, as
//! the specification says.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::types::{Blob, Field, Kind, TypeId, Types, Unit};
use crate::codec::avro::canonical::full_name;

type Attributes = Map<String, Value>;

struct Parser {
    kinds: Vec<Kind>,
    /// Named types by their full names.
    names: HashMap<String, TypeId>,
}

// === impl Types ===

impl Types {
    /// Parses a schema. `references` are the schemas that it refers to by name; each may refer to those before it.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(schema: &str, references: &[String]) -> Result<Types, String> {
        let mut parser = Parser { kinds: Vec::new(), names: HashMap::new() };
        for reference in references {
            parser.text(reference)?;
        }
        let top = parser.text(schema)?;
        Ok(Types { kinds: parser.kinds, top })
    }
}

// === impl Parser ===

impl Parser {
    fn text(&mut self, text: &str) -> Result<TypeId, String> {
        // Nested deeper than 128 it is no JSON for this reader: so no schema makes what follows go deeper.
        match serde_json::from_str(text) {
            Ok(json) => self.schema(&json, ""),
            // A registry gives a primitive type either way: `"string"` or string.
            Err(_) if primitive(text.trim()).is_some() => self.schema(&Value::String(text.trim().to_owned()), ""),
            Err(error) => Err(format!("it is not JSON: {error}")),
        }
    }

    /// `namespace` is that of the type around it.
    fn schema(&mut self, json: &Value, namespace: &str) -> Result<TypeId, String> {
        match json {
            Value::String(name) => self.named(name, namespace),
            Value::Array(branches) => {
                let branches =
                    branches.iter().map(|branch| self.schema(branch, namespace)).collect::<Result<_, _>>()?;
                Ok(self.add(Kind::Union(branches)))
            }
            Value::Object(attributes) => match attributes.get("type") {
                Some(Value::String(kind)) => self.object(kind, attributes, namespace),
                Some(inner @ (Value::Object(_) | Value::Array(_))) => self.schema(inner, namespace),
                _ => Err(format!("{json} has no type")),
            },
            other => Err(format!("{other} is no type")),
        }
    }

    fn object(&mut self, kind: &str, attributes: &Attributes, namespace: &str) -> Result<TypeId, String> {
        let logical = attributes.get("logicalType").and_then(Value::as_str).unwrap_or("");
        match kind {
            "array" => {
                let items = self.schema(attributes.get("items").ok_or("an array has no items")?, namespace)?;
                Ok(self.add(Kind::Array(items)))
            }
            "map" => {
                let values = self.schema(attributes.get("values").ok_or("a map has no values")?, namespace)?;
                Ok(self.add(Kind::Map(values)))
            }
            "record" | "error" => self.record(attributes, namespace),
            "enum" => {
                let symbols = list(attributes, "symbols")?;
                let text = |symbol: &Value| symbol.as_str().map(Into::into).ok_or("a symbol is no text");
                let kind = Kind::Enum(symbols.iter().map(text).collect::<Result<_, _>>()?);
                let (id, _) = self.define(attributes, namespace)?;
                self.kinds[id.0] = kind;
                Ok(id)
            }
            "fixed" => {
                let size = attributes.get("size").and_then(Value::as_u64).and_then(|size| usize::try_from(size).ok());
                let size = size.ok_or("a fixed type has no size")?;
                let (id, _) = self.define(attributes, namespace)?;
                self.kinds[id.0] = fixed(size, logical, attributes);
                Ok(id)
            }
            name => match primitive(name) {
                Some(base) => Ok(self.add(meant(base, logical, attributes))),
                None => self.named(name, namespace),
            },
        }
    }

    fn record(&mut self, attributes: &Attributes, namespace: &str) -> Result<TypeId, String> {
        let fields = list(attributes, "fields")?;
        // Known before its fields are, which may refer to it.
        let (id, inner) = self.define(attributes, namespace)?;
        let mut parsed = Vec::with_capacity(fields.len());
        for field in fields {
            let name = field.get("name").and_then(Value::as_str).ok_or("a field has no name")?;
            let kind = field.get("type").ok_or_else(|| format!("field {name} has no type"))?;
            let aliases = field.get("aliases").and_then(Value::as_array);
            let aliases = aliases.into_iter().flatten().filter_map(|alias| alias.as_str().map(str::to_owned)).collect();
            let kind = self.schema(kind, &inner).map_err(|reason| format!("field {name}: {reason}"))?;
            parsed.push(Field { name: name.into(), aliases, kind });
        }
        self.kinds[id.0] = Kind::Record(parsed);
        Ok(id)
    }

    /// A primitive type, or one that was defined before.
    fn named(&mut self, name: &str, namespace: &str) -> Result<TypeId, String> {
        if let Some(kind) = primitive(name) {
            return Ok(self.add(kind));
        }
        let known = self.names.get(&full_name(name, None, namespace)).or_else(|| self.names.get(name));
        known.copied().ok_or_else(|| format!("the type {name} is not defined"))
    }

    /// A place for a named type; its namespace is that of the types inside.
    fn define(&mut self, attributes: &Attributes, around: &str) -> Result<(TypeId, String), String> {
        let name = attributes.get("name").and_then(Value::as_str).ok_or("a named type has no name")?;
        let full = full_name(name, attributes.get("namespace").and_then(Value::as_str), around);
        let namespace = full.rsplit_once('.').map_or("", |(namespace, _)| namespace).to_owned();
        let id = self.add(Kind::Null);
        if self.names.insert(full.clone(), id).is_some() {
            return Err(format!("the type {full} is defined twice"));
        }
        Ok((id, namespace))
    }

    fn add(&mut self, kind: Kind) -> TypeId {
        self.kinds.push(kind);
        TypeId(self.kinds.len() - 1)
    }
}

fn list<'j>(attributes: &'j Attributes, name: &str) -> Result<&'j Vec<Value>, String> {
    attributes.get(name).and_then(Value::as_array).ok_or_else(|| format!("a named type has no {name}"))
}

fn primitive(name: &str) -> Option<Kind> {
    Some(match name {
        "null" => Kind::Null,
        "boolean" => Kind::Bool,
        "int" => Kind::Int,
        "long" => Kind::Long,
        "float" => Kind::Float,
        "double" => Kind::Double,
        "bytes" => Kind::Bytes,
        "string" => Kind::Text,
        _ => return None,
    })
}

/// A primitive type with its logical type, if that has a meaning there.
fn meant(base: Kind, logical: &str, attributes: &Attributes) -> Kind {
    match (&base, logical) {
        (Kind::Int, "date") => Kind::Date,
        (Kind::Int, "time-millis") => Kind::TimeMillis,
        (Kind::Long, "time-micros") => Kind::TimeMicros,
        (Kind::Long, "timestamp-millis" | "local-timestamp-millis") => Kind::Timestamp(Unit::Millis),
        (Kind::Long, "timestamp-micros" | "local-timestamp-micros") => Kind::Timestamp(Unit::Micros),
        (Kind::Long, "timestamp-nanos" | "local-timestamp-nanos") => Kind::Timestamp(Unit::Nanos),
        (Kind::Bytes, "decimal") => scale(attributes).map_or(base, |scale| Kind::Decimal(Blob::Counted, scale)),
        (Kind::Bytes, "big-decimal") => Kind::BigDecimal,
        (Kind::Bytes, "uuid") => Kind::UuidBytes(Blob::Counted),
        (Kind::Text, "uuid") => Kind::UuidText,
        _ => base,
    }
}

fn fixed(size: usize, logical: &str, attributes: &Attributes) -> Kind {
    match (size, logical) {
        (12, "duration") => Kind::Duration,
        (16, "uuid") => Kind::UuidBytes(Blob::Fixed(16)),
        (1.., "decimal") => {
            scale(attributes).map_or(Kind::Fixed(size), |scale| Kind::Decimal(Blob::Fixed(size), scale))
        }
        _ => Kind::Fixed(size),
    }
}

/// The scale of a decimal: 0 if none is written, none if what is written is no scale.
fn scale(attributes: &Attributes) -> Option<i32> {
    attributes.get("precision")?.as_u64().filter(|precision| *precision > 0)?;
    match attributes.get("scale") {
        None => Some(0),
        Some(scale) => scale.as_u64().and_then(|scale| i32::try_from(scale).ok()),
    }
}
