//! The command line: one file a subcommand, each `Args` and `run`.

mod archive;
mod call;
mod config;
mod copies;
mod demo;
mod destroy;
mod event;
mod export;
mod fixture;
mod forward;
mod hold;
mod keygen;
mod keys;
mod log;
mod ls;
mod media;
mod open;
mod place;
mod progress;
mod record;
mod replay;
mod restore_test;
mod rules;
mod salvage;
mod scope;
mod scrub;
mod show;
mod status;
mod text;
mod top;
mod vault;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::shell::vault::plugin;

/// Call recorder: SIP and RTP in, recordings out that only the key holder can open.
#[derive(Debug, Parser)]
#[command(name = "sejf", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Call(call::Args),
    Config(config::Args),
    Copies(copies::Args),
    Demo(demo::Args),
    Export(export::Args),
    Destroy(destroy::Args),
    Event(event::Args),
    Fixture(fixture::Args),
    Hold(hold::Args),
    Forward(forward::Args),
    Keygen(keygen::Args),
    Log(log::Args),
    Ls(ls::Args),
    Media(media::Args),
    Open(open::Args),
    Place(place::Args),
    Record(record::Args),
    Replay(replay::Args),
    RestoreTest(restore_test::Args),
    Rules(rules::Args),
    Salvage(salvage::Args),
    Scrub(scrub::Args),
    Show(show::Args),
    Status(status::Args),
    Top(top::Args),
    Vault(vault::Args),
    Verify(verify::Args),
}

impl Command {
    fn run(&self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Call(args) => call::run(args),
            Self::Config(args) => config::run(args),
            Self::Copies(args) => copies::run(args),
            Self::Demo(args) => demo::run(args),
            Self::Export(args) => export::run(args),
            Self::Destroy(args) => destroy::run(args),
            Self::Event(args) => event::run(args),
            Self::Fixture(args) => fixture::run(args),
            Self::Hold(args) => hold::run(args),
            Self::Forward(args) => forward::run(args),
            Self::Keygen(args) => keygen::run(args),
            Self::Log(args) => log::run(args),
            Self::Ls(args) => ls::run(args),
            Self::Media(args) => media::run(args),
            Self::Open(args) => open::run(args),
            Self::Place(args) => place::run(args),
            Self::Record(args) => record::run(args),
            Self::Replay(args) => replay::run(args),
            Self::RestoreTest(args) => restore_test::run(args),
            Self::Rules(args) => rules::run(args),
            Self::Salvage(args) => salvage::run(args),
            Self::Scrub(args) => scrub::run(args),
            Self::Show(args) => show::run(args),
            Self::Status(args) => status::run(args),
            Self::Top(args) => top::run(args),
            Self::Vault(args) => vault::run(args),
            Self::Verify(args) => verify::run(args),
        }
    }
}

/// Runs the program. Exit code: 0 all well, 1 done but something was wrong with the input (a damaged
/// capture, a changed file), 2 not done.
pub fn main() -> ExitCode {
    Cli::parse().command.run().unwrap_or_else(|error| {
        if is_broken_pipe(&error) {
            return ExitCode::SUCCESS;
        }
        #[expect(clippy::print_stderr, reason = "the last thing this process says")]
        {
            eprintln!("sejf: {}", text::clean(&chain(&error)));
        }
        ExitCode::from(2)
    })
}

/// Whether the program was called by the name under which `age` looks for its plugin.
pub fn is_plugin() -> bool {
    let name = std::env::args_os().next().unwrap_or_default();
    std::path::Path::new(&name).file_name().is_some_and(|name| name == plugin::PROGRAM)
}

/// Runs the program as `age`'s plugin: `age` says `--age-plugin=…`.
pub fn plugin() -> ExitCode {
    let argument = std::env::args().nth(1).unwrap_or_default();
    let ran = match argument.strip_prefix("--age-plugin=") {
        Some(state_machine) => plugin::run(state_machine),
        None => Err(std::io::Error::other("this program is called by `age`: see `sejf vault keys identity`")),
    };
    ran.map_or_else(
        |error| {
            #[expect(clippy::print_stderr, reason = "the last thing this process says")]
            {
                eprintln!("{}: {}", plugin::PROGRAM, text::clean(&error.to_string()));
            }
            ExitCode::from(2)
        },
        |()| ExitCode::SUCCESS,
    )
}

/// The error and its causes, without those that a message before them says already.
fn chain(error: &anyhow::Error) -> String {
    let mut said = String::new();
    for cause in error.chain().map(ToString::to_string) {
        if said.is_empty() {
            said = cause;
        } else if !said.contains(&cause) {
            said = format!("{said}: {cause}");
        }
    }
    said
}

/// `sejf ls | head` is no failure.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|cause| cause.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
