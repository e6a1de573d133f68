//! For tests: what docs/layouts.md says that each kind becomes, beside what becomes of it.

use super::catalog::Catalog;
use super::row::ColumnKind;
use super::shape::Shape;

/// Where the table begins.
const HEADING: &str = "## From kind to column";

/// The rows of the table, and for each a field of that kind. Groups and reserved bits have no column of their own.
const KINDS: [(&str, &str); 18] = [
    ("uint, 1 to 31 bits", "kind = 'uint', bits = 31"),
    ("uint, 32 to 63 bits", "kind = 'uint', bits = 32"),
    ("uint, 64 bits", "kind = 'uint', bits = 64"),
    ("int, 1 to 32 bits", "kind = 'int', bits = 32"),
    ("int, 33 to 64 bits", "kind = 'int', bits = 33"),
    ("bool", "kind = 'bool'"),
    ("enum, 1 to 16 bits", "kind = 'enum', bits = 1, symbols = ['a', 'b']"),
    ("fixed, 1 to 53 bits", "kind = 'fixed', bits = 8, scale = 0.5"),
    ("f32", "kind = 'f32'"),
    ("f64", "kind = 'f64'"),
    ("timestamp, 1 to 64 bits, s or ms", "kind = 'timestamp', bits = 31, resolution = 's'"),
    ("timestamp, us", "kind = 'timestamp', bits = 51, resolution = 'us'"),
    ("text", "kind = 'text', length_bits = 4"),
    ("bytes", "kind = 'bytes', length_bits = 4"),
    ("group", ""),
    ("array of single values", "kind = 'array', count = 2, item = { kind = 'f32' }"),
    (
        "array of groups or arrays",
        "kind = 'array', count = 2, item = { kind = 'array', count = 2, item = { kind = 'bool' } }",
    ),
    ("reserved", ""),
];

/// A kind: what becomes of it, and what is written of that.
pub(crate) struct Documented {
    pub shape: Shape,
    pub column: ColumnKind,
    pub avro: String,
    pub cql: String,
    pub sqlite: String,
}

/// All kinds of single columns.
pub(crate) fn kinds() -> Vec<Documented> {
    let document = include_str!("../../docs/layouts.md").split_once(HEADING).unwrap().1;
    let rows: Vec<Vec<String>> =
        document.lines().skip_while(|line| !line.starts_with("|---")).skip(1).map_while(cells).collect();
    let names: Vec<&str> = rows.iter().map(|row| row[0].as_str()).collect();
    assert_eq!(names, KINDS.map(|(name, _)| name));
    let kinds = rows.iter().zip(KINDS).filter(|(_, (_, kind))| !kind.is_empty());
    kinds.map(|(row, (_, kind))| documented(row, kind)).collect()
}

fn documented(row: &[String], kind: &str) -> Documented {
    let text =
        format!("type = 't'\nid = 1\ndoc = 'd'\n[[version]]\nversion = 1\nfields = [{{ name = 'field', {kind} }}]");
    let catalog = Catalog::from_sources([("t.toml", text)]).unwrap();
    let of_type = &catalog.types()[0];
    Documented {
        shape: of_type.record.fields[0].shape.clone(),
        column: of_type.table.columns.last().unwrap().kind,
        avro: row[2].clone(),
        cql: row[3].clone(),
        sqlite: row[4].clone(),
    }
}

/// The cells of a line, as they are read.
fn cells(line: &str) -> Option<Vec<String>> {
    let inner = line.strip_prefix('|')?.strip_suffix('|')?;
    let text = |cell: &str| cell.trim().replace('`', "").replace("&lt;", "<").replace("&gt;", ">");
    Some(inner.split('|').map(text).collect())
}
