//! What is wrong with a configuration, in words that somebody can act on.

use std::fmt;

/// Everything that is wrong with a configuration: one line per problem, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub(super) Vec<Problem>);

/// One problem.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Problem {
    /// The line in the file, for the order; problems without one come last.
    pub line: usize,
    /// The key that is at fault, for leaving out problems of a section that is not used.
    pub key: String,
    /// The whole line to print.
    pub text: String,
}

impl Problem {
    /// A problem that belongs to no line.
    pub(super) fn general(text: impl Into<String>) -> Self {
        Self { line: usize::MAX, key: String::new(), text: text.into() }
    }
}

impl ConfigErrors {
    /// How many problems there are; at least one.
    pub fn num_problems(&self) -> usize {
        self.0.len()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&problem.text)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
