//! What is left out on purpose is in no recording: pauses, and keys. And all else is as it would be.

use std::process::Command;

use serde_json::Value;

use sejf::base::format::Format;
use sejf::base::party::Party;
use sejf::codec;
use sejf::fixture::voice::voice;
use sejf::recording::dtmf::Detector;

use crate::support::{Bench, assert_success, installed, lines, sejf, text};

/// A call of ten seconds in which each party speaks in its own voice.
struct Call {
    format: Format,
    payload_type: u8,
    /// Time in ms, from the caller, and bytes of the UDP payload.
    packets: Vec<(f64, bool, Vec<u8>)>,
    /// SIP: time in ms, from the caller, text.
    sip: Vec<(f64, bool, String)>,
}

const SECONDS: usize = 10;
/// Media begins so long after the INVITE.
const MEDIA_MS: f64 = 500.0;

impl Call {
    fn new(format: &Format) -> Self {
        let payload_type = match format.encoding.as_str() {
            "PCMU" => 0,
            "PCMA" => 8,
            "G722" => 9,
            _ => 96,
        };
        let mut call = Self { format: format.clone(), payload_type, packets: Vec::new(), sip: Vec::new() };
        let sdp = |port| call.sdp(port);
        let (offer, answer) = (sdp(4_000), sdp(5_000));
        call.request(0.0, true, "INVITE", 1, "Content-Type: application/sdp\r\n", &offer);
        call.ok(200.0, false, "INVITE", 1, &answer);
        call.request(220.0, true, "ACK", 1, "", "");
        let end = MEDIA_MS + SECONDS as f64 * 1_000.0 + 10.0;
        call.request(end, true, "BYE", 90, "", "");
        call.ok(end + 5.0, false, "BYE", 90, "");
        call
    }

    fn rate_hz(&self) -> u32 {
        codec::native_rate_hz(&self.format).unwrap()
    }

    fn voice(&self, party: Party) -> Vec<i16> {
        voice(3, party, self.rate_hz(), SECONDS as f64)
    }

    /// Both parties send: the caller `caller`, the callee its voice.
    fn speak(&mut self, caller: &[i16]) {
        self.send(true, caller);
        let callee = self.voice(Party::Callee);
        self.send(false, &callee);
    }

    fn send(&mut self, from_caller: bool, pcm: &[i16]) {
        let mut encoder = codec::encoder(&self.format).unwrap();
        for (n, part) in pcm.chunks_exact(self.rate_hz() as usize / 50).enumerate() {
            let mut payload = Vec::new();
            encoder.encode(part, &mut payload);
            let units = self.format.clock_rate_hz / 50 * n as u32;
            let packet = rtp(from_caller, self.payload_type, n as u16, units, &payload);
            self.packets.push((MEDIA_MS + n as f64 * 20.0, from_caller, packet));
        }
    }

    /// A key as RFC 4733 events in place of sound: `at_ms` in the media.
    fn press(&mut self, at_ms: usize, digit: char, packets: usize) {
        let event = "0123456789*#ABCD".find(digit).unwrap() as u8;
        for n in 0..packets {
            let number = at_ms / 20 + n;
            let duration = (160 * (n + 1)) as u16;
            let [high, low] = duration.to_be_bytes();
            let end = if n + 1 == packets { 0x80 } else { 0 };
            let units = self.format.clock_rate_hz / 50 * (at_ms / 20) as u32;
            let packet = rtp(true, 101, number as u16, units, &[event, end | 10, high, low]);
            let at = MEDIA_MS + number as f64 * 20.0;
            self.packets.retain(|known| !(known.1 && (known.0 - at).abs() < 1.0));
            self.packets.push((at, true, packet));
        }
    }

    fn sdp(&self, port: u16) -> String {
        let (number, name, hz) = (self.payload_type, &self.format.encoding, self.format.clock_rate_hz);
        let channels = if name == "OPUS" { "/2" } else { "" };
        format!(
            "v=0\r\no=- 1 1 IN IP4 {ip}\r\ns=-\r\nc=IN IP4 {ip}\r\nt=0 0\r\nm=audio {port} RTP/AVP {number} 101\r\n\
             a=rtpmap:{number} {name}/{hz}{channels}\r\na=rtpmap:101 telephone-event/{hz}\r\n",
            ip = if port == 4_000 { "192.0.2.1" } else { "192.0.2.2" }
        )
    }

