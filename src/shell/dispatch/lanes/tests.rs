//! Tests of what is left out, and in which order.

use crossbeam_channel::bounded;

use super::*;
use crate::base::endpoint::{Endpoint, Ip};
use crate::base::frame::{FrameMeta, LinkType};
use crate::call::intake::{AsideTask, MediaTask};
use crate::call::stream::RtpHead;
use crate::call::table::{Opening, Transport};
use crate::wire::rtp::RtpPacket;

const LOW: u32 = 0;
const MIDDLE: u32 = 1;
const HIGH: u32 = 2;

fn load() -> Arc<Load> {
    let load = Load::new(8, &[]);
    load.set_priorities(&[50, 100, 200]);
    for (slot, priority) in [(LOW, 50), (MIDDLE, 100), (HIGH, 200)] {
        load.set_priority(slot, priority);
    }
    Arc::new(load)
}

fn block(frames: u32) -> Arc<FrameBlock> {
    let mut block = FrameBlock::default();
    for number in 0..frames {
        let meta = FrameMeta {
            stamp: Stamp::from_unix_nanos(u64::from(number + 1) * 1_000_000),
            number: u64::from(number) + 1,
            offset: 0,
            len: 0,
            wire_len: 4,
            link: LinkType::ETHERNET,
            interface: 0,
        };
        block.push(meta, &number.to_be_bytes());
    }
    Arc::new(block)
}

fn media(slot: u32, frame: u32) -> Task {
    let rtp = [0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0];
    let head: RtpHead = (&RtpPacket::parse(&rtp).unwrap()).into();
    Task::Media(MediaTask { slot, stream: 0, cut: false, frame, head, offset: 0, len: 0 })
}

fn signalling(slot: u32, frame: u32) -> Task {
    Task::Aside(AsideTask { slot, frame, kind: AsideKind::Signalling })
}

/// What a shard is handed, in words.
fn words(work: Work) -> Vec<String> {
    let Work::Batch { tasks, .. } = work else { return vec!["other".into()] };
    tasks
        .iter()
        .map(|task| match task {
            Task::Media(media) => format!("{} media", media.slot),
            Task::Aside(aside) => format!("{} aside", aside.slot),
            Task::Done => "done".into(),
            Task::Rare(rare) => match rare.as_ref() {
                RareTask::Event(Event::Opened { slot, .. }) => format!("{slot} opened"),
                RareTask::Event(event) => format!("{} event", event.slot()),
                RareTask::Media { slot, .. } => format!("{slot} held"),
                RareTask::Aside { slot, .. } => format!("{slot} held aside"),
                RareTask::Signalling { slot, frames } => {
                    format!("{slot} signalling {:?}", frames[0].frame.bytes)
                }
                RareTask::Lost { slot, frames, from, to } => {
                    let millis = |at: &Stamp| at.as_unix_nanos() / 1_000_000;
                    format!("{slot} lost {frames} {}-{}", millis(from), millis(to))
                }
            },
        })
        .collect()
}

fn lanes(room: usize, load: Arc<Load>) -> (Lanes, Receiver<Work>) {
    let (sender, work) = bounded(room);
    (Lanes::new(vec![(sender, Arc::default())], bounded(1).1, WhenFull::Shed, load), work)
}

fn opened(slot: u32) -> Task {
    let at = Stamp::ZERO;
    let nobody = Endpoint::new(Ip::v4([0; 4]), 0);
    let first = Box::new(Opening {
        src: nobody,
        dst: nobody,
        vlans: Vec::new(),
        tunnel: None,
        transport: Transport::Udp,
        message: Box::default(),
    });
    Task::Rare(Box::new(RareTask::Event(Event::Opened { slot, ordinal: 9, at, orphan: false, first })))
}

#[test]
fn the_lowest_priority_goes_first_as_a_queue_fills() {
    let (mut lanes, work) = lanes(12, load());
    let mut kept = Vec::new();
    for _ in 0..12 {
        let block = block(3);
        for slot in [LOW, MIDDLE, HIGH] {
            lanes.push(&block, media(slot, slot));
        }
        assert!(lanes.flush(&block));
    }
    for work in work.try_iter() {
        let words = words(work);
        kept.push([LOW, MIDDLE, HIGH].map(|slot| words.contains(&format!("{slot} media"))));
    }
    let all = [true, true, true];
    let two = [false, true, true];
    let one = [false, false, true];
    assert_eq!(kept, [[all; 8].as_slice(), &[two; 2], &[one; 2]].concat());
    assert_eq!(lanes.shed, 4 + 2);
    assert!(lanes.load.tally().snapshot().get(Condition::MediaQueueFull) == 4);
}

