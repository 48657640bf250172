//! Live capture: frames of an interface, through a ring shared with the kernel.
//!
//! ```text
//!  card ─► kernel ─► ring ─► capture thread ─blocks─► pipeline          one ring and one thread, or several
//!             └ drops: counted    └ queue full: counted                 that share the flows of an interface
//! ```
//!
//! [`open`] needs CAP_NET_RAW (and CAP_NET_ADMIN for hardware stamps); [`run`] needs nothing, except where
//! several threads share an interface that is removed and made again: see [`SPARES`].
//! What a thread that runs asks of the kernel: `poll`, `getsockopt`, `setsockopt`, `getsockname`, `ioctl`
//! (SIOCGIFINDEX, SIOCGIFFLAGS, SIOCGIFHWADDR), `clock_gettime`, `clock_nanosleep`, `futex`, memory; after an interface was
//! made again `bind`, `setsockopt`, `mmap`, `munmap`, `close`, `socket` (may be refused).
//!
//! Frames come out as they were on the wire: the VLAN tag that the kernel takes out is put back, fragments
//! are left apart. A card that merges segments (GRO, LRO) must be told not to. Nothing is ever sent.

mod bpf;
mod ring;
mod run;

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::base::frame::LinkType;
use crate::shell::capture::bpf::Program;
use crate::shell::capture::ring::{Geometry, Interface, RingSocket};
use crate::shell::filter::FilterError;

pub use crate::shell::capture::run::{Outlet, run};

/// What to capture.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Config {
    /// Name of the interface.
    pub interface: String,
    /// Threads, each with a ring, among which the interface's flows are shared. 1 to [`THREADS_MAX`].
    pub threads: usize,
    /// Bytes of each ring: 256 KiB to 1 GiB. Locked in memory.
    pub ring_bytes: usize,
    /// Bytes of a frame that are kept.
    pub snaplen: u32,
    /// Also what is not addressed to this machine.
    pub promiscuous: bool,
    /// What to capture, in libpcap's language (`man pcap-filter`). Fragments pass whatever it says.
    pub filter: Option<String>,
    /// Whose clock frames are stamped by.
    pub timestamps: Timestamps,
    /// After so many milliseconds the kernel hands over a block that is not full. 1 to 40.
    pub block_timeout_ms: u32,
}

impl Config {
    /// A mirror port, captured with one thread.
    pub fn new(interface: &str) -> Self {
        Self {
            interface: interface.into(),
            threads: 1,
            ring_bytes: 64 << 20,
            snaplen: 65_535,
            promiscuous: true,
            filter: None,
            timestamps: Timestamps::Kernel,
            block_timeout_ms: 8,
        }
    }

    fn geometry(&self) -> Geometry {
        Geometry::new(self.ring_bytes, self.block_timeout())
    }

    fn block_timeout(&self) -> Duration {
        Duration::from_millis(self.block_timeout_ms.clamp(1, BLOCK_TIMEOUT_MS_MAX).into())
    }
}

/// Whose clock frames are stamped by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Timestamps {
    /// The kernel's, when it takes a frame from the card.
    #[default]
    Kernel,
    /// The card's own. A clock daemon must keep it to UTC (`phc2sys`).
    Hardware,
}

/// Counts of one capture thread. `received = handed on + queue_drops`, and what the filter let through is
/// `received + kernel_drops`.
#[derive(Debug, Default)]
pub struct Stats {
    /// Frames read from the ring.
    pub received: AtomicU64,
    /// Bytes of those frames, as captured.
    pub bytes: AtomicU64,
    /// Frames that found the ring full.
    pub kernel_drops: AtomicU64,
    /// Times that the ring became full.
    pub freezes: AtomicU64,
    /// Frames that found the queue to the pipeline full.
    pub queue_drops: AtomicU64,
    /// Whether the interface is there and up.
    pub up: AtomicBool,
    /// Times that the interface went down or away.
    pub downs: AtomicU64,
    /// Times that capture began again on an interface that was made again.
    pub restarts: AtomicU64,
}

/// Why an interface cannot be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CaptureError {
    /// The filter makes no sense.
    #[error("capturing on `{interface}`: {source}")]
    Filter {
        /// The interface.
        interface: String,
        /// Why.
        source: FilterError,
    },
    /// A kind of interface whose frames we do not read.
    #[error(
        "capturing on `{interface}`: its hardware type {hardware} (ARPHRD) is neither Ethernet nor raw IP; choose the interface below it"
    )]
    Link {
        /// The interface.
        interface: String,
        /// Its hardware type.
        hardware: u16,
    },
    /// No such interface.
    #[error("there is no interface `{interface}`; there are: {}", present.join(", "))]
    Missing {
        /// What was asked for.
        interface: String,
        /// All that there are.
        present: Vec<String>,
    },
    /// The system refused.
    #[error("capturing on `{interface}`: {doing}: {source}{}", remedy(source))]
    System {
        /// The interface.
        interface: String,
        /// What was being done.
        doing: &'static str,
        /// Why not.
        source: io::Error,
    },
}

