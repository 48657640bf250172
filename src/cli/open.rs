//! `sejf open`: a sealed file to a plain one.

use std::fs::{File, OpenOptions};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;

use crate::cli::keys::IdentityArgs;
use crate::codec::wav::{self, WavError};
use crate::recording::manifest::{FileFacts, Manifest};
use crate::recording::parts::{self, Parts};
use crate::recording::playable::Playable;
use crate::seal::identity::Identities;
use crate::shell::library::{self, Library};

/// Opens a sealed file. Nothing gets its final name before all of it has proved to be unchanged.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Sealed file: a recording, its packets or its manifest. With --parts also directory and id.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    #[command(flatten)]
    identity: IdentityArgs,
    /// Plain file; must not exist. `-` is standard output.
    #[arg(long, short, value_name = "FILE")]
    output: PathBuf,
    /// Put all parts of the call into one, where the recorder was started anew during the call: WAV on one
    /// timeline, Opus and packets one after the other. Exit code 1 where a part is missing.
    #[arg(long)]
    parts: bool,
    /// Overwrite the plain file where it exists, and remove what earlier runs that were killed have left beside
    /// it.
    #[arg(long)]
    force: bool,
}

pub(super) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let identities = args.identity.load()?;
    if args.parts {
        return all_parts(args, &identities);
    }
    if args.output.as_os_str() == "-" {
        let mut plain = library::open(&args.file, &identities)?;
        io::copy(&mut plain, &mut io::stdout().lock()).with_context(|| reading(&args.file))?;
    } else {
        to_file(&args.file, &identities, &args.output, args.force)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Opens `sealed` into `output`, which appears only when it is complete.
pub(super) fn to_file(
    sealed: &Path,
    identities: &Identities,
    output: &Path,
    force: bool,
) -> anyhow::Result<()> {
    written_aside(output, force, |aside| write_aside(sealed, identities, aside))
}

/// Has `write` make a file that becomes `output` when it is complete.
fn written_aside(
    output: &Path,
    force: bool,
    write: impl FnOnce(&Path) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if !force && output.exists() {
        anyhow::bail!("`{}` exists already: choose another name, or say --force", output.display());
    }
    if force {
        remove_stale(output);
    }
    let aside = aside(output);
    let written = write(&aside);
    if let Err(error) = written {
        // What is half opened is worth nothing, and the error at hand says more than this one would.
        let _ = std::fs::remove_file(&aside);
        return Err(error);
    }
    std::fs::rename(&aside, output).with_context(|| format!("naming `{}`", output.display()))
}

fn write_aside(sealed: &Path, identities: &Identities, aside: &Path) -> anyhow::Result<()> {
    let mut plain = library::open(sealed, identities)?;
    let file = create(aside)?;
    write_plain(&mut plain, file).with_context(|| reading(sealed))
}

/// Writes what was opened, so many bytes, as a file that players take, in one pass.
pub(super) fn write_playable(plain: &mut dyn Read, bytes: u64, to: &mut dyn Write) -> io::Result<()> {
    io::copy(&mut Playable::new(plain, bytes)?, to).map(drop)
}

/// Writes what was opened as a file that players take: a WAV gets its length.
fn write_plain(plain: &mut dyn Read, file: File) -> io::Result<()> {
    let mut first = [0; wav::HEADER_BYTES];
    let length = read_up_to(plain, &mut first)?;
    let whole = first[..length].chain(plain);
    if wav::is_streaming_header(&first[..length]) {
        return wav::finish(whole, BufWriter::new(file)).map(drop).map_err(|error| match error {
            WavError::Read(error) => error,
            other => io::Error::other(other),
        });
    }
    copy(whole, file)
}

fn create(aside: &Path) -> anyhow::Result<File> {
    // Private until its owner decides otherwise.
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(aside);
    file.with_context(|| format!("creating `{}`", aside.display()))
}

fn all_parts(args: &Args, identities: &Identities) -> anyhow::Result<ExitCode> {
    let named = library::manifest_of(&args.file, identities)?;
    let dir = args.file.parent().map(|dir| if dir.as_os_str().is_empty() { Path::new(".") } else { dir });
    let dir = dir.unwrap_or(Path::new("."));
    let (manifests, _) = Library::open(dir)?.manifests(identities)?;
    let sets = Parts::of(&manifests);
    let set = sets.iter().find(|set| set.all().iter().any(|part| part.id == named.id));
    let set = set.with_context(|| format!("`{}` has no parts", args.file.display()))?;
    let files = files_of(set, &args.file);
    anyhow::ensure!(!files.is_empty(), "no part of the call has a file to open");
    if args.output.as_os_str() == "-" {
        anyhow::ensure!(files[0].1.format != "wav", "a WAV of several parts needs a file: say -o FILE");
        copy_all(&files, dir, identities, &mut io::stdout().lock())?;
    } else {
        written_aside(&args.output, args.force, |aside| {
            let file = create(aside)?;
            if files[0].1.format != "wav" {
                return copy_all(&files, dir, identities, &mut BufWriter::new(file));
            }
            let open = |(at_s, file): &(f64, &FileFacts)| {
                library::open(&dir.join(&file.name), identities).map(|plain| (*at_s, plain))
            };
            let parts = files.iter().map(open).collect::<Result<Vec<_>, _>>()?;
            wav::join(parts, BufWriter::new(file)).map(drop).with_context(|| reading(&args.file))
        })?;
    }
    let missing: Vec<_> = set.missing().iter().map(ToString::to_string).collect();
    if missing.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    #[expect(clippy::print_stderr, reason = "a warning, beside the result")]
    {
        eprintln!("sejf: part {} of the call is not here: what was said then is missing", missing.join(", "));
    }
    Ok(ExitCode::from(1))
}

/// The files to put together, each with the second at which it begins: those of the kind that was named, else
/// of what the call has, sound before packets.
fn files_of<'a>(set: &Parts<'a>, named: &Path) -> Vec<(f64, &'a FileFacts)> {
    let all: Vec<(&Manifest, &FileFacts)> =
        set.all().iter().flat_map(|part| part.files.iter().map(move |file| (*part, file))).collect();
    let name = named.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let asked = all.iter().find(|(_, file)| file.name == name);
    let chosen = asked.or_else(|| all.iter().find(|(_, file)| file.kind == "audio")).or(all.first());
    let Some((_, chosen)) = chosen.copied() else { return Vec::new() };
    let start = set.all().first().map_or(0.0, |first| parts::offset_s(first));
    all.iter()
        .filter(|(_, file)| file.format == chosen.format && is_plain(&file.name))
        .map(|(part, file)| (parts::offset_s(part) - start, *file))
        .collect()
}

