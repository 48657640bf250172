//! The `sejf` command: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    sejf::cli::main()
}
