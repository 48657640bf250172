//! SIP over TCP in real captures: the messages that are there, and every segment accounted for.
#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "helpers of tests: a failure is the result, and skipping is said"
)]

use std::fs::File;
use std::net::IpAddr;
use std::path::PathBuf;

use etherparse::{NetSlice, SlicedPacket, TransportSlice};
use pcap_parser::traits::PcapReaderIterator;
use pcap_parser::{LegacyPcapReader, PcapBlockOwned, PcapError};
use sejf::base::endpoint::Endpoint;
use sejf::base::frame::{FrameMeta, LinkType, OwnedFrame};
use sejf::base::net::Net;
use sejf::base::time::Stamp;
use sejf::call::tcp::Flows;
use sejf::wire::link::Tcp;
use sejf::wire::sdp::SessionDescription;
use sejf::wire::sip::{Message, StartLine};

/// The messages of a capture, as `INVITE` or `200 INVITE`, with `+` where they carry a description.
fn messages_of(name: &str) -> Option<Vec<String>> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/captures").join(name);
    let Ok(file) = File::open(&path) else {
        println!("skipped: {} is not there", path.display());
        return None;
    };
    let mut reader = LegacyPcapReader::new(1 << 20, file).unwrap();
    let (mut flows, mut number, mut handed) = (Flows::default(), 0, 0);
    let mut now = Stamp::ZERO;
    loop {
        match reader.next() {
            Ok((offset, PcapBlockOwned::Legacy(block))) => {
                number += 1;
                let nanos = u64::from(block.ts_sec) * 1_000_000_000 + u64::from(block.ts_usec) * 1_000;
                now = now.max(Stamp::from_unix_nanos(nanos));
                handed += u64::from(hand(&mut flows, now, number, block.data));
                flows.handle_timeout(now);
                reader.consume(offset);
            }
            Ok((offset, _)) => reader.consume(offset),
            Err(PcapError::Eof) => break,
            Err(PcapError::Incomplete(_)) => reader.refill().unwrap(),
            Err(error) => panic!("{name}: {error}"),
        }
    }
    flows.finish();
    let (mut found, mut firsts) = (Vec::new(), 0);
    while let Some(message) = flows.poll_message() {
        firsts += message.frames.iter().filter(|frame| frame.first).count() as u64;
        assert!(!message.cut, "{name}");
        found.push(summary(&message.bytes));
    }
    assert_eq!(handed, firsts + flows.take_books().discarded.values().sum::<u64>(), "{name}");
    Some(found)
}

fn hand(flows: &mut Flows, at: Stamp, number: u64, data: &[u8]) -> bool {
    let Ok(packet) = SlicedPacket::from_ethernet(data) else { return false };
    let (Some(NetSlice::Ipv4(ip)), Some(TransportSlice::Tcp(tcp))) = (packet.net, packet.transport) else {
        return false;
    };
    let endpoint = |address, port| Endpoint::new(IpAddr::V4(address).into(), port);
    let segment = Tcp {
        net: Net::PLAIN,
        src: endpoint(ip.header().source_addr(), tcp.source_port()),
        dst: endpoint(ip.header().destination_addr(), tcp.destination_port()),
        sequence: tcp.sequence_number(),
        syn: tcp.syn(),
        fin: tcp.fin(),
        rst: tcp.rst(),
        payload: tcp.payload(),
        cut: false,
    };
    let len = data.len() as u32;
    let meta = FrameMeta {
        stamp: at,
        number,
        offset: 0,
        len,
        wire_len: len,
        link: LinkType::ETHERNET,
        interface: 0,
    };
    flows.handle(at, &segment, || OwnedFrame { meta, bytes: data.into() });
    true
}

fn summary(bytes: &[u8]) -> String {
    let message = Message::parse(bytes).unwrap();
    let (_, method) = message.cseq().unwrap();
    let method = String::from_utf8_lossy(method.as_bytes()).into_owned();
    let sdp = message.sdp().is_some_and(|body| !SessionDescription::parse(body).unwrap().media.is_empty());
    let sdp = if sdp { "+" } else { "" };
    match message.start() {
        StartLine::Request { .. } => format!("{method}{sdp}"),
        StartLine::Response { status, .. } => format!("{status} {method}{sdp}"),
    }
}

#[test]
fn calls_over_tcp_are_read_whole() {
    let usual = ["INVITE+", "180 INVITE", "200 INVITE+", "ACK", "BYE", "200 BYE"];
    let trying = ["INVITE+", "100 INVITE", "180 INVITE", "200 INVITE+", "ACK", "BYE", "200 BYE"];
    for (name, want) in [
        ("calls/shared-pcma-siptcp.pcap", &usual[..]),
        ("calls/shared-srtp-sdes-opus-siptcp.pcap", &usual),
        ("calls/shared-sipp-tcp-large-invite.pcap", &usual),
        ("calls/shared-lp-opus-srtp-siptcp.pcap", &trying),
        ("calls/shared-sip-websocket.pcap", &trying),
        // The large INVITE again, in small pieces, in disorder, with repeats.
        ("derived/shared-d-tcp-resegmented.pcap", &usual),
    ] {
        if let Some(got) = messages_of(name) {
            assert_eq!(got, want, "{name}");
        }
    }
}

#[test]
fn sip_inside_tls_is_not_seen() {
    if let Some(got) = messages_of("calls/shared-pcmu-siptls.pcap") {
        assert_eq!(got, [""; 0]);
    }
}
