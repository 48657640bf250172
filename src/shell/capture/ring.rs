//! A packet socket and the ring that it shares with the kernel (TPACKET_V3, `packet_mmap.rst` in the kernel's
//! documentation). The one place that maps memory; everything it hands out is checked against the ring's bounds.
//!
//! ```text
//!  ring = block × N      block = descriptor, frame, frame, …      frame = tpacket3_hdr, sockaddr_ll, bytes
//!  kernel fills blocks in turn ─ TP_STATUS_USER ─► we read one ─ TP_STATUS_KERNEL ─► kernel may fill it again
//! ```
//!
//! A socket made here is never written to: nothing is transmitted.
#![allow(unsafe_code, reason = "shares memory with the kernel, and uses socket options that no crate wraps")]

use std::ffi::CStr;
use std::io;
use std::mem::{offset_of, size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::base::time::Stamp;
use crate::shell::capture::bpf::Program;

/// How a ring is laid out. A ring can only be mapped by who knows its size.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Geometry {
    block_bytes: usize,
    blocks: usize,
    /// After so long a block that is not full is handed over.
    timeout: Duration,
}

impl Geometry {
    /// A ring of about `bytes`: at least four blocks.
    pub(super) fn new(bytes: usize, timeout: Duration) -> Self {
        let bytes = bytes.clamp(4 * BLOCK_BYTES_MIN, RING_BYTES_MAX);
        let block_bytes = (bytes / 4).clamp(BLOCK_BYTES_MIN, BLOCK_BYTES_MAX);
        // The largest power of two that is not larger: the kernel wants pages.
        let block_bytes = 1 << block_bytes.ilog2();
        Self { block_bytes, blocks: bytes / block_bytes, timeout }
    }

    fn bytes(&self) -> usize {
        self.block_bytes * self.blocks
    }

    /// How many blocks the ring has.
    pub(super) fn blocks(&self) -> usize {
        self.blocks
    }
}

/// One frame of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct RingFrame<'a> {
    /// Captured bytes.
    pub(super) data: &'a [u8],
    /// When the kernel or the card saw it.
    pub(super) stamp: Stamp,
    /// Bytes on the wire, without the tag that was taken out.
    pub(super) wire_len: u32,
    /// The VLAN tag that the kernel took out, as on the wire.
    pub(super) tag: Option<[u8; 4]>,
    /// Sent by this machine.
    pub(super) is_outgoing: bool,
}

/// Counts of the kernel since they were last read.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct KernelStats {
    /// Frames that found the ring full.
    pub(super) drops: u64,
    /// Times that the ring became full.
    pub(super) freezes: u64,
}

/// What waiting came to.
#[derive(Debug)]
pub(super) enum Waited {
    /// Nothing, or a block.
    Fine,
    /// The socket has an error, ENETDOWN mostly.
    Failed(io::Error),
}

