//! A schema's Parsing Canonical Form and its fingerprint, as Avro's specification has them, so that other clients that
//! compute a fingerprint find the schema of our records.
//!
//! The `apache-avro` crate's form is another: it keeps `{"type":"long"}` where a logical type stood, which the
//! specification writes as `"long"`. Earlier builds wrote records with the fingerprint of that
//! ([`earlier_fingerprint`]), and these stay readable.

use apache_avro::Schema;
use apache_avro::rabin::Rabin;
use serde_json::Value;

use super::single_object::Fingerprint;

/// Types that are written as their name alone.
const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];

/// The fingerprint of no bytes at all, which is also the polynomial.
const EMPTY: u64 = 0xc15d_213a_a4d7_a795;

const TABLE: [u64; 256] = table();

/// The fingerprint of a schema given as JSON: CRC-64-AVRO of its Parsing Canonical Form. `None` if it is no schema.
pub fn fingerprint(schema_json: &str) -> Option<Fingerprint> {
    let schema = serde_json::from_str(schema_json).ok()?;
    Some(crc_64_avro(canonical_form(&schema)?.as_bytes()).to_le_bytes())
}

/// The fingerprint that earlier builds gave a schema.
pub fn earlier_fingerprint(schema: &Schema) -> Fingerprint {
    let digest = schema.fingerprint::<Rabin>();
    let Ok(fingerprint) = digest.bytes.try_into() else { unreachable!("a checksum of 64 bits has 8 bytes") };
    fingerprint
}

/// The Parsing Canonical Form of a schema. `None` if it is no schema.
fn canonical_form(schema: &Value) -> Option<String> {
    let mut out = String::new();
    write_schema(schema, "", &mut out)?;
    Some(out)
}