/// Whether a name stays in the directory: whoever knows a recipient can make a manifest.
fn is_plain(name: &str) -> bool {
    Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)))
}

fn copy_all(
    files: &[(f64, &FileFacts)],
    dir: &Path,
    identities: &Identities,
    to: &mut impl Write,
) -> anyhow::Result<()> {
    for (_, file) in files {
        let path = dir.join(&file.name);
        let mut plain = library::open(&path, identities)?;
        io::copy(&mut plain, to).with_context(|| reading(&path))?;
    }
    to.flush().with_context(|| format!("writing what was opened of `{}`", dir.display()))
}

fn copy(mut plain: impl Read, file: File) -> io::Result<()> {
    let mut file = BufWriter::new(file);
    io::copy(&mut plain, &mut file)?;
    file.flush()
}

fn read_up_to(plain: &mut dyn Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while length < bytes.len() {
        match plain.read(&mut bytes[length..])? {
            0 => break,
            read => length += read,
        }
    }
    Ok(length)
}

/// A name of this process alone: one that was killed leaves its own behind, and must not be in the way.
fn aside(output: &Path) -> PathBuf {
    let mut name = output.as_os_str().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    name.into()
}

/// Removes what runs have left aside that are no more: plain sound that nobody knows of. What cannot be removed
/// is in nobody's way.
fn remove_stale(output: &Path) {
    let Some(name) = output.file_name().and_then(|name| name.to_str()) else { return };
    let folder = output.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let left = entry.file_name();
        let process = left.to_str().and_then(|left| process_of(left, name));
        if process.is_some_and(|process| process == std::process::id() || !is_running(process)) {
            let _ = std::fs::remove_file(entry.path());
        }
    }
}

/// The process in a name that [`aside`] makes.
fn process_of(aside: &str, output: &str) -> Option<u32> {
    let number = aside.strip_prefix(output)?.strip_prefix('.')?.strip_suffix(".part")?;
    number.parse().ok().filter(|process: &u32| process.to_string() == number)
}

/// Where that cannot be known, it may be.
fn is_running(process: u32) -> bool {
    !Path::new("/proc/self").exists() || Path::new("/proc").join(process.to_string()).exists()
}

fn reading(sealed: &Path) -> String {
    format!("opening `{}`", sealed.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_runs_left_that_are_no_more_is_removed() {
        let dir = tempfile::tempdir().unwrap();
        // No process has a number beyond the kernel's limit of 2^22.
        let stale = ["plain.wav.4200000000.part", &format!("plain.wav.{}.part", std::process::id())];
        let others = [
            "plain.wav.1.part",
            "plain.wav.part",
            "plain.wav.04.part",
            "plain.wav.x.part",
            "other.wav.4200000000.part",
        ];
        for name in stale.iter().chain(&others) {
            std::fs::write(dir.path().join(name), b"x").unwrap();
        }
        remove_stale(&dir.path().join("plain.wav"));
        for (names, there) in [(&stale[..], false), (&others[..], true)] {
            for name in names {
                assert_eq!(dir.path().join(name).exists(), there, "{name}");
            }
        }
    }
}
