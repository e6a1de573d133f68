//! One pass over a JSON record along the tree of paths of [`extract`](super::extract).

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::extract::{Memory, Node, Tree};
use crate::codec::value::{Malformed, Value};

/// How a value is read that paths only go through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// By its kind, once. Numbers and texts in the place of objects are read as such, and may fail as such.
    Quick,
    /// Its text first, of which nothing is asked but to be JSON, then what is in it.
    Careful,
}

/// A pass. Seeds borrow it, one after another.
pub(super) struct Walk<'w, 'de> {
    nodes: &'w [Node],
    memory: &'w mut Memory,
    /// The record.
    text: &'de str,
    /// One for each path.
    values: &'w mut [Value<'de>],
    mode: Mode,
    /// What is wrong, if the reader of JSON does not say it.
    fault: Option<Malformed>,
}

/// Reads the value that a node stands for.
struct ValueSeed<'s, 'w, 'de> {
    node: &'w Node,
    walk: &'s mut Walk<'w, 'de>,
}

/// Reads what is in it.
struct Inside<'s, 'w, 'de> {
    node: &'w Node,
    walk: &'s mut Walk<'w, 'de>,
}

/// Finds the member that a name stands for.
struct NameSeed<'w> {
    node: &'w Node,
    hint: usize,
}

// === impl Walk ===

impl<'w, 'de> Walk<'w, 'de> {
    pub(super) fn new(
        tree: &'w Tree,
        memory: &'w mut Memory,
        text: &'de str,
        values: &'w mut [Value<'de>],
        mode: Mode,
    ) -> Self {
        memory.pass += 1;
        Self { nodes: &tree.nodes, memory, text, values, mode, fault: None }
    }

    pub(super) fn run(mut self) -> Result<(), Malformed> {
        let mut deserializer = serde_json::Deserializer::from_str(self.text);
        let seed = ValueSeed { node: &self.nodes[0], walk: &mut self };
        let read = seed.deserialize(&mut deserializer).and_then(|()| deserializer.end());
        read.map_err(|error| self.malformed(&error, self.text))
    }

    /// What the reader of `text`, which is the record or a part of it, says.
    #[cold]
    fn malformed(&mut self, error: &serde_json::Error, text: &str) -> Malformed {
        self.fault.take().unwrap_or_else(|| {
            let said = error.to_string();
            let (what, _) = said.split_once(" at line ").unwrap_or((&said, ""));
            let lines_before: usize =
                text.split_inclusive('\n').take(error.line().saturating_sub(1)).map(str::len).sum();
            let start = text.as_ptr().addr() - self.text.as_ptr().addr();
            Malformed(format!("not JSON: {what} at its byte {}", start + lines_before + error.column()))
        })
    }

    #[cold]
    fn fail<E: Error>(&mut self, fault: Malformed) -> E {
        self.fault = Some(fault);
        E::custom("see the fault")
    }

    /// Takes a value whose text is known to be JSON.
    #[inline]
    fn take<E: Error>(&mut self, node: &'w Node, text: &'de str) -> Result<(), E> {
        if let Some((last, others)) = node.ends.split_last() {
            let value = match value_of(text) {
                Ok(value) => value,
                Err(error) => {
                    let fault = self.malformed(&error, text);
                    return Err(self.fail(fault));
                }
            };
            for other in others {
                self.values[*other] = value.clone();
            }
            self.values[*last] = value;
        }
        let goes_on = match text.as_bytes().first() {
            Some(b'{') => !node.members.is_empty(),
            Some(b'[') => !node.items.is_empty(),
            _ => false,
        };
        if goes_on { self.go_on(node, text) } else { Ok(()) }
    }

    /// Reads the inside of a value whose text was taken.
    #[cold]
    fn go_on<E: Error>(&mut self, node: &'w Node, text: &'de str) -> Result<(), E> {
        let inside = Inside { node, walk: self };
        serde::Deserializer::deserialize_any(&mut serde_json::Deserializer::from_str(text), inside).map_err(|error| {
            let fault = self.malformed(&error, text);
            self.fail(fault)
        })
    }
}

/// The value of this text.
#[inline]
fn value_of(text: &str) -> Result<Value<'_>, serde_json::Error> {
    Ok(match text.as_bytes().first() {
        Some(b'"') => {
            // Nothing stands between the quotes that would have to be escaped.
            let inner = text.get(1..text.len() - 1).unwrap_or_default();
            match memchr::memchr(b'\\', inner.as_bytes()) {
                None => Value::Text(Cow::Borrowed(inner)),
                Some(_) => Value::Text(Cow::Owned(serde_json::from_str(text)?)),
            }
        }
        Some(b'{' | b'[') => Value::Json(Cow::Borrowed(text)),
        Some(b'n') => Value::Null,
        Some(b't') => Value::Bool(true),
        Some(b'f') => Value::Bool(false),
        _ => Value::Number(text),
    })
}

// === impl ValueSeed ===

impl<'de> DeserializeSeed<'de> for ValueSeed<'_, '_, 'de> {
    type Value = ();

    #[inline]
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        let Self { node, walk } = self;
        if node.ends.is_empty() && walk.mode == Mode::Quick {
            return deserializer.deserialize_any(Inside { node, walk });
        }
        let raw = <&'de RawValue>::deserialize(deserializer)?;
        walk.take(node, raw.get())
    }
}

// === impl Inside ===

impl<'de> Visitor<'de> for Inside<'_, '_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self { node, walk } = self;
        // 0 for the beginning, then one more than the member.
        let mut last = 0;
        loop {
            let hint = walk.memory.hints[node.first_hint + last] as usize;
            let Some(found) = map.next_key_seed(NameSeed { node, hint })? else { return Ok(()) };
            let Some(index) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            if index != hint {
                walk.memory.hints[node.first_hint + last] = index as u32;
            }
            last = index + 1;
            let member = &node.members[index];
            let child = &walk.nodes[member.node];
            if std::mem::replace(&mut walk.memory.met[member.node], walk.memory.pass) == walk.memory.pass {
                return Err(walk.fail(Malformed(format!("{} is there twice", child.path))));
            }
            map.next_value_seed(ValueSeed { node: child, walk })?;
        }
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let Self { node, walk } = self;
        let mut at = 0;
        for (index, child) in &node.items {
            while at < *index {
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(());
                }
                at += 1;
            }
            if seq.next_element_seed(ValueSeed { node: &walk.nodes[*child], walk })?.is_none() {
                return Ok(());
            }
            at += 1;
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

// === impl NameSeed ===

impl<'de> DeserializeSeed<'de> for NameSeed<'_> {
    type Value = Option<usize>;

    #[inline]
    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Option<usize>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for NameSeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the name of a member")
    }

    #[inline]
    fn visit_str<E>(self, name: &str) -> Result<Option<usize>, E> {
        Ok(self.node.find(name, self.hint))
    }
}
