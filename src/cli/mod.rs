//! The command line: parse, pick a job, run it, map the outcome to an exit code.
//!
//! People's output goes to stderr, results to stdout. Exit codes: 0 fine, 1 the job failed, 2 wrong use or wrong
//! config.

mod apply;
mod args;
mod check;
mod check_online;
mod dead_letters;
mod demo;
mod query;
mod reckoning;
mod reload;
mod report;
mod run;
mod signals;
mod simulate;
mod simulate_gate;
mod token;
mod verify;
mod watch;

use std::fmt::Display;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::config::{Config, LoadedConfig};
use crate::telemetry::logging::{self, LogLevels};
use args::{Args, Command, TokenCommand};

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// Wrong use or wrong config: exit code 2.
    Usage(String),
    /// The job was started and failed: exit code 1.
    Job(String),
}

type Outcome = Result<(), Failure>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    // Prints help and usage errors itself, with exit codes 0 and 2.
    let args = Args::parse();
    match dispatch(args.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Job(message)) => {
            eprintln!("surgetank: {message}");
            ExitCode::from(1)
        }
        Err(Failure::Usage(message)) => {
            eprintln!("surgetank: {message}");
            ExitCode::from(2)
        }
    }
}

fn dispatch(command: Command) -> Outcome {
    match command {
        Command::Run(args) => run::run(&args.config),
        Command::Check(args) => check::check(&args),
        Command::Apply(args) => apply::apply(&args.config),
        Command::Demo(args) => demo::demo(&args),
        Command::Simulate(args) => simulate::simulate(&args),
        Command::SimulateGate(args) => simulate_gate::simulate_gate(&args),
        Command::Verify(args) => verify::verify(&args),
        Command::Query(args) => query::query(&args),
        Command::DeadLetters(args) => dead_letters::dead_letters(&args),
        Command::Token(TokenCommand::New(args)) => token::new(&args),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Args::command(), "surgetank", &mut std::io::stdout());
            Ok(())
        }
    }
}

// === impl Failure ===

impl Failure {
    fn job(error: impl ToString) -> Self {
        Self::Job(error.to_string())
    }

    fn usage(error: impl ToString) -> Self {
        Self::Usage(error.to_string())
    }
}

/// Reads the config and sets logging up by it.
fn load(path: Option<&Path>) -> Result<Config, Failure> {
    load_for_engine(path).map(|(loaded, _)| loaded.config)
}

/// [`load`] for an engine, which can take another config over and log by other levels.
fn load_for_engine(path: Option<&Path>) -> Result<(LoadedConfig, LogLevels), Failure> {
    let loaded = LoadedConfig::load(path).map_err(Failure::usage)?;
    let levels = logging::init(&loaded.config.logging).map_err(Failure::usage)?;
    Ok((loaded, levels))
}

/// Prints a line of a listing. A reader that has gone, such as `head`, has seen what it wanted.
fn print(line: impl Display) {
    if writeln!(std::io::stdout(), "{line}").is_err() {
        std::process::exit(0);
    }
}

/// A runtime for commands that wait for more than one thing.
fn runtime(num_threads: usize) -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(num_threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::Job(format!("cannot start a runtime: {error}")))
}
