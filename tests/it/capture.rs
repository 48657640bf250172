//! Live capture on a virtual cable, each test in a network of its own: `unshare` runs this binary again, for
//! one test, inside. Where that is not permitted the tests are skipped, and say so.

use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, bounded};
use sejf::base::frame::{FrameBlock, LinkType};
use sejf::base::merge::{Captured, Dropped, Merger, Place};
use sejf::base::time::Stamp;
use sejf::shell::capture::{CaptureError, Config, Outlet, Ring, Stats, Timestamps, open, run};

use crate::wire::{cable, inside, ip};

#[test]
fn frames_arrive_as_they_were_sent() {
    inside("capture::frames_arrive_as_they_were_sent", || {
        cable();
        let capture = Running::start(&Config::new("va"));
        let plain = frame(&[8, 0], 1, 5_060, b"plain");
        let tagged = frame(&[0x81, 0, 0x60, 5, 8, 0], 2, 5_060, b"tagged");
        let stacked = frame(&[0x88, 0xa8, 0, 7, 0x81, 0, 0, 9, 8, 0], 3, 5_060, &[7; 1_400]);
        let sent = [plain, tagged, stacked];
        send("vb", &sent);
        capture.wait_for(3);
        let (frames, _) = capture.stop();
        assert_eq!(bytes_of(&frames), sent, "with the tags that the kernel takes out");
        for (number, (frame, sent)) in (1..).zip(frames.iter().zip(&sent)) {
            assert_eq!((frame.number, frame.link, frame.interface), (number, LinkType::ETHERNET, 4));
            assert_eq!(frame.wire_len as usize, sent.len());
        }
        assert!(frames.is_sorted_by_key(|frame| frame.stamp) && frames[0].stamp > Stamp::ZERO);
    });
}

#[test]
fn a_filter_keeps_fragments_and_sees_tags() {
    inside("capture::a_filter_keeps_fragments_and_sees_tags", || {
        cable();
        let wanted = frame(&[8, 0], 0, 5_060, b"wanted");
        let tagged = frame(&[0x81, 0, 0, 5, 8, 0], 0, 5_060, b"tagged");
        let mut fragment = frame(&[8, 0], 0, 9, b"fragment");
        fragment[20..22].copy_from_slice(&0x00b9_u16.to_be_bytes());
        let other = frame(&[8, 0], 0, 5_061, b"other");
        let last = frame(&[0x81, 0, 0, 5, 8, 0], 0, 5_060, b"last");
        let sent = [wanted.clone(), other, tagged.clone(), fragment.clone(), last.clone()];
        for (filter, kept) in [
            ("udp port 5060", vec![wanted, tagged.clone(), fragment.clone(), last.clone()]),
            ("vlan 5 and udp port 5060", vec![tagged, fragment, last]),
        ] {
            let capture = Running::start(&Config { filter: Some(filter.into()), ..Config::new("va") });
            send("vb", &sent);
            capture.wait_for(kept.len() as u64);
            assert_eq!(bytes_of(&capture.stop().0), kept, "{filter}");
        }
    });
}

#[test]
fn the_snap_length_cuts_and_says_so() {
    inside("capture::the_snap_length_cuts_and_says_so", || {
        cable();
        let capture = Running::start(&Config { snaplen: 60, ..Config::new("va") });
        let long = frame(&[0x81, 0, 0, 5, 8, 0], 0, 1, &[1; 500]);
        send("vb", std::slice::from_ref(&long));
        capture.wait_for(1);
        let (frames, _) = capture.stop();
        assert_eq!(frames[0].bytes, long[..64], "60 bytes and the tag");
        assert_eq!(frames[0].wire_len as usize, long.len());
    });
}

