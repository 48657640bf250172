//! Starting and ending named threads.

use std::io::{self, Write};
use std::panic::{self, PanicHookInfo};
use std::thread::{self, JoinHandle};

/// A thread could not be started or ended on its own fault.
#[derive(Debug, thiserror::Error)]
#[error("the {name} thread failed: this is a fault of the program, please report it")]
pub struct ThreadFailed {
    /// Which one.
    pub name: String,
}

/// Starts a thread that `ps -L` and `top -H` show as `name`.
pub(super) fn start<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ThreadFailed> {
    thread::Builder::new().name(name.into()).spawn(body).map_err(|_| ThreadFailed { name: name.into() })
}

/// Waits until a thread ends, and takes what it brings.
pub(super) fn join<T>(name: &str, handle: JoinHandle<T>) -> Result<T, ThreadFailed> {
    handle.join().map_err(|_| ThreadFailed { name: name.into() })
}

/// Has panics tell where they were, and nothing else: what a panic says of itself may quote the packet that
/// brought it about, with numbers and names in it.
pub fn tell_panics_by_place() {
    panic::set_hook(Box::new(|panic: &PanicHookInfo| {
        let thread = thread::current();
        let name = thread.name().unwrap_or("unnamed");
        let place = panic.location().map(|place| format!("{}:{}", place.file(), place.line()));
        let place = place.as_deref().unwrap_or("an unknown place");
        // Not through the log, which may be what panics. A closed stream is no reason to abort.
        let _ = writeln!(io::stderr(), "thread '{name}' panicked at {place}: please report this");
    }));
}
