//! The `mixflow` binary. Everything it does is in the library beside it, so that
//! a crate with a sink of its own makes its own binary in three lines.

use std::process::ExitCode;

fn main() -> ExitCode {
    mixflow_cli::main(mixflow::registry())
}
