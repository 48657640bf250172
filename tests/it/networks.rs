//! Tenants behind one mirror port, from frames on: fragments, TCP, UDP and media of each stay apart.
#![allow(clippy::unwrap_used, reason = "helpers of tests: a failure is the result")]

use std::collections::BTreeMap;

use etherparse::PacketBuilder;
use sejf::base::frame::{FrameBlock, FrameMeta, LinkType};
use sejf::base::time::Stamp;
use sejf::call::intake::{Intake, RareTask, Task};
use sejf::call::table::{Config, Event, Transport};

const CALLER: [u8; 4] = [10, 0, 0, 1];
const CALLEE: [u8; 4] = [10, 0, 0, 2];

/// Frames of both tenants, in the order in which the mirror sends them.
struct Mirror {
    block: FrameBlock,
}

impl Mirror {
    fn push(&mut self, vlan: u16, from_caller: bool, transport: &[u8], protocol: u8, fragment: (u16, bool)) {
        let (src, dst) = if from_caller { (CALLER, CALLEE) } else { (CALLEE, CALLER) };
        let mut frame = vec![2; 12];
        frame.extend_from_slice(&[0x81, 0]);
        frame.extend_from_slice(&vlan.to_be_bytes());
        frame.extend_from_slice(&[8, 0, 0x45, 0]);
        frame.extend_from_slice(&(20 + transport.len() as u16).to_be_bytes());
        // One identification for all: the tenants' datagrams differ by nothing but the VLAN.
        let place = (fragment.0 / 8) | (u16::from(fragment.1) << 13);
        frame.extend_from_slice(&[0, 77]);
        frame.extend_from_slice(&place.to_be_bytes());
        frame.extend_from_slice(&[64, protocol, 0, 0]);
        frame.extend_from_slice(&src);
        frame.extend_from_slice(&dst);
        frame.extend_from_slice(transport);
        let number = self.block.frames.len() as u64 + 1;
        let meta = FrameMeta {
            stamp: Stamp::from_unix_nanos(1_780_000_000_000_000_000 + number * 5_000_000),
            number,
            offset: 0,
            len: 0,
            wire_len: frame.len() as u32,
            link: LinkType::ETHERNET,
            interface: 0,
        };
        self.block.push(meta, &frame);
    }
}

fn udp(from_caller: bool, ports: (u16, u16), payload: &[u8]) -> Vec<u8> {
    let (src, dst) = if from_caller { ports } else { (ports.1, ports.0) };
    let length = 8 + payload.len() as u16;
    [&src.to_be_bytes()[..], &dst.to_be_bytes(), &length.to_be_bytes(), &[0, 0], payload].concat()
}

fn tcp(from_caller: bool, sequence: u32, payload: &[u8]) -> Vec<u8> {
    let (src, dst) = if from_caller { (40_000, 5_060) } else { (5_060, 40_000) };
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4(CALLER, CALLEE, 64).tcp(src, dst, sequence, 1_000);
    builder.write(&mut bytes, payload).unwrap();
    bytes.split_off(20)
}

fn rtp(sequence: u16, sound: u8) -> Vec<u8> {
    let mut bytes = vec![0x80, 0];
    bytes.extend_from_slice(&sequence.to_be_bytes());
    bytes.extend_from_slice(&(u32::from(sequence) * 160).to_be_bytes());
    bytes.extend_from_slice(&[0, 0, 0, 7]);
    bytes.resize(bytes.len() + 160, sound);
    bytes
}