    fn request(&mut self, at: f64, from_caller: bool, method: &str, cseq: u32, more: &str, body: &str) {
        let (from, to) = if from_caller { ("a", "b") } else { ("b", "a") };
        let tag = if method == "INVITE" { String::new() } else { format!(";tag={to}") };
        let text = format!(
            "{method} sip:{to}@192.0.2.2 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{cseq}\r\n\
             From: <sip:{from}@x>;tag={from}\r\nTo: <sip:{to}@x>{tag}\r\nCall-ID: masked\r\n\
             CSeq: {cseq} {method}\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        self.sip.push((at, from_caller, text));
    }

    fn ok(&mut self, at: f64, from_caller: bool, method: &str, cseq: u32, sdp: &str) {
        let kind = if sdp.is_empty() { "" } else { "Content-Type: application/sdp\r\n" };
        self.sip.push((
            at,
            from_caller,
            format!(
                "SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP 192.0.2.1;branch=z9hG4bK{cseq}\r\nFrom: <sip:a@x>;tag=a\r\n\
                 To: <sip:b@x>;tag=b\r\nCall-ID: masked\r\nCSeq: {cseq} {method}\r\n{kind}Content-Length: {}\r\n\r\n{sdp}",
                sdp.len()
            ),
        ));
    }

    /// A header that pauses, or has it go on, from the callee.
    fn say(&mut self, at: f64, cseq: u32, word: &str) {
        let header = format!("X-Recording: {word}\r\n");
        self.request(at, false, "UPDATE", cseq, &header, "");
    }

    fn capture(&self) -> Vec<u8> {
        self.capture_in(1_500)
    }

    /// SIP longer than `most` bytes comes in IP fragments.
    fn capture_in(&self, most: usize) -> Vec<u8> {
        let media = self.packets.iter().map(|(at, caller, bytes)| {
            let (src, dst) = if *caller { (4_000, 5_000) } else { (5_000, 4_000) };
            (*at, *caller, src, dst, bytes.clone())
        });
        let sip =
            self.sip.iter().map(|(at, caller, text)| (*at, *caller, 5_060, 5_060, text.clone().into_bytes()));
        let mut all: Vec<_> = media.chain(sip).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut file =
            vec![0xd4, 0xc3, 0xb2, 0xa1, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 1, 0, 0, 0];
        for (at, caller, src, dst, payload) in all {
            let micros = (at * 1_000.0).round() as u32;
            for frame in fragments(frame(caller, src, dst, &payload), most, micros as u16) {
                for field in [
                    1_790_000_000 + micros / 1_000_000,
                    micros % 1_000_000,
                    frame.len() as u32,
                    frame.len() as u32,
                ] {
                    file.extend(field.to_le_bytes());
                }
                file.extend(frame);
            }
        }
        file
    }
}

fn rtp(from_caller: bool, payload_type: u8, sequence: u16, timestamp: u32, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x80, payload_type];
    packet.extend(sequence.to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(if from_caller { [0, 0, 0, 7] } else { [0, 0, 0, 9] });
    packet.extend(payload);
    packet
}

fn frame(from_caller: bool, src: u16, dst: u16, payload: &[u8]) -> Vec<u8> {
    let (from, to) = if from_caller { (1, 2) } else { (2, 1) };
    let mut frame = vec![0, 0, 0, 0, 0, to, 0, 0, 0, 0, 0, from, 8, 0, 0x45, 0];
    frame.extend((28 + payload.len() as u16).to_be_bytes());
    frame.extend([0, 0, 0x40, 0, 64, 17, 0, 0, 192, 0, 2, from, 192, 0, 2, to]);
    for field in [src, dst, 8 + payload.len() as u16, 0] {
        frame.extend(field.to_be_bytes());
    }
    frame.extend(payload);
    frame
}

/// Splits a frame whose datagram is longer than `most` bytes.
fn fragments(frame: Vec<u8>, most: usize, id: u16) -> Vec<Vec<u8>> {
    let (head, datagram) = frame.split_at(34);
    if datagram.len() <= most {
        return vec![frame];
    }
    let size = most / 8 * 8;
    let parts = datagram.chunks(size).enumerate();
    parts
        .map(|(n, part)| {
            let mut fragment = head.to_vec();
            fragment[16..18].copy_from_slice(&(20 + part.len() as u16).to_be_bytes());
            fragment[18..20].copy_from_slice(&id.to_be_bytes());
            let more = if (n + 1) * size < datagram.len() { 0x2000 } else { 0 };
            fragment[20..22].copy_from_slice(&((n * size / 8) as u16 | more).to_be_bytes());
            fragment.extend(part);
            fragment
        })
        .collect()
}

/// What the program made of a capture.
struct Recorded {
    bench: Bench,
    manifest: Value,
}

impl Recorded {
    fn new(call: &Call, audio: &str, more: &[&str]) -> Self {
        Self::of(&call.capture(), audio, more)
    }

