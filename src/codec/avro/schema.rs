//! A record shape as an Avro schema, with unit and meaning of every field in its documentation.

use serde_json::{Value, json};

use crate::schema::identity::RECORD_FIELDS;
use crate::schema::{DefaultValue, EnumShape, FieldShape, RecordShape, Shape};

/// The namespace of all schemas.
pub const NAMESPACE: &str = "surgetank";

/// Digits of the largest unsigned integer of 64 bits.
const UNSIGNED_DIGITS: u32 = 20;

/// The schema of a type's records as JSON text: the identity fields, then the fields of `record`.
pub(crate) fn record_schema_json(type_name: &str, doc: &str, record: &RecordShape) -> String {
    let identity = RECORD_FIELDS.iter().map(
        |field| json!({"name": field.name(), "type": shape_json(field.name(), &field.shape()), "doc": field.doc()}),
    );
    let fields: Vec<Value> = identity.chain(record.fields.iter().map(|field| field_json(type_name, field))).collect();
    json!({"type": "record", "name": type_name, "namespace": NAMESPACE, "doc": doc, "fields": fields}).to_string()
}

fn field_json(parent: &str, field: &FieldShape) -> Value {
    let schema = shape_json(&format!("{parent}__{}", field.name), &field.shape);
    let doc = match &field.unit {
        Some(unit) if field.doc.is_empty() => format!("in {unit}"),
        Some(unit) => format!("{}, in {unit}", field.doc),
        None => field.doc.clone(),
    };
    let mut json = json!({"name": field.name, "doc": doc});
    // For readers of schemas that are not people: a changed unit is found by comparing.
    if let Some(unit) = &field.unit {
        json["unit"] = json!(unit);
    }
    if field.nullable {
        json["type"] = json!(["null", schema]);
        json["default"] = Value::Null;
    } else {
        json["type"] = schema;
        if let Some(default) = &field.default {
            json["default"] = default_json(default, &field.shape);
        }
    }
    json
}

fn shape_json(name: &str, shape: &Shape) -> Value {
    match shape {
        Shape::Bool => json!("boolean"),
        Shape::Int => json!("int"),
        Shape::Long => json!("long"),
        Shape::Unsigned => {
            json!({"type": "bytes", "logicalType": "decimal", "precision": UNSIGNED_DIGITS, "scale": 0})
        }
        Shape::Float => json!("float"),
        Shape::Double => json!("double"),
        Shape::TimestampMillis => logical("long", "timestamp-millis"),
        Shape::TimestampMicros => logical("long", "timestamp-micros"),
        Shape::Bytes => json!("bytes"),
        Shape::Text => json!("string"),
        Shape::Enum(EnumShape { symbols, unknown }) => {
            let symbols: Vec<&str> = symbols.iter().map(|symbol| &**symbol).collect();
            let mut json = json!({"type": "enum", "name": name, "symbols": symbols});
            if let Some(unknown) = unknown {
                json["default"] = json!(&**unknown);
            }
            json
        }
        Shape::Array(item) => json!({"type": "array", "items": shape_json(&format!("{name}__item"), item)}),
        Shape::Record(record) => {
            let fields: Vec<Value> = record.fields.iter().map(|field| field_json(name, field)).collect();
            json!({"type": "record", "name": name, "fields": fields})
        }
    }
}

fn default_json(default: &DefaultValue, shape: &Shape) -> Value {
    match (default, shape) {
        (DefaultValue::Int(int), Shape::Float | Shape::Double) => json!(*int as f64),
        (DefaultValue::Int(int), _) => json!(int),
        (DefaultValue::Bool(bool), _) => json!(bool),
        (DefaultValue::Double(double), _) => json!(double),
        (DefaultValue::Text(text), _) => json!(text),
    }
}

fn logical(base: &str, logical_type: &str) -> Value {
    json!({"type": base, "logicalType": logical_type})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::documented;

    #[test]
    fn test_each_kind_is_the_type_that_is_documented() {
        for kind in documented::kinds() {
            let schema = shape_json("field", &kind.shape);
            let name = schema.as_str().or(schema["type"].as_str()).unwrap();
            let told = match (schema["logicalType"].as_str(), schema["precision"].as_u64()) {
                (Some(logical), Some(precision)) => format!("{name}, {logical}({precision}, {})", schema["scale"]),
                (Some(logical), None) => format!("{name}, {logical}"),
                (None, _) => name.to_owned(),
            };
            assert_eq!(told, kind.avro);
        }
    }
}