#[test]
fn a_full_queue_costs_packets_and_keeps_signalling_in_order() {
    let (mut lanes, work) = lanes(1, load());
    let full = block(1);
    lanes.push(&full, media(HIGH, 0));
    assert!(lanes.flush(&full));
    let (first, second) = (block(4), block(2));
    lanes.push(&first, media(HIGH, 0));
    lanes.push(&first, signalling(HIGH, 1));
    lanes.push(&first, media(HIGH, 2));
    // A call that begins, in the place of another: what that one lost is not its own.
    lanes.push(&first, media(LOW, 3));
    lanes.push(&first, opened(LOW));
    lanes.push(&first, media(LOW, 3));
    assert!(lanes.flush(&first));
    lanes.push(&second, media(HIGH, 1));
    assert!(lanes.flush(&second));
    assert_eq!(words(work.recv().unwrap()), ["2 media"]);
    lanes.push(&second, media(HIGH, 0));
    assert!(lanes.flush(&second));
    let handed = words(work.recv().unwrap());
    assert_eq!(
        handed,
        ["2 lost 3 1-3", "2 signalling [0, 0, 0, 1]", "0 lost 1 4-4", "0 opened", "0 lost 1 4-4", "2 media",]
    );
    assert_eq!(lanes.shed, 5);
}

#[test]
fn running_calls_are_thinned_where_that_is_asked_for() {
    let load = load();
    let (mut lanes, work) = lanes(4, load);
    let block = block(4);
    lanes.keep_from = 100;
    for frame in 0..2 {
        lanes.push(&block, media(LOW, frame));
        lanes.push(&block, media(MIDDLE, frame + 2));
    }
    lanes.push(&block, signalling(LOW, 3));
    // Nobody has looked at it yet: it may be of the highest.
    lanes.push(&block, opened(LOW));
    lanes.push(&block, media(LOW, 3));
    assert!(lanes.flush(&block));
    let handed = words(work.recv().unwrap());
    assert_eq!(handed, ["0 lost 2 1-2", "1 media", "1 media", "0 aside", "0 opened", "0 media"]);
}

#[test]
fn who_waits_is_alive_while_the_shard_moves() {
    let (lanes, work) = lanes(1, load());
    let (lane, taken) = (&lanes.lanes[0], lanes.lanes[0].taken.clone());
    let tick = || Work::Tick(Stamp::ZERO);
    lane.sender.send(tick()).unwrap();
    let beats = AtomicU64::new(0);
    std::thread::scope(|scope| {
        // It takes one after the other, and somebody else is always there before us.
        scope.spawn(|| {
            while beats.load(Ordering::Relaxed) < 2 {
                taken.fetch_add(1, Ordering::Relaxed);
                std::thread::yield_now();
            }
            work.recv().unwrap();
        });
        let alive = || {
            beats.fetch_add(1, Ordering::Relaxed);
        };
        assert!(lane.send(tick(), &alive));
    });
    assert!(beats.into_inner() >= 2);
    // It takes nothing any more, for longer than it is waited for once, and is gone.
    std::thread::scope(|scope| {
        scope.spawn(move || {
            std::thread::sleep(3 * PATIENCE);
            drop(work);
        });
        assert!(!lane.send(tick(), &|| panic!("nothing moves")));
    });
}

#[test]
fn a_file_waits() {
    let (mut lanes, work) = lanes(8, load());
    lanes.full = WhenFull::Wait;
    for _ in 0..8 {
        let block = block(1);
        lanes.push(&block, media(LOW, 0));
        assert!(lanes.flush(&block));
    }
    assert!(work.try_iter().all(|work| words(work) == ["0 media"]));
    assert_eq!(lanes.shed, 0);
}

#[test]
fn a_full_queue_does_not_hold_up_who_tells_of_losses() {
    let (mut lanes, work) = lanes(2, load());
    let at = |second: u64| Stamp::from_unix_nanos(second * 1_000_000_000);
    lanes.tell_time(at(1));
    lanes.tell_time(at(1));
    // Comes back, though nobody takes anything, and keeps no more than it may.
    for second in 0..2 * LOSSES_MAX as u64 {
        lanes.tell_lost(at(second), at(second + 1), Discard::QueueDrop);
    }
    let waiting = &lanes.lanes[0].losses;
    assert_eq!(waiting.len(), LOSSES_MAX);
    assert_eq!(waiting.last().unwrap(), &(at(63), at(128), Discard::QueueDrop));
    assert_eq!(work.try_iter().filter(|work| matches!(work, Work::Tick(_))).count(), 2);
    let mut told = Vec::new();
    while !lanes.lanes[0].losses.is_empty() {
        assert!(lanes.flush(&Arc::default()));
        told.extend(work.try_iter());
    }
    let until = told.iter().map(|work| match work {
        Work::Lost { to, .. } => *to,
        _ => panic!("something else than a loss"),
    });
    assert_eq!((told.len(), until.max().unwrap()), (LOSSES_MAX, at(128)));
}