/// A packet socket that is not bound and has no ring: not able to see anything.
pub(super) fn socket() -> io::Result<OwnedFd> {
    // Protocol 0: nothing arrives, from whatever interface, before it is bound.
    let kind = libc::SOCK_RAW | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: no pointers.
    let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A packet socket with its ring.
#[derive(Debug)]
pub(super) struct RingSocket {
    fd: OwnedFd,
    map: Map,
    geometry: Geometry,
    /// The block that the kernel fills next.
    next: usize,
}

impl RingSocket {
    /// Makes the ring of a new socket, and maps it.
    pub(super) fn new(fd: OwnedFd, geometry: Geometry, is_hardware: bool) -> io::Result<Self> {
        set(&fd, libc::PACKET_VERSION, &(libc::tpacket_versions::TPACKET_V3 as libc::c_int))?;
        if is_hardware {
            set(&fd, libc::PACKET_TIMESTAMP, &libc::SOF_TIMESTAMPING_RAW_HARDWARE)?;
        }
        let frames = geometry.bytes() / FRAME_BYTES;
        let narrow = |value: usize| libc::c_uint::try_from(value).map_err(|_| io::ErrorKind::InvalidInput);
        let request = libc::tpacket_req3 {
            tp_block_size: narrow(geometry.block_bytes)?,
            tp_block_nr: narrow(geometry.blocks)?,
            tp_frame_size: FRAME_BYTES as libc::c_uint,
            tp_frame_nr: narrow(frames)?,
            tp_retire_blk_tov: narrow(geometry.timeout.as_millis() as usize)?,
            tp_sizeof_priv: 0,
            tp_feature_req_word: 0,
        };
        set(&fd, libc::PACKET_RX_RING, &request)?;
        Self::of(fd, geometry)
    }

    /// Takes over a socket whose ring exists: of a process before this one, or of this one.
    pub(super) fn of(fd: OwnedFd, geometry: Geometry) -> io::Result<Self> {
        // The kernel refuses (EINVAL) a size that is not the ring's.
        let map = Map::new(&fd, geometry.bytes())?;
        let mut ring = Self { fd, map, geometry, next: 0 };
        ring.next = ring.first_unread();
        Ok(ring)
    }

    /// The oldest block that is ours; where none is, the one that is being filled.
    fn first_unread(&self) -> usize {
        let sequence = |index: &usize| {
            let at =
                index * self.geometry.block_bytes + DESCRIPTOR + offset_of!(libc::tpacket_hdr_v1, seq_num);
            // SAFETY: inside of the map, since the index is; aligned to 8; the kernel writes it only when it
            // opens a block, and then a value that may be read before or after.
            unsafe { self.map.base.add(at).cast::<u64>().read_volatile() }
        };
        let ours = (0..self.geometry.blocks).filter(|index| self.is_ours(*index));
        let filling = || (0..self.geometry.blocks).max_by_key(sequence);
        ours.min_by_key(sequence).or_else(filling).unwrap_or(0)
    }

    fn status(&self, index: usize) -> &AtomicU32 {
        debug_assert!(index < self.geometry.blocks);
        let at =
            index * self.geometry.block_bytes + DESCRIPTOR + offset_of!(libc::tpacket_hdr_v1, block_status);
        // SAFETY: inside of the map, which lives as long as `self`; aligned to 4; shared with the kernel, which
        // reads and writes it as a whole.
        unsafe { AtomicU32::from_ptr(self.map.base.add(at).cast::<u32>().as_ptr()) }
    }

    fn is_ours(&self, index: usize) -> bool {
        self.status(index).load(Ordering::Acquire) & libc::TP_STATUS_USER != 0
    }

    /// Waits for a block, an error, or `timeout`.
    pub(super) fn wait(&self, timeout: Duration) -> io::Result<Waited> {
        let mut poll = libc::pollfd { fd: self.fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let timeout = libc::c_int::try_from(timeout.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: one pollfd, as said.
        match check(unsafe { libc::poll(&raw mut poll, 1, timeout) }) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => Err(error),
            Ok(1) if poll.revents & libc::POLLERR != 0 => {
                let error: libc::c_int = get(&self.fd, libc::SOL_SOCKET, libc::SO_ERROR)?;
                Ok(Waited::Failed(io::Error::from_raw_os_error(error)))
            }
            _ => Ok(Waited::Fine),
        }
    }

    /// The next block that the kernel has handed over.
    pub(super) fn block(&mut self) -> Option<RingBlock<'_>> {
        // Made only where it is ours: dropping it gives it back.
        if self.is_ours(self.next) { Some(RingBlock { ring: self }) } else { None }
    }

    /// Reads the kernel's counts, which begin at zero again.
    pub(super) fn statistics(&self) -> io::Result<KernelStats> {
        let stats: libc::tpacket_stats_v3 = get(&self.fd, libc::SOL_PACKET, libc::PACKET_STATISTICS)?;
        Ok(KernelStats { drops: stats.tp_drops.into(), freezes: stats.tp_freeze_q_cnt.into() })
    }

    /// Puts a filter in the place of the one before, at once.
    pub(super) fn attach(&self, program: &Program) -> io::Result<()> {
        let filter =
            |i: &super::bpf::Instruction| libc::sock_filter { code: i.code, jt: i.jt, jf: i.jf, k: i.k };
        let mut filters: Vec<libc::sock_filter> = program.0.iter().map(filter).collect();
        let len = libc::c_ushort::try_from(filters.len()).map_err(|_| io::ErrorKind::InvalidInput)?;
        let program = libc::sock_fprog { len, filter: filters.as_mut_ptr() };
        set_at(&self.fd, libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, &program)
    }

    /// Listens to all protocols on the interface of this index. Possible again when that has gone, but not for
    /// a socket that shares its frames with others.
    pub(super) fn bind(&self, index: i32) -> io::Result<()> {
        // SAFETY: plain data, of which zeroes are a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: an address of this length.
        check(unsafe { libc::bind(self.fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(())
    }

    /// The index of the interface that it is bound to: none where that has gone.
    pub(super) fn bound_to(&self) -> io::Result<Option<i32>> {
        // SAFETY: plain data, of which zeroes are a value.
        let mut address: libc::sockaddr_ll = unsafe { zeroed() };
        let mut length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: room for an address of this length.
        check(unsafe { libc::getsockname(self.fd.as_raw_fd(), (&raw mut address).cast(), &raw mut length) })?;
        Ok(Some(address.sll_ifindex).filter(|index| *index > 0))
    }

    /// Asks the card for what is not addressed to it, as long as this socket is open.
    pub(super) fn promiscuous(&self, index: i32) -> io::Result<()> {
        let request =
            Membership { index, kind: libc::PACKET_MR_PROMISC as libc::c_ushort, ..Membership::default() };
        set(&self.fd, libc::PACKET_ADD_MEMBERSHIP, &request)
    }

    /// Does not see what this machine sends. Kernels before 4.20 refuse.
    pub(super) fn ignore_outgoing(&self) -> io::Result<()> {
        set(&self.fd, libc::PACKET_IGNORE_OUTGOING, &(1 as libc::c_int))
    }

    /// Shares the frames of its interface, by flow, with the others of a group: a new one where there is none.
    /// Returns the group.
    pub(super) fn share(&self, group: Option<u16>) -> io::Result<u16> {
        let flags = if group.is_none() { libc::PACKET_FANOUT_FLAG_UNIQUEID } else { 0 };
        let kind = libc::PACKET_FANOUT_HASH | flags;
        let request = u32::from(group.unwrap_or(0)) | (kind << 16);
        set(&self.fd, libc::PACKET_FANOUT, &request)?;
        self.group()
    }

    /// The group that it shares frames with. Without one, 0.
    pub(super) fn group(&self) -> io::Result<u16> {
        let group: u32 = get(&self.fd, libc::SOL_PACKET, libc::PACKET_FANOUT)?;
        Ok((group & 0xffff) as u16)
    }
}

impl AsFd for RingSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// A block that is ours until this is dropped.
pub(super) struct RingBlock<'a> {
    ring: &'a mut RingSocket,
}

impl RingBlock<'_> {
    /// Whether frames had been lost when the kernel closed it, and nobody has read the counts since.
    pub(super) fn is_losing(&self) -> bool {
        self.ring.status(self.ring.next).load(Ordering::Relaxed) & libc::TP_STATUS_LOSING != 0
    }

    /// The frames, in the order in which they came.
    pub(super) fn frames(&self) -> Frames<'_> {
        let Geometry { block_bytes, .. } = self.ring.geometry;
        // SAFETY: inside of the map. The kernel has handed the block over and does not touch it until
        // `drop` gives it back, for which `self` must no longer be borrowed. Another process that maps the
        // same ring has promised to be gone: sockets are handed over, not shared.
        let bytes = unsafe {
            let base = self.ring.map.base.add(self.ring.next * block_bytes);
            std::slice::from_raw_parts(base.as_ptr(), block_bytes)
        };
        let field = |at| u32_at(bytes, DESCRIPTOR + at).unwrap_or(0);
        Frames {
            bytes,
            at: field(offset_of!(libc::tpacket_hdr_v1, offset_to_first_pkt)) as usize,
            left: field(offset_of!(libc::tpacket_hdr_v1, num_pkts)),
        }
    }
}

impl Drop for RingBlock<'_> {
    fn drop(&mut self) {
        let ring = &mut *self.ring;
        ring.status(ring.next).store(libc::TP_STATUS_KERNEL, Ordering::Release);
        ring.next = (ring.next + 1) % ring.geometry.blocks;
    }
}

