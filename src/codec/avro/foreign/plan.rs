//! What a schema becomes for a set of paths: passing over what nobody asks for, reading what somebody does.

use std::sync::Arc;

use super::types::{Kind, TypeId, Types};
use super::walk::Reader;
use crate::codec::avro::node::RowError;
use crate::codec::value::{Malformed, Path, PathStep, Value};

/// The largest plan: a type that contains itself, with many branches, could make one without end out of a long path.
const MAX_PLANS: usize = 100_000;

/// Reads the values at some paths out of data of one schema.
#[derive(Debug)]
pub struct Walker {
    types: Arc<Types>,
    plan: Plan,
    num_paths: usize,
}

/// What to do with a value.
#[derive(Debug)]
enum Plan {
    Skip(TypeId),
    /// Read it, for these paths.
    Read(TypeId, Vec<usize>),
    /// Read it as a whole for these paths, and then again for those that lead into it.
    Both(TypeId, Vec<usize>, Box<Plan>),
    Record(Vec<Plan>),
    /// Plans for some keys, and the type of all values.
    Map(Vec<(Arc<str>, Plan)>, TypeId),
    /// Plans for some positions, and the type of all items.
    Array(Vec<(usize, Plan)>, TypeId),
    Union(Vec<Plan>),
}

/// A path of which some steps are made: its number, and the steps that are left.
type Wanted<'p> = (usize, &'p [PathStep]);

struct Compiler<'t> {
    types: &'t Types,
    num_plans: usize,
}

// === impl Walker ===

impl Walker {
    /// Plans how these paths are read. A path that the schema has no place for is no error: it is [`Value::Absent`].
    ///
    /// # Errors
    /// If the schema is too much for paths of this length.
    pub fn compile(types: Arc<Types>, paths: &[Path]) -> Result<Walker, String> {
        let wanted: Vec<Wanted<'_>> = paths.iter().enumerate().map(|(index, path)| (index, &*path.steps)).collect();
        let plan = Compiler { types: &types, num_plans: 0 }.plan(types.top, &wanted)?;
        Ok(Walker { plan, types, num_paths: paths.len() })
    }

    /// Puts one value for each path into `values`, which it empties first.
    ///
    /// # Errors
    /// If the datum does not follow the schema to its last byte; `values` has no meaning then.
    pub fn read<'a>(&self, datum: &'a [u8], values: &mut Vec<Value<'a>>) -> Result<(), Malformed> {
        values.clear();
        values.resize(self.num_paths, Value::Absent);
        let mut reader = Reader::new(datum);
        let run = self.plan.run(&self.types, &mut reader, values);
        let end = run.and_then(|()| match reader.cursor.num_left() {
            0 => Ok(()),
            num_left => Err(RowError::TrailingBytes(num_left)),
        });
        end.map_err(|error| Malformed(format!("{error} (at byte {})", reader.cursor.position())))
    }
}

// === impl Compiler ===

