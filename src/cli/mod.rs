//! The command line: parse, pick a job, run it, map the outcome to an exit code.
//!
//! People's output goes to stderr, results to stdout. Exit codes: 0 fine, 1 the job failed, 2 wrong use or wrong
//! config.

mod apply;
mod args;
mod cells;
mod check;
mod check_online;
mod dead_letters;
mod demo;
mod health;
mod listing;
mod output;
mod query;
mod ranges;
mod reconcile;
mod reload;
mod report;
mod route_records;
mod route_test;
mod routes;
mod run;
mod signals;
mod simulate;
mod simulate_gate;
mod token;
mod verify;
mod watch;

use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::config::{Config, LoadedConfig};
use crate::telemetry::logging::{self, LogLevels};
use args::{Args, Command, RouteCommand, TokenCommand};
use output::{Results, tell};

/// Why a command failed.
#[derive(Debug)]
enum Failure {
    /// Wrong use or wrong config: exit code 2.
    Usage(String),
    /// The job was started and failed: exit code 1.
    Job(String),
    /// Who reads the results has gone, and so has seen what it wanted: exit code 0.
    ReaderLeft,
}

type Outcome = Result<(), Failure>;

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let outcome = match Args::try_parse() {
        Ok(args) => dispatch(args.command),
        Err(told) if told.use_stderr() => {
            // Wrong use in the parser's own words and colours.
            let _ = told.print();
            return ExitCode::from(2);
        }
        // Help and version are results.
        Err(told) => told.print().and_then(|()| std::io::stdout().flush()).map_err(output::failure),
    };
    ExitCode::from(exit_code(outcome))
}

/// Tells of a failure, if it is one, and returns the exit code.
fn exit_code(outcome: Outcome) -> u8 {
    match outcome {
        Ok(()) | Err(Failure::ReaderLeft) => 0,
        Err(Failure::Job(message)) => {
            tell!("surgetank: {message}");
            1
        }
        Err(Failure::Usage(message)) => {
            tell!("surgetank: {message}");
            2
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
        Command::Health(args) => health::health(&args),
        Command::Route(RouteCommand::Test(args)) => route_test::route_test(&args),
        Command::Token(TokenCommand::New(args)) => token::new(&args),
        Command::Completions { shell } => {
            // Written by way of memory: the generator panics if it cannot write.
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Args::command(), "surgetank", &mut script);
            let mut results = Results::new();
            results.write(|out| out.write_all(&script))?;
            results.finish()
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
    let levels = logging::init(&loaded.config.logging.level, loaded.config.logging.format).map_err(Failure::usage)?;
    Ok((loaded, levels))
}

/// A runtime for commands that wait for more than one thing.
fn runtime(num_threads: usize) -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(num_threads)
        .enable_all()
        .build()
        .map_err(|error| Failure::Job(format!("cannot start a runtime: {error}")))
}
