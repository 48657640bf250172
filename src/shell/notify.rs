//! The service manager: what it is told (sd_notify(3)), what it asks back (watchdog), and descriptors that
//! it keeps over a restart (`FDSTORE`, sd_listen_fds(3)).

use std::env;
use std::ffi::OsStr;
use std::io::{self, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{RecvTimeoutError, Sender, bounded};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use sd_notify::NotifyState;

use crate::shell::clock;

/// The way to the service manager, opened once: after the sandbox nothing is opened. Silent where there is
/// none.
#[derive(Clone, Debug, Default)]
pub struct Notifier(Option<Arc<UnixDatagram>>);

/// Why the service manager is not reached, or does not make sense.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotifyError {
    /// The socket cannot be used.
    #[error("{doing} the service manager at NOTIFY_SOCKET={socket}: {source}")]
    Socket {
        /// Connecting to, telling.
        doing: &'static str,
        /// The socket.
        socket: String,
        /// Why.
        source: io::Error,
    },
    /// A name that systemd would not take.
    #[error("`{name}` cannot name a stored descriptor: 1 to 255 printable ASCII characters without `:`")]
    Name {
        /// The name.
        name: String,
    },
    /// `LISTEN_FDS` and what belongs to it contradict themselves.
    #[error("taking descriptors from the service manager (LISTEN_FDS): {source}")]
    Listen {
        /// Why.
        source: io::Error,
    },
    /// No thread for the watchdog.
    #[error("starting the watchdog thread: {source}")]
    Thread {
        /// Why.
        source: io::Error,
    },
}

impl Notifier {
    /// Connects to `NOTIFY_SOCKET`, if it is set.
    pub fn from_env() -> Result<Self, NotifyError> {
        match env::var_os("NOTIFY_SOCKET") {
            Some(socket) if !socket.is_empty() => Self::connect(&socket),
            _ => Ok(Self::default()),
        }
    }

    /// Connects to a path, or to an abstract socket, written with a leading `@`.
    pub fn connect(socket: &OsStr) -> Result<Self, NotifyError> {
        let connect = || {
            let address = match socket.as_bytes() {
                [b'@', name @ ..] => SocketAddr::from_abstract_name(name)?,
                _ => SocketAddr::from_pathname(Path::new(socket))?,
            };
            let connected = UnixDatagram::unbound()?;
            connected.connect_addr(&address)?;
            // A service manager that does not read must not hold up recording.
            connected.set_nonblocking(true)?;
            Ok(connected)
        };
        connect().map(|connected| Self(Some(Arc::new(connected)))).map_err(|source| NotifyError::Socket {
            doing: "connecting to",
            socket: socket.to_string_lossy().into(),
            source,
        })
    }

    /// Whether there is one.
    pub fn is_connected(&self) -> bool {
        self.0.is_some()
    }

    /// Start-up is done; also the end of a reload.
    pub fn ready(&self, status: &str) -> Result<(), NotifyError> {
        self.tell(&[NotifyState::Ready, NotifyState::Status(&one_line(status))], &[])
    }

    /// The configuration is being read again; [`Notifier::ready`] must follow.
    pub fn reloading(&self) -> Result<(), NotifyError> {
        self.tell(&[NotifyState::Reloading, NotifyState::MonotonicUsec(clock::monotonic_us().into())], &[])
    }

    /// The end has begun.
    pub fn stopping(&self) -> Result<(), NotifyError> {
        self.tell(&[NotifyState::Stopping], &[])
    }

    /// A line for `systemctl status`. No numbers, no addresses.
    pub fn status(&self, text: &str) -> Result<(), NotifyError> {
        self.tell(&[NotifyState::Status(&one_line(text))], &[])
    }

    /// Asks for `more` time: finishing takes longer than the unit's time-out.
    pub fn extend_timeout(&self, more: Duration) -> Result<(), NotifyError> {
        let more_us = u32::try_from(more.as_micros()).unwrap_or(u32::MAX);
        self.tell(&[NotifyState::ExtendTimeoutUsec(more_us)], &[])
    }

    /// Has `descriptor` kept under `name` until the next start, which gets it from [`inherited`].
    pub fn store(&self, name: &str, descriptor: &impl AsFd) -> Result<(), NotifyError> {
        let store = format!("FDSTORE=1\nFDNAME={}", stored_name(name)?);
        self.tell(&[NotifyState::Custom(&store)], &[descriptor.as_fd()])
    }

