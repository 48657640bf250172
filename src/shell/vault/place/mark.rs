//! Whether a folder is the place that it is called: where a disk is not mounted, there is an empty one.
//!
//! ```text
//! PLACE/.sejf-place    whose place it is: the vault's key, and its name
//! HOME/places/NAME     it was begun: from then on it is nothing without its mark
//! ```
//!
//! A place that was not begun yet is begun when it is first opened.

use std::fs;
use std::io;
use std::path::Path;

use crate::shell::vault::config::{PlaceConfig, PlaceKind};
use crate::shell::vault::home::write_new;
use crate::shell::vault::place::PlaceError;

/// Looks for the mark of a folder of the vault `vault`, and begins it where it is new.
pub(in crate::shell::vault) fn see(home: &Path, vault: &str, config: &PlaceConfig) -> Result<(), PlaceError> {
    let PlaceKind::Directory { path } = &config.kind else { return Ok(()) };
    if !path.is_dir() {
        // Whoever opens it says so.
        return Ok(());
    }
    let is_begun = home.join(BEGUN).join(&config.name).exists();
    match read(path, config)? {
        Some(mark) if mark == own(vault, config) && is_begun => Ok(()),
        Some(mark) if mark == own(vault, config) => remember(home, path, config),
        Some(mark) => Err(PlaceError::Foreign { place: config.name.clone(), path: path.clone(), mark }),
        None if is_begun => Err(PlaceError::Unmarked { place: config.name.clone(), path: path.clone() }),
        None => begin(home, vault, config),
    }
}

/// Marks a folder: one that is new, or whose disk was lost. Not that of another vault.
pub(in crate::shell::vault) fn begin(
    home: &Path,
    vault: &str,
    config: &PlaceConfig,
) -> Result<(), PlaceError> {
    let PlaceKind::Directory { path } = &config.kind else { return Ok(()) };
    if let Some(mark) = read(path, config)?.filter(|mark| !mark.starts_with(&format!("{vault} "))) {
        return Err(PlaceError::Foreign { place: config.name.clone(), path: path.clone(), mark });
    }
    let mark = format!("{}\n", own(vault, config));
    write_new(path, MARK, mark.as_bytes(), 0o644)
        .map_err(|error| fault(config, "marking folder", path, error))?;
    remember(home, path, config)
}

fn own(vault: &str, config: &PlaceConfig) -> String {
    format!("{vault} {}", config.name)
}

fn read(path: &Path, config: &PlaceConfig) -> Result<Option<String>, PlaceError> {
    match fs::read(path.join(MARK)) {
        Ok(bytes) => {
            let mark = String::from_utf8_lossy(&bytes).trim().to_owned();
            Ok((!mark.is_empty()).then_some(mark))
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fault(config, "reading the mark of folder", path, error)),
    }
}

/// In this order: what is remembered and not marked would be a place that is away.
fn remember(home: &Path, path: &Path, config: &PlaceConfig) -> Result<(), PlaceError> {
    let begun = home.join(BEGUN);
    fs::create_dir_all(&begun).map_err(|error| fault(config, "making folder", &begun, error))?;
    let said = format!("{}\n", path.display());
    write_new(&begun, &config.name, said.as_bytes(), 0o600)
        .map_err(|error| fault(config, "writing down that it was begun, in", &begun, error))
}

fn fault(
    config: &PlaceConfig,
    doing: &'static str,
    path: &Path,
    source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
) -> PlaceError {
    PlaceError::Io {
        place: config.name.clone(),
        doing,
        object: path.display().to_string(),
        source: source.into(),
    }
}

/// Hidden, so that it is no object.
const MARK: &str = ".sejf-place";
/// Below the vault's home.
const BEGUN: &str = "places";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_was_begun_is_nothing_without_its_mark() {
        let dir = tempfile::tempdir().unwrap();
        let [home, place] = ["home", "place"].map(|name| dir.path().join(name));
        fs::create_dir(&home).unwrap();
        let config = |name: &str| -> PlaceConfig {
            let path = place.display();
            toml::from_str(&format!("name = '{name}'\nsite = 's'\nkind = 'directory'\npath = '{path}'"))
                .unwrap()
        };
        let a = config("a");
        see(&home, "vault", &a).unwrap();
        assert!(!place.exists(), "who opens it says that it is not there");
        fs::create_dir(&place).unwrap();
        for _ in 0..2 {
            see(&home, "vault", &a).unwrap();
        }
        assert_eq!(fs::read_to_string(place.join(MARK)).unwrap(), "vault a\n");
        for (vault, config) in [("another", &a), ("vault", &config("b"))] {
            assert!(matches!(see(&home, vault, config), Err(PlaceError::Foreign { .. })));
        }
        assert!(matches!(begin(&home, "another", &a), Err(PlaceError::Foreign { .. })));
        // Of a home from before, the mark is enough.
        fs::remove_dir_all(home.join(BEGUN)).unwrap();
        see(&home, "vault", &a).unwrap();
        // Its disk is not mounted.
        fs::rename(&place, dir.path().join("away")).unwrap();
        fs::create_dir(&place).unwrap();
        for _ in 0..2 {
            assert!(matches!(see(&home, "vault", &a), Err(PlaceError::Unmarked { .. })));
        }
        assert_eq!(fs::read_dir(&place).unwrap().count(), 0);
        begin(&home, "vault", &a).unwrap();
        see(&home, "vault", &a).unwrap();
    }
}