impl Compiler<'_> {
    fn plan(&mut self, id: TypeId, wanted: &[Wanted<'_>]) -> Result<Plan, String> {
        self.num_plans += 1;
        if self.num_plans > MAX_PLANS {
            return Err("it contains itself in too many ways for paths of this length".to_owned());
        }
        // A union is passed through, so that each branch is read as what it is.
        if let Kind::Union(branches) = self.types.kind(id) {
            if wanted.is_empty() {
                return Ok(Plan::Skip(id));
            }
            return Ok(Plan::Union(
                branches.iter().map(|branch| self.plan(*branch, wanted)).collect::<Result<_, _>>()?,
            ));
        }
        let here: Vec<usize> = wanted.iter().filter(|(_, steps)| steps.is_empty()).map(|(index, _)| *index).collect();
        let inner = self.inner(id, wanted)?;
        Ok(match (here.is_empty(), inner) {
            (true, None) => Plan::Skip(id),
            (true, Some(inner)) => inner,
            (false, None) => Plan::Read(id, here),
            (false, Some(inner)) => Plan::Both(id, here, Box::new(inner)),
        })
    }

    /// The plan of the paths that lead into a value; `None` if there are none.
    fn inner(&mut self, id: TypeId, wanted: &[Wanted<'_>]) -> Result<Option<Plan>, String> {
        let types = self.types;
        match types.kind(id) {
            Kind::Record(fields) => {
                // By its name; by an earlier one if no field has that name now.
                let field_of = |member: &str| {
                    let by_name = fields.iter().position(|field| *field.name == *member);
                    by_name
                        .or_else(|| fields.iter().position(|field| field.aliases.iter().any(|alias| alias == member)))
                };
                let mut of_fields: Vec<Vec<Wanted<'_>>> = fields.iter().map(|_| Vec::new()).collect();
                for (index, steps) in wanted {
                    if let [PathStep::Member(member), rest @ ..] = steps
                        && let Some(position) = field_of(member)
                    {
                        of_fields[position].push((*index, rest));
                    }
                }
                if of_fields.iter().all(Vec::is_empty) {
                    return Ok(None);
                }
                let plan = |(field, wanted): (&super::types::Field, &Vec<Wanted<'_>>)| self.plan(field.kind, wanted);
                let plans = fields.iter().zip(&of_fields).map(plan).collect::<Result<_, _>>()?;
                Ok(Some(Plan::Record(plans)))
            }
            Kind::Map(value) => {
                let member = |step: &PathStep| match step {
                    PathStep::Member(name) => Some(Arc::clone(name)),
                    PathStep::Item(_) => None,
                };
                let plans = self.by_step(*value, wanted, member)?;
                Ok((!plans.is_empty()).then_some(Plan::Map(plans, *value)))
            }
            Kind::Array(item) => {
                let position = |step: &PathStep| match step {
                    PathStep::Item(position) => Some(*position),
                    PathStep::Member(_) => None,
                };
                let plans = self.by_step(*item, wanted, position)?;
                Ok((!plans.is_empty()).then_some(Plan::Array(plans, *item)))
            }
            _ => Ok(None),
        }
    }

    /// A plan for each first step that some path takes.
    fn by_step<K: PartialEq>(
        &mut self,
        id: TypeId,
        wanted: &[Wanted<'_>],
        step_of: impl Fn(&PathStep) -> Option<K>,
    ) -> Result<Vec<(K, Plan)>, String> {
        let mut groups: Vec<(K, Vec<Wanted<'_>>)> = Vec::new();
        for (index, steps) in wanted {
            let Some((first, rest)) = steps.split_first() else { continue };
            let Some(step) = step_of(first) else { continue };
            match groups.iter_mut().find(|(known, _)| *known == step) {
                Some((_, group)) => group.push((*index, rest)),
                None => groups.push((step, vec![(*index, rest)])),
            }
        }
        groups.into_iter().map(|(step, group)| Ok((step, self.plan(id, &group)?))).collect()
    }
}

// === impl Plan ===

impl Plan {
    fn run<'a>(&self, types: &Types, reader: &mut Reader<'a>, values: &mut [Value<'a>]) -> Result<(), RowError> {
        match self {
            Plan::Skip(id) => types.skip(*id, reader),
            Plan::Read(id, paths) => read(types, *id, paths, reader, values),
            Plan::Both(id, paths, inner) => {
                read(types, *id, paths, &mut reader.fork(), values)?;
                inner.run(types, reader, values)
            }
            Plan::Record(plans) => {
                reader.within(|reader| plans.iter().try_for_each(|plan| plan.run(types, reader, values)))
            }
            Plan::Map(plans, value) => reader.items(|_, reader| {
                let key = reader.cursor.text()?;
                match plans.iter().find(|(name, _)| **name == *key) {
                    Some((_, plan)) => plan.run(types, reader, values),
                    None => types.skip(*value, reader),
                }
            }),
            Plan::Array(plans, item) => {
                reader.items(|position, reader| match plans.iter().find(|(wanted, _)| *wanted == position) {
                    Some((_, plan)) => plan.run(types, reader, values),
                    None => types.skip(*item, reader),
                })
            }
            Plan::Union(branches) => {
                let index = usize::try_from(reader.cursor.long()?).ok();
                let branch = index.and_then(|index| branches.get(index));
                branch.ok_or(RowError::Malformed("a branch that the union does not have"))?.run(types, reader, values)
            }
        }
    }
}

fn read<'a>(
    types: &Types,
    id: TypeId,
    paths: &[usize],
    reader: &mut Reader<'a>,
    values: &mut [Value<'a>],
) -> Result<(), RowError> {
    let value = types.value(id, reader)?;
    let Some((last, others)) = paths.split_last() else { unreachable!("a plan to read is made for some path") };
    for path in others {
        values[*path] = value.clone();
    }
    values[*last] = value;
    Ok(())
}
