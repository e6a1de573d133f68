//! What a filter reads of a record: each `value.a.b`, `has(value.a.b)`, `key`, `headers.x` and `kafka.x` becomes a variable of its
//! own, which is made when the filter asks for it.

use std::collections::HashMap;
use std::sync::Arc;

use cel::ExecutionError;
use cel::common::ast::{CallExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr};
use cel::common::types::{CelBool, CelMap, CelMapKey};
use cel::common::value::CowVal;

use super::{env, name_of, value};
use crate::codec::value::{Path, PathStep, Value};
use crate::routes::expression::KafkaField;
use crate::routes::functions::{Input, Node};
use crate::routes::gives::own_column;
use crate::routes::plan::{Origin, not_of_types, slot};

const VARIABLES: &str = "value, key, headers, kafka";
/// Names of types of CEL, to compare with what type() says.
const TYPES: [&str; 10] = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "type", "uint"];
/// What CEL calls `a[b]`.
const INDEX: &str = "_[_]";

/// A filter with variables in the place of what it reads.
pub(super) struct Reads {
    pub expression: IdedExpr,
    /// What the variables stand for, by number.
    pub reads: Vec<Read>,
}

/// Something of a record.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Read {
    /// What the value has at a path.
    At(Path),
    /// Whether the value has something at a path.
    Has(Path),
    /// The key.
    Key,
    /// A header.
    Header(String),
    /// Whether there is a header.
    HasHeader(String),
    /// All headers.
    Headers,
    /// What Kafka says.
    Kafka(KafkaField),
}

/// A read, ready for records of one source.
pub(super) struct Variable {
    read: Read,
    node: Node,
}

struct Rewriter {
    reads: Vec<Read>,
    /// The variables of loops around.
    bound: Vec<String>,
}

/// Finds what is read.
pub(super) fn rewrite(mut expression: IdedExpr) -> Result<Reads, String> {
    let mut rewriter = Rewriter { reads: Vec::new(), bound: Vec::new() };
    rewriter.visit(&mut expression)?;
    Ok(Reads { expression, reads: rewriter.reads })
}

// === impl Rewriter ===

impl Rewriter {
    fn visit(&mut self, expression: &mut IdedExpr) -> Result<(), String> {
        if let Some(read) = self.read(&expression.expr)? {
            let known = self.reads.iter().position(|known| *known == read);
            let index = known.unwrap_or_else(|| {
                self.reads.push(read);
                self.reads.len() - 1
            });
            expression.expr = Expr::Ident(name_of(index));
            return Ok(());
        }
        match &mut expression.expr {
            Expr::Call(call) => {
                check_function(call)?;
                let target = call.target.iter_mut().map(|target| &mut **target);
                target.chain(&mut call.args).try_for_each(|part| self.visit(part))
            }
            Expr::Comprehension(made) => {
                self.visit(&mut made.iter_range)?;
                self.visit(&mut made.accu_init)?;
                let num_bound = self.bound.len();
                self.bound.extend([made.iter_var.clone(), made.accu_var.clone()]);
                self.bound.extend(made.iter_var2.clone());
                self.visit(&mut made.loop_cond)?;
                self.visit(&mut made.loop_step)?;
                self.visit(&mut made.result)?;
                self.bound.truncate(num_bound);
                Ok(())
            }
            Expr::List(list) => list.elements.iter_mut().try_for_each(|part| self.visit(part)),
            Expr::Map(map) => map.entries.iter_mut().try_for_each(|entry| self.visit_entry(&mut entry.expr)),
            Expr::Struct(made) => Err(format!("{} is no type that filters have", made.type_name)),
            Expr::Select(select) => self.visit(&mut select.operand),
            Expr::Ident(name) if self.bound.contains(name) || TYPES.contains(&&**name) => Ok(()),
            Expr::Ident(name) => {
                Err(format!("there is no {name} (there are {VARIABLES}); write value.{name} for what the record has"))
            }
            Expr::Literal(_) | Expr::Unspecified => Ok(()),
        }
    }

    fn visit_entry(&mut self, entry: &mut EntryExpr) -> Result<(), String> {
        match entry {
            EntryExpr::StructField(field) => self.visit(&mut field.value),
            EntryExpr::MapEntry(entry) => {
                self.visit(&mut entry.key)?;
                self.visit(&mut entry.value)
            }
        }
    }

    /// What an expression reads, if it reads something as a whole.
    fn read(&self, expression: &Expr) -> Result<Option<Read>, String> {
        if let Expr::Select(SelectExpr { operand, field, test: true }) = expression {
            let Some((root, mut steps)) = self.chain(&operand.expr) else { return Ok(None) };
            steps.push(field);
            return match (root, &*steps) {
                ("value", steps) => Ok(Some(Read::Has(path(steps)))),
                ("headers", [name]) => Ok(Some(Read::HasHeader((*name).to_owned()))),
                ("kafka" | "key" | "headers", _) => {
                    Err(format!("has() is for value.… and headers.NAME, not for {root}"))
                }
                _ => Ok(None),
            };
        }
        let Some((root, steps)) = self.chain(expression) else { return Ok(None) };
        match (root, &*steps) {
            ("value", steps) => Ok(Some(Read::At(path(steps)))),
            ("key", []) => Ok(Some(Read::Key)),
            ("headers", []) => Ok(Some(Read::Headers)),
            ("headers", [name]) => Ok(Some(Read::Header((*name).to_owned()))),
            ("kafka", [name]) => match KafkaField::ALL.into_iter().find(|field| field.name() == *name) {
                Some(field) => Ok(Some(Read::Kafka(field))),
                None => Err(format!("kafka has no {name} (it has timestamp, topic, partition, offset)")),
            },
            ("kafka", _) => Err("write one of kafka.timestamp, kafka.topic, kafka.partition, kafka.offset".to_owned()),
            // A member of what is text.
            _ => Ok(None),
        }
    }

