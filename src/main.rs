//! The program: reads the command line, runs, and maps errors to exit codes.

use std::process::ExitCode;

use clap::Parser;
use countersign::cli::Cli;

fn main() -> ExitCode {
    match Cli::parse().run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            use std::io::Write;
            let _ = writeln!(std::io::stderr(), "countersign: {error:#}");
            ExitCode::FAILURE
        }
    }
}