#[test]
fn on_loopback_each_frame_is_seen_once() {
    inside("capture::on_loopback_each_frame_is_seen_once", || {
        cable();
        ip("link set lo up");
        let capture = Running::start(&Config::new("lo"));
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        for count in 0..5_u8 {
            socket.send_to(&[count; 100], "127.0.0.1:9").unwrap();
        }
        let is_sent = |frame: &Frame| frame.bytes.len() == 142;
        capture.until(|seen| seen.iter().filter(|frame| is_sent(frame)).count() >= 5);
        let (frames, _) = capture.stop();
        let payloads: Vec<u8> = frames.iter().filter(|f| is_sent(f)).map(|f| f.bytes[141]).collect();
        assert_eq!(payloads, [0, 1, 2, 3, 4]);
    });
}

/// A ring that nobody reads is full soon, and a queue that nobody reads too: no frame is unaccounted for.
#[test]
fn what_is_not_captured_is_counted() {
    inside("capture::what_is_not_captured_is_counted", || {
        cable();
        let config = Config { ring_bytes: 256 << 10, ..Config::new("va") };
        let ring = open(&config, 4).unwrap().remove(0);
        let many: Vec<_> = (0..2_000).map(|port| frame(&[8, 0], 0, port, &[0; 1_000])).collect();
        let before = sejf::shell::clock::now();
        send("vb", &many);
        let capture = Running::of(ring, usize::MAX);
        capture.until(|_| {
            let stats = &capture.stats;
            read(&stats.received) + read(&stats.kernel_drops) == 2_000
        });
        let stats = capture.stats.clone();
        let (frames, dropped) = capture.stop();
        assert!(read(&stats.kernel_drops) > 1_000, "{stats:?}");
        assert!(read(&stats.freezes) > 0, "{stats:?}");
        assert_eq!(frames.len() as u64, read(&stats.received));
        assert_eq!(bytes_of(&frames), many[..frames.len()], "the first are there");
        assert_eq!(lost(&dropped, Place::Kernel), read(&stats.kernel_drops));
        for interval in dropped {
            assert!(interval.from >= before && interval.from <= interval.to, "{interval:?}");
            let last = frames.last().map(|frame| frame.stamp);
            assert!(Some(interval.from) <= last, "lost after what is there: {interval:?}");
        }
    });
}

#[test]
fn a_queue_that_is_full_costs_frames_and_never_time() {
    inside("capture::a_queue_that_is_full_costs_frames_and_never_time", || {
        cable();
        let ring = open(&Config::new("va"), 4).unwrap().remove(0);
        // Nobody takes anything: one item fits, and one block is being filled.
        let capture = Running::of(ring, 0);
        let many: Vec<_> = (0..10_000).map(|port| frame(&[8, 0], 0, port, &[0; 1_200])).collect();
        for _ in 0..2 {
            let before = read(&capture.stats.received);
            send("vb", &many);
            capture.until(|_| read(&capture.stats.received) == before + 10_000);
        }
        let stats = capture.stats.clone();
        let (frames, dropped) = capture.stop();
        let queue = read(&stats.queue_drops);
        assert!(queue > 0, "{stats:?}");
        assert_eq!(frames.len() as u64 + queue, 20_000);
        assert_eq!(read(&stats.kernel_drops), 0, "the ring was read all the time");
        assert_eq!(lost(&dropped, Place::Queue), queue);
        let numbers: Vec<u64> = frames.iter().map(|frame| frame.number).collect();
        assert_eq!(numbers, (1..=frames.len() as u64).collect::<Vec<_>>(), "no gap in the numbers");
    });
}

#[test]
fn capture_goes_on_after_the_interface_was_down() {
    inside("capture::capture_goes_on_after_the_interface_was_down", || {
        cable();
        let capture = Running::start(&Config::new("va"));
        send("vb", &[frame(&[8, 0], 0, 1, b"before")]);
        capture.wait_for(1);
        ip("link set va down");
        capture.until(|_| !capture.stats.up.load(Ordering::Relaxed));
        ip("link set va up");
        capture.until(|_| capture.stats.up.load(Ordering::Relaxed));
        send("vb", &[frame(&[8, 0], 0, 2, b"after")]);
        capture.wait_for(2);
        let stats = capture.stats.clone();
        let (frames, dropped) = capture.stop();
        assert_eq!((read(&stats.downs), read(&stats.restarts)), (1, 0));
        let [gap] = &dropped[..] else { panic!("{dropped:?}") };
        assert_eq!((gap.place, gap.frames), (Place::Interface, 0));
        assert!(frames[0].stamp <= gap.from && gap.to <= frames[1].stamp, "{gap:?}");
    });
}