    /// The variable and the members of `variable.a['b']`, if it is one of the record's.
    fn chain<'e>(&self, mut expression: &'e Expr) -> Option<(&'e str, Vec<&'e str>)> {
        let mut steps = Vec::new();
        loop {
            expression = match expression {
                Expr::Ident(name) if VARIABLES.split(", ").any(|known| known == name) && !self.bound.contains(name) => {
                    steps.reverse();
                    return Some((name, steps));
                }
                Expr::Select(SelectExpr { operand, field, test: false }) => {
                    steps.push(field.as_str());
                    &operand.expr
                }
                Expr::Call(CallExpr { func_name, target: None, args }) if func_name == INDEX => match &**args {
                    [operand, IdedExpr { expr: Expr::Literal(LiteralValue::String(name)), .. }] => {
                        steps.push(name.inner());
                        &operand.expr
                    }
                    _ => return None,
                },
                _ => return None,
            };
        }
    }
}

fn path(steps: &[&str]) -> Path {
    Path { steps: steps.iter().map(|name| PathStep::Member((*name).into())).collect() }
}

/// Refuses functions that there are not, which CEL notices only with a record.
fn check_function(call: &CallExpr) -> Result<(), String> {
    // The names of operators are no names.
    if !call.func_name.starts_with(|letter: char| letter.is_ascii_alphabetic()) {
        return Ok(());
    }
    let context = cel::Context::with_env(Arc::clone(env()));
    let null = || IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::Null) };
    let is_unknown = |target: Option<Box<IdedExpr>>| {
        let call = CallExpr { func_name: call.func_name.clone(), target, args: vec![null()] };
        let made = cel::Value::resolve(&IdedExpr { id: 0, expr: Expr::Call(call) }, &context);
        matches!(made, Err(ExecutionError::UndeclaredReference(_)))
    };
    if is_unknown(None) && is_unknown(Some(Box::new(null()))) {
        return Err(format!("there is no function {}", call.func_name));
    }
    Ok(())
}

// === impl Read ===

impl Read {
    /// Finds out where it is read.
    pub fn variable(&self, origin: &mut Origin<'_>) -> Result<Variable, String> {
        let node = match self {
            Self::At(path) | Self::Has(path) => match origin {
                Origin::Paths(paths) => Node::Slot(slot(paths, path)),
                Origin::Own(table) => match own_column(table, path) {
                    Some(index) => Node::Cell(index),
                    None => {
                        let known = table.columns.iter().map(|column| &*column.name).collect::<Vec<_>>().join(", ");
                        return Err(format!("message type {} has no {path} (there are {known})", table.name));
                    }
                },
            },
            Self::Header(_) | Self::HasHeader(_) | Self::Headers | Self::Kafka(KafkaField::Timestamp)
                if matches!(origin, Origin::Own(_)) =>
            {
                return Err(not_of_types().to_owned());
            }
            Self::Key => Node::Key,
            Self::Header(name) | Self::HasHeader(name) => Node::Header(name.as_str().into()),
            Self::Headers => Node::Constant(Value::Absent),
            Self::Kafka(field) => Node::Kafka(*field),
        };
        Ok(Variable { read: self.clone(), node })
    }
}

// === impl Variable ===

impl Variable {
    /// Whether it is of the record's value.
    pub fn needs_value(&self) -> bool {
        matches!(self.read, Read::At(_) | Read::Has(_))
    }

    /// As it stands in the filter.
    pub fn shown(&self) -> String {
        match &self.read {
            Read::At(path) | Read::Has(path) => format!("value{}", path.to_string().trim_start_matches('$')),
            Read::Key => "key".to_owned(),
            Read::Header(name) | Read::HasHeader(name) => format!("headers.{name}"),
            Read::Headers => "headers".to_owned(),
            Read::Kafka(field) => format!("kafka.{}", field.name()),
        }
    }

    /// What it is for a record; nothing if the record does not have it.
    pub fn value<'b>(&'b self, input: &Input<'b>) -> Option<CowVal<'b, 'b>> {
        if self.read == Read::Headers {
            let headers = input.record.headers.map(|(name, value)| {
                let name = CelMapKey::from(String::from_utf8_lossy(name).into_owned());
                (name, value::of_bytes(value.unwrap_or_default()))
            });
            return Some(CowVal::owned(CelMap::from(headers.collect::<HashMap<_, _>>())));
        }
        let found = self.node.value(input).ok()?;
        let is_there = !matches!(*found, Value::Absent);
        if matches!(self.read, Read::Has(_) | Read::HasHeader(_)) {
            // A message cannot tell null from what it leaves out.
            let is_left_out = matches!((&self.node, &*found), (Node::Cell(_), Value::Null));
            return Some(CowVal::owned(CelBool::from(is_there && !is_left_out)));
        }
        is_there.then(|| value::of(found)).flatten().map(CowVal::Owned)
    }
}
