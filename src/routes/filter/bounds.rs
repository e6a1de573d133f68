//! How deep a filter may be, and how long it may take: evaluation goes down the expression on the stack of the thread that writes.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// How many expressions may be inside one another.
const MAX_DEPTH: usize = 96;

/// What may be as large as the record is.
const LARGE: [&str; 3] = ["value", "key", "headers"];

/// Refuses what is too deep, and in a loop other loops and parts of the record: their time would grow with the square of
/// what a sender sends.
pub(super) fn check(expression: &IdedExpr) -> Result<(), String> {
    let mut rest = vec![(expression, 1, 0)];
    while let Some((expression, depth, loops)) = rest.pop() {
        if let Expr::Comprehension(made) = &expression.expr {
            let own = [Some(made.iter_var.as_str()), made.iter_var2.as_deref()];
            let body = [&made.accu_init, &made.loop_cond, &made.loop_step, &made.result];
            if let Some(name) = body.into_iter().find_map(|part| large_in(part, &own)) {
                return Err(format!(
                    "{name} is read within a loop (all, exists, map, filter), once for each item; take it out of the loop"
                ));
            }
        }
        let loops = loops + usize::from(matches!(expression.expr, Expr::Comprehension(_)));
        if depth > MAX_DEPTH {
            return Err(format!("more than {MAX_DEPTH} expressions are inside one another"));
        }
        if loops > 1 {
            return Err("a loop (all, exists, map, filter) is inside another".to_owned());
        }
        rest.extend(parts(expression).into_iter().map(|part| (part, depth + 1, loops)));
    }
    Ok(())
}

/// A part of the record that is read in an expression, but for these names, which stand for something else.
fn large_in<'e>(expression: &'e IdedExpr, own: &[Option<&str>]) -> Option<&'e str> {
    let mut rest = vec![expression];
    while let Some(expression) = rest.pop() {
        if let Expr::Ident(name) = &expression.expr
            && LARGE.contains(&name.as_str())
            && !own.contains(&Some(name.as_str()))
        {
            return Some(name);
        }
        rest.extend(parts(expression));
    }
    None
}

/// What an expression consists of.
fn parts(expression: &IdedExpr) -> Vec<&IdedExpr> {
    match &expression.expr {
        Expr::Call(call) => call.target.iter().map(|target| &**target).chain(&call.args).collect(),
        Expr::Comprehension(made) => {
            vec![&made.iter_range, &made.accu_init, &made.loop_cond, &made.loop_step, &made.result]
        }
        Expr::List(list) => list.elements.iter().collect(),
        Expr::Map(map) => map.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Struct(made) => made.entries.iter().flat_map(|entry| entry_parts(&entry.expr)).collect(),
        Expr::Select(select) => vec![&select.operand],
        Expr::Ident(_) | Expr::Literal(_) | Expr::Unspecified => Vec::new(),
    }
}

fn entry_parts(entry: &EntryExpr) -> Vec<&IdedExpr> {
    match entry {
        EntryExpr::StructField(field) => vec![&field.value],
        EntryExpr::MapEntry(entry) => vec![&entry.key, &entry.value],
    }
}
