//! Filters: which records a route takes, as an expression of CEL.
//!
//! A filter is compiled when the config is checked, and again with its route. What it reads of a record is found out then:
//! `value.user.id` is extracted as a column's path is, and nothing else is made of the record, see `rewrite`. Only a
//! `value` that stands by itself is turned into a value of CEL as a whole.

mod bounds;
mod rewrite;
#[cfg(test)]
mod tests;
mod value;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use cel::common::ast::IdedExpr;
use cel::common::types::CelBool;
use cel::common::value::CowVal;
use cel::context::VariableResolver;
use cel::parser::Parser;
use cel::{Context, Env, ExecutionError};

use self::rewrite::{Reads, Variable};
use super::functions::Input;
use super::plan::Origin;
use super::reject::{FILTER_FAILED, Fault};

/// The longest filter, in bytes.
const MAX_LEN: usize = 4096;
/// How deep the parser goes into parentheses and operators.
const MAX_RECURSION: u16 = 64;
/// The longest text of an error, in characters.
const MAX_DETAIL: usize = 500;
/// The stack of the thread that compiles, in bytes: what the parser does with the longest filter fits.
const STACK: usize = 64 << 20;

/// What the standard library of CEL has; the same for all filters.
static ENV: OnceLock<Arc<Env>> = OnceLock::new();

/// A compiled filter.
pub(super) struct Filter {
    expression: IdedExpr,
    variables: Vec<Variable>,
}

/// Checks a filter as far as that goes without knowing where records come from.
///
/// # Errors
/// What is wrong with it, and where.
pub(super) fn check_filter(text: &str) -> Result<(), String> {
    parsed(text).map(|_| ())
}

/// Parses on a thread with a large stack, and finds out what is read.
fn parsed(text: &str) -> Result<Reads, String> {
    if text.len() > MAX_LEN {
        return Err(format!("it has {} bytes; allowed are {MAX_LEN}", text.len()));
    }
    let parse = || {
        let parser = Parser::new().max_recursion_depth(MAX_RECURSION);
        let expression = parser.parse(text).map_err(|errors| syntax(&errors))?;
        bounds::check(&expression)?;
        rewrite::rewrite(expression)
    };
    std::thread::scope(|scope| {
        let builder = std::thread::Builder::new().name("filter".to_owned()).stack_size(STACK);
        let thread = builder.spawn_scoped(scope, parse);
        let thread = thread.map_err(|error| format!("there is no thread to compile it on: {error}"))?;
        thread.join().unwrap_or_else(|_| Err("CEL cannot compile it".to_owned()))
    })
}

fn syntax(errors: &cel::ParseErrors) -> String {
    let first = errors.errors.first().map(|error| (error.pos, error.msg.replace('\n', " ")));
    let ((line, column), what) = first.unwrap_or_default();
    match line {
        0 | 1 => format!("at column {column}: {what}"),
        line => format!("at line {line}, column {column}: {what}"),
    }
}

/// What CEL says of an error may have whole values of the record in it.
fn shortened(mut text: String) -> String {
    if let Some((end, _)) = text.char_indices().nth(MAX_DETAIL) {
        text.truncate(end);
        text.push('…');
    }
    text
}

fn env() -> &'static Arc<Env> {
    ENV.get_or_init(|| Arc::new(Env::stdlib()))
}

// === impl Filter ===

impl Filter {
    /// Compiles a filter. Paths that it needs are added to those of `origin`.
    pub fn compile(text: &str, origin: &mut Origin<'_>) -> Result<Self, String> {
        let Reads { expression, reads } = parsed(text)?;
        let variables = reads.iter().map(|read| read.variable(origin)).collect::<Result<_, _>>()?;
        Ok(Self { expression, variables })
    }

    /// Whether it looks at the record's value.
    pub fn needs_value(&self) -> bool {
        self.variables.iter().any(Variable::needs_value)
    }

    /// Whether the route takes the record.
    pub fn takes(&self, input: &Input<'_>) -> Result<bool, Fault> {
        let values = Values { variables: &self.variables, input: *input };
        let mut context = Context::with_env(Arc::clone(env()));
        context.set_variable_resolver(&values);
        // What senders send must not end a writer, whatever the interpreter makes of it.
        let evaluate = AssertUnwindSafe(|| cel::Value::resolve_val(&self.expression, &context));
        let Ok(made) = catch_unwind(evaluate) else { return Err(Fault::new(FILTER_FAILED, "filter: CEL panicked")) };
        match made {
            Ok(made) => match made.downcast_ref::<CelBool>() {
                Some(is_taken) => Ok((*is_taken).into()),
                None => {
                    let kind = made.get_type().name();
                    Err(Fault::new(FILTER_FAILED, format!("filter: it says {kind:?}, neither true nor false")))
                }
            },
            Err(error) => Err(Fault::new(FILTER_FAILED, shortened(format!("filter: {}", self.describe(&error))))),
        }
    }

    fn describe(&self, error: &ExecutionError) -> String {
        if let ExecutionError::UndeclaredReference(name) = error
            && let Some(variable) = index_of(name).and_then(|index| self.variables.get(index))
        {
            return format!("the record has no {}; has({0}) tells", variable.shown());
        }
        error.to_string()
    }
}

/// The name of a variable that stands for a read.
fn name_of(index: usize) -> String {
    format!("${index}")
}

fn index_of(name: &str) -> Option<usize> {
    name.strip_prefix('$')?.parse().ok()
}

/// What the variables of a filter are for one record.
struct Values<'v> {
    variables: &'v [Variable],
    input: Input<'v>,
}

impl VariableResolver for Values<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        self.variables.get(index_of(name)?)?.value(&self.input)
    }
}