#[test]
fn capture_goes_on_where_the_interface_is_made_again() {
    inside("capture::capture_goes_on_where_the_interface_is_made_again", || {
        for threads in [1, 2] {
            cable();
            let config = Config { threads, ..Config::new("va") };
            let mut rings = open(&config, 4).unwrap();
            // One is enough to see; the other shares.
            let others: Vec<_> = rings.drain(1..).map(|ring| Running::of(ring, usize::MAX)).collect();
            let capture = Running::of(rings.remove(0), usize::MAX);
            let all = || std::iter::once(&capture).chain(&others);
            for round in 1..=2 {
                ip("link del va");
                capture.until(|_| all().all(|c| !c.stats.up.load(Ordering::Relaxed)));
                cable();
                capture.until(|_| all().all(|c| c.stats.up.load(Ordering::Relaxed)));
                let flows: Vec<_> = (0..50).map(|port| frame(&[8, 0], 0, port, b"after")).collect();
                send("vb", &flows);
                capture.until(|_| all().map(|c| read(&c.stats.received)).sum::<u64>() >= 50 * round);
                assert!(all().all(|c| read(&c.stats.restarts) == round));
            }
            let mut seen = bytes_of(&capture.stop().0);
            seen.extend(others.into_iter().flat_map(|c| bytes_of(&c.stop().0)));
            assert_eq!(seen.len(), 100, "each frame once");
            ip("link del va");
        }
    });
}

#[test]
fn threads_share_flows_and_merge_in_order() {
    inside("capture::threads_share_flows_and_merge_in_order", || {
        cable();
        let rings = open(&Config { threads: 3, ..Config::new("va") }, 4).unwrap();
        let captures: Vec<_> = rings.into_iter().map(|ring| Running::of(ring, usize::MAX)).collect();
        let sent: Vec<_> = (0..600).map(|port| frame(&[8, 0], 0, port, b"flow")).collect();
        send("vb", &sent);
        let received = || captures.iter().map(|c| read(&c.stats.received)).collect::<Vec<_>>();
        captures[0].until(|_| received().iter().sum::<u64>() >= 600);
        assert!(received().iter().all(|count| *count > 0), "{:?}", received());
        let mut merger = Merger::new(3);
        for (source, capture) in captures.into_iter().enumerate() {
            for block in capture.stop_with_blocks() {
                merger.push(source, Captured::Block(block), Stamp::ZERO);
            }
        }
        let mut merged = Vec::new();
        while let Some(captured) = merger.finish() {
            if let Captured::Block(block) = captured {
                merged.extend(frames_of(&block));
            }
        }
        assert!(merged.is_sorted_by_key(|frame| frame.stamp));
        let mut bytes = bytes_of(&merged);
        let mut sent = sent;
        bytes.sort();
        sent.sort();
        assert!(bytes == sent, "each frame once, {} of them", bytes.len());
    });
}

/// Looking for a block that is not there yet must not move the reader on.
#[test]
fn blocks_come_in_order_after_idle_time() {
    inside("capture::blocks_come_in_order_after_idle_time", || {
        cable();
        let mut ring = open(&Config { ring_bytes: 256 << 10, ..Config::new("va") }, 4).unwrap().remove(0);
        // More than two of the ring's four blocks.
        let sent: Vec<_> = (0..150).map(|port| frame(&[8, 0], 0, port, &[0; 1_000])).collect();
        for round in 0..6 {
            let idle = Running::of(ring, usize::MAX);
            idle.until(|_| idle.taken.lock().unwrap().iter().any(|item| matches!(item, Captured::Idle(_))));
            ring = idle.end().1;
            send("vb", &sent);
            let busy = Running::of(ring, usize::MAX);
            busy.wait_for(150);
            assert!(bytes_of(&busy.frames()) == sent, "round {round}");
            ring = busy.end().1;
        }
    });
}

