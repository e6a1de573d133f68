//! The command line, nothing else.

use std::process::ExitCode;

fn main() -> ExitCode {
    surgetank::allocator::set_up();
    // Takes the faults to inject from the environment variable FAILPOINTS.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    surgetank::cli::main()
}
