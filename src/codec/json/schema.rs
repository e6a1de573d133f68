//! What an event of a type looks like, as JSON Schema: for clients, and for documents that describe the service.

use serde_json::{Map, Value, json};

use super::own_members::{DEVICE_ID, EVENT_TIME, SEQUENCE};
use super::plan::{JsonPlan, Node};
use crate::protocol::device_id::MAX_DEVICE_ID_LEN;
use crate::protocol::package::EVENT_TIME_END_MS;
use crate::schema::{Field, Kind, MessageType, Resolution};

/// RFC 3339.
const TIME_PATTERN: &str = r"^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$";

/// The schema of an event of this type, for the version of the plan, which is of this type.
pub fn event_schema(message_type: &MessageType, plan: &JsonPlan) -> Value {
    let Some(newest) = message_type.version(plan.version) else { unreachable!("the plan is of a version of the type") };
    let mut schema = object(&plan.root.members, &newest.fields);
    let time = json!({
        "description": "when the event happened: milliseconds since 1970, or RFC 3339 with Z or an offset",
        "anyOf": [
            {"type": "integer", "minimum": 0, "maximum": EVENT_TIME_END_MS - 1},
            {"type": "string", "format": "date-time", "pattern": TIME_PATTERN},
        ],
    });
    let own = [
        (
            DEVICE_ID,
            json!({
                "type": "string", "minLength": 1, "maxLength": MAX_DEVICE_ID_LEN, "pattern": r"^[^\s\x00-\x1f\x7f-\x9f]+$",
                "description": format!("the device that the event is of; at most {MAX_DEVICE_ID_LEN} bytes of UTF-8"),
            }),
        ),
        (EVENT_TIME, time),
        (
            SEQUENCE,
            json!({
                "type": ["integer", "null"], "minimum": 0, "maximum": u32::MAX,
                "description": "tells events of one device and time apart; required without an Idempotency-Key",
            }),
        ),
    ];
    let Some(properties) = schema["properties"].as_object_mut() else { unreachable!("an object has properties") };
    properties.extend(own.map(|(name, schema)| (name.to_owned(), schema)));
    let Some(required) = schema["required"].as_array_mut() else { unreachable!("an object says what it requires") };
    required.splice(0..0, [json!(DEVICE_ID), json!(EVENT_TIME)]);
    schema["description"] = json!(message_type.doc);
    schema
}

fn object(members: &[super::plan::Member], fields: &[Field]) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for member in members {
        let Some(field) = fields.iter().find(|field| *field.name == *member.name) else {
            unreachable!("the member {} was compiled from a field", member.name)
        };
        let mut schema = value(&member.node, &field.kind);
        if member.optional {
            schema = json!({"anyOf": [schema, {"type": "null"}]});
        } else {
            required.push(Value::from(&*member.name));
        }
        describe(&mut schema, field);
        properties.insert((*member.name).to_owned(), schema);
    }
    json!({"type": "object", "additionalProperties": false, "properties": properties, "required": required})
}

fn describe(schema: &mut Value, field: &Field) {
    let text = match &field.unit {
        Some(unit) if field.doc.is_empty() => format!("in {unit}"),
        Some(unit) => format!("{}, in {unit}", field.doc),
        None => field.doc.clone(),
    };
    if !text.is_empty() {
        schema["description"] = json!(text);
    }
}

/// The schema of a value of this kind, which the node was compiled from.
fn value(node: &Node, kind: &Kind) -> Value {
    let does_not_fit = || unreachable!("{node:?} of a {}", kind.name());
    match node {
        Node::Uint { min, max, .. } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Node::Int { min, max, .. } => json!({"type": "integer", "minimum": min, "maximum": max}),
        Node::Fixed { min, max, scale } => number(scale.physical(*min), scale.physical(*max)),
        // The single's own decimal, and not that of the double that it is kept as.
        Node::F32 { min, max, .. } => number(shortest(*min), shortest(*max)),
        Node::F64 { min, max } => number(*min, *max),
        Node::Bool => json!({"type": "boolean"}),
        Node::Enum(symbols) => {
            let symbols: Vec<&str> = symbols.iter().map(|(symbol, _)| &**symbol).collect();
            json!({"type": "string", "enum": symbols})
        }
        Node::Timestamp { min, max, resolution } => {
            let unit = if *resolution == Resolution::Microseconds { "microseconds" } else { "milliseconds" };
            json!({
                "title": format!("{unit} since 1970, or RFC 3339 with Z or an offset"),
                "anyOf": [
                    {"type": "integer", "minimum": min, "maximum": max},
                    {"type": "string", "format": "date-time", "pattern": TIME_PATTERN},
                ],
            })
        }
        Node::Bytes { max } => json!({
            "type": "string", "pattern": "^([0-9a-fA-F]{2})*$", "maxLength": 2 * u64::from(*max),
            "title": "bytes as hexadecimal text",
        }),
        Node::Text { max } => {
            json!({"type": "string", "maxLength": max, "title": format!("at most {max} bytes of UTF-8")})
        }
        Node::Group(group) => {
            let Kind::Group { fields } = kind else { does_not_fit() };
            object(&group.members, fields)
        }
        Node::Array { min, max, item } => {
            let Kind::Array { item: item_field, .. } = kind else { does_not_fit() };
            let mut items = value(item, &item_field.kind);
            describe(&mut items, item_field);
            json!({"type": "array", "minItems": min, "maxItems": max, "items": items})
        }
    }
}

fn number(min: f64, max: f64) -> Value {
    json!({"type": "number", "minimum": min, "maximum": max})
}

/// The double that is written like this single.
fn shortest(single: f64) -> f64 {
    let Ok(double) = (single as f32).to_string().parse() else { unreachable!("what is written of a float reads back") };
    double
}
