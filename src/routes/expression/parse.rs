//! Reads expressions.
//!
//! ```text
//! expression = path | "key" | "header." name | "header[" text "]" | "kafka." field | constant | function | column
//! path       = "$" { "." name | "[" text "]" | "[" index "]" }
//! constant   = text | number of JSON | "true" | "false"
//! function   = name "(" expression { "," expression } ")"
//! text       = "'" letters, with ' twice for one "'"
//! name       = letters, digits, "_", "-"; of a header "." too
//! ```

use std::sync::Arc;

use super::{Expression, Function, KafkaField, TimeForm};
use crate::codec::value::{Path, PathStep};
use crate::routes::convert::number::is_json_number;
use crate::schema::Bucket;

/// The longest expression, in bytes.
const MAX_LEN: usize = 4096;
/// How many functions may be inside one another.
const MAX_DEPTH: usize = 16;
/// How many steps a path may have.
const MAX_STEPS: usize = 32;

const FUNCTIONS: &str = "json, timestamp, uuid, timeuuid, number, bucket, lower, concat";
const EXPECTED: &str =
    "a path such as $.a.b, key, header.NAME, kafka.NAME, 'text', a number, true, false, or a function";

/// What is wrong with the text of an expression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("at column {column}: {what}")]
pub struct ExpressionError {
    /// The place, in letters from 1.
    pub column: usize,
    /// What is wrong there, and what is allowed.
    pub what: String,
}

struct Parser<'a> {
    text: &'a str,
    /// The byte that comes next.
    at: usize,
}

type Parsed<T> = Result<T, ExpressionError>;

pub(super) fn parse(text: &str) -> Parsed<Expression> {
    let mut parser = Parser { text, at: 0 };
    if text.len() > MAX_LEN {
        return Err(parser.error_at(0, format!("the expression has {} bytes; allowed are {MAX_LEN}", text.len())));
    }
    let expression = parser.expression(0)?;
    parser.skip_space();
    match parser.rest().is_empty() {
        true if matches!(expression, Expression::Column(_)) => Err(parser.lone_name()),
        true => Ok(expression),
        false => Err(parser.unexpected("the end")),
    }
}

