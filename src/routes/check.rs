//! What can be said of a route before the database is asked.

use std::collections::BTreeMap;

use super::expression::Expression;
use super::filter::check_filter;
use super::spec::{RouteSpec, TimestampSpec, TtlSpec};
use crate::schema::cql;

/// What is wrong with a key of a route: the key below `routes.NAME`, and the sentence.
pub type KeyProblem = (String, String);

/// What is wrong with the texts of a route: expressions, the filter, types and the key.
pub fn check_texts(spec: &RouteSpec) -> Vec<KeyProblem> {
    let (expressions, mut problems) = expressions(spec);
    let mut check = |key: &str, text: &str| {
        let parsed = Expression::parse(text).map_err(|error| error.to_string());
        if let Err(what) = parsed.and_then(|parsed| resolve(&parsed, &expressions)) {
            problems.push((key.to_owned(), what));
        }
    };
    if let TimestampSpec::From(text) = &spec.timestamp {
        check("timestamp", text);
    }
    if let Some(TtlSpec::Seconds(text) | TtlSpec::Until(text)) = &spec.ttl {
        check("ttl", text);
    }
    if let Some(Err(what)) = spec.filter.as_deref().map(check_filter) {
        problems.push(("filter".to_owned(), what));
    }
    problems.extend(key_problems(spec));
    problems
}

/// The table's key and types, if the route declares them.
fn key_problems(spec: &RouteSpec) -> Vec<KeyProblem> {
    let Some((partition, clustering)) = &spec.key else { return Vec::new() };
    let missing = partition.iter().chain(clustering).filter(|name| !spec.columns.contains_key(*name));
    let mut problems: Vec<KeyProblem> = missing
        .map(|name| ("key".to_owned(), format!("column {name} is not among the route's columns; add it there")))
        .collect();
    for (name, column) in &spec.columns {
        let what = match &column.type_text {
            None => "its route may create the table, which needs its type; write { from = …, type = … }".to_owned(),
            Some(text) if cql::parse_type(text).is_none() => {
                format!(
                    "{text:?} is not a type that a route creates; take a scalar type of CQL, or a list, set or map of these"
                )
            }
            Some(_) => continue,
        };
        problems.push((format!("columns.{name}"), what));
    }
    problems
}

/// What each column is made of, with names of columns replaced, and what is wrong with others.
pub(super) fn expressions(spec: &RouteSpec) -> (BTreeMap<&str, Expression>, Vec<KeyProblem>) {
    let (mut parsed, mut resolved, mut problems) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for (name, column) in &spec.columns {
        match Expression::parse(&column.from) {
            Ok(expression) => {
                parsed.insert(name.as_str(), expression);
            }
            Err(error) => problems.push((format!("columns.{name}"), error.to_string())),
        }
    }
    for (name, expression) in &parsed {
        match resolve(expression, &parsed) {
            Ok(expression) => {
                resolved.insert(*name, expression);
            }
            Err(what) => problems.push((format!("columns.{name}"), what)),
        }
    }
    (resolved, problems)
}

/// An expression with what columns are made of in the place of their names.
pub(super) fn resolve(expression: &Expression, columns: &BTreeMap<&str, Expression>) -> Result<Expression, String> {
    expression.resolved(&|name| match columns.get(name) {
        Some(made) if made.columns().is_empty() => Ok(made.clone()),
        Some(_) => Err(format!("column {name} is made of a column itself; write its expression here")),
        None => Err(format!(
            "{name:?} is not a column of the route; write $.{name} for what the record has there, or '{name}' for this text"
        )),
    })
}
