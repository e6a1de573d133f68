//! The file: TOML text to a tree for the merge, with the line of every key, and every key checked to be known.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::PathBuf;

use config::{Map, Value, ValueKind};
use toml::de::{DeTable, DeValue};

use super::problem::Problem;
use super::schema::{Kind, Schema};
use super::sources::{Place, Sources};
use super::substitute::Names;

/// A file that has been read: only known keys are left in its tree.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// The values by top-level key.
    pub values: Map<String, Value>,
    /// Where each key stands.
    pub places: BTreeMap<String, Place>,
    /// What was wrong with keys and sections.
    pub problems: Vec<Problem>,
    /// Values whose `${NAME}` could not be replaced: a problem only if the section is used.
    pub unresolved: Vec<Problem>,
    /// The files that values name as `${file:PATH}`.
    pub files: Vec<PathBuf>,
}

/// Reads the text of a file; `names` is what its values may name. An error holds what is not TOML: what could be
/// made of the rest would be a guess, and its problems noise.
pub(super) fn read(name: &str, text: &str, schema: &Schema, names: Names<'_>) -> Result<Document, Vec<Problem>> {
    let (tree, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| syntax_problem(name, text, error)).collect());
    }
    let sources = Sources { file: name.to_owned(), ..Sources::default() };
    let mut reader = Reader { text, schema, names, sources, problems: Vec::new(), unresolved: Vec::new() };
    let values = reader.table("", tree.get_ref());
    let Reader { sources, problems, unresolved, names, .. } = reader;
    Ok(Document { values, places: sources.places, problems, unresolved, files: names.files })
}

struct Reader<'a> {
    text: &'a str,
    schema: &'a Schema,
    names: Names<'a>,
    sources: Sources,
    problems: Vec<Problem>,
    unresolved: Vec<Problem>,
}

impl Reader<'_> {
    fn table(&mut self, path: &str, table: &DeTable<'_>) -> Map<String, Value> {
        let mut values = Map::new();
        for (name, value) in table {
            let key = if path.is_empty() { name.get_ref().to_string() } else { format!("{path}.{}", name.get_ref()) };
            let line = line_of(self.text, name.span().start);
            let shown = self.text.get(value.span()).unwrap_or_default().to_owned();
            self.sources.places.insert(key.clone(), Place { line, shown });
            let value = match (self.schema.kind(path, name.get_ref()), value.get_ref()) {
                (Some(Kind::Section), DeValue::Table(table)) => Some(self.table(&key, table).into()),
                (Some(Kind::Section), _) => {
                    self.fault(&key, &format!("is not a section; write [{key}] and keys below it"))
                }
                (Some(Kind::KeyOrTable), DeValue::Table(table)) => Some(self.values(&key, table)),
                (Some(Kind::Key), DeValue::Table(_)) => self.fault(&key, "is a section; write one value"),
                (Some(Kind::Key | Kind::KeyOrTable), other) => Some(self.value(&key, other, value.span())),
                (None, _) => self.unknown(path, name.get_ref(), &key),
            };
            if let Some(value) = value {
                values.insert(name.get_ref().to_string(), value);
            }
        }
        values
    }

    fn fault(&mut self, key: &str, what: &str) -> Option<Value> {
        self.problems.push(self.sources.problem(key, what));
        None
    }

    fn unknown(&mut self, path: &str, name: &str, key: &str) -> Option<Value> {
        let remedy = self.schema.remedy(path, name);
        self.problems.push(self.sources.problem_at(key, &format!("{key}: unknown key; {remedy}")));
        None
    }

    /// A table that is a value: what its names mean is for the key to say.
    fn values(&mut self, key: &str, table: &DeTable<'_>) -> Value {
        let values = table.iter().map(|(name, value)| {
            let below = format!("{key}.{}", name.get_ref());
            (name.get_ref().to_string(), self.value(&below, value.get_ref(), value.span()))
        });
        let values: Map<String, Value> = values.collect();
        values.into()
    }

    fn value(&mut self, key: &str, value: &DeValue<'_>, span: Range<usize>) -> Value {
        let kind = match value {
            DeValue::String(text) => ValueKind::String(self.substituted(key, text)),
            DeValue::Boolean(value) => ValueKind::Boolean(*value),
            DeValue::Integer(number) => {
                let parsed = i64::from_str_radix(number.as_str(), number.radix());
                // A number beyond 64 bits stays text, so that the check of its key can refuse it.
                parsed.map_or_else(|_| ValueKind::String(number.to_string()), ValueKind::I64)
            }
            DeValue::Float(number) => {
                number.as_str().parse().map_or_else(|_| ValueKind::String(number.to_string()), ValueKind::Float)
            }
            DeValue::Array(items) => {
                let items = items.iter().map(|item| self.value(key, item.get_ref(), item.span())).collect();
                ValueKind::Array(items)
            }
            // No key takes these: as text they are refused with what was written.
            DeValue::Datetime(_) | DeValue::Table(_) => {
                ValueKind::String(self.text.get(span).unwrap_or_default().to_owned())
            }
        };
        Value::new(None, kind)
    }

    fn substituted(&mut self, key: &str, text: &str) -> String {
        self.names.substitute(text).unwrap_or_else(|what| {
            self.unresolved.push(self.sources.problem_at(key, &format!("{key}: {what}")));
            String::new()
        })
    }
}

fn syntax_problem(name: &str, text: &str, error: &toml::de::Error) -> Problem {
    let start = error.span().map_or(0, |span| span.start).min(text.len());
    let line = line_of(text, start);
    let before = text.get(..start).unwrap_or_default();
    let column = before.chars().rev().take_while(|letter| *letter != '\n').count() + 1;
    let what = error.message().replace('\n', ", ");
    Problem { line, key: String::new(), text: format!("{name}:{line}:{column}: not valid TOML: {what}") }
}

fn line_of(text: &str, offset: usize) -> usize {
    text.as_bytes().iter().take(offset).filter(|byte| **byte == b'\n').count() + 1
}