fn remedy(error: &io::Error) -> &'static str {
    match error.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "; capturing needs CAP_NET_RAW, hardware timestamps CAP_NET_ADMIN too"
        }
        Some(libc::EOPNOTSUPP) => "; this card cannot: set timestamps to kernel",
        Some(libc::ENOMEM) => "; choose a smaller ring",
        _ => "",
    }
}

/// A ring that fills: of an interface, or of a share of its flows.
#[derive(Debug)]
pub struct Ring {
    config: Config,
    /// Index that frames carry.
    interface: u16,
    socket: RingSocket,
    program: Program,
    link: LinkType,
    is_loopback: bool,
    group: Arc<Group>,
    /// Sockets to begin again with.
    spares: Vec<OwnedFd>,
}

/// The rings that share the flows of one interface: (index, group) of the interface as it was last.
type Group = Mutex<Option<(i32, u16)>>;

/// Opens the rings of an interface, one for each thread. They fill from now on.
/// `interface` is the index that its frames carry.
pub fn open(config: &Config, interface: u16) -> Result<Vec<Ring>, CaptureError> {
    let group = Arc::default();
    (0..config.threads.clamp(1, THREADS_MAX)).map(|_| Ring::open(config, interface, &group)).collect()
}

/// Takes over all rings of an interface, one for each thread, with what is in them: see [`Ring::from_fd`].
pub fn take_over(fds: Vec<OwnedFd>, config: &Config, interface: u16) -> Result<Vec<Ring>, CaptureError> {
    let mut rings: Vec<Ring> = Vec::new();
    for fd in fds {
        let mut ring = Ring::from_fd(fd, config, interface)?;
        if let Some(first) = rings.first() {
            // They begin again together, where the interface is made again.
            ring.group = first.group.clone();
        }
        rings.push(ring);
    }
    Ok(rings)
}

/// Tells whether a filter makes sense, without asking an interface.
pub fn check_filter(filter: &str) -> Result<(), FilterError> {
    crate::shell::filter::Filter::new(filter).map(|_| ())
}

impl Ring {
    fn open(config: &Config, interface: u16, group: &Arc<Group>) -> Result<Self, CaptureError> {
        let fail = failing(config);
        let fd = ring::socket().map_err(fail("opening a packet socket"))?;
        let kind = Kind::of(config, fd.as_fd())?;
        let is_hardware = config.timestamps == Timestamps::Hardware;
        if is_hardware {
            Interface::stamp_in_hardware(fd.as_fd(), &config.interface)
                .map_err(fail("turning on hardware timestamps"))?;
        }
        let socket = RingSocket::new(fd, config.geometry(), is_hardware).map_err(fail("making its ring"))?;
        let ring = Self::of(socket, kind, config, interface, group.clone())?;
        ring.join(kind.found.index).map_err(fail("binding to it (is it up?)"))?;
        Ok(ring)
    }

    /// Takes over a ring that is open, with what is in it: one that this process or the one before it has
    /// opened with the same `interface`, `ring_bytes` and `threads`. Filter, snap length and the like are
    /// those of `config` from now on. Whoever had it must not run it any more.
    pub fn from_fd(fd: OwnedFd, config: &Config, interface: u16) -> Result<Self, CaptureError> {
        let fail = failing(config);
        let kind = Kind::of(config, fd.as_fd())?;
        let taking = "taking over its ring (of another size?)";
        let socket = RingSocket::of(fd, config.geometry()).map_err(fail(taking))?;
        let bound = socket.bound_to().map_err(fail(taking))?;
        let group = socket.group().map_err(fail(taking))?;
        let group = bound.filter(|_| config.threads > 1).map(|index| (index, group));
        let ring = Self::of(socket, kind, config, interface, Arc::new(Mutex::new(group)))?;
        match bound {
            Some(index) if index == kind.found.index => {
                ring.socket.attach(&ring.program).map_err(fail("setting its filter"))?;
            }
            // The interface was made again, or another is meant.
            _ => ring.join(kind.found.index).map_err(fail("binding to it again"))?,
        }
        Ok(ring)
    }

