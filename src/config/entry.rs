//! A value as somebody wrote it, before anyone has asked whether it is what its key needs.
//!
//! Deserialising into entries cannot fail over a wrong value, so that one run can report every problem.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A value as written. Text stands for any type, since variables and `${NAME}` can only give text.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub(super) enum Entry {
    /// A whole number.
    Integer(i64),
    /// A number with a fraction; no key takes one, but the error has to show it.
    Float(f64),
    /// `true` or `false`.
    Boolean(bool),
    /// Text.
    Text(String),
    /// A list.
    List(Vec<Entry>),
    /// Values by name, where a key takes such.
    Table(BTreeMap<String, Entry>),
}

impl Entry {
    /// The text of this entry, if it is one.
    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Self::Text(text) => Some(text.trim()),
            _ => None,
        }
    }

    /// The whole number that this entry is or spells.
    pub(super) fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(number) => Some(*number),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The truth value that this entry is or spells.
    pub(super) fn boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            Self::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }

    /// The texts of this list. A text is split at commas, since a variable has no other way to give a list.
    pub(super) fn texts(&self) -> Option<Vec<String>> {
        match self {
            Self::Text(text) => {
                Some(text.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect())
            }
            Self::List(items) => items.iter().map(|item| item.text().map(str::to_owned)).collect(),
            _ => None,
        }
    }
}

impl fmt::Display for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(number) => number.fmt(f),
            Self::Float(number) => number.fmt(f),
            Self::Boolean(value) => value.fmt(f),
            Self::Text(text) => write!(f, "{text:?}"),
            Self::List(items) => {
                f.write_str("[")?;
                for (index, item) in items.iter().enumerate() {
                    let separator = if index == 0 { "" } else { ", " };
                    write!(f, "{separator}{item}")?;
                }
                f.write_str("]")
            }
            Self::Table(entries) => {
                f.write_str("{")?;
                for (index, (name, entry)) in entries.iter().enumerate() {
                    let separator = if index == 0 { " " } else { ", " };
                    write!(f, "{separator}{name} = {entry}")?;
                }
                f.write_str(" }")
            }
        }
    }
}

impl From<&str> for Entry {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<i64> for Entry {
    fn from(number: i64) -> Self {
        Self::Integer(number)
    }
}

impl From<bool> for Entry {
    fn from(value: bool) -> Self {
        Self::Boolean(value)
    }
}

impl<const N: usize> From<[&str; N]> for Entry {
    fn from(items: [&str; N]) -> Self {
        Self::List(items.into_iter().map(Entry::from).collect())
    }
}
