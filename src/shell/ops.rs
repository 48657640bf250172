//! The thread that tells others how the recorder does: control socket and HTTP, on one event loop that
//! shares nothing with the path of the packets but [`Status`].

use std::io;
use std::sync::Arc;
use std::thread::JoinHandle;

use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Builder;
use tokio::sync::Notify;

use crate::shell::control;
use crate::shell::http;
use crate::shell::status::Status;
use crate::shell::threads::{ThreadFailed, join, start};

/// Whom to serve.
#[derive(Debug)]
pub struct Config {
    /// The control socket.
    pub control: Option<control::Config>,
    /// Metrics and health.
    pub http: Option<http::Config>,
}

/// Why nobody is told.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpsError {
    /// The operating system refused.
    #[error("starting to serve metrics and the control socket: {0}")]
    Io(#[from] io::Error),
    /// A thread could not be started or ended on its own fault.
    #[error(transparent)]
    Thread(#[from] ThreadFailed),
}

/// The thread at work.
#[derive(Debug)]
pub struct Ops {
    thread: JoinHandle<()>,
    stop: Arc<Notify>,
}

impl Ops {
    /// Starts to serve. The event loop is made on the caller's thread, before a sandbox closes.
    pub fn start(config: Config, status: &Arc<Status>) -> Result<Self, OpsError> {
        let runtime = Builder::new_current_thread().enable_io().enable_time().build()?;
        let entered = runtime.enter();
        if let Some(control::Config { listener, commands }) = config.control {
            listener.set_nonblocking(true)?;
            let listener = UnixListener::from_std(listener)?;
            runtime.spawn(control::serve(listener, commands, status.clone()));
        }
        if let Some(http::Config { listener, hosts }) = config.http {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            runtime.spawn(http::serve(listener, hosts, status.clone()));
        }
        drop(entered);
        let stop = Arc::new(Notify::new());
        let stopped = stop.clone();
        let thread = start("ops", move || runtime.block_on(stopped.notified()))?;
        Ok(Self { thread, stop })
    }

    /// Hangs up on everybody.
    pub fn stop(self) -> Result<(), OpsError> {
        self.stop.notify_one();
        Ok(join("ops", self.thread)?)
    }
}
