//! How deep a filter may be, and how long it may take: evaluation goes down the expression on the stack of the thread that writes.

use cel::common::ast::{EntryExpr, Expr, IdedExpr};

/// How many expressions may be inside one another.
const MAX_DEPTH: usize = 96;

/// Refuses what is too deep, and loops in loops: their time would grow with the square of what a sender sends.
pub(super) fn check(expression: &IdedExpr) -> Result<(), String> {
    let mut rest = vec![(expression, 1, 0)];
    while let Some((expression, depth, loops)) = rest.pop() {
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