    fn of(
        socket: RingSocket,
        kind: Kind,
        config: &Config,
        interface: u16,
        group: Arc<Group>,
    ) -> Result<Self, CaptureError> {
        let Kind { link, is_loopback, .. } = kind;
        let program = Program::new(config.filter.as_deref(), link, config.snaplen, &config.interface)
            .map_err(|source| CaptureError::Filter { interface: config.interface.clone(), source })?;
        // Without them it captures all the same, until the interface is made again.
        let spares = if config.threads > 1 { SPARES } else { 0 };
        let spares = (0..spares).map_while(|_| ring::socket().ok()).collect();
        Ok(Self { config: config.clone(), interface, socket, program, link, is_loopback, group, spares })
    }

    /// Lets frames of the interface in: none before its filter is on and it takes its share only.
    fn join(&self, index: i32) -> io::Result<()> {
        self.socket.attach(&Program::nothing())?;
        if self.is_loopback {
            // Where it is refused, the ring's reader leaves them out.
            let _ = self.socket.ignore_outgoing();
        }
        self.socket.bind(index)?;
        if self.config.promiscuous {
            self.socket.promiscuous(index)?;
        }
        if self.config.threads > 1 {
            let mut group = self.group.lock().unwrap_or_else(PoisonError::into_inner);
            let known = group.filter(|(of, _)| *of == index).map(|(_, group)| group);
            *group = Some((index, self.socket.share(known)?));
        }
        self.socket.attach(&self.program)
    }

    /// Begins again on an interface that was made again. Where flows are shared, a socket cannot be bound
    /// twice: a new one takes its place, and what is still in the old ring must have been read.
    fn rejoin(&mut self) -> Result<(), CaptureError> {
        let config = self.config.clone();
        let fail = failing(&config);
        let kind = Kind::of(&config, self.as_fd())?;
        if kind.link != self.link {
            let hardware = kind.found.hardware;
            return Err(CaptureError::Link { interface: config.interface, hardware });
        }
        let is_hardware = config.timestamps == Timestamps::Hardware;
        if is_hardware && Interface::stamp_in_hardware(self.as_fd(), &config.interface).is_err() {
            tracing::warn!(interface = config.interface, "hardware timestamps could not be turned on again");
        }
        if config.threads > 1 {
            let fd = ring::socket().or_else(|error| self.spares.pop().ok_or(error));
            let fd = fd.map_err(fail("opening a packet socket again (restart the recorder)"))?;
            self.socket =
                RingSocket::new(fd, config.geometry(), is_hardware).map_err(fail("making its ring again"))?;
        }
        self.join(kind.found.index).map_err(fail("binding to it again"))
    }

    /// The index that frames of this ring carry.
    pub fn interface(&self) -> u16 {
        self.interface
    }

    /// What was asked for.
    pub fn config(&self) -> &Config {
        &self.config
    }
}

impl AsFd for Ring {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// For the service manager's descriptor store. Another after [`Stats::restarts`] has grown, where threads
/// share an interface.
impl AsRawFd for Ring {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

/// An interface, and how its frames are to be read.
#[derive(Clone, Copy)]
struct Kind {
    found: Interface,
    link: LinkType,
    is_loopback: bool,
}

impl Kind {
    fn of(config: &Config, fd: BorrowedFd<'_>) -> Result<Self, CaptureError> {
        let interface = config.interface.clone();
        let found = match Interface::named(fd, &interface) {
            Ok(found) => found,
            Err(error) if error.raw_os_error() == Some(libc::ENODEV) => {
                return Err(CaptureError::Missing { interface, present: Interface::names() });
            }
            Err(source) => return Err(failing(config)("asking what it is")(source)),
        };
        let link = match found.hardware {
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK => LinkType::ETHERNET,
            libc::ARPHRD_NONE | libc::ARPHRD_TUNNEL | ARPHRD_RAWIP => LinkType::RAW,
            hardware => return Err(CaptureError::Link { interface, hardware }),
        };
        Ok(Self { found, link, is_loopback: found.hardware == libc::ARPHRD_LOOPBACK })
    }
}

/// Makes the errors of what is done to this interface.
fn failing(config: &Config) -> impl Fn(&'static str) -> Box<dyn Fn(io::Error) -> CaptureError> + use<> {
    let interface = config.interface.clone();
    move |doing| {
        let interface = interface.clone();
        Box::new(move |source| CaptureError::System { interface: interface.clone(), doing, source })
    }
}

/// Threads, and rings, of one interface.
pub const THREADS_MAX: usize = 64;
/// Sockets that each ring keeps to begin again with where several share an interface. A socket that shares
/// cannot be bound again, and opening one needs a privilege that is given up by then: so many times an
/// interface may be made again without the recorder being started again. A single ring needs none.
pub const SPARES: usize = 8;
const BLOCK_TIMEOUT_MS_MAX: u32 = 40;
/// Raw IP of modems; libc has not the name.
const ARPHRD_RAWIP: u16 = 519;
