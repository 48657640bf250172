//! The control socket: one JSON object a line, asked and answered in turn.
//!
//! ```text
//! {"cmd":"status"}                                        {"ok":true,"status":{…}}
//! {"cmd":"calls","parties":false}                         {"ok":true,"calls":[…]}
//! {"cmd":"pause","id":"0193…","reason":"card","actor":"anna"}   {"ok":true,"said":"paused"}
//! {"cmd":"resume","id":"0193…","actor":"anna"}            {"ok":false,"error":"no such call"}
//! {"cmd":"reload"}  {"cmd":"stop"}
//! ```
//!
//! Who may connect is decided by the file's mode and group; who has asked for what is logged by the user
//! id that the kernel vouches for. What acts goes to the runner as a [`Command`].

use std::io;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Semaphore, oneshot};
use tokio::time::timeout;

use crate::shell::socket::{self, Fault};
use crate::shell::status::Status;
use crate::shell::status::snapshot::{LiveCall, Snapshot};

/// What can be asked. Variants without fields have braces: of those, serde refuses unknown fields.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(tag = "cmd", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// All but the calls.
    Status {},
    /// The calls that go on, the newest first.
    Calls {
        /// Who speaks, where that is permitted.
        #[serde(default)]
        parties: bool,
    },
    /// Leaves out a call's sound from now on.
    Pause {
        /// Id of its recording.
        id: String,
        /// Why, for the manifest.
        reason: String,
        /// Who wants it, for the manifest.
        #[serde(default)]
        actor: String,
    },
    /// Ends a pause.
    Resume {
        /// Id of its recording.
        id: String,
        /// Who wants it, for the manifest.
        #[serde(default)]
        actor: String,
    },
    /// Reads the configuration anew.
    Reload {},
    /// Ends the recorder in order.
    Stop {},
}

/// What is answered.
#[derive(Clone, Debug, Default, Deserialize, PartialEq, Serialize)]
pub struct Answer {
    /// Whether it was done.
    pub ok: bool,
    /// Why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What was done.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub said: Option<String>,
    /// To [`Request::Status`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<Box<Snapshot>>,
    /// To [`Request::Calls`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub calls: Option<Vec<LiveCall>>,
}

/// What the runner is to do. It answers by [`Reply`], within [`REPLY_PATIENCE`].
#[derive(Debug)]
pub struct Command {
    /// What.
    pub action: Action,
    /// For whom.
    pub peer: Peer,
    /// Where the answer goes.
    pub reply: Reply,
}

/// What a runner can be told to do. Strings are short and without control characters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Action {
    /// Leave out a call's sound.
    Pause {
        /// Id of its recording.
        id: String,
        /// Why.
        reason: String,
        /// Who wants it: as told, else `uid N`.
        actor: String,
    },
    /// End a pause.
    Resume {
        /// Id of its recording.
        id: String,
        /// Who wants it.
        actor: String,
    },
    /// Read the configuration anew.
    Reload,
    /// End in order.
    Stop,
}

impl Action {
    fn name(&self) -> &'static str {
        match self {
            Self::Pause { .. } => "pause",
            Self::Resume { .. } => "resume",
            Self::Reload => "reload",
            Self::Stop => "stop",
        }
    }
}

/// The process at the other end, as the kernel knows it (SO_PEERCRED).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Peer {
    /// User id.
    pub uid: u32,
    /// Process id, where it is in our namespace.
    pub pid: Option<i32>,
}

/// The way back to who asked.
#[derive(Debug)]
pub struct Reply(oneshot::Sender<Result<String, String>>);

impl Reply {
    /// It is done; `said` is told to who asked.
    pub fn done(self, said: impl Into<String>) {
        // Who asked may have gone: it is done all the same.
        let _ = self.0.send(Ok(said.into()));
    }

    /// It is not done, and `why`.
    pub fn refuse(self, why: impl Into<String>) {
        let _ = self.0.send(Err(why.into()));
    }
}