    fn of(bytes: &[u8], audio: &str, more: &[&str]) -> Self {
        let bench = Bench::new();
        let capture = bench.path("capture");
        std::fs::write(&capture, bytes).expect("capture");
        let mut args = vec!["--audio", audio, "--quiet"];
        args.extend(more);
        assert_success(&bench.replay(&capture, "out", &args));
        let mut manifests = bench.manifests("out");
        assert_eq!(manifests.len(), 1, "{manifests:#?}");
        let manifest = manifests.remove(0);
        let books = &manifest["counters"];
        let discarded: u64 =
            books["discarded"].as_object().unwrap().values().map(|n| n.as_u64().unwrap()).sum();
        assert_eq!(
            books["captured"].as_u64().unwrap(),
            books["recorded"].as_u64().unwrap() + discarded,
            "{books}"
        );
        Self { bench, manifest }
    }

    /// The channels of the sound, and their rate.
    fn sound(&self) -> ([Vec<i16>; 2], u32) {
        let bytes = self.bench.open("out", &self.manifest, "audio").expect("a sound file");
        let (samples, rate): (Vec<i16>, u32) = if bytes.starts_with(b"OggS") {
            let path = self.bench.path("opened.opus");
            std::fs::write(&path, bytes).unwrap();
            let args = ["-v", "error", "-i", text(&path), "-f", "s16le", "-ac", "2", "-ar", "16000", "-"];
            let decoded = Command::new("ffmpeg").args(args).output().expect("ffmpeg runs");
            assert_success(&decoded);
            (decoded.stdout.chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect(), 16_000)
        } else {
            let mut wav = hound::WavReader::new(bytes.as_slice()).expect("WAV");
            let rate = wav.spec().sample_rate;
            (wav.samples().map(|sample| sample.unwrap()).collect(), rate)
        };
        ([0, 1].map(|side| samples.iter().copied().skip(side).step_by(2).collect()), rate)
    }

    /// UDP payloads of the packets that were kept.
    fn packets(&self) -> Vec<Vec<u8>> {
        use pcap_parser::traits::PcapReaderIterator;
        let bytes = self.bench.open("out", &self.manifest, "packets").expect("a packet file");
        let mut reader = pcap_parser::PcapNGReader::new(1 << 20, bytes.as_slice()).unwrap();
        let mut packets = Vec::new();
        while let Ok((offset, block)) = reader.next() {
            if let pcap_parser::PcapBlockOwned::NG(pcap_parser::Block::EnhancedPacket(packet)) = block {
                packets.push(packet.data[42..packet.caplen as usize].to_vec());
            }
            reader.consume(offset);
        }
        packets
    }

    fn masked(&self) -> u64 {
        self.manifest["counters"]["discarded"]["masked"].as_u64().unwrap_or(0)
    }