    /// Has what is kept under `name` closed.
    pub fn forget(&self, name: &str) -> Result<(), NotifyError> {
        let forget = format!("FDSTOREREMOVE=1\nFDNAME={}", stored_name(name)?);
        self.tell(&[NotifyState::Custom(&forget)], &[])
    }

    fn tell(&self, states: &[NotifyState<'_>], descriptors: &[BorrowedFd<'_>]) -> Result<(), NotifyError> {
        let Some(socket) = &self.0 else { return Ok(()) };
        let text: String = states.iter().map(|state| format!("{state}\n")).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
        }
        let sent = sendmsg(socket, &[IoSlice::new(text.as_bytes())], &mut ancillary, SendFlags::NOSIGNAL);
        sent.map(|_| ()).map_err(|source| NotifyError::Socket {
            doing: "telling",
            socket: env::var("NOTIFY_SOCKET").unwrap_or_default(),
            source: source.into(),
        })
    }
}

/// Takes the descriptors that were stored, with their names, in the order in which they were. The second
/// call gets none.
pub fn inherited() -> Result<Vec<(String, OwnedFd)>, NotifyError> {
    static TAKEN: AtomicBool = AtomicBool::new(false);
    if TAKEN.swap(true, Ordering::AcqRel) {
        return Ok(Vec::new());
    }
    let listed = sd_notify::listen_fds_with_names().map_err(|source| NotifyError::Listen { source })?;
    Ok(listed
        .map(|(number, name)| {
            // SAFETY: the service manager opened it for this process (LISTEN_PID is ours) and nothing else
            // here does; `TAKEN` lets nobody take it twice.
            #[expect(unsafe_code, reason = "a descriptor that comes as a number has no safe way in")]
            let descriptor = unsafe { OwnedFd::from_raw_fd(number) };
            (name, descriptor)
        })
        .collect())
}

/// Tells the service manager, in the rhythm that it asks for, that the process is alive. Dropping it stops
/// that.
#[derive(Debug)]
pub struct Watchdog {
    _stop: Sender<()>,
}

impl Watchdog {
    /// Starts where the unit has `WatchdogSec=`: asks `alive` three times as often as need be and stays
    /// silent when it says no. Needs a thread: after [`crate::shell::sandbox::Plan::apply`].
    pub fn start(
        notifier: &Notifier,
        alive: impl Fn() -> bool + Send + 'static,
    ) -> Result<Option<Self>, NotifyError> {
        sd_notify::watchdog_enabled().map(|limit| Self::every(limit / 3, notifier, alive)).transpose()
    }

    fn every(
        rhythm: Duration,
        notifier: &Notifier,
        alive: impl Fn() -> bool + Send + 'static,
    ) -> Result<Self, NotifyError> {
        let notifier = notifier.clone();
        let (stop, stopped) = bounded::<()>(0);
        let watch = move || {
            loop {
                if alive() {
                    // A full socket: the next one comes soon enough.
                    let _ = notifier.tell(&[NotifyState::Watchdog], &[]);
                } else {
                    tracing::warn!("no sign of life from the pipeline: the watchdog is not answered");
                }
                if stopped.recv_timeout(rhythm) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let started = thread::Builder::new().name("watchdog".into()).spawn(watch);
        started.map(|_| Self { _stop: stop }).map_err(|source| NotifyError::Thread { source })
    }
}

/// A line break would begin another message.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn stored_name(name: &str) -> Result<&str, NotifyError> {
    let printable = name.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b':');
    if printable && (1..=255).contains(&name.len()) {
        Ok(name)
    } else {
        Err(NotifyError::Name { name: name.into() })
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

    use super::*;

    /// A service manager that only listens.
    struct Manager {
        socket: UnixDatagram,
        notifier: Notifier,
        _dir: tempfile::TempDir,
    }

    impl Manager {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("notify");
            let socket = UnixDatagram::bind(&path).unwrap();
            let notifier = Notifier::connect(path.as_os_str()).unwrap();
            Self { socket, notifier, _dir: dir }
        }

        fn heard(&self) -> String {
            let mut bytes = [0; 4096];
            let length = self.socket.recv(&mut bytes).unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        }
    }

