//! Copying and re-wrapping take turns: who copies reads a header here and puts it there, who re-wraps puts another
//! one in both.
//!
//! ```text
//! HOME/copying.turn    in passing, before the other: who waits alone keeps it, so that nobody comes in between
//! HOME/copying.lock    shared by those who copy; of who re-wraps alone
//! ```

use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::shell::clock;
use crate::shell::locks::{self, Share};

/// Lets go of it when dropped.
#[derive(Debug)]
pub(super) struct Turn {
    _files: Vec<File>,
}

/// To copy one recording, beside others who do. Nothing where somebody re-wraps for long.
pub(super) async fn copying(home: &Path) -> io::Result<Option<Turn>> {
    take(home, Share::Beside, clock::monotonic() + COPYING_PATIENCE).await
}

/// To re-wrap some recordings, alone. Nothing where somebody copies one recording for very long.
pub(super) async fn rewrapping(home: &Path) -> io::Result<Option<Turn>> {
    take(home, Share::Alone, clock::monotonic() + REWRAPPING_PATIENCE).await
}

async fn take(home: &Path, share: Share, until: Instant) -> io::Result<Option<Turn>> {
    let Some(turn) = lock(&home.join(TURN), share, until).await? else { return Ok(None) };
    let Some(busy) = lock(&home.join(BUSY), share, until).await? else { return Ok(None) };
    let files = if share == Share::Alone { vec![turn, busy] } else { vec![busy] };
    Ok(Some(Turn { _files: files }))
}

/// A lock of a file, which is made where it is not there. Nothing where somebody else has it until then.
pub(super) async fn lock(path: &Path, share: Share, until: Instant) -> io::Result<Option<File>> {
    let file = OpenOptions::new().write(true).create(true).truncate(false).open(path)?;
    while !locks::now(&file, share)? {
        if clock::monotonic() >= until {
            return Ok(None);
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
    Ok(Some(file))
}

const TURN: &str = "copying.turn";
const BUSY: &str = "copying.lock";
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// Some hundred headers in all places.
const COPYING_PATIENCE: Duration = Duration::from_secs(600);
/// A large recording over a slow link.
const REWRAPPING_PATIENCE: Duration = Duration::from_secs(3_600);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_copies_does_it_beside_others_and_who_rewraps_alone_and_next() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let home = dir.path();
        let passed = || clock::monotonic();
        runtime.block_on(async {
            let first = copying(home).await.unwrap().unwrap();
            let second = copying(home).await.unwrap().unwrap();
            assert!(take(home, Share::Alone, passed()).await.unwrap().is_none());
            drop(first);
            let waiting = async {
                let turn = rewrapping(home).await.unwrap().unwrap();
                assert!(take(home, Share::Beside, passed()).await.unwrap().is_none());
                drop(turn);
            };
            let others = async {
                // It waits for the second, and nobody comes before it.
                while take(home, Share::Beside, passed()).await.unwrap().is_some() {
                    tokio::task::yield_now().await;
                }
                drop(second);
            };
            tokio::join!(waiting, others);
            assert!(copying(home).await.unwrap().is_some());
        });
    }
}