    fn masked_gaps(&self, party: &str) -> Vec<(f64, f64)> {
        let gaps = self.manifest["gaps"].as_array().unwrap().iter();
        let ours = gaps.filter(|gap| gap["reason"] == "masked" && gap["party"] == party);
        ours.map(|gap| (gap["at_s"].as_f64().unwrap(), gap["length_s"].as_f64().unwrap())).collect()
    }
}

fn pcmu() -> Format {
    Format::new("PCMU", 8_000)
}

fn opus() -> Format {
    Format { channels: 2, ..Format::new("OPUS", 48_000) }
}

const PAUSE: &[&str] = &["--pause-header", "X-Recording", "--pause-by", "callee"];

/// A pause from 3 s to 6 s after the INVITE, with the packets around its edges out of order and some
/// of those inside lost, so that there is something to conceal.
fn paused(format: &Format) -> (Call, Call) {
    let mut call = Call::new(format);
    let caller = call.voice(Party::Caller);
    call.speak(&caller);
    for (at, _, _) in &mut call.packets {
        // Those just before each edge come after it.
        for edge in [3_000.0, 6_000.0] {
            if *at >= edge - 40.0 && *at < edge {
                *at += 55.0;
            }
        }
    }
    call.packets.retain(|(at, _, _)| !(5_700.0..5_760.0).contains(at));
    let mut with = Call { packets: call.packets.clone(), sip: call.sip.clone(), ..Call::new(format) };
    with.say(3_000.0, 20, "pause;reason=card");
    with.say(6_000.0, 21, "resume");
    (call, with)
}

#[test]
fn nothing_of_a_pause_is_in_the_sound_and_all_else_is_as_without_it() {
    for (format, audio) in [(pcmu(), "wav"), (Format::new("G722", 8_000), "wav"), (opus(), "wav")] {
        let (plain, with) = paused(&format);
        let (plain, with) = (Recorded::new(&plain, audio, &[]), Recorded::new(&with, audio, PAUSE));
        assert_eq!(plain.manifest["masked"], Value::Null);
        let span = &with.manifest["masked"][0];
        assert_eq!((span["by"].as_str(), span["reason"].as_str()), (Some("sip-header"), Some("card")));
        assert_eq!((span["from_s"].as_f64(), span["to_s"].as_f64()), (Some(3.0), Some(6.0)), "{format:?}");
        let ((want, rate), (have, _)) = (plain.sound(), with.sound());
        for side in 0..2 {
            let party = ["caller", "callee"][side];
            assert_eq!(with.masked_gaps(party), [(3.0, 3.0)], "{format:?}");
            assert_eq!(have[side].len(), want[side].len());
            let (from, to) = (3 * rate as usize, 6 * rate as usize);
            assert!(have[side][..from] == want[side][..from], "{format:?} {party} before");
            assert!(have[side][from..to].iter().all(|sample| *sample == 0), "{format:?} {party} inside");
            assert!(have[side][to..] == want[side][to..], "{format:?} {party} after");
        }
        assert!((280..=300).contains(&with.masked()), "{} of 294", with.masked());
    }
}

#[test]
fn nothing_of_a_pause_is_in_opus() {
    if !installed("ffmpeg") {
        return;
    }
    for format in [pcmu(), opus()] {
        let (plain, with) = paused(&format);
        let (plain, with) = (Recorded::new(&plain, "opus", &[]), Recorded::new(&with, "opus", PAUSE));
        let ((want, rate), (have, _)) = (plain.sound(), with.sound());
        let tick = rate as usize / 1_000;
        for side in 0..2 {
            let inside = &have[side][3_020 * tick..5_980 * tick];
            // An encoder's own ending of what it was given before: it was never given what is inside.
            let (ending, rest) = inside.split_at(60 * tick);
            assert!(ending.iter().all(|sample| sample.abs() <= 40), "{format:?} {side} ending");
            assert!(rest.iter().all(|sample| sample.abs() <= 2), "{format:?} {side} inside");
            assert!(inside.len() > 40_000 && want[side].len() == have[side].len());
            let before = ..2_970 * tick;
            assert!(have[side][before] == want[side][before], "{format:?} {side} before");
            // Another encoder, or a decoder that has heard other things, is as good but not the same.
            let after = 6_100 * tick..9_900 * tick;
            let likeness = correlation(&have[side][after.clone()], &want[side][after]);
            assert!(likeness > 0.97, "{format:?} {side} after: {likeness}");
        }
    }
}

/// What was lost right after a pause is not made up from what was said in it.
#[test]
fn nothing_of_a_pause_is_made_up_after_it() {
    for format in [pcmu(), Format::new("G722", 8_000), opus()] {
        let mut call = Call::new(&format);
        let caller = call.voice(Party::Caller);
        call.speak(&caller);
        call.packets.retain(|(at, _, _)| !(5_950.0..6_079.0).contains(at));
        let plain = Recorded::new(&call, "wav", &[]);
        call.say(3_000.0, 20, "pause");
        call.say(6_000.0, 21, "resume");
        let with = Recorded::new(&call, "wav", PAUSE);
        let ((want, rate), (have, _)) = (plain.sound(), with.sound());
        let lost = 6 * rate as usize..6_079 * rate as usize / 1_000;
        for side in 0..2 {
            assert!(want[side][lost.clone()].iter().any(|sample| sample.abs() > 100), "nothing to make up");
            assert!(have[side][lost.clone()].iter().all(|sample| sample.abs() <= 2), "{format:?} {side}");
        }
    }
}

#[test]
fn packets_of_a_pause_are_left_out_and_sip_stays() {
    let (_, mut call) = paused(&pcmu());
    let kind = "Content-Type: application/dtmf-relay\r\n";
    call.request(4_000.0, true, "INFO", 40, kind, "Signal=7\r\nDuration=160\r\n");
    call.request(8_000.0, true, "INFO", 41, kind, "Signal=8\r\nDuration=160\r\n");
    let with = Recorded::new(&call, "pcap", PAUSE);
    let kept = with.packets();
    let whole = |text: &str| kept.iter().any(|packet| contains(packet, text.as_bytes()));
    assert!(whole("X-Recording: pause") && whole("X-Recording: resume") && whole("Signal=8"));
    assert!(!whole("Signal=7"), "a key of the pause");
    let numbers: Vec<u16> = kept
        .iter()
        .filter(|packet| packet[0] == 0x80 && packet[11] == 7)
        .map(|packet| u16::from_be_bytes([packet[2], packet[3]]))
        .collect();
    // 500 ms of call before the first packet: 3 s is number 125, and 6 s is number 275.
    assert!(numbers.iter().all(|number| !(126..274).contains(number)), "{numbers:?}");
    assert!((0..124).chain(276..500).all(|number| numbers.contains(&number)), "{numbers:?}");
    assert_eq!(with.masked_gaps("callee"), [(3.0, 3.0)]);
}

#[test]
fn keys_pause_and_a_pause_without_end_lasts() {
    for (audio, by_tone) in [("wav", false), ("wav", true), ("pcap", false), ("pcap", true)] {
        let mut call = Call::new(&pcmu());
        let mut caller = call.voice(Party::Caller);
        if by_tone {
            put(&mut caller, 8_000, 2_000, '*', -8.0, 0.0);
            put(&mut caller, 8_000, 2_300, '1', -8.0, 0.0);
        }
        call.speak(&caller);
        if !by_tone {
            call.press(2_000, '*', 4);
            call.press(2_300, '1', 4);
        }
        let with = Recorded::new(&call, audio, &["--pause-code", "*1,*2", "--pause-by", "caller"]);
        let span = &with.manifest["masked"][0];
        let (from, to) = (span["from_s"].as_f64().unwrap(), span["to_s"].as_f64().unwrap());
        assert_eq!(span["by"], "dtmf", "{audio} {by_tone}");
        assert!((2.79..2.95).contains(&from) && to > 10.4, "{audio} {by_tone}: {span}");
        assert!(with.masked() > 740, "{audio} {by_tone}: {}", with.masked());
        if audio == "wav" {
            let ([left, right], rate) = with.sound();
            let from = (from * f64::from(rate)).round() as usize;
            assert!(left[from..].iter().chain(&right[from..]).all(|sample| *sample == 0), "{by_tone}");
        }
        let other = Recorded::new(&call, audio, &["--pause-code", "*1,*2", "--pause-by", "callee"]);
        assert_eq!(other.manifest["masked"], Value::Null, "only the callee may");
    }
}

#[test]
fn events_and_keys_in_sip_are_not_kept() {
    let mut call = Call::new(&pcmu());
    let caller = call.voice(Party::Caller);
    call.speak(&caller);
    for (n, digit) in "4929".chars().enumerate() {
        call.press(2_000 + n * 200, digit, 4);
    }
    let kind = "Content-Type: application/dtmf-relay\r\n";
    call.request(4_000.0, true, "INFO", 40, kind, "Signal=7\r\nDuration=160\r\n");
    for audio in ["pcap", "wav"] {
        let (plain, with) =
            (Recorded::new(&call, audio, &[]), Recorded::new(&call, audio, &["--mask-digits"]));
        assert_eq!(plain.masked(), 0);
        assert_eq!(with.masked(), if audio == "pcap" { 17 } else { 16 });
        assert_eq!(with.manifest["streams"][0]["digits"], 4);
        if audio == "pcap" {
            let is_key = |packet: &Vec<u8>| packet[1] & 0x7f == 101 || contains(packet, b"Signal=");
            assert_eq!(plain.packets().iter().filter(|packet| is_key(packet)).count(), 17);
            assert_eq!(with.packets().iter().filter(|packet| is_key(packet)).count(), 0);
            assert_eq!(with.packets().len() + 17, plain.packets().len());
        } else {
            assert!(plain.sound() == with.sound(), "sound without tones is as it was");
        }
    }
}

/// A key is in the last of the frames that its message comes in.
#[test]
fn keys_in_sip_that_comes_in_parts_are_not_kept() {
    let mut call = Call::new(&pcmu());
    let kind = format!("X-Long: {}\r\nContent-Type: application/dtmf-relay\r\n", "x".repeat(1_000));
    call.request(4_000.0, true, "INFO", 40, &kind, "Signal=7\r\nDuration=160\r\n");
    let capture = call.capture_in(600);
    let (plain, with) =
        (Recorded::of(&capture, "pcap", &[]), Recorded::of(&capture, "pcap", &["--mask-digits"]));
    let tells = |packets: &[Vec<u8>]| packets.iter().any(|packet| contains(packet, b"Signal=7"));
    assert!(tells(&plain.packets()) && !tells(&with.packets()));
    assert_eq!((plain.masked(), with.masked()), (0, 3), "{}", with.manifest["counters"]);
}

/// What a party sends through a TURN server: channel data, and STUN that wraps it.
#[test]
fn media_that_is_relayed_is_left_out_with_all_else() {
    let relayed = |call: &mut Call| {
        for second in 0..10 {
            let inner = rtp(true, 101, second, 0, &[7, 10, 0, 160]);
            let channel = [&[0x40, 0, 0, inner.len() as u8][..], &inner].concat();
            let (attribute, cookie) = ([0, 0x13, 0, inner.len() as u8], [0x21, 0x12, 0xa4, 0x42]);
            let id = [second as u8; 12];
            let head = [0, 0x16, 0, inner.len() as u8 + 4];
            let wrapped = [&head[..], &cookie, &id, &attribute, &inner].concat();
            let at = MEDIA_MS + f64::from(second) * 1_000.0 + 7.0;
            call.packets.extend([(at, true, channel), (at + 1.0, true, wrapped)]);
        }
    };
    let is_relayed = |packet: &&Vec<u8>| packet[0] == 0x40 || packet[..2] == [0, 0x16];
    let kept = |of: &Recorded| of.packets().iter().filter(is_relayed).count();
    let (mut plain, mut with_pause) = paused(&pcmu());
    relayed(&mut plain);
    relayed(&mut with_pause);
    assert_eq!(kept(&Recorded::new(&plain, "pcap", PAUSE)), 20);
    // 3 s to 6 s.
    assert_eq!(kept(&Recorded::new(&with_pause, "pcap", PAUSE)), 14);
    let without_keys = Recorded::new(&plain, "pcap", &["--mask-digits"]);
    assert_eq!((kept(&without_keys), without_keys.masked()), (0, 20));
    assert!(without_keys.manifest["notes"].to_string().contains("TURN"));
}

/// The same, and RTCP, where each is longer than a frame: a fragment tells as much.
#[test]
fn what_is_beside_the_media_in_fragments_is_left_out_with_all_else() {
    let told = [0xa7; 240];
    let beside = |call: &mut Call| {
        for second in 0..10 {
            let inner = rtp(true, 101, second, 0, &told);
            let channel = [&[0x40, 0, 0, inner.len() as u8][..], &inner].concat();
            // APP (RFC 3550 section 6.7).
            let report = [&[0x80, 204, 0, 62, 0, 0, 0, 7][..], b"NAME", &told].concat();
            let at = MEDIA_MS + f64::from(second) * 1_000.0 + 7.0;
            call.packets.extend([(at, true, channel), (at + 1.0, true, report)]);
        }
    };
    let kept = |capture: &[u8], more: &[&str]| {
        let recorded = Recorded::of(capture, "pcap", more);
        let frames = recorded.packets().iter().filter(|packet| contains(packet, &told[..40])).count();
        (frames, recorded.manifest)
    };
    let (mut plain, mut with_pause) = paused(&pcmu());
    beside(&mut plain);
    beside(&mut with_pause);
    let (plain, with_pause) = (plain.capture_in(184), with_pause.capture_in(184));
    let (frames, manifest) = kept(&plain, PAUSE);
    assert_eq!(frames, 40, "two frames each: {}", manifest["counters"]);
    assert!(manifest["notes"].to_string().contains("10 RTCP packets"), "{}", manifest["notes"]);
    // 3 s to 6 s.
    let (frames, manifest) = kept(&with_pause, PAUSE);
    assert_eq!(frames, 28, "{}", manifest["counters"]);
    // Of relayed media nobody knows whether it is keys.
    let (frames, manifest) = kept(&plain, &["--mask-digits"]);
    assert_eq!((frames, &manifest["counters"]["discarded"]["masked"]), (20, &20.into()));
}

/// Tones at levels from -6 to -24 dBm0, with twist, over a voice 14 dB and more below: gone from every kind of
/// file, whatever the codec.
#[test]
fn tones_are_not_kept() {
    for format in [pcmu(), Format::new("PCMA", 8_000), Format::new("G722", 8_000), opus()] {
        let mut call = Call::new(&format);
        let rate_hz = call.rate_hz();
        let mut caller: Vec<i16> = call.voice(Party::Caller).iter().map(|s| s / 16).collect();
        let levels = [(-6.0, 0.0), (-10.0, 4.0), (-14.0, -8.0), (-18.0, 2.0)];
        for (n, digit) in KEYS.chars().enumerate() {
            let (level, twist) = levels[n % levels.len()];
            put(&mut caller, rate_hz, 1_000 + n * 300, digit, level, twist);
        }
        call.speak(&caller);
        for audio in ["wav", "opus", "pcap"] {
            if audio == "opus" && !installed("ffmpeg") {
                continue;
            }
            let name = format!("{} {audio}", format.encoding);
            let (plain, with) =
                (Recorded::new(&call, audio, &[]), Recorded::new(&call, audio, &["--mask-digits"]));
            let spans = with.manifest["masked"].as_array().unwrap();
            assert_eq!(spans.len(), KEYS.len(), "{name}: {spans:#?}");
            assert!(spans.iter().all(|span| span["by"] == "tone" && span["party"] == "caller"), "{name}");
            let ((before, rate), (after, _)) = if audio == "pcap" {
                (heard(&plain.packets(), &format), heard(&with.packets(), &format))
            } else {
                (plain.sound(), with.sound())
            };
            assert_eq!(keys(&before[0], rate), KEYS, "{name}: the test's own tones");
            assert_eq!(keys(&after[0], rate), "", "{name}");
            if let Some(digits) = multimon(&before[0], rate, &with.bench) {
                // It allows for less twist than networks do.
                assert!(digits.len() >= 12, "{name}: multimon-ng finds only {digits}");
                let digits = multimon(&after[0], rate, &with.bench).unwrap();
                assert_eq!(digits, "", "{name}: multimon-ng");
            }
            // The other side, and what lies between.
            assert!(after[1].len() > 9 * rate as usize, "{name}");
            if audio == "wav" {
                assert!(after[1] == before[1], "{name}: the callee is as it was");
                let middle = |pcm: &[i16]| pcm[7 * rate as usize..9 * rate as usize].to_vec();
                assert!(middle(&after[0]) == middle(&before[0]), "{name}: after the keys");
            }
        }
    }
}

/// Encrypted media cannot be listened to, and the manifest says so.
#[test]
fn what_cannot_be_listened_to_is_named() {
    let mut call = Call::new(&pcmu());
    call.send(true, &[0; 80_000]);
    for (_, _, text) in &mut call.sip {
        *text = text.replace("m=audio 4000 RTP/AVP 0 101", "m=audio 4000 RTP/AVP 97");
        *text = text.replace("m=audio 5000 RTP/AVP 0 101", "m=audio 5000 RTP/AVP 97");
        *text = text.replace("a=rtpmap:0 PCMU/8000", "a=rtpmap:97 EVRC/8000");
        let body = text.split("\r\n\r\n").nth(1).map_or(0, str::len);
        let head = text.split("Content-Length: ").next().unwrap().to_owned();
        let rest = text.split("\r\n\r\n").nth(1).unwrap_or_default();
        *text = format!("{head}Content-Length: {body}\r\n\r\n{rest}");
    }
    for (_, _, packet) in &mut call.packets {
        packet[1] = 97;
    }
    for audio in ["pcap", "opus"] {
        let with = Recorded::new(&call, audio, &["--mask-digits"]);
        let notes = with.manifest["notes"].to_string();
        assert!(notes.contains("could not be looked for in EVRC"), "{audio}: {notes}");
    }
}

/// No key in speech: half a minute of each of six voices.
#[test]
fn no_key_is_found_in_speech() {
    if !installed("espeak-ng") {
        return;
    }
    for name in ["en-us", "en-gb", "de", "fr", "pl", "en-us+f3"] {
        let said =
            Command::new("espeak-ng").args(["-v", name, "--stdout", SPEECH]).output().expect("espeak-ng");
        assert_success(&said);
        let pcm: Vec<i16> =
            said.stdout[44..].chunks_exact(2).map(|b| i16::from_le_bytes([b[0], b[1]])).collect();
        assert!(pcm.len() > 22_050 * 10, "{name}: only {} samples", pcm.len());
        assert_eq!(keys(&pcm, 22_050), "", "{name}");
    }
}

#[test]
fn a_code_that_nobody_can_dial_is_refused() {
    let out = sejf(&["replay", "x", "--to", "y", "--recipient", "age1", "--pause-code", "*x"]);
    assert!(!out.status.success() && lines(&out.stdout).is_empty());
}

/// The sound of each side in packets that were kept, silence where there are none.
fn heard(packets: &[Vec<u8>], format: &Format) -> ([Vec<i16>; 2], u32) {
    let rate = codec::native_rate_hz(format).unwrap();
    let sides = [7, 9].map(|ssrc| {
        let mut pcm = vec![0; rate as usize * SECONDS];
        let mut decoder = codec::decoder(format).unwrap();
        for packet in packets.iter().filter(|packet| packet[0] == 0x80 && packet[11] == ssrc) {
            let number = u16::from_be_bytes([packet[2], packet[3]]);
            let mut part = Vec::new();
            decoder.decode(&packet[12..], &mut part).unwrap();
            let at = usize::from(number) * rate as usize / 50;
            pcm[at..at + part.len()].copy_from_slice(&part);
        }
        pcm
    });
    (sides, rate)
}

fn keys(pcm: &[i16], rate: u32) -> String {
    let mut detector = Detector::new(rate);
    let mut keys = String::new();
    for part in pcm.chunks(rate as usize / 50) {
        detector.push(part);
        while detector.poll_mute().is_some() {}
        while let Some(key) = detector.poll_pressed() {
            keys.push(key.digit);
        }
    }
    keys
}

/// The keys that another program finds.
fn multimon(pcm: &[i16], rate: u32, bench: &Bench) -> Option<String> {
    if !installed("multimon-ng") || !installed("ffmpeg") {
        return None;
    }
    let (raw, at_22k) = (bench.path("side.raw"), bench.path("side-22k.raw"));
    std::fs::write(&raw, pcm.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<_>>()).unwrap();
    let rate = rate.to_string();
    let args = ["-v", "error", "-y", "-f", "s16le", "-ac", "1", "-ar", &rate, "-i", text(&raw)];
    let to = ["-f", "s16le", "-ar", "22050", text(&at_22k)];
    assert_success(&Command::new("ffmpeg").args(args).args(to).output().unwrap());
    let found =
        Command::new("multimon-ng").args(["-q", "-t", "raw", "-a", "DTMF", text(&at_22k)]).output().unwrap();
    let words = String::from_utf8_lossy(&found.stdout).into_owned();
    Some(words.lines().filter_map(|line| line.strip_prefix("DTMF: ")).map(str::trim).collect())
}

/// A key of 100 ms on top of what is there; `at_ms` in the media, `dbm0` both tones together.
fn put(pcm: &mut [i16], rate_hz: u32, at_ms: usize, digit: char, dbm0: f64, twist_db: f64) {
    let place = "123A456B789C*0#D".find(digit).unwrap();
    let low = [697.0, 770.0, 852.0, 941.0][place / 4];
    let high = [1_209.0, 1_336.0, 1_477.0, 1_633.0][place % 4];
    let ratio = 10_f64.powf(twist_db / 20.0);
    let a = 22_300.0 * 10_f64.powf(dbm0 / 20.0) / (1.0 + ratio * ratio).sqrt();
    let from = at_ms * rate_hz as usize / 1_000;
    for n in 0..rate_hz as usize / 10 {
        let angle = std::f64::consts::TAU * n as f64 / f64::from(rate_hz);
        let sample = a * (angle * low).sin() + a * ratio * (angle * high).sin();
        pcm[from + n] = pcm[from + n].saturating_add(sample.round() as i16);
    }
}

fn correlation(a: &[i16], b: &[i16]) -> f64 {
    let dot = |a: &[i16], b: &[i16]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1.0)
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

const KEYS: &str = "0123456789*#ABCD";
const SPEECH: &str = "Good morning, you are through to the billing department, how may I help you today? I would \
    like to pay my invoice by card please. Certainly, let me take a few details first. My name is Eleanor \
    Whitfield and I live at twenty seven Orchard Lane. She sells sea shells by the sea shore. Who are you, and \
    why do you ooze into our room so soon? Eerie eels need easy evenings. Mama, may Emma and Anna hum?";
