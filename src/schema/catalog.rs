//! All message types that the engine knows: read once, shared read-only, swapped whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::check::{LayoutError, check_file};
use super::message_type::{MessageType, TypeError};
use super::source::FileSource;
use crate::schema::TypeId;

/// The layouts that the engine ships with.
const BUILTIN: [(&str, &str); 4] = [
    ("position.toml", include_str!("../../config/messages/position.toml")),
    ("harsh_event.toml", include_str!("../../config/messages/harsh_event.toml")),
    ("engine_health.toml", include_str!("../../config/messages/engine_health.toml")),
    ("device_status.toml", include_str!("../../config/messages/device_status.toml")),
];

/// The message types, found by number or by name.
#[derive(Debug)]
pub struct Catalog {
    types: Vec<Arc<MessageType>>,
    positions: Positions,
}

/// Where each type of a catalog is among its types, by number.
#[derive(Debug, Clone, Default)]
pub struct Positions {
    /// By type number, one more than the position; zero for none. A search per message would cost more than the 128 KiB
    /// that this takes at worst. Shared with what is compiled from the catalog.
    by_id: Arc<[u16]>,
}

/// Layout files that cannot be used.
#[derive(Debug, Error)]
pub enum CatalogError {
    /// A file or the directory cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A file is not TOML, or has keys that layouts do not have.
    #[error("{file}:{line}: {}", source.message().replace('\n', ", "))]
    Parse {
        /// The file's name.
        file: String,
        /// The line, from 1.
        line: usize,
        /// Why.
        source: Box<toml::de::Error>,
    },
    /// A layout breaks a rule.
    #[error(transparent)]
    Layout(#[from] Box<LayoutError>),
    /// The versions of a type do not fit together.
    #[error("{file}: type {type_name}: {source}")]
    Type {
        /// The file's name.
        file: String,
        /// The type.
        type_name: String,
        /// Why.
        source: Box<TypeError>,
    },
    /// Two types share a name or a number.
    #[error("{file}: type {type_name} has the {what} of a type read before; names and ids are unique")]
    Duplicate {
        /// The second file's name.
        file: String,
        /// The second type.
        type_name: String,
        /// `name` or `id`.
        what: &'static str,
    },
    /// There is no layout at all.
    #[error("there are no message layouts; at least one *.toml file is needed")]
    Empty,
}

// === impl Positions ===

impl Positions {
    /// `ids` are those of the types in their order, each there once, so that there are fewer than the places can number.
    fn new(ids: impl Iterator<Item = TypeId> + Clone) -> Self {
        let mut by_id = vec![0; ids.clone().max().map_or(0, |last| usize::from(last) + 1)];
        for (place, id) in (1..=u16::MAX).zip(ids) {
            by_id[usize::from(id)] = place;
        }
        Self { by_id: by_id.into() }
    }

    /// The position of a type.
    #[inline]
    pub fn of(&self, id: TypeId) -> Option<usize> {
        self.by_id.get(usize::from(id))?.checked_sub(1).map(usize::from)
    }
}

// === impl Catalog ===

impl Catalog {
    /// No types at all: of an engine that only reads topics of others.
    pub fn none() -> Catalog {
        Catalog { types: Vec::new(), positions: Positions::new([].into_iter()) }
    }

    /// The layouts that the engine ships with.
    pub fn builtin() -> Result<Catalog, CatalogError> {
        Catalog::from_sources(BUILTIN)
    }

    /// All `*.toml` files of a directory, in order of their names.
    pub fn load(dir: &Path) -> Result<Catalog, CatalogError> {
        let read_error = |path: &Path, source| CatalogError::Read { path: path.to_owned(), source };
        let mut sources = Vec::new();
        for entry in std::fs::read_dir(dir).map_err(|error| read_error(dir, error))? {
            let path = entry.map_err(|error| read_error(dir, error))?.path();
            if path.extension().is_none_or(|extension| extension != "toml") {
                continue;
            }
            let text = std::fs::read_to_string(&path).map_err(|error| read_error(&path, error))?;
            sources.push((path.display().to_string(), text));
        }
        sources.sort();
        Catalog::from_sources(sources)
    }

    /// Layout files given as (name, text).
    pub fn from_sources<N, T>(sources: impl IntoIterator<Item = (N, T)>) -> Result<Catalog, CatalogError>
    where
        N: Into<String>,
        T: AsRef<str>,
    {
        let mut types = Vec::new();
        for (file, text) in sources {
            let message_type = read(file.into(), text.as_ref(), &types)?;
            types.push(Arc::new(message_type));
        }
        if types.is_empty() {
            return Err(CatalogError::Empty);
        }
        let positions = Positions::new(types.iter().map(|message_type| message_type.id));
        Ok(Catalog { types, positions })
    }

    /// All types, in the order that they were read.
    pub fn types(&self) -> &[Arc<MessageType>] {
        &self.types
    }

    /// The type of a number.
    #[inline]
    pub fn message_type(&self, id: TypeId) -> Option<&Arc<MessageType>> {
        self.types.get(self.positions.of(id)?)
    }

    /// The type of a name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<MessageType>> {
        self.types.iter().find(|message_type| message_type.name == name)
    }

    /// Where each type is among [`Catalog::types`].
    pub fn positions(&self) -> &Positions {
        &self.positions
    }
}

/// The type that a file declares, which shares neither name nor number with those before it.
fn read(file: String, text: &str, before: &[Arc<MessageType>]) -> Result<MessageType, CatalogError> {
    let source: FileSource = toml::from_str(text).map_err(|source: toml::de::Error| {
        // Without a place, and at a place that is no border of a character, it is the first line.
        let before = text.get(..source.span().map_or(0, |span| span.start)).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        CatalogError::Parse { file: file.clone(), line, source: Box::new(source) }
    })?;
    let declaration = check_file(&file, source).map_err(Box::new)?;
    let (id, type_name) = (declaration.id, declaration.name.clone());
    let duplicate = |what| CatalogError::Duplicate { file: file.clone(), type_name: type_name.clone(), what };
    if before.iter().any(|message_type| message_type.id == id) {
        return Err(duplicate("id"));
    }
    if before.iter().any(|message_type| message_type.name == type_name) {
        return Err(duplicate("name"));
    }
    // The last of 65,536 types would have no place.
    if before.len() >= usize::from(u16::MAX) {
        return Err(duplicate("id"));
    }
    MessageType::new(file.clone(), declaration).map_err(|source| CatalogError::Type {
        file,
        type_name,
        source: Box::new(source),
    })
}
