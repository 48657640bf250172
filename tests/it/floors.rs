//! The floors of `src/lib.rs`, held by reading the sources: a module uses strictly lower floors, and
//! nothing below the shell touches the outside world. It reads text, so a macro or a re-export could
//! fool it; `pub use` in `mod.rs` files is for reviewers.

use std::fs;
use std::path::{Path, PathBuf};

const FLOORS: &[&[&str]] = &[
    &["base"],
    &["wire", "codec", "seal"],
    &["call"],
    &["recording", "archive", "fixture"],
    &["shell"],
    &["web"],
    &["cli"],
];

/// Uses the floors would allow but an invariant forbids: the shell never holds plain sound.
const FORBIDDEN: &[(&str, &str)] = &[("shell", "codec")];

/// First floor that may touch the outside world.
const SHELL: usize = 4;

/// What no file below [`SHELL`] may mention.
const IMPURE: &[&str] = &[
    "std::thread",
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "std::net::Udp",
    "::now()",
    "tokio",
    "println!",
    "Mutex",
    "static mut",
    "SystemRandom",
    "OsRng",
    "thread_rng",
];

#[test]
fn modules_use_only_lower_floors_and_the_core_is_pure() {
    let mut faults = Vec::new();
    let files = rust_files(&source_dir());
    assert!(files.len() > 30, "only {} files found: is this the right folder?", files.len());
    for file in files {
        let Some((module, floor)) = module_of(&file).filter(|_| !is_for_tests_only(&file)) else { continue };
        let text = fs::read_to_string(&file).expect("source file");
        let production = text.split("#[cfg(test)]").next().unwrap_or_default();
        for (number, line) in production.lines().enumerate() {
            if !line.trim_start().starts_with("//") {
                for fault in faults_of(line, module, floor) {
                    faults.push(format!("{}:{}: {fault}", file.display(), number + 1));
                }
            }
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn faults_are_seen() {
    for (line, module, floor) in [
        ("use crate::shell::disk::Disk;", "call", 2),
        ("use crate::call::table::Table;", "recording_", 1),
        ("use crate::{wire::rtp};", "call", 2),
        ("use crate::codec::Decoder;", "shell", 4),
        ("let at = Instant::now();", "call", 2),
        ("use crate::codec::Decoder;", "wire", 1),
    ] {
        assert!(!faults_of(line, module, floor).is_empty(), "not seen: {line}");
    }
    assert!(faults_of("use crate::base::time::Stamp;", "call", 2).is_empty());
    assert!(is_for_tests_only(&source_dir().join("call/fragments/tests.rs")));
    assert!(!is_for_tests_only(&source_dir().join("call/table.rs")));
}

/// Files and functions that have become two things.
#[test]
fn files_stay_readable() {
    let mut faults = Vec::new();
    for file in rust_files(&source_dir()) {
        let text = fs::read_to_string(&file).expect("source file");
        let lines: Vec<&str> = text.lines().collect();
        if lines.len() > FILE_LINES_MAX {
            faults.push(format!("{}: {} lines", file.display(), lines.len()));
        }
        faults.extend(long_functions(&lines).into_iter().map(|fault| format!("{}:{fault}", file.display())));
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

/// JSON for standard output is made in one place, which sees to it that no terminal is steered by it.
#[test]
fn the_command_line_makes_json_in_one_place() {
    let made = ["serde_json::to_string(", "serde_json::to_writer", "!(\"{}\", serde_json::json!"];
    let mut users = 0;
    for file in rust_files(&source_dir().join("cli")) {
        let text = fs::read_to_string(&file).expect("source file");
        users += usize::from(text.contains("json("));
        if !file.ends_with("text.rs") {
            let found = made.iter().find(|words| text.contains(**words));
            assert_eq!(found, None, "{}: use `text::json`", file.display());
        }
    }
    assert!(users > 8, "{users}: looked in the wrong place");
}

/// Functions as `cargo fmt` lays them out: from `fn` to the closing brace at the same indent.
fn long_functions(lines: &[&str]) -> Vec<String> {
    let mut faults = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let head = line.trim_start();
        let is_function =
            ["fn ", "pub fn ", "pub(super) fn ", "pub(crate) fn ", "const fn ", "pub const fn "]
                .iter()
                .any(|words| head.starts_with(words));
        if !is_function || line.ends_with(';') || line.ends_with('}') {
            continue;
        }
        let close = format!("{}}}", " ".repeat(indent));
        let length = lines[start..].iter().position(|line| **line == *close).map_or(0, |length| length + 1);
        if length > FUNCTION_LINES_MAX {
            faults.push(format!("{}: a function of {length} lines", start + 1));
        }
    }
    faults
}

fn faults_of(line: &str, module: &str, floor: usize) -> Vec<String> {
    let mut faults = Vec::new();
    for (other_floor, names) in FLOORS.iter().enumerate() {
        for other in *names {
            let used = [format!("crate::{other}::"), format!("crate::{other};")];
            let used = *other != module && used.iter().any(|path| line.contains(path));
            if used && (other_floor >= floor || FORBIDDEN.contains(&(module, other))) {
                faults.push(format!("`{module}` (floor {floor}) uses `{other}` (floor {other_floor})"));
            }
        }
    }
    if line.contains("crate::{") || line.contains("super::super") {
        faults.push("hides which module it uses: write `use crate::module::…`".into());
    }
    if floor < SHELL {
        let found = IMPURE.iter().filter(|word| line.contains(**word));
        faults.extend(found.map(|word| format!("`{word}` below the shell")));
    }
    faults
}

/// Whether a file is compiled for tests only: its `mod` in the parent stands under `#[cfg(test)]`.
fn is_for_tests_only(file: &Path) -> bool {
    let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let dir = file.parent().expect("a file is in a folder");
    let parents = [dir.join("mod.rs"), dir.with_extension("rs")];
    let declared = format!("#[cfg(test)]\nmod {stem};");
    parents.iter().any(|parent| fs::read_to_string(parent).is_ok_and(|text| text.contains(&declared)))
}

fn module_of(file: &Path) -> Option<(&'static str, usize)> {
    let path = file.strip_prefix(source_dir()).ok()?;
    let top = path.iter().next()?.to_str()?;
    FLOORS
        .iter()
        .enumerate()
        .find_map(|(floor, names)| names.iter().find(|name| **name == top).map(|name| (*name, floor)))
}

fn source_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn rust_files(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).expect("source folder") {
        let path = entry.expect("entry").path();
        if path.is_dir() {
            files.extend(rust_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    files
}

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
