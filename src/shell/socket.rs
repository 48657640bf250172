//! Taking the name of a local socket, also where a process left it that was killed.

use std::io;
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use crate::shell::locks::{IN_PASSING, folder_alone};

/// Why a name cannot be had.
#[derive(Debug)]
pub(super) enum Fault {
    /// Somebody answers there.
    Busy,
    /// Something else has it.
    NoSocket,
    /// The operating system refused.
    Io {
        /// What was being done.
        doing: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Binds a socket. Of several that come at once, one has it, and the others find that somebody answers: none takes away
/// what another has just bound in the place of a dead one.
pub(super) fn bind(path: &Path) -> Result<UnixListener, Fault> {
    let io = |doing| move |source| Fault::Io { doing, source };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    // Whoever holds it for longer than it takes to bind holds it for something else.
    let _alone = folder_alone(folder, IN_PASSING).map_err(io("taking the folder of"))?;
    if let Ok(facts) = path.symlink_metadata() {
        if !facts.file_type().is_socket() {
            return Err(Fault::NoSocket);
        }
        match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                std::fs::remove_file(path).map_err(io("replacing"))?;
            }
            Ok(_) => return Err(Fault::Busy),
            Err(source) => return Err(Fault::Io { doing: "looking at", source }),
        }
    }
    UnixListener::bind(path).map_err(io("binding"))
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;

    use super::*;

    #[test]
    fn of_those_who_come_at_once_one_has_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control");
        for _ in 0..20 {
            // As a process leaves it that was killed: bound, and nobody answers.
            drop(UnixListener::bind(&path).unwrap());
            let at_once = Barrier::new(4);
            let bound: Vec<_> = std::thread::scope(|scope| {
                let one = || {
                    at_once.wait();
                    bind(&path)
                };
                let all: Vec<_> = (0..4).map(|_| scope.spawn(one)).collect();
                all.into_iter().map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(bound.iter().filter(|bound| bound.is_ok()).count(), 1, "{bound:?}");
            assert!(UnixStream::connect(&path).is_ok(), "whoever has it is reached");
            drop(bound);
            std::fs::remove_file(&path).unwrap();
        }
    }
}
