//! From a layout file as written to checked fields.
//!
//! Every rule about one version of one type is here and in `check_kind`; rules between versions are in
//! `evolution`. A problem is told with file, type, version, field, what is wrong, and what is allowed.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use super::check_kind::check_kind;
use super::field::{Field, Kind};
use super::source::{FieldSource, FileSource};
use crate::schema::{TypeId, Version};

/// The longest name of a type: what Cassandra allows for a table.
pub const MAX_TYPE_NAME_LEN: usize = 48;
/// The longest name of one field.
pub const MAX_FIELD_NAME_LEN: usize = 64;
/// Groups and arrays within each other, at most.
pub const MAX_DEPTH: usize = 8;
/// Fields of one version, nested ones included, at most.
pub const MAX_FIELDS: usize = 512;
/// The longest body of one version: 1 MiB.
pub const MAX_BODY_BITS: u64 = 8 << 20;

/// What is wrong with a layout, and where.
#[derive(Debug, Error)]
#[error("{file}: type {type_name}{}{}: {problem}", version_part(*version), field_part(field))]
pub struct LayoutError {
    /// The file's name.
    pub file: String,
    /// The type as the file names it.
    pub type_name: String,
    /// The version, if the problem is within one.
    pub version: Option<Version>,
    /// The field, nested names joined with dots; empty if the problem is not in a field.
    pub field: String,
    /// What is wrong and what is allowed.
    pub problem: String,
}

/// A checked file.
#[derive(Debug)]
pub(super) struct Declaration {
    pub name: String,
    pub id: TypeId,
    pub doc: String,
    /// In ascending order of versions.
    pub versions: Vec<(Version, Vec<Field>)>,
}

/// A problem with a field. `path` is filled in on the way out.
#[derive(Debug)]
pub(super) struct Problem {
    path: Vec<String>,
    text: String,
}

/// What is shared by all fields of a version while they are checked.
#[derive(Debug, Default)]
pub(super) struct Progress {
    num_fields: usize,
}

/// Checks one file.
pub(super) fn check_file(file: &str, source: FileSource) -> Result<Declaration, LayoutError> {
    let FileSource { name, id, doc, mut versions } = source;
    let error = |version: Option<Version>, field: String, problem: String| LayoutError {
        file: file.to_owned(),
        type_name: name.clone(),
        version,
        field,
        problem,
    };
    check_name(&name, MAX_TYPE_NAME_LEN).map_err(|problem| error(None, String::new(), problem))?;
    if versions.is_empty() {
        return Err(error(None, String::new(), "there is no version; at least one [[version]] is needed".to_owned()));
    }
    versions.sort_by_key(|version| version.version);
    if let Some([one, ..]) =
        versions.windows(2).find(|pair| pair.first().map(|v| v.version) == pair.last().map(|v| v.version))
    {
        return Err(error(Some(one.version), String::new(), "declared twice".to_owned()));
    }
    let mut checked = Vec::with_capacity(versions.len());
    for version in versions {
        let number = version.version;
        let fields = check_fields(version.fields, 0, &mut Progress::default())
            .map_err(|problem| error(Some(number), problem.field(), problem.text))?;
        let max_bits = fields.iter().map(Field::max_bits).fold(0, u64::saturating_add);
        if max_bits > MAX_BODY_BITS {
            let problem = format!("a body may take {max_bits} bits; allowed are {MAX_BODY_BITS}");
            return Err(error(Some(number), String::new(), problem));
        }
        checked.push((number, fields));
    }
    Ok(Declaration { name, id, doc, versions: checked })
}

/// Checks the fields of a version or of a group.
pub(super) fn check_fields(
    sources: Vec<FieldSource>,
    depth: usize,
    progress: &mut Progress,
) -> Result<Vec<Field>, Problem> {
    let mut names = BTreeSet::new();
    let mut fields = Vec::with_capacity(sources.len());
    for source in sources {
        // Reserved bits have no name; for what has to have one, none is as wrong as an empty one.
        let name = source.name.clone().unwrap_or_default();
        let field = check_field(source, depth, progress).map_err(|problem| problem.within(&name))?;
        if !field.kind.is_reserved() && !names.insert(name.clone()) {
            return Err(Problem::new("the name is used twice").within(&name));
        }
        fields.push(field);
    }
    if names.is_empty() {
        return Err(Problem::new("there are no fields; at least one that is not reserved is needed"));
    }
    Ok(fields)
}