/// The frames of a block.
pub(super) struct Frames<'a> {
    bytes: &'a [u8],
    at: usize,
    left: u32,
}

impl<'a> Iterator for Frames<'a> {
    type Item = RingFrame<'a>;

    fn next(&mut self) -> Option<RingFrame<'a>> {
        self.left = self.left.checked_sub(1)?;
        let frame = self.bytes.get(self.at..)?;
        let head: &[u8; HEAD] = frame.first_chunk()?;
        let u32_of = |at: usize| u32_at(head, at).unwrap_or(0);
        let u16_of = |at: usize| u16::from_ne_bytes([head[at], head[at + 1]]);
        let start = usize::from(u16_of(offset_of!(libc::tpacket3_hdr, tp_mac)));
        let length = u32_of(offset_of!(libc::tpacket3_hdr, tp_snaplen)) as usize;
        let data = frame.get(start..)?.get(..length)?;
        let seconds = u64::from(u32_of(offset_of!(libc::tpacket3_hdr, tp_sec)));
        let nanos = u64::from(u32_of(offset_of!(libc::tpacket3_hdr, tp_nsec)));
        let status = u32_of(offset_of!(libc::tpacket3_hdr, tp_status));
        let tag = (status & libc::TP_STATUS_VLAN_VALID != 0).then(|| {
            let is_said = status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
            let kind = if is_said { u16_of(VARIANT + offset_of!(Variant, tp_vlan_tpid)) } else { VLAN };
            let [k0, k1] = kind.to_be_bytes();
            let [t0, t1] = (u32_of(VARIANT + offset_of!(Variant, tp_vlan_tci)) as u16).to_be_bytes();
            [k0, k1, t0, t1]
        });
        // The last of a block says 0.
        let next = u32_of(offset_of!(libc::tpacket3_hdr, tp_next_offset)) as usize;
        self.at = self.at.saturating_add(next);
        if next == 0 {
            self.left = 0;
        }
        Some(RingFrame {
            data,
            stamp: Stamp::from_unix_nanos(seconds * 1_000_000_000 + nanos),
            wire_len: u32_of(offset_of!(libc::tpacket3_hdr, tp_len)),
            tag,
            is_outgoing: head[ADDRESS + offset_of!(libc::sockaddr_ll, sll_pkttype)] == libc::PACKET_OUTGOING,
        })
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.get(at..)?.first_chunk()?))
}