/// Appends a schema; `namespace` is that of the schema around it.
fn write_schema(schema: &Value, namespace: &str, out: &mut String) -> Option<()> {
    match schema {
        Value::String(name) => write_text(&full_name(name, None, namespace), out),
        Value::Array(variants) => write_list(variants, out, |variant, out| write_schema(variant, namespace, out))?,
        Value::Object(attributes) => match attributes.get("type")? {
            Value::String(kind) => match kind.as_str() {
                "array" => {
                    out.push_str(r#"{"type":"array","items":"#);
                    write_schema(attributes.get("items")?, namespace, out)?;
                    out.push('}');
                }
                "map" => {
                    out.push_str(r#"{"type":"map","values":"#);
                    write_schema(attributes.get("values")?, namespace, out)?;
                    out.push('}');
                }
                "record" | "error" | "enum" | "fixed" => write_named(kind, attributes, namespace, out)?,
                // Logical types and whatever else may be beside it are stripped.
                _ => write_schema(attributes.get("type")?, namespace, out)?,
            },
            inner => write_schema(inner, namespace, out)?,
        },
        _ => return None,
    }
    Some(())
}

fn write_named(kind: &str, attributes: &serde_json::Map<String, Value>, around: &str, out: &mut String) -> Option<()> {
    let own = attributes.get("namespace").and_then(Value::as_str);
    let name = full_name(attributes.get("name")?.as_str()?, own, around);
    // What is inside without a namespace of its own is in that of this type.
    let namespace = name.rsplit_once('.').map_or("", |(namespace, _)| namespace);
    out.push_str(r#"{"name":"#);
    write_text(&name, out);
    out.push_str(r#","type":"#);
    write_text(kind, out);
    match kind {
        "enum" => {
            out.push_str(r#","symbols":"#);
            let write = |symbol: &Value, out: &mut String| symbol.as_str().map(|text| write_text(text, out));
            write_list(attributes.get("symbols")?.as_array()?, out, write)?;
        }
        "fixed" => {
            let size = attributes.get("size")?.as_u64()?;
            out.push_str(&format!(r#","size":{size}"#));
        }
        _ => {
            out.push_str(r#","fields":"#);
            write_list(attributes.get("fields")?.as_array()?, out, |field, out| {
                out.push_str(r#"{"name":"#);
                write_text(field.get("name")?.as_str()?, out);
                out.push_str(r#","type":"#);
                write_schema(field.get("type")?, namespace, out)?;
                out.push('}');
                Some(())
            })?;
        }
    }
    out.push('}');
    Some(())
}

/// A type's name with its namespace: its own, otherwise that of the type around it.
pub(super) fn full_name(name: &str, own: Option<&str>, around: &str) -> String {
    let namespace = own.unwrap_or(around);
    if PRIMITIVES.contains(&name) || name.contains('.') || namespace.is_empty() {
        name.to_owned()
    } else {
        format!("{namespace}.{name}")
    }
}

fn write_list<T>(items: &[T], out: &mut String, mut write: impl FnMut(&T, &mut String) -> Option<()>) -> Option<()> {
    out.push('[');
    for (position, item) in items.iter().enumerate() {
        if position > 0 {
            out.push(',');
        }
        write(item, out)?;
    }
    out.push(']');
    Some(())
}

/// Appends a text in quotes. Names and symbols are letters, digits and underscores: there is nothing to escape.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    out.push_str(text);
    out.push('"');
}

const fn table() -> [u64; 256] {
    let mut table = [0; 256];
    let mut index = 0;
    while index < table.len() {
        let mut value = index as u64;
        let mut bit = 0;
        while bit < 8 {
            value = (value >> 1) ^ (EMPTY & (value & 1).wrapping_neg());
            bit += 1;
        }
        table[index] = value;
        index += 1;
    }
    table
}

fn crc_64_avro(bytes: &[u8]) -> u64 {
    bytes.iter().fold(EMPTY, |crc, byte| (crc >> 8) ^ TABLE[((crc ^ u64::from(*byte)) & 0xff) as usize])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::Codecs;
    use crate::codec::bits::testing::codecs;

    fn hex(fingerprint: Fingerprint) -> String {
        format!("{:016x}", u64::from_be_bytes(fingerprint))
    }

    /// What fastavro 1.13.1 says (`fingerprint(to_parsing_canonical_form(schema), "CRC-64-AVRO")`), and what the builds
    /// before this module wrote.
    #[test]
    fn test_fingerprints_of_the_shipped_types_are_those_of_other_clients() {
        let expected = [
            ("position", "9ea83621f034ca60", "2e6e032d061c1b19"),
            ("harsh_event", "032654f6bf835e8d", "4089fa9e46aa8a37"),
            ("engine_health", "523af71f3816f53d", "6609aad5c78da4be"),
            ("device_status", "c4ae2dbda79c169a", "75eb13f99af1f7b2"),
        ];
        let codecs = Codecs::builtin().unwrap();
        for (name, now, earlier) in expected {
            let codec = codecs.by_name(name).unwrap();
            let fingerprints = (hex(codec.fingerprint), hex(earlier_fingerprint(&codec.schema)));
            assert_eq!(fingerprints, (now.to_owned(), earlier.to_owned()), "{name}");
        }
    }

    #[test]
    fn test_checksums_are_those_of_the_specification() {
        // As fastavro says; the first two are in the test suite that Avro's own libraries share.
        for (schema, expected) in [
            (r#""null""#, 7_195_948_357_588_979_594),
            (r#"{"type":"boolean"}"#, -6_970_731_678_124_411_036),
            (r#"{"type":"fixed","name":"Test","size":1}"#, 6_572_239_772_516_444_520),
        ] {
            assert_eq!(fingerprint(schema).map(i64::from_le_bytes), Some(expected), "{schema}");
        }
    }

    #[test]
    fn test_form_has_full_names_in_order_and_nothing_else() {
        let schema = r#" { "doc": "d", "namespace": "a.b", "fields": [
            {"type": {"logicalType": "timestamp-millis", "type": "long"}, "name": "t", "unit": "s", "default": 3},
            {"name": "n", "type": ["null", {"type": {"type": "bytes", "scale": 0}}], "default": null},
            {"name": "e", "type": {"symbols": ["X", "Y_1"], "type": "enum", "name": "E", "default": "X", "aliases": ["F"]}},
            {"name": "f", "type": {"size": 12, "type": "fixed", "name": "other.F"}},
            {"name": "r", "type": {"type": "array", "items": {"type": "record", "namespace": "c", "name": "R", "fields": [
                {"name": "e", "type": "a.b.E"}, {"name": "self", "type": ["null", "R"]}]}}},
            {"name": "m", "type": {"values": "E", "type": "map"}}
        ], "name": "Top", "type": "record" } "#;
        let expected = r#"{"name":"a.b.Top","type":"record","fields":[{"name":"t","type":"long"},{"name":"n","type":["null","bytes"]},{"name":"e","type":{"name":"a.b.E","type":"enum","symbols":["X","Y_1"]}},{"name":"f","type":{"name":"other.F","type":"fixed","size":12}},{"name":"r","type":{"type":"array","items":{"name":"c.R","type":"record","fields":[{"name":"e","type":"a.b.E"},{"name":"self","type":["null","c.R"]}]}}},{"name":"m","type":{"type":"map","values":"a.b.E"}}]}"#;
        assert_eq!(canonical_form(&serde_json::from_str(schema).unwrap()).unwrap(), expected);
    }

    #[test]
    fn test_what_is_no_schema_has_no_fingerprint() {
        for text in ["", "{", "7", "{}", r#"{"type":"array"}"#, r#"{"type":"enum","name":"E"}"#, r#"["null",7]"#] {
            assert_eq!(fingerprint(text), None, "{text}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        /// Where no logical type stands, the crate's form is the specification's.
        #[test]
        fn test_form_is_the_crates_but_for_logical_types(codecs in codecs()) {
            let codec = codecs.by_name("t").unwrap();
            let theirs = codec.schema.canonical_form();
            let theirs = theirs.replace(r#"{"type":"bytes","precision":20,"scale":0}"#, r#""bytes""#);
            let mended = ["boolean", "int", "long", "float", "double", "bytes", "string"]
                .iter()
                .fold(theirs, |form, name| form.replace(&format!(r#"{{"type":"{name}"}}"#), &format!(r#""{name}""#)));
            let ours = canonical_form(&serde_json::from_str(&codec.schema_json).unwrap()).unwrap();
            prop_assert_eq!(ours, mended);
        }
    }
}
