//! The link parser and the reassembler over every frame of the shared captures.

use std::fs;
use std::path::{Path, PathBuf};

use etherparse::{LaxSlicedPacket, TransportSlice};
use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{Block, PcapBlockOwned, PcapError, create_reader};
use sejf::base::counters::Discard;
use sejf::base::frame::{FrameMeta, LinkType, OwnedFrame};
use sejf::base::time::Stamp;
use sejf::call::fragments::{Reassembler, Whole};
use sejf::wire::link::{Content, Udp, parse, transport, tunnelled};
use sejf::wire::rtp::RtpPacket;
use sejf::wire::{demux, event, red, rtcp};

struct Frame {
    at: Stamp,
    link: LinkType,
    wire_len: u32,
    bytes: Vec<u8>,
}

#[expect(clippy::print_stdout, reason = "says why a test has nothing to do")]
fn captures(folder: &str) -> Vec<PathBuf> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../shared/captures")).join(folder);
    let Ok(entries) = fs::read_dir(&root) else {
        println!("skipped: no {}", root.display());
        return Vec::new();
    };
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.expect("directory entry").path())
        .filter(|path| path.extension().is_some_and(|name| name == "pcap" || name == "pcapng"))
        .collect();
    files.sort();
    files
}

/// As many frames as can be read: some of the files are broken on purpose.
fn frames(path: &Path) -> Vec<Frame> {
    let mut read = Frames::default();
    let file = fs::File::open(path).expect("capture file");
    let Ok(mut reader) = create_reader(1 << 20, file) else { return read.frames };
    let mut refilled = false;
    loop {
        match reader.next() {
            Ok((size, block)) => {
                refilled = false;
                read.block(&block);
                reader.consume(size);
            }
            Err(PcapError::Incomplete(_)) if !refilled => {
                refilled = true;
                if reader.refill().is_err() {
                    return read.frames;
                }
            }
            Err(_) => return read.frames,
        }
    }
}

#[derive(Default)]
struct Frames {
    frames: Vec<Frame>,
    /// Link types of the interfaces; a pcap file has one.
    links: Vec<LinkType>,
}

impl Frames {
    fn block(&mut self, block: &PcapBlockOwned<'_>) {
        let unknown = LinkType(u16::MAX);
        match block {
            PcapBlockOwned::LegacyHeader(header) => self.links = vec![LinkType(header.network.0 as u16)],
            PcapBlockOwned::Legacy(block) => {
                let nanos = u64::from(block.ts_sec) * 1_000_000_000 + u64::from(block.ts_usec) * 1_000;
                let link = self.links.first().copied().unwrap_or(unknown);
                self.push(nanos, link, block.origlen, block.data);
            }
            PcapBlockOwned::NG(Block::SectionHeader(_)) => self.links.clear(),
            PcapBlockOwned::NG(Block::InterfaceDescription(interface)) => {
                self.links.push(LinkType(interface.linktype.0 as u16));
            }
            PcapBlockOwned::NG(Block::EnhancedPacket(block)) => {
                let micros = u64::from(block.ts_high) << 32 | u64::from(block.ts_low);
                let link = self.links.get(block.if_id as usize).copied().unwrap_or(unknown);
                self.push(micros.saturating_mul(1_000), link, block.orig_len(), block.packet_data());
            }
            PcapBlockOwned::NG(_) => {}
        }
    }

    fn push(&mut self, nanos: u64, link: LinkType, wire_len: u32, bytes: &[u8]) {
        self.frames.push(Frame { at: Stamp::from_unix_nanos(nanos), link, wire_len, bytes: bytes.into() });
    }
}

/// Lets every parser see a payload; none of them may panic.
fn parse_all(payload: &[u8]) {
    let _ = demux::classify(payload);
    let _ = demux::looks_like_sip(payload);
    for packet in rtcp::packets(payload) {
        if let Ok(rtcp::RtcpPacket::Sdes(names)) = packet {
            let _ = names.count();
        }
    }
    let payload = RtpPacket::parse(payload).map_or(payload, |rtp| rtp.payload());
    let _ = (red::parse(payload), event::parse(payload));
}

/// Compares a datagram with what etherparse makes of the same frame, where it reads UDP at all.
fn agrees_with_etherparse(frame: &Frame, udp: &Udp<'_>) -> bool {
    let Ok(oracle) = LaxSlicedPacket::from_ethernet(&frame.bytes) else { return false };
    let Some(TransportSlice::Udp(theirs)) = oracle.transport else { return false };
    theirs.source_port() == udp.src.port
        && theirs.destination_port() == udp.dst.port
        && theirs.payload() == udp.payload
}

