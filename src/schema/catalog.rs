//! All message types that the engine knows: read once, shared read-only, swapped whole.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use thiserror::Error;

use super::check::{LayoutError, check_file};
use super::message_type::{MessageType, TypeError};
use super::source::FileSource;
use crate::codec::bits::Layout;
use crate::schema::{TypeId, Version};

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
    /// By type number, one more than the position in `types`; zero for none. A search per message would cost more
    /// than the 128 KiB that this takes at worst.
    positions: Vec<u16>,
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

/// A message that no layout describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum UnknownLayout {
    /// No version of the type is known.
    #[error("message type {0} is not known")]
    Type(TypeId),
    /// Other versions of the type are known.
    #[error("version {1} of message type {0} is not known")]
    Version(TypeId, Version),
}

// === impl Catalog ===

impl Catalog {
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
        let mut catalog = Catalog { types: Vec::new(), positions: Vec::new() };
        for (file, text) in sources {
            catalog.add(file.into(), text.as_ref())?;
        }
        if catalog.types.is_empty() { Err(CatalogError::Empty) } else { Ok(catalog) }
    }

    /// All types, in the order that they were read.
    pub fn types(&self) -> &[Arc<MessageType>] {
        &self.types
    }

    /// The type of a number.
    #[inline]
    pub fn message_type(&self, id: TypeId) -> Option<&Arc<MessageType>> {
        let position = self.positions.get(usize::from(id))?.checked_sub(1)?;
        self.types.get(usize::from(position))
    }

    /// The type of a name.
    pub fn by_name(&self, name: &str) -> Option<&Arc<MessageType>> {
        self.types.iter().find(|message_type| message_type.name == name)
    }

    /// The layout of a version of a type.
    #[inline]
    pub fn layout(&self, id: TypeId, version: Version) -> Result<&Layout, UnknownLayout> {
        let message_type = self.message_type(id).ok_or(UnknownLayout::Type(id))?;
        message_type.layout(version).ok_or(UnknownLayout::Version(id, version))
    }

    fn add(&mut self, file: String, text: &str) -> Result<(), CatalogError> {
        let source: FileSource = toml::from_str(text).map_err(|source: toml::de::Error| {
            let before = text.get(..source.span().map_or(0, |span| span.start)).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            CatalogError::Parse { file: file.clone(), line, source: Box::new(source) }
        })?;
        let declaration = check_file(&file, source).map_err(Box::new)?;
        let (id, type_name) = (declaration.id, declaration.name.clone());
        let duplicate = |what| CatalogError::Duplicate { file: file.clone(), type_name: type_name.clone(), what };
        if self.message_type(id).is_some() {
            return Err(duplicate("id"));
        }
        if self.by_name(&type_name).is_some() {
            return Err(duplicate("name"));
        }
        let message_type = MessageType::new(declaration).map_err(|source| CatalogError::Type {
            file: file.clone(),
            type_name: type_name.clone(),
            source: Box::new(source),
        })?;
        self.types.push(Arc::new(message_type));
        let num_positions = self.positions.len().max(usize::from(id) + 1);
        self.positions.resize(num_positions, 0);
        if let Some(position) = self.positions.get_mut(usize::from(id)) {
            // Ids are unique 16-bit numbers, so there are at most 65,536 types; the last of those would wrap.
            *position = u16::try_from(self.types.len()).map_err(|_| duplicate("id"))?;
        }
        Ok(())
    }
}
