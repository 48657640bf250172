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
}
