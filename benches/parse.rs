//! Parsing and reassembly. Budget: 60 ns a media frame down to its RTP header, 2 µs a SIP message with its
//! session description, 2 µs a fragment or TCP segment.
#![expect(missing_docs, reason = "criterion_group! makes an undocumented function")]

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use sejf::base::frame::{FrameBlock, OwnedFrame};
use sejf::call::fragments::Reassembler;
use sejf::call::tcp::Flows;
use sejf::fixture;
use sejf::shell::source::Captures;
use sejf::wire::link::{self, Content};
use sejf::wire::rtp::RtpPacket;
use sejf::wire::sdp::SessionDescription;
use sejf::wire::sip::Message;

/// The frames of a named scenario.
fn frames(name: &str) -> FrameBlock {
    let (_, recipe) =
        fixture::scenarios::scenarios().into_iter().find(|(known, _)| *known == name).expect("a scenario");
    let file = tempfile::NamedTempFile::new().expect("temporary file");
    std::fs::write(file.path(), fixture::generate(&recipe).expect("a capture").capture).expect("written");
    let mut captures = Captures::open(&[file.path().into()]).expect("the capture");
    let (mut all, mut block) = (FrameBlock::default(), FrameBlock::default());
    while captures.fill(&mut block) {
        for frame in &block.frames {
            all.push(*frame, block.data(frame));
        }
    }
    all
}

fn media(c: &mut Criterion) {
    let block = frames("basic");
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(block.frames.len() as u64));
    group.bench_function("frame to RTP", |b| {
        b.iter(|| {
            let mut sum = 0_u64;
            for frame in &block.frames {
                if let Content::Udp(udp) = link::parse(frame.link, block.data(frame), frame.wire_len)
                    && let Ok(rtp) = RtpPacket::parse(udp.payload)
                {
                    sum += u64::from(rtp.sequence());
                }
            }
            black_box(sum)
        });
    });
    group.finish();
}

fn signalling(c: &mut Criterion) {
    let block = frames("basic");
    let datagrams = block.frames.iter().filter_map(|frame| {
        match link::parse(frame.link, block.data(frame), frame.wire_len) {
            Content::Udp(udp) => Some(udp.payload),
            _ => None,
        }
    });
    let invite =
        datagrams.clone().find(|payload| payload.starts_with(b"INVITE ")).expect("an INVITE").to_vec();
    let mut group = c.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    group.bench_function("INVITE with its description", |b| {
        b.iter(|| {
            let message = Message::parse(black_box(&invite)).expect("a message");
            let description = message.sdp().map(SessionDescription::parse);
            black_box((message.call_id().map(<[u8]>::len), description.is_some()))
        });
    });
    group.finish();
}

fn reassembly(c: &mut Criterion) {
    let mut group = c.benchmark_group("reassembly");
    let block = frames("fragmented-rtp");
    group.throughput(Throughput::Elements(block.frames.len() as u64));
    group.bench_function("fragments", |b| {
        b.iter_batched(
            Reassembler::default,
            |mut fragments| {
                let mut whole = 0;
                for frame in &block.frames {
                    if let Content::Fragment(fragment) =
                        link::parse(frame.link, block.data(frame), frame.wire_len)
                    {
                        let frame_copy = OwnedFrame::copy(&block, frame);
                        whole += usize::from(fragments.handle(frame.stamp, &fragment, frame_copy).is_some());
                    }
                }
                assert!(whole > 0);
            },
            BatchSize::SmallInput,
        );
    });
    let block = frames("tcp");
    group.throughput(Throughput::Elements(block.frames.len() as u64));
    group.bench_function("TCP", |b| {
        b.iter_batched(
            Flows::default,
            |mut flows| {
                let mut messages = 0;
                for frame in &block.frames {
                    if let Content::Tcp(segment) = link::parse(frame.link, block.data(frame), frame.wire_len)
                    {
                        flows.handle(frame.stamp, &segment, || OwnedFrame::copy(&block, frame));
                        messages += std::iter::from_fn(|| flows.poll_message()).count();
                    }
                }
                assert!(messages > 0);
            },
            BatchSize::SmallInput,
        );
    });
    group.finish();
}

criterion_group!(benches, media, signalling, reassembly);
criterion_main!(benches);
