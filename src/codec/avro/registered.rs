//! Whether a schema reads what another one wrote: the final judge over our own rules, and the guard against schemas
//! that a log has registered and still holds records of.

use apache_avro::Schema;
use apache_avro::schema::RecordField;
use apache_avro::schema_compatibility::{Compatibility, SchemaCompatibility};
use thiserror::Error;

/// A schema that does not read what another wrote.
#[derive(Debug, Error)]
pub enum Incompatible {
    /// The older schema is no schema.
    #[error("the registered schema cannot be parsed: {0}")]
    Unparsable(Box<apache_avro::Error>),
    /// Some or all values of the older schema have no place in the newer one.
    #[error("records written with the registered schema cannot be read: {0}")]
    Unreadable(String),
    /// The bytes could be read, and would mean something else.
    #[error("field {field} would change its meaning: {reason}")]
    Meaning {
        /// The field, nested names joined with dots.
        field: String,
        /// What changed.
        reason: String,
    },
}

/// Checks that `new` reads every record that was written with the schema `old_json`.
pub fn check_reads(new: &Schema, old_json: &str) -> Result<(), Incompatible> {
    let old = Schema::parse_str(old_json).map_err(|error| Incompatible::Unparsable(Box::new(error)))?;
    match SchemaCompatibility::can_read(&old, new) {
        Ok(Compatibility::Full) => check_meaning("", &old, new),
        Ok(Compatibility::Partial) => {
            Err(Incompatible::Unreadable("some of their values have no place in the new schema".to_owned()))
        }
        Err(error) => Err(Incompatible::Unreadable(error.to_string())),
    }
}

/// What Avro lets pass because the bytes are alike: times of another unit, text for bytes, another physical unit.
fn check_meaning(path: &str, old: &Schema, new: &Schema) -> Result<(), Incompatible> {
    let (old, new) = (without_null(old), without_null(new));
    match (old, new) {
        (Schema::Record(old), Schema::Record(new)) => {
            for new_field in &new.fields {
                if let Some(old_field) = old.fields.iter().find(|field| field.name == new_field.name) {
                    check_field(path, old_field, new_field)?;
                }
            }
            Ok(())
        }
        (Schema::Array(old), Schema::Array(new)) => check_meaning(&format!("{path}.item"), &old.items, &new.items),
        (old, new) if meaning(old) != meaning(new) => Err(Incompatible::Meaning {
            field: path.to_owned(),
            reason: format!("it was {} and is {}", meaning(old), meaning(new)),
        }),
        _ => Ok(()),
    }
}

fn check_field(path: &str, old: &RecordField, new: &RecordField) -> Result<(), Incompatible> {
    let path = if path.is_empty() { new.name.clone() } else { format!("{path}.{}", new.name) };
    let unit = |field: &RecordField| field.custom_attributes.get("unit").cloned();
    if let (Some(before), Some(after)) = (unit(old), unit(new))
        && before != after
    {
        return Err(Incompatible::Meaning { field: path, reason: format!("its unit was {before} and is {after}") });
    }
    check_meaning(&path, &old.schema, &new.schema)
}

fn without_null(schema: &Schema) -> &Schema {
    match schema {
        Schema::Union(union) if union.variants().len() == 2 => {
            // Avro allows each type once in a union, so that one of two is not null.
            let not_null = union.variants().iter().find(|variant| !matches!(variant, Schema::Null));
            let Some(not_null) = not_null else { unreachable!("a union has null once") };
            not_null
        }
        other => other,
    }
}

fn meaning(schema: &Schema) -> &'static str {
    match schema {
        Schema::Int | Schema::Long | Schema::Float | Schema::Double => "a number",
        Schema::TimestampMillis => "a time in milliseconds",
        Schema::TimestampMicros => "a time in microseconds",
        Schema::Bytes => "bytes",
        Schema::String => "text",
        Schema::Decimal(_) => "a decimal",
        _ => "of another type",
    }
}