// === impl Parser ===

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn error_at(&self, at: usize, what: impl Into<String>) -> ExpressionError {
        let column = self.text[..at].chars().count() + 1;
        ExpressionError { column, what: what.into() }
    }

    fn unexpected(&self, expected: &str) -> ExpressionError {
        let found = match self.rest().chars().next() {
            Some(letter) => format!("{letter:?}"),
            None => "the end".to_owned(),
        };
        self.error_at(self.at, format!("found {found}; expected {expected}"))
    }

    /// A name by itself is mostly a path whose `$.` was forgotten.
    fn lone_name(&self) -> ExpressionError {
        let start = self.text.len() - self.text.trim_start().len();
        let name = self.text.trim();
        self.error_at(
            start,
            format!(
                "{name:?} is no expression; write $.{name} for what the record has there, or '{name}' for this text"
            ),
        )
    }

    fn skip_space(&mut self) {
        self.at = self.text.len() - self.rest().trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        let is_there = self.rest().starts_with(token);
        if is_there {
            self.at += token.len();
        }
        is_there
    }

    fn expect(&mut self, token: &str, expected: &str) -> Parsed<()> {
        if self.take(token) { Ok(()) } else { Err(self.unexpected(expected)) }
    }

    fn name(&mut self, is_letter: impl Fn(char) -> bool, expected: &str) -> Parsed<&'a str> {
        let rest = self.rest();
        let end = rest.find(|letter| !is_letter(letter)).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.unexpected(expected));
        }
        self.at += end;
        Ok(&rest[..end])
    }

    fn expression(&mut self, depth: usize) -> Parsed<Expression> {
        self.skip_space();
        let start = self.at;
        let Some(first) = self.rest().chars().next() else { return Err(self.unexpected(EXPECTED)) };
        match first {
            '$' => self.path().map(Expression::Path),
            '\'' => self.quoted().map(|text| Expression::Text(text.into())),
            '-' | '0'..='9' => self.number(),
            _ if is_name_letter(first) => {
                let name = self.name(is_name_letter, EXPECTED)?;
                if self.take("(") {
                    return self.call(name, start, depth);
                }
                match name {
                    "key" => Ok(Expression::Key),
                    "true" => Ok(Expression::Bool(true)),
                    "false" => Ok(Expression::Bool(false)),
                    "header" => self.header(),
                    "kafka" => self.kafka(),
                    name => Ok(Expression::Column(name.into())),
                }
            }
            _ => Err(self.unexpected(EXPECTED)),
        }
    }

    fn path(&mut self) -> Parsed<Path> {
        self.expect("$", "$")?;
        let mut steps = Vec::new();
        loop {
            let start = self.at;
            if self.take(".") {
                let name = self.name(is_name_letter, "a name, or ['a name'] if it has other letters")?;
                steps.push(PathStep::Member(Arc::from(name)));
            } else if self.take("[") {
                steps.push(self.bracket()?);
            } else {
                return Ok(Path { steps });
            }
            if steps.len() > MAX_STEPS {
                return Err(self.error_at(start, format!("the path has more than {MAX_STEPS} steps")));
            }
        }
    }

    fn bracket(&mut self) -> Parsed<PathStep> {
        let expected = "'a name' or the number of an item, from 0";
        let step = if self.rest().starts_with('\'') {
            PathStep::Member(self.quoted()?.into())
        } else {
            let start = self.at;
            let digits = self.name(|letter| letter.is_ascii_digit(), expected)?;
            let index = digits.parse::<u32>().map_err(|_| self.error_at(start, "no array has so many items"))?;
            PathStep::Item(index as usize)
        };
        self.expect("]", "]")?;
        Ok(step)
    }

    fn quoted(&mut self) -> Parsed<String> {
        let start = self.at;
        self.expect("'", "'")?;
        let mut text = String::new();
        loop {
            let rest = self.rest();
            let Some(end) = rest.find('\'') else {
                return Err(self.error_at(start, "a text begins here and does not end; expected another '"));
            };
            text.push_str(&rest[..end]);
            self.at += end + 1;
            if !self.take("'") {
                return Ok(text);
            }
            text.push('\'');
        }
    }

    fn number(&mut self) -> Parsed<Expression> {
        let start = self.at;
        let text = self.name(|letter| letter.is_ascii_alphanumeric() || "+-.".contains(letter), "a number")?;
        match is_json_number(text) {
            true => Ok(Expression::Number(text.into())),
            false => Err(self.error_at(start, format!("{text:?} is not a number as JSON has them"))),
        }
    }

    fn header(&mut self) -> Parsed<Expression> {
        if self.take("[") {
            let name = self.quoted()?;
            self.expect("]", "]")?;
            return Ok(Expression::Header(name.into()));
        }
        self.expect(".", ". and the name of a header")?;
        let name = self.name(|letter| is_name_letter(letter) || letter == '.', "the name of a header")?;
        Ok(Expression::Header(name.into()))
    }

    fn kafka(&mut self) -> Parsed<Expression> {
        let expected = "one of kafka.timestamp, kafka.topic, kafka.partition, kafka.offset";
        let start = self.at;
        self.expect(".", expected)?;
        let name = self.name(is_name_letter, expected)?;
        let field = KafkaField::ALL.into_iter().find(|field| field.name() == name);
        field.map(Expression::Kafka).ok_or_else(|| self.error_at(start + 1, format!("{name:?} is not {expected}")))
    }

    fn call(&mut self, name: &str, start: usize, depth: usize) -> Parsed<Expression> {
        if depth == MAX_DEPTH {
            return Err(self.error_at(start, format!("more than {MAX_DEPTH} functions are inside one another")));
        }
        let inside = depth + 1;
        let (function, arguments) = match name {
            "json" => (Function::Json, vec![self.expression(inside)?]),
            "uuid" => (Function::Uuid, vec![self.expression(inside)?]),
            "timeuuid" => (Function::TimeUuid, vec![self.expression(inside)?]),
            "number" => (Function::Number, vec![self.expression(inside)?]),
            "lower" => (Function::Lower, vec![self.expression(inside)?]),
            "timestamp" => {
                let argument = self.expression(inside)?;
                let form = if self.take_comma() {
                    let forms = [
                        ("s", TimeForm::Seconds),
                        ("ms", TimeForm::Millis),
                        ("us", TimeForm::Micros),
                        ("rfc3339", TimeForm::Text),
                    ];
                    self.word(&forms)?
                } else {
                    TimeForm::Any
                };
                (Function::Timestamp(form), vec![argument])
            }
            "bucket" => {
                let bucket = self.word(&[("day", Bucket::Day), ("hour", Bucket::Hour)])?;
                if !self.take_comma() {
                    return Err(self.unexpected(", and a time: the name of a column, or an expression"));
                }
                (Function::Bucket(bucket), vec![self.expression(inside)?])
            }
            "concat" => {
                let mut arguments = vec![self.expression(inside)?];
                while self.take_comma() {
                    arguments.push(self.expression(inside)?);
                }
                (Function::Concat, arguments)
            }
            other => return Err(self.error_at(start, format!("{other:?} is not a function (there are {FUNCTIONS})"))),
        };
        self.skip_space();
        self.expect(")", ")")?;
        Ok(Expression::Call(function, arguments))
    }

    fn take_comma(&mut self) -> bool {
        self.skip_space();
        self.take(",")
    }

    fn word<T: Copy>(&mut self, words: &[(&str, T)]) -> Parsed<T> {
        self.skip_space();
        let start = self.at;
        let expected = || words.iter().map(|(word, _)| format!("'{word}'")).collect::<Vec<_>>().join(", ");
        if !self.rest().starts_with('\'') {
            return Err(self.unexpected(&format!("one of {}", expected())));
        }
        let found = self.quoted()?;
        let chosen = words.iter().find(|(word, _)| *word == found);
        chosen
            .map(|(_, value)| *value)
            .ok_or_else(|| self.error_at(start, format!("found '{found}'; expected one of {}", expected())))
    }
}

fn is_name_letter(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '-'
}