/// Why there is no control socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Somebody answers there.
    #[error("another recorder listens on `{}`: stop it, or choose another control socket", path.display())]
    Busy {
        /// The socket.
        path: PathBuf,
    },
    /// The operating system refused.
    #[error("{doing} control socket `{}`: {source}", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Something else has the name.
    #[error("`{}` is no socket: choose another control socket", path.display())]
    Taken {
        /// What is there.
        path: PathBuf,
    },
}

/// Binds the socket, for its owner and for `group` as `mode` says ([`DEFAULT_MODE`]). A socket that a recorder left when it was killed is
/// replaced. Before privileges are dropped: `group` may be one that the process is not in.
pub fn bind(path: &Path, mode: u32, group: Option<u32>) -> Result<StdListener, ControlError> {
    let io = |doing, source| ControlError::Io { doing, path: path.into(), source };
    // Until the mode is set it is that of the umask, in which the group cannot write: nobody can connect
    // too early.
    let listener = socket::bind(path).map_err(|fault| match fault {
        Fault::Busy => ControlError::Busy { path: path.into() },
        Fault::NoSocket => ControlError::Taken { path: path.into() },
        Fault::Io { doing, source } => io(doing, source),
    })?;
    // Not for nothing: the unit's sandbox has no `chown`.
    if group.is_some() {
        chown(path, None, group).map_err(|source| io("giving a group to", source))?;
    }
    let mode = std::fs::Permissions::from_mode(mode & 0o777);
    std::fs::set_permissions(path, mode).map_err(|source| io("setting the mode of", source))?;
    Ok(listener)
}

/// Whom to serve, and what they may do.
#[derive(Debug)]
pub struct Config {
    /// Made by [`bind`].
    pub listener: StdListener,
    /// To the runner; bounded.
    pub commands: Sender<Command>,
}

#[derive(Debug)]
struct Shared {
    status: Arc<Status>,
    commands: Sender<Command>,
}

/// Serves until its task is dropped.
pub(super) async fn serve(listener: UnixListener, commands: Sender<Command>, status: Arc<Status>) {
    let shared = Arc::new(Shared { status, commands });
    let places = Arc::new(Semaphore::new(CLIENTS_MAX));
    loop {
        let Ok((mut stream, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            continue;
        };
        let shared = shared.clone();
        if let Ok(place) = places.clone().try_acquire_owned() {
            tokio::spawn(async move {
                // Whatever ends it ends only this client.
                let _ = converse(stream, &shared).await;
                drop(place);
            });
        } else {
            let line = line_of(&refusal("too many clients: try again later"));
            // As much as goes without waiting.
            let _ = timeout(Duration::from_millis(1), stream.write_all(&line)).await;
        }
    }
}

async fn converse(stream: UnixStream, shared: &Shared) -> io::Result<()> {
    let credentials = stream.peer_cred()?;
    let peer = Peer { uid: credentials.uid(), pid: credentials.pid() };
    let (read, mut write) = stream.into_split();
    let mut reader = BufReader::with_capacity(LINE_BYTES_MAX, read);
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut bounded = (&mut reader).take(LINE_BYTES_MAX as u64);
        let length = timeout(IDLE_MAX, bounded.read_until(b'\n', &mut line)).await??;
        if length == 0 {
            return Ok(());
        }
        let is_whole = line.ends_with(b"\n");
        let answer = if is_whole {
            answer(&line, peer, shared).await
        } else {
            refusal("a request is one line of at most 4096 bytes")
        };
        timeout(WRITE_PATIENCE, write.write_all(&line_of(&answer))).await??;
        if !is_whole {
            return Ok(());
        }
    }
}