    #[test]
    fn the_manager_hears_each_state() {
        let manager = Manager::new();
        manager.notifier.ready("records 3 trunks").unwrap();
        assert_eq!(manager.heard(), "READY=1\nSTATUS=records 3 trunks\n");
        let before = clock::monotonic_us();
        manager.notifier.reloading().unwrap();
        let heard = manager.heard();
        let time = heard.strip_prefix("RELOADING=1\nMONOTONIC_USEC=").unwrap().trim_end();
        assert!((before..=clock::monotonic_us()).contains(&time.parse().unwrap()), "{heard}");
        manager.notifier.status("two\nREADY=1").unwrap();
        assert_eq!(manager.heard(), "STATUS=two READY=1\n");
        manager.notifier.extend_timeout(Duration::from_secs(9)).unwrap();
        assert_eq!(manager.heard(), "EXTEND_TIMEOUT_USEC=9000000\n");
        manager.notifier.stopping().unwrap();
        assert_eq!(manager.heard(), "STOPPING=1\n");
    }

    #[test]
    fn abstract_sockets_are_reached_and_a_missing_one_is_named() {
        let name = format!("sejf-test-{}", std::process::id());
        let address = SocketAddr::from_abstract_name(&name).unwrap();
        let socket = UnixDatagram::bind_addr(&address).unwrap();
        Notifier::connect(OsStr::new(&format!("@{name}"))).unwrap().stopping().unwrap();
        let mut bytes = [0; 64];
        assert_eq!(socket.recv(&mut bytes).unwrap(), "STOPPING=1\n".len());
        let error = Notifier::connect(OsStr::new("/nonexistent/notify")).unwrap_err().to_string();
        assert!(error.contains("/nonexistent/notify"), "{error}");
        Notifier::default().ready("nobody hears").unwrap();
    }

    #[test]
    fn a_descriptor_is_handed_over_with_its_name() {
        let manager = Manager::new();
        let (mut ours, theirs) = UnixStream::pair().unwrap();
        manager.notifier.store("capture-eth0-0", &theirs).unwrap();
        drop(theirs);
        let mut bytes = [0; 256];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let mut into = [io::IoSliceMut::new(&mut bytes)];
        let got = recvmsg(&manager.socket, &mut into, &mut ancillary, RecvFlags::empty()).unwrap();
        assert_eq!(&bytes[..got.bytes], b"FDSTORE=1\nFDNAME=capture-eth0-0\n");
        let descriptors: Vec<OwnedFd> = ancillary
            .drain()
            .filter_map(|message| match message {
                RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
                _ => None,
            })
            .flatten()
            .collect();
        let [descriptor] = <[OwnedFd; 1]>::try_from(descriptors).unwrap();
        ours.write_all(b"same socket").unwrap();
        drop(ours);
        let mut said = String::new();
        UnixStream::from(descriptor).read_to_string(&mut said).unwrap();
        assert_eq!(said, "same socket");

        manager.notifier.forget("capture-eth0-0").unwrap();
        assert_eq!(manager.heard(), "FDSTOREREMOVE=1\nFDNAME=capture-eth0-0\n");
        for name in ["", "a:b", "line\nbreak", "żółw", &"x".repeat(256)] {
            assert!(matches!(manager.notifier.forget(name), Err(NotifyError::Name { .. })), "{name}");
        }
    }

    #[test]
    fn the_watchdog_is_answered_only_while_there_is_life() {
        let manager = Manager::new();
        let alive = Arc::new(AtomicBool::new(true));
        let (asked_sender, asked) = bounded(0);
        let sign = alive.clone();
        let watchdog = Watchdog::every(Duration::from_millis(1), &manager.notifier, move || {
            // Held up until the test wants the next one.
            asked_sender.send(()).is_ok() && sign.load(Ordering::Acquire)
        })
        .unwrap();
        asked.recv().unwrap();
        assert_eq!(manager.heard(), "WATCHDOG=1\n");
        alive.store(false, Ordering::Release);
        for _ in 0..3 {
            asked.recv().unwrap();
        }
        drop(watchdog);
        // One may have been under way when life ended; those that follow are not there.
        manager.socket.set_nonblocking(true).unwrap();
        let mut bytes = [0; 64];
        let late = std::iter::from_fn(|| manager.socket.recv(&mut bytes).ok()).count();
        assert!(late <= 1, "{late} answers without life");
    }
}