/// Memory shared with the kernel.
#[derive(Debug)]
struct Map {
    base: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the mapping belongs to this value alone and is not tied to a thread.
unsafe impl Send for Map {}

impl Map {
    fn new(fd: &OwnedFd, bytes: usize) -> io::Result<Self> {
        let (access, flags) = (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_SHARED);
        // SAFETY: a new mapping, at an address that the kernel chooses.
        let base = unsafe { libc::mmap(std::ptr::null_mut(), bytes, access, flags, fd.as_raw_fd(), 0) };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        let base = NonNull::new(base.cast()).ok_or(io::ErrorKind::OutOfMemory)?;
        Ok(Self { base, bytes })
    }
}

impl Drop for Map {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nobody borrows from it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.bytes) };
    }
}

/// What the system says of an interface.
#[derive(Clone, Copy, Debug)]
pub(super) struct Interface {
    pub(super) index: i32,
    /// Its hardware type: `ARPHRD_…`.
    pub(super) hardware: u16,
    pub(super) is_up: bool,
}

impl Interface {
    /// Asks for the interface of a name; ENODEV where there is none. `fd` is any socket.
    pub(super) fn named(fd: BorrowedFd<'_>, name: &str) -> io::Result<Self> {
        let mut request = request(name)?;
        ask(fd, libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: the kernel has filled in this member.
        let index = unsafe { request.ifr_ifru.ifru_ifindex };
        ask(fd, libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: as above.
        let flags = unsafe { request.ifr_ifru.ifru_flags };
        ask(fd, libc::SIOCGIFHWADDR, &mut request)?;
        // SAFETY: as above.
        let hardware = unsafe { request.ifr_ifru.ifru_hwaddr.sa_family };
        Ok(Self { index, hardware, is_up: libc::c_int::from(flags) & libc::IFF_UP != 0 })
    }

    /// Tells the card to stamp every frame it receives.
    pub(super) fn stamp_in_hardware(fd: BorrowedFd<'_>, name: &str) -> io::Result<()> {
        let mut config = libc::hwtstamp_config {
            flags: 0,
            tx_type: libc::HWTSTAMP_TX_OFF as libc::c_int,
            rx_filter: libc::HWTSTAMP_FILTER_ALL as libc::c_int,
        };
        let mut request = request(name)?;
        request.ifr_ifru.ifru_data = (&raw mut config).cast();
        ask(fd, libc::SIOCSHWTSTAMP, &mut request)
    }

    /// The names of all that there are.
    pub(super) fn names() -> Vec<String> {
        // SAFETY: a list that ends with a null name, ours until it is given back, once.
        unsafe {
            let list = libc::if_nameindex();
            let mut names = Vec::new();
            let mut next = list;
            while !next.is_null() && !(*next).if_name.is_null() {
                names.push(CStr::from_ptr((*next).if_name).to_string_lossy().into_owned());
                next = next.add(1);
            }
            if !list.is_null() {
                libc::if_freenameindex(list);
            }
            names
        }
    }
}

fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: plain data, of which zeroes are a value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    if name.is_empty() || name.len() >= request.ifr_name.len() {
        return Err(io::Error::from_raw_os_error(libc::ENODEV));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

fn ask(fd: BorrowedFd<'_>, what: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
    // SAFETY: all requests used here take an ifreq.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), what, &raw mut *request) })?;
    Ok(())
}

/// `struct packet_mreq`
#[repr(C)]
#[derive(Default)]
struct Membership {
    index: libc::c_int,
    kind: libc::c_ushort,
    length: libc::c_ushort,
    address: [u8; 8],
}

fn set<T>(fd: &OwnedFd, option: libc::c_int, value: &T) -> io::Result<()> {
    set_at(fd, libc::SOL_PACKET, option, value)
}

fn set_at<T>(fd: &OwnedFd, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
    let length = size_of::<T>() as libc::socklen_t;
    let value: *const T = value;
    // SAFETY: a value of this length; each option is given the type it takes.
    check(unsafe { libc::setsockopt(fd.as_raw_fd(), level, option, value.cast(), length) })?;
    Ok(())
}

fn get<T: Copy>(fd: &OwnedFd, level: libc::c_int, option: libc::c_int) -> io::Result<T> {
    // SAFETY: integers and structs of integers only, of which zeroes are a value.
    let mut value: T = unsafe { zeroed() };
    let mut length = size_of::<T>() as libc::socklen_t;
    // SAFETY: room for a value of this length; each option gives the type asked for, or less of it.
    check(unsafe {
        libc::getsockopt(fd.as_raw_fd(), level, option, (&raw mut value).cast(), &raw mut length)
    })?;
    Ok(value)
}

fn check(returned: libc::c_int) -> io::Result<libc::c_int> {
    if returned < 0 { Err(io::Error::last_os_error()) } else { Ok(returned) }
}

type Variant = libc::tpacket_hdr_variant1;
/// Where a block's `tpacket_hdr_v1` is.
const DESCRIPTOR: usize = offset_of!(libc::tpacket_block_desc, hdr);
/// Where a frame's VLAN tag is.
const VARIANT: usize = offset_of!(libc::tpacket3_hdr, hv1);
/// Where a frame's `sockaddr_ll` is: aligned to TPACKET_ALIGNMENT.
const ADDRESS: usize = size_of::<libc::tpacket3_hdr>().next_multiple_of(16);
/// What stands before the bytes of any frame.
const HEAD: usize = ADDRESS + size_of::<libc::sockaddr_ll>();
/// IEEE 802.1Q
const VLAN: u16 = 0x8100;
/// Has no meaning with TPACKET_V3, but must divide a block.
const FRAME_BYTES: usize = 2_048;
/// The least that a block may have: a page, or on some machines 64 KiB.
const BLOCK_BYTES_MIN: usize = 64 << 10;
/// Small, because a block that is handed over by time is lost to the ring until it is read, however few
/// frames it has; large enough for what a card merges into one frame.
const BLOCK_BYTES_MAX: usize = 256 << 10;
const RING_BYTES_MAX: usize = 1 << 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rings_are_whole_blocks_of_whole_pages() {
        for bytes in [0, 1, 300_000, 1 << 20, 100_000_000, usize::MAX] {
            let ring = Geometry::new(bytes, Duration::from_millis(8));
            assert!(ring.blocks >= 4 && ring.block_bytes.is_power_of_two(), "{ring:?}");
            assert!(ring.bytes() <= bytes.clamp(4 * BLOCK_BYTES_MIN, RING_BYTES_MAX), "{ring:?}");
            assert_eq!(ring.block_bytes % FRAME_BYTES, 0);
        }
    }

    /// A block as the kernel lays it out: one frame with a tag, one sent by this machine.
    #[test]
    fn frames_are_read_within_the_block() {
        let mut bytes = vec![0_u8; 4_096];
        let mut put = |at: usize, value: &[u8]| bytes[at..at + value.len()].copy_from_slice(value);
        for (at, next, status) in [(48, 160_u32, 0x50_u32), (208, 0, 0)] {
            put(at, &next.to_ne_bytes());
            put(at + 4, &7_u32.to_ne_bytes());
            put(at + 8, &9_u32.to_ne_bytes());
            put(at + 12, &20_u32.to_ne_bytes());
            put(at + 16, &1_400_u32.to_ne_bytes());
            put(at + 20, &status.to_ne_bytes());
            put(at + 24, &82_u16.to_ne_bytes());
            put(at + 32, &0x2005_u32.to_ne_bytes());
            put(at + 36, &0x88a8_u16.to_ne_bytes());
            put(at + 58, &[if status == 0 { 4 } else { 3 }]);
            put(at + 82, &[at as u8; 20]);
        }
        let frames: Vec<_> = Frames { bytes: &bytes, at: 48, left: 2 }.collect();
        assert_eq!(frames[0].data, [48; 20]);
        assert_eq!(frames[0].stamp, Stamp::from_unix_nanos(7_000_000_009));
        assert_eq!((frames[0].wire_len, frames[0].tag), (1_400, Some([0x88, 0xa8, 0x20, 0x05])));
        assert_eq!((frames[1].data, frames[1].tag), (&[208; 20][..], None));
        assert_eq!([frames[0].is_outgoing, frames[1].is_outgoing], [false, true]);
        // Whatever the fields say, nothing outside of the block is read.
        for at in [4_050, 4_095, 5_000, usize::MAX] {
            assert_eq!(Frames { bytes: &bytes, at, left: 9 }.count(), 0);
        }
        assert_eq!(Frames { bytes: &bytes, at: 1_000, left: u32::MAX }.count(), 1, "no frame follows itself");
        bytes[60..64].copy_from_slice(&u32::MAX.to_ne_bytes());
        assert_eq!(Frames { bytes: &bytes, at: 48, left: 2 }.count(), 0);
    }
}
