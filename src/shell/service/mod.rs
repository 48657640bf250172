//! A recorder as a service: from its configuration until it is told to stop.
//!
//! ```text
//!  log · configuration · sockets ─► sandbox ─► threads ─► watch: signals, control socket, status ─► end
//! ```

mod setup;
mod watch;

use std::path::{Path, PathBuf};

use crate::base::policy::Condition;
use crate::recording::manifest::Manifest;
use crate::seal::stream::SealError;
use crate::shell::capture::CaptureError;
use crate::shell::config::{Config, ConfigError, ConfigFault};
use crate::shell::control::ControlError;
use crate::shell::entropy::NoRandomness;
use crate::shell::http::BindError;
use crate::shell::identity::SignerError;
use crate::shell::journal::JournalError;
use crate::shell::logging::{self, LogError};
use crate::shell::notify::NotifyError;
use crate::shell::ops::OpsError;
use crate::shell::receipts::ReceiptsError;
use crate::shell::record::{RecordError, Summary};
use crate::shell::recovery::RecoveryError;
use crate::shell::sandbox::{SandboxError, UserError};
use crate::shell::service::setup::Prepared;
use crate::shell::service::watch::Service;
use crate::shell::signals::SignalError;
use crate::shell::threads::ThreadFailed;

/// Why a recorder does not start, or ended.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// An interface cannot be captured.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// The configuration makes no sense.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The configuration names nobody who can open.
    #[error("{}: {fault}", path.display())]
    Recipients {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        fault: ConfigFault,
    },
    /// Nothing can be sealed to those the configuration names.
    #[error("{}: sealing a probe to {whom}: {source}; nothing would be recorded: set this right first", path.display())]
    Probe {
        /// The file.
        path: PathBuf,
        /// Rule or purpose.
        whom: String,
        /// Why.
        source: SealError,
    },
    /// There is nothing to capture.
    #[error("`{}` names no interface: add a [[capture]] with `interface = \"…\"`", path.display())]
    NoCapture {
        /// The file.
        path: PathBuf,
    },
    /// The system has no such group.
    #[error("[control] group `{name}`: there is no such group on this machine")]
    Group {
        /// Its name.
        name: String,
    },
    /// A folder cannot be made.
    #[error("making folder `{}`: {source}", path.display())]
    Folder {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Logs cannot be written.
    #[error(transparent)]
    Log(#[from] LogError),
    /// Signals cannot be handled.
    #[error(transparent)]
    Signals(#[from] SignalError),
    /// The service manager cannot be reached.
    #[error(transparent)]
    Notify(#[from] NotifyError),
    /// The user to become.
    #[error(transparent)]
    User(#[from] UserError),
    /// Privileges cannot be given up.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The control socket.
    #[error(transparent)]
    Control(#[from] ControlError),
    /// Metrics.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// Nobody can be told how it does.
    #[error(transparent)]
    Ops(#[from] OpsError),
    /// No random bytes.
    #[error(transparent)]
    Random(#[from] NoRandomness),
    /// No key to sign with.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// No journal can be kept.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What an earlier run left cannot be looked at.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The log of receipts.
    #[error(transparent)]
    Receipts(#[from] ReceiptsError),
    /// A thread could not be started.
    #[error(transparent)]
    Thread(#[from] ThreadFailed),
    /// It ended on its own.
    #[error(transparent)]
    Record(#[from] RecordError),
}

/// Records as `path` says, until it is told to stop. `finished` is told of each recording; `forced` conditions
/// are brought about on purpose.
pub fn run(
    path: &Path,
    forced: &[Condition],
    mut finished: impl FnMut(&Manifest),
) -> Result<Summary, ServiceError> {
    let (config, oddities) = Config::load(path)?;
    let log = logging::start(setup::log_format(&config), config.sections.log.level.as_str())?;
    for oddity in oddities {
        tracing::warn!("{}: {oddity}", path.display());
    }
    let prepared = Prepared::new(config, forced)?;
    let service = Service::start(prepared, log)?;
    service.watch(&mut finished)
}
