//! The values at some paths of JSON records that others wrote, without building the rest.
//!
//! The paths are put together into a tree; one pass over the record follows it (`walk`): what no path goes to is checked
//! to be JSON and passed over, at the end of a path the text of the value is taken as it stands.
//!
//! What the records of others may be:
//! - A member that is there twice is [`Malformed`] if a path goes to it: readers differ in which one they take. Elsewhere
//!   it is not looked for.
//! - A step that meets another kind of value, such as a member of a text, leads to [`Value::Absent`].
//! - Nesting is not limited, nor are numbers: `1e400` is a [`Value::Number`].
//! - Half of a surrogate pair (`"\ud800"`) is no text. That makes a record [`Malformed`] where a path goes to it, and in
//!   the names of members beside that.
//! - A byte order mark in front says nothing and is passed over.

use std::sync::Arc;

use super::mark::mark_len;
use super::walk::{Mode, Walk};
use crate::codec::value::{Extract, Malformed, Path, PathStep, Unreadable, Value};

/// Reads values out of JSON records.
#[derive(Debug)]
pub struct JsonExtract {
    tree: Tree,
    num_paths: usize,
    memory: Memory,
}

/// The paths as a tree; the first node is the record as a whole.
#[derive(Debug)]
pub(super) struct Tree {
    pub nodes: Vec<Node>,
}

/// A value that paths end at or go through.
#[derive(Debug)]
pub(super) struct Node {
    /// The way to it.
    pub path: Path,
    /// The paths that end here, by their numbers.
    pub ends: Vec<usize>,
    /// Where paths go on if it is an object.
    pub members: Vec<Member>,
    /// A bit for the length of each of their names, modulo 64: tells most names of no interest at once.
    pub name_lens: u64,
    /// Where paths go on if it is an array: index and node, in ascending order.
    pub items: Vec<(usize, usize)>,
    /// Where its hints begin in [`Memory::hints`].
    pub first_hint: usize,
}

/// A member that a path goes to.
#[derive(Debug)]
pub(super) struct Member {
    pub name: Arc<str>,
    pub node: usize,
}

/// What is kept from record to record.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// For each node, and there for its beginning and each of its members, which member came next the last time: records
    /// of one producer have their members in one order.
    pub hints: Vec<u32>,
    /// For each node, in which pass it was met last: to see members that are there twice.
    pub met: Vec<u64>,
    /// The number of this pass.
    pub pass: u64,
}

// === impl JsonExtract ===

impl JsonExtract {
    /// For the values at these paths.
    pub fn new(paths: &[Path]) -> Self {
        let tree = Tree::of(paths);
        let num_hints = tree.nodes.iter().map(Node::num_hints).sum();
        let memory = Memory { hints: vec![0; num_hints], met: vec![0; tree.nodes.len()], pass: 0 };
        Self { tree, num_paths: paths.len(), memory }
    }

    fn walk<'a>(&mut self, text: &'a str, values: &mut Vec<Value<'a>>, mode: Mode) -> Result<(), Malformed> {
        values.clear();
        values.resize(self.num_paths, Value::Absent);
        Walk::new(&self.tree, &mut self.memory, text, values, mode).run()
    }

    /// Says what is wrong, or that nothing is: the quick pass also fails at numbers beyond all doubles and halves of
    /// surrogate pairs that a path only meets on its way, and below its limit of nesting.
    #[cold]
    #[inline(never)]
    fn walk_with_care<'a>(&mut self, text: &'a str, values: &mut Vec<Value<'a>>) -> Result<(), Malformed> {
        self.walk(text, values, Mode::Careful)
    }
}

impl Extract for JsonExtract {
    fn extract<'a>(&mut self, record: &'a [u8], values: &mut Vec<Value<'a>>) -> Result<(), Unreadable> {
        // Checked at once, which takes an eighth of what it takes name by name.
        let text = std::str::from_utf8(record)
            .map_err(|bad| Malformed(format!("not UTF-8 from its byte {} on", bad.valid_up_to())))?;
        let text = text.get(mark_len(record, true).unwrap_or(0)..).unwrap_or_default();
        match self.walk(text, values, Mode::Quick) {
            Ok(()) => Ok(()),
            Err(_) => Ok(self.walk_with_care(text, values)?),
        }
    }
}

// === impl Tree ===

impl Tree {
    fn of(paths: &[Path]) -> Self {
        let mut tree = Self { nodes: vec![Node::at(Path::default())] };
        for (number, path) in paths.iter().enumerate() {
            let end = path.steps.iter().fold(0, |at, step| tree.child(at, step));
            tree.nodes[end].ends.push(number);
        }
        let mut first_hint = 0;
        for node in &mut tree.nodes {
            node.items.sort_unstable();
            node.first_hint = first_hint;
            first_hint += node.num_hints();
        }
        tree
    }

    /// The node that this step leads to, which is made if no path has taken it before.
    fn child(&mut self, at: usize, step: &PathStep) -> usize {
        let new = self.nodes.len();
        let node = &mut self.nodes[at];
        let known = match step {
            PathStep::Member(name) => node.members.iter().find(|one| one.name == *name).map(|one| one.node),
            PathStep::Item(index) => node.items.iter().find(|(one, _)| one == index).map(|(_, node)| *node),
        };
        if let Some(known) = known {
            return known;
        }
        match step {
            PathStep::Member(name) => {
                node.name_lens |= len_bit(name);
                node.members.push(Member { name: Arc::clone(name), node: new });
            }
            PathStep::Item(index) => node.items.push((*index, new)),
        }
        let mut path = node.path.clone();
        path.steps.push(step.clone());
        self.nodes.push(Node::at(path));
        new
    }
}

// === impl Node ===

impl Node {
    fn at(path: Path) -> Self {
        Self { path, ends: Vec::new(), members: Vec::new(), name_lens: 0, items: Vec::new(), first_hint: 0 }
    }

    fn num_hints(&self) -> usize {
        self.members.len() + 1
    }

    /// The member of this name, looked for first at `hint`.
    #[inline]
    pub fn find(&self, name: &str, hint: usize) -> Option<usize> {
        if self.name_lens & len_bit(name) == 0 {
            return None;
        }
        match self.members.get(hint) {
            Some(member) if *member.name == *name => Some(hint),
            _ => self.members.iter().position(|member| *member.name == *name),
        }
    }
}

#[inline]
const fn len_bit(name: &str) -> u64 {
    1 << (name.len() % 64)
}