async fn answer(line: &[u8], peer: Peer, shared: &Shared) -> Answer {
    let request = match serde_json::from_slice(line) {
        Ok(request) => request,
        // The message names fields and positions.
        Err(error) => return refusal(&format!("no such request: {error}")),
    };
    let action = match request {
        Request::Status {} => {
            return Answer {
                ok: true,
                status: Some(Box::new(shared.status.snapshot())),
                ..Answer::default()
            };
        }
        Request::Calls { parties } if parties && !shared.status.shows_parties() => {
            return refusal("the configuration does not permit to show who speaks");
        }
        Request::Calls { parties } => {
            if parties {
                tracing::info!(uid = peer.uid, pid = peer.pid, "told who speaks");
            }
            return Answer { ok: true, calls: Some(shared.status.calls(parties)), ..Answer::default() };
        }
        Request::Pause { id, reason, actor } => Action::Pause { id, reason, actor: actor_of(actor, peer) },
        Request::Resume { id, actor } => Action::Resume { id, actor: actor_of(actor, peer) },
        Request::Reload {} => Action::Reload,
        Request::Stop {} => Action::Stop,
    };
    match check(&action) {
        Err(error) => refusal(error),
        Ok(()) => act(action, peer, shared).await,
    }
}

async fn act(action: Action, peer: Peer, shared: &Shared) -> Answer {
    let (sender, replied) = oneshot::channel();
    let name = action.name();
    tracing::info!(uid = peer.uid, pid = peer.pid, action = name, "asked by the control socket");
    let command = Command { action, peer, reply: Reply(sender) };
    match shared.commands.try_send(command) {
        Ok(()) => {}
        Err(TrySendError::Full(_)) => return refusal("the recorder is busy: try again"),
        Err(TrySendError::Disconnected(_)) => return refusal("the recorder is ending"),
    }
    match timeout(REPLY_PATIENCE, replied).await {
        Ok(Ok(Ok(said))) => Answer { ok: true, said: Some(said), ..Answer::default() },
        Ok(Ok(Err(why))) => refusal(&why),
        Ok(Err(_)) => refusal("the recorder ended before it answered"),
        Err(_) => refusal("the recorder has not answered yet: it may still do it; look with `sejf status`"),
    }
}

fn actor_of(told: String, peer: Peer) -> String {
    if told.is_empty() { format!("uid {}", peer.uid) } else { told }
}

fn check(action: &Action) -> Result<(), &'static str> {
    let is_plain = |text: &str, max| text.chars().count() <= max && !text.chars().any(char::is_control);
    let (id, reason, actor) = match action {
        Action::Pause { id, reason, .. } if reason.trim().is_empty() || id.is_empty() => {
            return Err("a pause needs the id of a call and a reason");
        }
        Action::Pause { id, reason, actor } => (id, reason.as_str(), actor),
        Action::Resume { id, actor } => (id, "", actor),
        Action::Reload | Action::Stop => return Ok(()),
    };
    if uuid::Uuid::try_parse(id).is_err() || id.len() != UUID_CHARS {
        return Err("the id is none of a recording: `sejf call ls` has them");
    }
    if !is_plain(reason, REASON_CHARS_MAX) || !is_plain(actor, ACTOR_CHARS_MAX) {
        return Err("reason (at most 256 characters) and actor (64) are single lines");
    }
    Ok(())
}

fn refusal(error: &str) -> Answer {
    Answer { error: Some(error.into()), ..Answer::default() }
}

fn line_of(answer: &Answer) -> Vec<u8> {
    let mut line = serde_json::to_vec(answer).unwrap_or_else(|_| b"{\"ok\":false}".to_vec());
    line.push(b'\n');
    line
}

/// Owner and group may ask.
pub const DEFAULT_MODE: u32 = 0o660;
const CLIENTS_MAX: usize = 8;
const LINE_BYTES_MAX: usize = 4_096;
/// A live view asks every second.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Who reads slower than this is dropped.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);
/// How long the runner may take to answer.
pub const REPLY_PATIENCE: Duration = Duration::from_secs(10);
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);
const REASON_CHARS_MAX: usize = 256;
const ACTOR_CHARS_MAX: usize = 64;
const UUID_CHARS: usize = 36;