/// A message of one tenant: the same length and the same addresses for each.
fn message(who: char, start: &str, to_tag: bool, host: [u8; 4], port: u16) -> Vec<u8> {
    let [a, b, c, d] = host;
    let host = format!("{a}.{b}.{c}.{d}");
    let body = format!(
        "v=0\r\no=- 1 1 IN IP4 {host}\r\ns=-\r\nc=IN IP4 {host}\r\nt=0 0\r\nm=audio {port} RTP/AVP 0\r\n"
    );
    let to_tag = if to_tag { format!(";tag={who}2") } else { String::new() };
    format!(
        "{start}\r\nVia: SIP/2.0/UDP h;branch=z9hG4bK{who}\r\nCall-ID: same@host\r\nFrom: <sip:{who}@x>;tag={who}1\r\n\
         To: <sip:b@x>{to_tag}\r\nCSeq: 1 INVITE\r\nContent-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

const TENANTS: [(u16, char, u8); 2] = [(10, 'a', 0x11), (20, 'b', 0x22)];

/// The caller that a call names, and the sounds that came to it.
type Heard = (String, Vec<u8>);

/// Runs the frames and returns all calls, and how each began.
fn run(mirror: &Mirror) -> (BTreeMap<u64, Heard>, Vec<Transport>) {
    let mut intake = Intake::new(Config::default());
    let mut tasks = Vec::new();
    for index in 0..mirror.block.frames.len() {
        intake.handle_timeout(mirror.block.frames[index].stamp, &mut |task| tasks.push(task));
        intake.frame(&mirror.block, index as u32, &mut |task| tasks.push(task));
    }
    intake.finish(&mut |task| tasks.push(task));
    let (mut calls, mut of_slot, mut transports) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
    for task in tasks {
        match task {
            Task::Media(media) => {
                let frame = mirror.block.data(&mirror.block.frames[media.frame as usize]);
                let (_, sounds): &mut Heard = calls.get_mut(&of_slot[&media.slot]).unwrap();
                sounds.push(frame[media.offset as usize]);
            }
            Task::Rare(task) => match *task {
                RareTask::Event(Event::Opened { slot, ordinal, first, .. }) => {
                    of_slot.insert(slot, ordinal);
                    calls.insert(ordinal, (String::new(), Vec::new()));
                    transports.push(first.transport);
                }
                RareTask::Event(Event::Closed { slot, closed, .. }) => {
                    calls.get_mut(&of_slot[&slot]).unwrap().0 = closed.from;
                }
                RareTask::Media { slot, held, .. } => {
                    calls.get_mut(&of_slot[&slot]).unwrap().1.push(*held.payload.last().unwrap());
                }
                _ => {}
            },
            Task::Aside(_) | Task::Done => {}
        }
    }
    (calls, transports)
}

#[test]
fn tenants_that_differ_by_vlan_alone_are_two_calls_however_their_signalling_comes() {
    for way in ["whole", "fragments", "tcp"] {
        let mut mirror = Mirror { block: FrameBlock::default() };
        let mut positions = [[1_u32; 2]; 2];
        for (from_caller, start, host, port) in
            [(true, "INVITE sip:b@x SIP/2.0", CALLER, 4_000), (false, "SIP/2.0 200 OK", CALLEE, 4_002)]
        {
            let messages = TENANTS.map(|(_, who, _)| message(who, start, !from_caller, host, port));
            // The first part of each tenant's message, then the second of each.
            for part in 0..2 {
                for (tenant, (vlan, ..)) in TENANTS.into_iter().enumerate() {
                    let whole = udp(from_caller, (5_060, 5_060), &messages[tenant]);
                    let half = messages[tenant].len() / 2 / 8 * 8;
                    match (way, part) {
                        ("whole", 0) => mirror.push(vlan, from_caller, &whole, 17, (0, false)),
                        ("fragments", 0) => mirror.push(vlan, from_caller, &whole[..half], 17, (0, true)),
                        ("fragments", _) => {
                            mirror.push(vlan, from_caller, &whole[half..], 17, (half as u16, false));
                        }
                        ("tcp", _) => {
                            let parts = messages[tenant].split_at(half);
                            let bytes = [parts.0, parts.1][part];
                            let position = &mut positions[tenant][usize::from(from_caller)];
                            mirror.push(
                                vlan,
                                from_caller,
                                &tcp(from_caller, *position, bytes),
                                6,
                                (0, false),
                            );
                            *position += bytes.len() as u32;
                        }
                        _ => {}
                    }
                }
            }
        }
        for sequence in 0..50 {
            for (vlan, _, sound) in TENANTS {
                let packet = rtp(sequence, sound);
                mirror.push(vlan, true, &udp(true, (4_000, 4_002), &packet), 17, (0, false));
            }
        }
        let (calls, transports) = run(&mirror);
        let want = TENANTS.map(|(_, who, sound)| (format!("sip:{who}@x"), vec![sound; 50]));
        assert_eq!(calls.into_values().collect::<Vec<_>>(), want, "{way}");
        let transport = if way == "tcp" { Transport::Tcp } else { Transport::Udp };
        assert_eq!(transports, [transport; 2], "{way}");
    }
}
