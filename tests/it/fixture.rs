//! The generator's promises, held by reading its captures with other code than wrote them.

use std::collections::BTreeMap;
use std::time::Duration;

use sejf::base::format::Format;
use sejf::base::party::Party;
use sejf::fixture::generate;
use sejf::fixture::generator::Generator;
use sejf::fixture::recipe::{CallRecipe, Recipe, StreamRecipe};
use sejf::fixture::scenarios::scenarios;
use sejf::fixture::voice::voice;

/// RTP sequence numbers by SSRC, in order of capture, and the payloads by SSRC.
type Packets = BTreeMap<u32, Vec<(u16, Vec<u8>)>>;

#[test]
fn truth_agrees_with_the_packets() {
    let stream = StreamRecipe {
        loss_percent: 4.0,
        loss_burst: 2,
        reorder_percent: 4.0,
        duplicate_percent: 4.0,
        ..StreamRecipe::default()
    };
    let kind = CallRecipe {
        streams: [stream.clone(), stream],
        talk: Duration::from_secs(10),
        ..CallRecipe::default()
    };
    let recipe = Recipe { calls: 3, kinds: vec![kind], ..Recipe::default() };
    let (packets, _) = rtp(&recipe);
    let truth = generate(&recipe).unwrap().truth;
    let streams: Vec<_> = truth.calls.iter().flat_map(|call| &call.streams).collect();
    assert_eq!(streams.len(), packets.len());
    for stream in streams {
        let seen: Vec<u16> = packets[&stream.ssrc].iter().map(|packet| packet.0).collect();
        let mut unique = seen.clone();
        unique.sort_unstable();
        unique.dedup();
        let span = u64::from(unique.last().unwrap() - unique[0]) + 1;
        assert_eq!(stream.packets, seen.len() as u64);
        assert_eq!(stream.duplicates, (seen.len() - unique.len()) as u64);
        assert_eq!(stream.lost, span - unique.len() as u64);
        assert!(stream.lost > 0 && stream.duplicates > 0 && stream.reordered > 0, "{stream:?}");
    }
}

#[test]
fn the_sound_is_the_voice() {
    let recipe = Recipe {
        kinds: vec![CallRecipe { format: Format::new("L16", 8_000), ..CallRecipe::default() }],
        ..Recipe::default()
    };
    let (packets, _) = rtp(&recipe);
    let truth = generate(&recipe).unwrap().truth;
    for stream in &truth.calls[0].streams {
        let pcm: Vec<i16> = packets[&stream.ssrc]
            .iter()
            .flat_map(|packet| packet.1.chunks_exact(2).map(|two| i16::from_be_bytes([two[0], two[1]])))
            .collect();
        let want = voice(0, stream.party, 8_000, pcm.len() as f64 / 8_000.0);
        assert_eq!(pcm, want, "{:?}", stream.party);
        assert_eq!(stream.reference(8_000), want);
    }
    assert_ne!(voice(0, Party::Caller, 8_000, 1.0), voice(0, Party::Callee, 8_000, 1.0));
}

#[test]
fn frames_come_in_order_of_time() {
    for (name, recipe) in scenarios() {
        let (_, stamps) = rtp(&recipe);
        assert!(stamps.is_sorted(), "{name}");
        assert!(stamps.len() >= 4, "{name}");
    }
}

/// Takes frames apart by the offsets of plain Ethernet, IPv4 and UDP.
fn rtp(recipe: &Recipe) -> (Packets, Vec<u64>) {
    let mut generator = Generator::new(recipe).expect("the recipe is sound");
    let (mut packets, mut stamps) = (Packets::new(), Vec::new());
    while let Some(frame) = generator.next_frame() {
        stamps.push(frame.stamp.as_unix_nanos());
        let Some([0x80, _, high, low, _, _, _, _, ssrc @ ..]) = frame.bytes.get(42..) else { continue };
        let Some((ssrc, payload)) = ssrc.split_first_chunk() else { continue };
        let entry = packets.entry(u32::from_be_bytes(*ssrc)).or_default();
        entry.push((u16::from_be_bytes([*high, *low]), payload.to_vec()));
    }
    (packets, stamps)
}
