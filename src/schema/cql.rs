//! Names of types of CQL, and what columns of these types hold.

use super::row::{Collection, ColumnKind, Items, ScalarKind};

/// The names of CQL for single values. The first one of a kind is how it is shown.
const NAMES: [(&str, ScalarKind); 20] = [
    ("boolean", ScalarKind::Bool),
    ("int", ScalarKind::Int),
    ("bigint", ScalarKind::Long),
    ("float", ScalarKind::Float),
    ("double", ScalarKind::Double),
    ("text", ScalarKind::Text),
    ("varchar", ScalarKind::Text),
    ("blob", ScalarKind::Bytes),
    ("timestamp", ScalarKind::Timestamp),
    ("ascii", ScalarKind::Ascii),
    ("tinyint", ScalarKind::TinyInt),
    ("smallint", ScalarKind::SmallInt),
    ("varint", ScalarKind::Varint),
    ("decimal", ScalarKind::Decimal),
    ("uuid", ScalarKind::Uuid),
    ("timeuuid", ScalarKind::TimeUuid),
    ("inet", ScalarKind::Inet),
    ("date", ScalarKind::Date),
    ("time", ScalarKind::Time),
    ("duration", ScalarKind::Duration),
];

/// What a column of this type of CQL holds: a single value, or a list, a set or a map of single values. `None` for other types, and
/// for what is none.
pub fn parse_type(text: &str) -> Option<ColumnKind> {
    let text: String = text.chars().filter(|letter| !letter.is_whitespace()).collect::<String>().to_ascii_lowercase();
    if let Some(kind) = scalar(&text) {
        return Some(ColumnKind::Scalar(kind));
    }
    let (items, is_frozen) = match inside(&text, "frozen") {
        Some(inner) => (inner, true),
        None => (&*text, false),
    };
    let items = if let Some(item) = inside(items, "list") {
        Items::List(scalar(item)?)
    } else if let Some(item) = inside(items, "set") {
        Items::Set(scalar(item)?)
    } else {
        let (key, value) = inside(items, "map")?.split_once(',')?;
        Items::Map(scalar(key)?, scalar(value)?)
    };
    Some(ColumnKind::Collection(Collection { items, is_frozen }))
}

fn scalar(text: &str) -> Option<ScalarKind> {
    NAMES.iter().find(|(name, _)| *name == text).map(|(_, kind)| *kind)
}

fn inside<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.strip_prefix(name)?.strip_prefix('<')?.strip_suffix('>')
}

/// The type of CQL for what a column holds.
pub fn type_text(kind: ColumnKind) -> String {
    match kind {
        ColumnKind::Scalar(kind) => scalar_text(kind).to_owned(),
        ColumnKind::Json => "text".to_owned(),
        ColumnKind::List(kind) => format!("frozen<list<{}>>", scalar_text(kind)),
        ColumnKind::Collection(Collection { items, is_frozen }) => {
            let text = match items {
                Items::List(kind) => format!("list<{}>", scalar_text(kind)),
                Items::Set(kind) => format!("set<{}>", scalar_text(kind)),
                Items::Map(key, value) => format!("map<{}, {}>", scalar_text(key), scalar_text(value)),
            };
            if is_frozen { format!("frozen<{text}>") } else { text }
        }
    }
}

/// The type of CQL for single values of a kind.
pub fn scalar_text(kind: ScalarKind) -> &'static str {
    match NAMES.iter().find(|(_, named)| *named == kind) {
        Some((name, _)) => name,
        None => {
            assert!(kind == ScalarKind::Unsigned, "{kind:?} has no type");
            "varint"
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn test_types_are_read_as_they_are_written() {
        for (name, kind) in NAMES {
            assert_eq!(parse_type(name), Some(ColumnKind::Scalar(kind)));
            for text in [format!("list<{name}>"), format!("frozen<set<{name}>>"), format!("map<int, {name}>")] {
                let kind = parse_type(&text).unwrap_or_else(|| panic!("{text}"));
                assert_eq!(type_text(kind), text.replace("varchar", "text"));
            }
        }
        let frozen = Collection { items: Items::Map(ScalarKind::Text, ScalarKind::Long), is_frozen: true };
        assert_eq!(parse_type(" Frozen < MAP<varchar,BigInt> > "), Some(ColumnKind::Collection(frozen)));
    }

    #[test]
    fn test_what_cannot_be_written_is_no_kind() {
        for text in [
            "",
            "counter",
            "list<list<int>>",
            "map<int>",
            "map<int,int,int>",
            "tuple<int>",
            "frozen<int>",
            "list<int",
            "my_type",
        ] {
            assert_eq!(parse_type(text), None, "{text}");
        }
    }
}
