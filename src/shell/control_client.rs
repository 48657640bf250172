//! The other end of the control socket.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::shell::control::{Answer, REPLY_PATIENCE, Request};
use crate::shell::status::snapshot::{LiveCall, Snapshot};

/// Why a recorder cannot be asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The answer is none.
    #[error("`{}` answered what is no answer of a recorder: is its version another than this program's?", path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
    },
    /// Nobody to ask.
    #[error("asking the recorder on `{}`: {source}{}", path.display(), remedy(source))]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It would not.
    #[error("the recorder refuses: {why}")]
    Refused {
        /// What it says.
        why: String,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => "; does it run? --socket says where",
        io::ErrorKind::PermissionDenied => "; its owner and its group may ask",
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => "; it does not answer",
        _ => "",
    }
}

/// A connection to a recorder.
#[derive(Debug)]
pub struct Client {
    path: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Client {
    /// Connects to the socket at `path`.
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let io = |source| ClientError::Io { path: path.into(), source };
        let stream = UnixStream::connect(path).map_err(io)?;
        stream.set_read_timeout(Some(REPLY_PATIENCE + Duration::from_secs(5))).map_err(io)?;
        stream.set_write_timeout(Some(REPLY_PATIENCE)).map_err(io)?;
        Ok(Self { path: path.into(), stream: BufReader::new(stream) })
    }

    /// Asks, and waits for the answer.
    pub fn ask(&mut self, request: &Request) -> Result<Answer, ClientError> {
        let io = |source| ClientError::Io { path: self.path.clone(), source };
        let mut line = serde_json::to_vec(request).map_err(|error| io(error.into()))?;
        line.push(b'\n');
        // A recorder that hangs up at once may have said why before.
        let written = self.stream.get_mut().write_all(&line);
        line.clear();
        let read = (&mut self.stream).take(ANSWER_BYTES_MAX).read_until(b'\n', &mut line);
        if !line.ends_with(b"\n") {
            written.map_err(io)?;
            read.map_err(io)?;
            return Err(io(io::ErrorKind::UnexpectedEof.into()));
        }
        let answer: Answer = serde_json::from_slice(&line).map_err(|_| self.no_answer())?;
        if answer.ok {
            Ok(answer)
        } else {
            Err(ClientError::Refused { why: answer.error.unwrap_or_default() })
        }
    }

    /// Asks for all but the calls.
    pub fn status(&mut self) -> Result<Snapshot, ClientError> {
        let status = self.ask(&Request::Status {})?.status;
        status.map(|status| *status).ok_or_else(|| self.no_answer())
    }

    /// Asks for the calls that go on, the newest first.
    pub fn calls(&mut self, parties: bool) -> Result<Vec<LiveCall>, ClientError> {
        let calls = self.ask(&Request::Calls { parties })?.calls;
        calls.ok_or_else(|| self.no_answer())
    }

    fn no_answer(&self) -> ClientError {
        ClientError::Answer { path: self.path.clone() }
    }
}

/// Where a recorder listens unless it is told otherwise.
pub const DEFAULT_SOCKET: &str = "/run/sejf/control.sock";
/// Five thousand calls are two or three MiB.
const ANSWER_BYTES_MAX: u64 = 32 << 20;
