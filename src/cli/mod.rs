//! The command line: one file a subcommand, each `Args` and `run`.

mod annotate;
mod archive;
mod audit;
mod call;
mod config;
mod copies;
mod demo;
mod demo_web;
mod destroy;
mod event;
mod export;
mod fixture;
mod forward;
mod history;
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
mod review;
mod rules;
mod salvage;
mod sample;
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
    Annotate(annotate::Args),
    Audit(audit::Args),
    Call(call::Args),
    Config(config::Args),
    Copies(copies::Args),
    Demo(demo::Args),
    Export(export::Args),
    Destroy(destroy::Args),
    Event(event::Args),
    Fixture(fixture::Args),
    History(history::Args),
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
    Review(review::Args),
    Rules(rules::Args),
    Salvage(salvage::Args),
    Sample(sample::Args),
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
            Self::Annotate(args) => annotate::run(args),
            Self::Audit(args) => audit::run(args),
            Self::Call(args) => call::run(args),
            Self::Config(args) => config::run(args),
            Self::Copies(args) => copies::run(args),
            Self::Demo(args) => demo::run(args),
            Self::Export(args) => export::run(args),
            Self::Destroy(args) => destroy::run(args),
            Self::Event(args) => event::run(args),
            Self::Fixture(args) => fixture::run(args),
            Self::History(args) => history::run(args),
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
            Self::Review(args) => review::run(args),
            Self::Rules(args) => rules::run(args),
            Self::Salvage(args) => salvage::run(args),
            Self::Sample(args) => sample::run(args),
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
    use std::path::{Path, PathBuf};

    use clap::CommandFactory;
    use regex::Regex;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }

    /// What is wrong with a command as a text names it: words as far as they are those of commands, and options.
    fn fault_of(named: &str) -> Option<String> {
        let mut command = super::Cli::command();
        command.build();
        for word in named.split_whitespace().skip(1) {
            let word = word.trim_matches(|letter: char| "`,.:;()'\"".contains(letter));
            if word.starts_with(['|', '>', '#', '&']) {
                return None;
            } else if word.is_empty() {
                continue;
            }
            let (mut long, mut short) = (None, None);
            if let Some(name) = word.strip_prefix("--") {
                long = name.split(['=', '/']).next().filter(|name| !name.is_empty());
            } else if let Some(name) = word.strip_prefix('-') {
                short = name.chars().next();
            }
            if long.is_some() || short.is_some() {
                let is_it = |option: &clap::Arg| {
                    long.is_some_and(|long| option.get_long() == Some(long))
                        || (short.is_some() && option.get_short() == short)
                };
                if !command.get_arguments().any(is_it) {
                    return Some(format!("`{}` has no {word}", command.get_name()));
                }
            } else if command.has_subcommands() {
                match command.find_subcommand(word) {
                    Some(found) => command = found.clone(),
                    None if word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-') => {
                        return Some(format!("`{}` has no `{word}`", command.get_name()));
                    }
                    // A placeholder.
                    None => return None,
                }
            }
        }
        None
    }

    fn files_below(dir: &Path, ends: &[&str]) -> Vec<PathBuf> {
        let (mut files, mut dirs) = (Vec::new(), vec![dir.to_path_buf()]);
        while let Some(next) = dirs.pop() {
            for path in std::fs::read_dir(next).unwrap().map(|entry| entry.unwrap().path()) {
                let is_ours = path.extension().is_some_and(|end| ends.iter().any(|one| end == *one));
                if path.is_dir() {
                    dirs.push(path);
                } else if is_ours {
                    files.push(path);
                }
            }
        }
        files
    }

    /// A text that says what to do next is followed to the letter.
    #[test]
    fn every_command_that_a_text_names_is_there() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut files = files_below(&root.join("src"), &["rs"]);
        files.extend(files_below(&root.join("deploy"), &["md", "toml"]));
        files.extend(
            ["README.md", "CONTRIBUTING.md", "CHANGELOG.md", "captures/README.md"]
                .map(|name| root.join(name)),
        );
        // Lines that go on in the next one: of texts in the sources, and of comments.
        let goes_on = Regex::new(r"\\\n\s*|\n\s*//[/!] ?").unwrap();
        let quoted = Regex::new(r"`(sejf [^`]+)`").unwrap();
        let typed = Regex::new(r"(?m)^(?:sudo )?(sejf [^\n]+)$").unwrap();
        let (mut named, mut faults) = (0, Vec::new());
        for path in files {
            let text = std::fs::read_to_string(&path).unwrap();
            let is_source = path.extension().is_some_and(|end| end == "rs");
            let text = if is_source { goes_on.replace_all(&text, " ").into_owned() } else { text };
            let mut commands: Vec<_> = quoted.captures_iter(&text).map(|found| found[1].to_owned()).collect();
            if !is_source {
                commands
                    .extend(typed.captures_iter(&text.replace("\\\n", " ")).map(|found| found[1].to_owned()));
            }
            named += commands.len();
            let of_file = commands.iter().filter_map(|named| Some((named, fault_of(named)?)));
            faults.extend(of_file.map(|(named, fault)| format!("{}: {named}: {fault}", path.display())));
        }
        assert!(named > 150, "{named}: looked in the wrong place");
        assert!(faults.is_empty(), "{}", faults.join("\n"));
    }

    #[test]
    fn a_command_that_is_not_there_is_seen() {
        for named in
            ["sejf vault scrub", "sejf destroy list --jsn", "sejf open x -q", "sejf vault keys reapir HOME"]
        {
            assert!(fault_of(named).is_some(), "{named}");
        }
        for named in [
            "sejf ls | head -q",
            "sejf vault …",
            "sejf call ID",
            "sejf destroy plan HOME --at=now # --x",
            "sejf --version",
        ] {
            assert_eq!(fault_of(named), None, "{named}");
        }
    }
}
