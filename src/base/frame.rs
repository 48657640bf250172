//! Captured frames, many to a block: what a source hands to the pipeline.

use crate::base::time::Stamp;

/// Link-layer header type of an interface: the `LINKTYPE_` number of pcap and pcapng files.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct LinkType(pub u16);

impl LinkType {
    /// BSD loopback, host byte order.
    pub const NULL: Self = Self(0);
    /// Ethernet.
    pub const ETHERNET: Self = Self(1);
    /// Raw IP (the number files use).
    pub const RAW: Self = Self(101);
    /// OpenBSD loopback, network byte order.
    pub const LOOP: Self = Self(108);
    /// Linux cooked capture v1.
    pub const LINUX_SLL: Self = Self(113);
    /// Raw IPv4.
    pub const IPV4: Self = Self(228);
    /// Raw IPv6.
    pub const IPV6: Self = Self(229);
    /// Linux cooked capture v2.
    pub const LINUX_SLL2: Self = Self(276);
}

/// One captured frame, as a range of its block's bytes.
#[derive(Clone, Copy, Debug)]
pub struct FrameMeta {
    /// Capture time.
    pub stamp: Stamp,
    /// Position of the frame in the capture, counted from 1 over all files, as Wireshark counts.
    pub number: u64,
    /// Where the frame begins in [`FrameBlock::bytes`].
    pub offset: u32,
    /// Captured bytes.
    pub len: u32,
    /// Bytes on the wire: larger than `len` where the snap length cut the frame.
    pub wire_len: u32,
    /// Link type of the interface that saw it.
    pub link: LinkType,
    /// Index of the interface, over all files.
    pub interface: u16,
}

/// A batch of frames in one buffer. The unit that queues carry; recycled.
#[derive(Clone, Debug, Default)]
pub struct FrameBlock {
    /// The frames' bytes.
    pub bytes: Vec<u8>,
    /// The frames, in capture order.
    pub frames: Vec<FrameMeta>,
}

impl FrameBlock {
    /// Empties the block and keeps its memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
    }

    /// Whether a queue item should not grow further.
    pub fn is_full(&self) -> bool {
        self.frames.len() >= BLOCK_FRAMES || self.bytes.len() >= BLOCK_BYTES
    }

    /// Returns the bytes of `frame`, which must be one of this block's.
    pub fn data(&self, frame: &FrameMeta) -> &[u8] {
        &self.bytes[frame.offset as usize..][..frame.len as usize]
    }

    /// Appends a frame.
    pub fn push(&mut self, meta: FrameMeta, data: &[u8]) {
        let offset = u32::try_from(self.bytes.len()).expect("blocks are a few MiB");
        let len = u32::try_from(data.len()).expect("frames are bounded by limits");
        self.bytes.extend_from_slice(data);
        self.frames.push(FrameMeta { offset, len, ..meta });
    }

    /// Appends an Ethernet frame whose VLAN tag the kernel has taken out: puts it back after the addresses,
    /// where the snap length left those. `meta.wire_len` is that without the tag.
    pub fn push_tagged(&mut self, meta: FrameMeta, data: &[u8], tag: [u8; 4]) {
        let Some((addresses, rest)) = data.split_at_checked(ETHERNET_ADDRESSES) else {
            return self.push(meta, data);
        };
        self.push(FrameMeta { wire_len: meta.wire_len.saturating_add(4), ..meta }, addresses);
        self.bytes.extend_from_slice(&tag);
        self.bytes.extend_from_slice(rest);
        if let Some(frame) = self.frames.last_mut() {
            frame.len += u32::try_from(tag.len() + rest.len()).expect("frames are bounded by limits");
        }
    }
}

/// A frame that left its block: a fragment that waits for the others, a segment, a held packet.
#[derive(Clone, Debug)]
pub struct OwnedFrame {
    /// As captured; `offset` has no meaning here.
    pub meta: FrameMeta,
    /// The frame's bytes.
    pub bytes: Box<[u8]>,
}

impl OwnedFrame {
    /// Copies a frame out of its block.
    pub fn copy(block: &FrameBlock, frame: &FrameMeta) -> Self {
        Self { meta: *frame, bytes: block.data(frame).into() }
    }
}

/// Destination and source.
const ETHERNET_ADDRESSES: usize = 12;
/// Frames of a full block: so many that a call has several among those of thousands of calls, which a
/// shard then works through together, while what it knows of the call is in the cache.
const BLOCK_FRAMES: usize = 32_768;
/// Bytes of a full block; the last frame may go past it.
const BLOCK_BYTES: usize = 8 << 20;
