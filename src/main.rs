//! The `sejf` command: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    // Where the system refuses, the program goes on: `record` asks again, and tells.
    let _ = sejf::shell::sandbox::no_core_dumps();
    sejf::shell::threads::tell_panics_by_place();
    // `age` calls a plugin by this name: a link to the program.
    if sejf::cli::is_plugin() {
        return sejf::cli::plugin();
    }
    sejf::cli::main()
}