#[derive(Default)]
struct Seen {
    rtp: u64,
    fragments: u64,
    /// Fragments that came out in whole datagrams.
    in_wholes: u64,
    given_up: u64,
}

impl Seen {
    fn datagram(&mut self, udp: &Udp<'_>) {
        if let Some(content) = tunnelled(udp) {
            if let Content::Udp(inner) = content {
                self.datagram(&inner);
            }
            return;
        }
        self.rtp += u64::from(demux::classify(udp.payload) == demux::Protocol::Rtp);
        parse_all(udp.payload);
    }

    fn whole(&mut self, whole: &Whole) {
        self.in_wholes += whole.frames.len() as u64;
        match transport(&whole.key, &whole.payload, whole.cut) {
            Content::Udp(udp) => self.datagram(&udp),
            Content::Tcp(tcp) => parse_all(tcp.payload),
            Content::Fragment(_) => panic!("a fragment in a whole datagram"),
            Content::Other(_) => {}
        }
    }
}

fn run(path: &Path, frames: &[Frame]) -> Seen {
    let mut seen = Seen::default();
    let mut reassembler = Reassembler::default();
    for (number, frame) in (1..).zip(frames) {
        match parse(frame.link, &frame.bytes, frame.wire_len) {
            Content::Udp(udp) => {
                seen.datagram(&udp);
                assert!(
                    frame.link != LinkType::ETHERNET
                        || udp.cut
                        || udp.tunnels > 0
                        || agrees_with_etherparse(frame, &udp),
                    "{}: frame {number}: etherparse reads it differently",
                    path.display()
                );
            }
            Content::Tcp(tcp) => parse_all(tcp.payload),
            Content::Fragment(fragment) => {
                seen.fragments += 1;
                reassembler.handle_timeout(frame.at);
                if let Some(whole) = reassembler.handle(frame.at, &fragment, owned(frame, number)) {
                    seen.whole(&whole);
                }
            }
            Content::Other(_) => parse_all(&frame.bytes),
        }
    }
    reassembler.finish();
    reassembler.check_invariants();
    let books = reassembler.take_books();
    seen.given_up = books.discarded.get(&Discard::Fragment).copied().unwrap_or_default();
    assert_eq!(seen.fragments, seen.in_wholes + seen.given_up, "{}: a fragment is nowhere", path.display());
    seen
}

fn owned(frame: &Frame, number: u64) -> OwnedFrame {
    let meta = FrameMeta {
        stamp: frame.at,
        number,
        offset: 0,
        len: frame.bytes.len() as u32,
        wire_len: frame.wire_len,
        link: frame.link,
        interface: 0,
    };
    OwnedFrame { meta, bytes: frame.bytes.clone().into() }
}

#[test]
fn every_frame_is_read_or_refused() {
    for folder in ["robustness", "malformed/pcap", "public", "calls", "derived"] {
        for path in captures(folder) {
            let frames = frames(&path);
            let seen = run(&path, &frames);
            if folder == "calls" {
                assert!(!frames.is_empty() && seen.given_up == 0, "{}", path.display());
            }
        }
    }
}

/// By the facts beside our own captures: all the RTP that tshark knows of, and little that it does
/// not (it misses streams that ICE moves to other ports, and counts the first ones less).
#[test]
fn finds_the_media_that_tshark_found() {
    let mut compared = 0;
    for path in ["calls", "derived"].into_iter().flat_map(captures) {
        let mut facts = path.clone().into_os_string();
        facts.push(".facts.json");
        let Ok(facts) = fs::read(facts) else { continue };
        let facts: serde_json::Value = serde_json::from_slice(&facts).expect("facts are JSON");
        let lists = ["rtp_streams", "rtp_streams_heuristic_only"];
        let packets: u64 = lists
            .iter()
            .filter_map(|list| facts[list].as_array())
            .flatten()
            .filter_map(|stream| stream["packets"].as_u64())
            .sum();
        let seen = run(&path, &frames(&path));
        assert!(seen.rtp >= packets, "{}: {} of {packets}", path.display(), seen.rtp);
        assert!(seen.rtp <= packets + 100, "{}: {} of {packets}", path.display(), seen.rtp);
        compared += 1;
    }
    assert!(compared == 0 || compared > 50, "{compared} captures compared");
}