/// What a restart does: the ring outlives the one who opened it.
#[test]
fn a_ring_is_taken_over_with_what_is_in_it() {
    inside("capture::a_ring_is_taken_over_with_what_is_in_it", || {
        cable();
        let config = Config::new("va");
        let ring = open(&config, 4).unwrap().remove(0);
        let kept = ring.as_fd().try_clone_to_owned().unwrap();
        let first = Running::of(ring, usize::MAX);
        send("vb", &[frame(&[8, 0], 0, 1, b"seen by the first")]);
        first.wait_for(1);
        assert_eq!(first.stop().0.len(), 1);
        let between: Vec<_> = (0..500).map(|port| frame(&[8, 0], 0, port, b"between")).collect();
        send("vb", &between);
        let wrong = Config { ring_bytes: 1 << 20, ..config.clone() };
        let refused = Ring::from_fd(kept.try_clone().unwrap(), &wrong, 4).unwrap_err().to_string();
        assert!(refused.contains("another size"), "{refused}");
        let second = Running::of(Ring::from_fd(kept, &config, 4).unwrap(), usize::MAX);
        second.wait_for(500);
        let (frames, dropped) = second.stop();
        assert_eq!(bytes_of(&frames), between);
        assert_eq!(dropped, []);
    });
}

#[test]
fn what_cannot_be_captured_is_told() {
    inside("capture::what_cannot_be_captured_is_told", || {
        cable();
        let error = open(&Config::new("eth99"), 0).unwrap_err();
        assert!(matches!(&error, CaptureError::Missing { present, .. } if present.len() == 3), "{error}");
        assert!(error.to_string().contains("`eth99`; there are: lo, "), "{error}");
        let config = Config { filter: Some("udp prot 5".into()), ..Config::new("va") };
        let error = open(&config, 0).unwrap_err().to_string();
        assert!(error.contains("`va`") && error.contains("`udp prot 5`"), "{error}");
        let config = Config { timestamps: Timestamps::Hardware, ..Config::new("va") };
        let error = open(&config, 0).unwrap_err().to_string();
        assert!(error.contains("set timestamps to kernel"), "{error}");
    });
}

/// Puts frames on the cable, exactly so.
fn send(interface: &str, frames: &[Vec<u8>]) {
    let mut sender = pcap::Capture::from_device(interface).unwrap().open().unwrap();
    for frame in frames {
        sender.sendpacket(&frame[..]).unwrap();
    }
}

/// A UDP datagram in IPv4 in Ethernet.
fn frame(ethertype: &[u8], id: u16, port: u16, payload: &[u8]) -> Vec<u8> {
    let mut ip = [0x45, 0, 0, 0, 0, 0, 0, 0, 64, 17, 0, 0, 192, 0, 2, 1, 192, 0, 2, 2];
    ip[2..4].copy_from_slice(&(28 + payload.len() as u16).to_be_bytes());
    ip[4..6].copy_from_slice(&id.to_be_bytes());
    let mut udp = [0; 8];
    udp[0..2].copy_from_slice(&port.to_be_bytes());
    udp[2..4].copy_from_slice(&port.to_be_bytes());
    udp[4..6].copy_from_slice(&(8 + payload.len() as u16).to_be_bytes());
    let addresses = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    [&addresses[..], ethertype, &ip, &udp, payload].concat()
}

/// A captured frame, out of its block.
#[derive(Clone, Debug)]
struct Frame {
    bytes: Vec<u8>,
    stamp: Stamp,
    number: u64,
    wire_len: u32,
    link: LinkType,
    interface: u16,
}