/// Checks the item of an array.
pub(super) fn check_item(mut source: FieldSource, depth: usize, progress: &mut Progress) -> Result<Field, Problem> {
    let refused = [
        ("name", source.name.is_some()),
        ("optional", source.optional.is_some()),
        // That of an enum also stands for unknown numbers.
        ("default", source.default.is_some() && source.kind != "enum"),
    ];
    if let Some((key, _)) = refused.iter().find(|(_, is_set)| *is_set) {
        return Err(Problem::new(format!("an item of an array has no key {key}")));
    }
    source.name = Some("item".to_owned());
    let field = check_field(source, depth, progress)?;
    if field.kind.is_reserved() {
        return Err(Problem::new("an item of an array cannot be reserved"));
    }
    Ok(field)
}

fn check_field(source: FieldSource, depth: usize, progress: &mut Progress) -> Result<Field, Problem> {
    progress.num_fields += 1;
    if progress.num_fields > MAX_FIELDS {
        return Err(Problem::new(format!("there are more than {MAX_FIELDS} fields")));
    }
    if depth > MAX_DEPTH {
        return Err(Problem::new(format!("nested deeper than {MAX_DEPTH} groups and arrays")));
    }
    let name = source.name.clone().unwrap_or_default();
    let doc = source.doc.clone().unwrap_or_default();
    let unit = source.unit.clone();
    let optional = source.optional.unwrap_or(false);
    let (kind, default) = check_kind(source, depth, progress)?;
    if matches!(kind, Kind::Reserved { .. }) {
        if !name.is_empty() || optional {
            return Err(Problem::new("reserved bits have neither name nor optional"));
        }
    } else {
        check_name(&name, MAX_FIELD_NAME_LEN).map_err(Problem::new)?;
    }
    // The default of an enum also stands for unknown numbers, which an optional enum may well need.
    let default = default.filter(|_| !(optional && matches!(kind, Kind::Enum { .. })));
    if optional && default.is_some() {
        return Err(Problem::new("optional and default exclude each other: an absent optional field is null"));
    }
    Ok(Field { name, doc, unit, optional, default, kind })
}

/// Lower snake case: words of letters and digits, the first starting with a letter, joined by single underscores.
/// Double underscores are left free: they join names in Avro.
pub(super) fn check_name(name: &str, max_len: usize) -> Result<(), String> {
    let is_word =
        |word: &str| !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_lowercase());
    if name.len() <= max_len && starts_well && name.split('_').all(is_word) {
        return Ok(());
    }
    Err(format!("the name {name:?} is not lower snake case of at most {max_len} bytes, such as oil_pressure or speed2"))
}

fn version_part(version: Option<Version>) -> String {
    version.map(|version| format!(", version {version}")).unwrap_or_default()
}

fn field_part(field: &str) -> String {
    if field.is_empty() { String::new() } else { format!(", field {field}") }
}

// === impl Problem ===

impl Problem {
    pub(super) fn new(text: impl Into<String>) -> Problem {
        Problem { path: Vec::new(), text: text.into() }
    }

    /// The same problem, seen from the field `name` around it.
    pub(super) fn within(mut self, name: &str) -> Problem {
        self.path.push(if name.is_empty() { "(without name)".to_owned() } else { name.to_owned() });
        self
    }

    fn field(&self) -> String {
        self.path.iter().rev().map(String::as_str).collect::<Vec<_>>().join(".")
    }
}

/// Names of symbols follow Avro's rule.
pub(super) fn check_symbol(name: &str) -> Result<Arc<str>, Problem> {
    let starts_well = name.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let is_well = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if starts_well && is_well && name.len() <= MAX_FIELD_NAME_LEN {
        return Ok(name.into());
    }
    Err(Problem::new(format!(
        "the symbol {name:?} is not a letter or underscore followed by letters, digits and underscores, at most \
         {MAX_FIELD_NAME_LEN} bytes"
    )))
}
