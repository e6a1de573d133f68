//! The types of CQL as text: what a database says of its columns, and what a route declares.

use super::row::{Collection, ColumnKind, Items, ScalarKind};

/// The kind of a column of this type; `None` if rows with such a column cannot be written: counters, types that users have
/// defined, tuples, vectors, nested collections.
pub fn parse_type(text: &str) -> Option<ColumnKind> {
    let text = text.trim();
    match inner(text, "frozen") {
        Some(text) => collection(text.trim(), true),
        None => scalar(text).map(ColumnKind::Scalar).or_else(|| collection(text, false)),
    }
}

/// The type of a column, spelt as servers spell it.
pub fn type_text(kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Scalar(kind) => scalar_text(kind).to_owned(),
        // Frozen: a list is written whole, as one value, and writing it again leaves no tombstone.
        ColumnKind::List(kind) => format!("frozen<list<{}>>", scalar_text(kind)),
        ColumnKind::Json => "text".to_owned(),
        ColumnKind::Collection(Collection { items, is_frozen }) => {
            let text = match items {
                Items::List(kind) => format!("list<{}>", scalar_text(kind)),
                Items::Set(kind) => format!("set<{}>", scalar_text(kind)),
                Items::Map(key, kind) => format!("map<{}, {}>", scalar_text(key), scalar_text(kind)),
            };
            if is_frozen { format!("frozen<{text}>") } else { text }
        }
    }
}

/// What stands between the angle brackets of `name<...>`.
fn inner<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.trim_start().strip_prefix('<')?.strip_suffix('>')
}

fn collection(text: &str, is_frozen: bool) -> Option<ColumnKind> {
    let items = if let Some(item) = inner(text, "list") {
        Items::List(scalar(item.trim())?)
    } else if let Some(item) = inner(text, "set") {
        Items::Set(scalar(item.trim())?)
    } else {
        let (key, value) = inner(text, "map")?.split_once(',')?;
        Items::Map(scalar(key.trim())?, scalar(value.trim())?)
    };
    Some(ColumnKind::Collection(Collection { items, is_frozen }))
}

fn scalar(text: &str) -> Option<ScalarKind> {
    Some(match text {
        "boolean" => ScalarKind::Bool,
        "int" => ScalarKind::Int,
        "bigint" => ScalarKind::Long,
        "float" => ScalarKind::Float,
        "double" => ScalarKind::Double,
        "text" | "varchar" => ScalarKind::Text,
        "blob" => ScalarKind::Bytes,
        "timestamp" => ScalarKind::Timestamp,
        "ascii" => ScalarKind::Ascii,
        "tinyint" => ScalarKind::TinyInt,
        "smallint" => ScalarKind::SmallInt,
        "varint" => ScalarKind::Varint,
        "decimal" => ScalarKind::Decimal,
        "uuid" => ScalarKind::Uuid,
        "timeuuid" => ScalarKind::TimeUuid,
        "inet" => ScalarKind::Inet,
        "date" => ScalarKind::Date,
        "time" => ScalarKind::Time,
        "duration" => ScalarKind::Duration,
        _ => return None,
    })
}

fn scalar_text(kind: ScalarKind) -> &'static str {
    match kind {
        ScalarKind::Bool => "boolean",
        ScalarKind::Int => "int",
        ScalarKind::Long => "bigint",
        // The only integer that holds all 64 bits without a sign.
        ScalarKind::Unsigned | ScalarKind::Varint => "varint",
        ScalarKind::Float => "float",
        ScalarKind::Double => "double",
        ScalarKind::Text => "text",
        ScalarKind::Bytes => "blob",
        ScalarKind::Timestamp => "timestamp",
        ScalarKind::Ascii => "ascii",
        ScalarKind::TinyInt => "tinyint",
        ScalarKind::SmallInt => "smallint",
        ScalarKind::Decimal => "decimal",
        ScalarKind::Uuid => "uuid",
        ScalarKind::TimeUuid => "timeuuid",
        ScalarKind::Inet => "inet",
        ScalarKind::Date => "date",
        ScalarKind::Time => "time",
        ScalarKind::Duration => "duration",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALARS: [&str; 19] = [
        "ascii",
        "bigint",
        "blob",
        "boolean",
        "date",
        "decimal",
        "double",
        "duration",
        "float",
        "inet",
        "int",
        "smallint",
        "text",
        "time",
        "timestamp",
        "timeuuid",
        "tinyint",
        "uuid",
        "varint",
    ];

    #[test]
    fn test_each_type_that_can_be_written_is_its_own_text() {
        let mut kinds = Vec::new();
        for scalar in SCALARS {
            for text in [
                scalar.to_owned(),
                format!("list<{scalar}>"),
                format!("frozen<set<{scalar}>>"),
                format!("map<{scalar}, int>"),
                format!("frozen<map<text, {scalar}>>"),
            ] {
                let kind = parse_type(&text).unwrap_or_else(|| panic!("{text} is a type"));
                assert_eq!(type_text(kind), text);
                assert!(!kinds.contains(&kind), "{text} is the kind of another type");
                kinds.push(kind);
            }
        }
        assert_eq!(parse_type("varchar"), parse_type("text"));
        assert_eq!(parse_type(" frozen < map<text,int> > "), parse_type("frozen<map<text, int>>"));
    }

    #[test]
    fn test_what_cannot_be_written_has_no_kind() {
        for text in [
            "",
            "counter",
            "list<counter>",
            "address",
            "frozen<address>",
            "frozen<int>",
            "frozen<frozen<list<int>>>",
            "\"Text\"",
            "TEXT",
            "tuple<int, text>",
            "frozen<tuple<int, text>>",
            "vector<float, 3>",
            "list<frozen<list<int>>>",
            "map<text, frozen<set<int>>>",
            "map<text>",
            "map<int, int, int>",
            "list<int",
            "list<>",
            "reversed(timestamp)",
            "'org.apache.cassandra.db.marshal.DynamicCompositeType'",
        ] {
            assert_eq!(parse_type(text), None, "{text}");
        }
    }
}