fn frames_of(block: &FrameBlock) -> Vec<Frame> {
    let copy = |meta: &sejf::base::frame::FrameMeta| Frame {
        bytes: block.data(meta).to_vec(),
        stamp: meta.stamp,
        number: meta.number,
        wire_len: meta.wire_len,
        link: meta.link,
        interface: meta.interface,
    };
    block.frames.iter().map(copy).collect()
}

fn bytes_of(frames: &[Frame]) -> Vec<Vec<u8>> {
    frames.iter().map(|frame| frame.bytes.clone()).collect()
}

fn read(counter: &AtomicU64) -> u64 {
    counter.load(Ordering::Relaxed)
}

fn lost(dropped: &[Dropped], place: Place) -> u64 {
    dropped.iter().filter(|dropped| dropped.place == place).map(|dropped| dropped.frames).sum()
}

/// A capture thread, and what it has captured.
struct Running {
    stats: Arc<Stats>,
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Ring>,
    captured: Receiver<(usize, Captured)>,
    taken: Mutex<Vec<Captured>>,
    /// How many items may be taken before the end.
    take: usize,
}

impl Running {
    fn start(config: &Config) -> Self {
        Self::of(open(config, 4).unwrap().remove(0), usize::MAX)
    }

    /// Where nothing is taken, the queue has room for one item.
    fn of(ring: Ring, take: usize) -> Self {
        let (stats, stop) = (Arc::<Stats>::default(), Arc::<AtomicBool>::default());
        let (sender, captured) = bounded(if take == 0 { 1 } else { 1_024 });
        let (_, spent) = bounded(1);
        let outlet = Outlet { source: 0, captured: sender, spent };
        let (its_stats, its_stop) = (stats.clone(), stop.clone());
        let thread = std::thread::spawn(move || run(ring, &outlet, &its_stats, &its_stop));
        Self { stats, stop, thread, captured, taken: Mutex::default(), take }
    }

    fn take(&self) {
        let mut taken = self.taken.lock().unwrap();
        while taken.len() < self.take
            && let Ok((_, captured)) = self.captured.try_recv()
        {
            taken.push(captured);
        }
    }

    fn frames(&self) -> Vec<Frame> {
        let taken = self.taken.lock().unwrap();
        taken
            .iter()
            .flat_map(|captured| if let Captured::Block(b) = captured { frames_of(b) } else { vec![] })
            .collect()
    }

    /// Waits for a state, for as long as a machine that is very busy may take.
    fn until(&self, holds: impl Fn(&[Frame]) -> bool) {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            self.take();
            if holds(&self.frames()) {
                return;
            }
            assert!(Instant::now() < end, "it never came; {:?}", self.stats);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn wait_for(&self, frames: u64) {
        self.until(|seen| seen.len() as u64 >= frames);
    }

    fn stop(self) -> (Vec<Frame>, Vec<Dropped>) {
        let all = self.end().0;
        let mut frames = Vec::new();
        let mut drops = Vec::new();
        for captured in all {
            match captured {
                Captured::Block(block) => frames.extend(frames_of(&block)),
                Captured::Dropped(dropped) => drops.push(dropped),
                Captured::Idle(_) => {}
            }
        }
        (frames, drops)
    }

    fn stop_with_blocks(self) -> Vec<FrameBlock> {
        let blocks = self.end().0.into_iter();
        blocks
            .filter_map(|captured| if let Captured::Block(block) = captured { Some(block) } else { None })
            .collect()
    }

    fn end(self) -> (Vec<Captured>, Ring) {
        self.stop.store(true, Ordering::Relaxed);
        let taken = self.taken;
        let mut all = taken.into_inner().unwrap();
        // Takes while it ends, so that what is last has room.
        all.extend(self.captured.iter().map(|(_, captured)| captured));
        (all, self.thread.join().unwrap())
    }
}
