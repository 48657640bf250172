//! Live capture beside libpcap's. Budget: 0.15 µs of CPU a packet for the ring. Needs an interface with traffic,
//! so it takes arguments: `cargo bench --bench capture -- INTERFACE ring|pcap|pcap-copy SECONDS`.
#![expect(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use sejf::base::frame::{FrameBlock, FrameMeta, LinkType};
use sejf::base::merge::Captured;
use sejf::base::time::Stamp;
use sejf::shell::capture::{Config, Outlet, Stats, open, run};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let [interface, mode, seconds] = &arguments[..] else {
        println!("capture: skipped; give an interface, ring, pcap or pcap-copy, and seconds");
        return;
    };
    let length = Duration::from_secs(seconds.parse().expect("seconds"));
    let (packets, dropped, cpu) = match mode.as_str() {
        "ring" => ring(interface, length),
        "pcap" => pcap(interface, length, false),
        "pcap-copy" => pcap(interface, length, true),
        other => panic!("{other}: ring, pcap or pcap-copy"),
    };
    let rate = packets as f64 / length.as_secs_f64();
    let each = cpu.as_secs_f64() / (packets as f64 / 1e6);
    println!("{mode}: {packets} packets, {dropped} dropped, {rate:.0} a second, {each:.3} CPU-s per million");
}

/// Frames received, dropped, and the capture thread's own time on a processor.
fn ring(interface: &str, length: Duration) -> (u64, u64, Duration) {
    let config = Config { ring_bytes: RING_BYTES, ..Config::new(interface) };
    let ring = open(&config, 0).expect("a ring").remove(0);
    let (captured, blocks) = bounded(64);
    let (give, spent) = bounded(64);
    let (stats, stop) = (Stats::default(), AtomicBool::new(false));
    let mut cpu = Duration::ZERO;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let outlet = Outlet { source: 0, captured, spent };
            run(ring, &outlet, &stats, &stop);
            cpu = on_processor();
        });
        scope.spawn(|| {
            for (_, captured) in blocks {
                if let Captured::Block(mut block) = captured {
                    block.clear();
                    let _ = give.try_send(block);
                }
            }
        });
        std::thread::sleep(length);
        stop.store(true, Ordering::Relaxed);
    });
    let count = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
    (count(&stats.received), count(&stats.kernel_drops) + count(&stats.queue_drops), cpu)
}

fn pcap(interface: &str, length: Duration, copies: bool) -> (u64, u64, Duration) {
    let capture = pcap::Capture::from_device(interface).expect("a device");
    let capture = capture.buffer_size(RING_BYTES as i32).snaplen(65_535).promisc(true).timeout(10);
    let mut capture = capture.precision(pcap::Precision::Nano).open().expect("a capture");
    let (before, end) = (on_processor(), Instant::now() + length);
    let (mut packets, mut block) = (0, FrameBlock::default());
    while packets % 256 != 0 || Instant::now() < end {
        let Ok(packet) = capture.next_packet() else { continue };
        packets += 1;
        if copies {
            let (seconds, nanos) = (packet.header.ts.tv_sec as u64, packet.header.ts.tv_usec as u64);
            let meta = FrameMeta {
                stamp: Stamp::from_unix_nanos(seconds * 1_000_000_000 + nanos),
                number: packets,
                offset: 0,
                len: 0,
                wire_len: packet.header.len,
                link: LinkType::ETHERNET,
                interface: 0,
            };
            block.push(meta, packet.data);
            if block.is_full() {
                block.clear();
            }
        }
    }
    let cpu = on_processor() - before;
    (packets, capture.stats().map_or(0, |stats| stats.dropped.into()), cpu)
}

/// Time that this thread has spent on a processor.
fn on_processor() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux with schedstats");
    Duration::from_nanos(text.split(' ').next().and_then(|word| word.parse().ok()).expect("a number"))
}

const RING_BYTES: usize = 64 << 20;
