//! Where commands write: results to stdout, which must arrive whole or the command fails, and what people are told to
//! stderr, which must not stop anything.
//!
//! A reader of stdout that has gone, such as `head`, has seen what it wanted: the command ends then, and all is well.

use std::fmt::Display;
use std::io::{self, BufWriter, ErrorKind, Write};
use std::path::Path;

use super::{Failure, Outcome};

/// Tells people something on stderr. Unlike `eprintln!` it does not panic if nobody can be told.
macro_rules! tell {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        // There is no place left to complain about stderr.
        let _ = writeln!(std::io::stderr(), $($argument)*);
    }};
}
pub(super) use tell;

/// Results on their way to stdout. They are there only after [`Results::finish`].
pub(super) struct Results {
    out: BufWriter<io::Stdout>,
}

// === impl Results ===

impl Results {
    /// Nothing so far.
    pub(super) fn new() -> Self {
        Self { out: BufWriter::with_capacity(1 << 16, io::stdout()) }
    }

    /// One line.
    pub(super) fn line(&mut self, line: impl Display) -> Outcome {
        writeln!(self.out, "{line}").map_err(failure)
    }

    /// Whatever else is written through `write`.
    pub(super) fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Outcome {
        write(&mut self.out).map_err(failure)
    }

    /// Makes sure that everything has reached stdout.
    pub(super) fn finish(mut self) -> Outcome {
        self.out.flush().map_err(failure)
    }
}

/// Prints one line as the whole result.
pub(super) fn print(line: impl Display) -> Outcome {
    let mut results = Results::new();
    results.line(line)?;
    results.finish()
}

/// Writes a file that a command was asked for, so that it is on disk.
pub(super) fn write_file(path: &Path, what: &str, bytes: &[u8]) -> Outcome {
    let write = || {
        let mut file = std::fs::File::create(path)?;
        file.write_all(bytes)?;
        sync(&file)
    };
    write().map_err(|error: io::Error| Failure::Job(format!("cannot write {what} to {}: {error}", path.display())))
}

/// Waits until a file is on disk; what is no file, such as a pipe, has nothing to wait for.
fn sync(file: &std::fs::File) -> io::Result<()> {
    if file.metadata()?.is_file() { file.sync_all() } else { Ok(()) }
}

/// What becomes of a command that cannot write to stdout.
pub(super) fn failure(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::ReaderLeft,
        _ => Failure::Job(format!("cannot write to stdout, the output is not complete: {error}")),
    }
}
