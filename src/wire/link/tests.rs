use super::*;
use etherparse::{LaxNetSlice, LaxSlicedPacket, PacketBuilder, TransportSlice};

const SOUND: &[u8] = b"one frame of sound";

fn udp4() -> Vec<u8> {
    let builder = PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(4000, 5004);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, SOUND).unwrap();
    bytes
}

fn udp6() -> Vec<u8> {
    let builder = PacketBuilder::ipv6([0x20; 16], [0x30; 16], 64).udp(4000, 5004);
    let mut bytes = Vec::new();
    builder.write(&mut bytes, SOUND).unwrap();
    bytes
}

fn ethernet_frame(ether_types: &[u16], packet: &[u8]) -> Vec<u8> {
    let mut frame = vec![2; 12];
    for (index, ether_type) in ether_types.iter().enumerate() {
        if index > 0 {
            frame.extend_from_slice(&[0x60, 5]);
        }
        frame.extend_from_slice(&ether_type.to_be_bytes());
    }
    frame.extend_from_slice(packet);
    frame
}

fn whole(link: LinkType, frame: &[u8]) -> Content<'_> {
    parse(link, frame, frame.len() as u32)
}

#[track_caller]
fn udp<'a>(content: &Content<'a>) -> Udp<'a> {
    let Content::Udp(udp) = content else { panic!("{content:?}") };
    *udp
}

#[track_caller]
fn assert_sound(link: LinkType, frame: &[u8]) {
    let content = whole(link, frame);
    let udp = udp(&content);
    assert_eq!((udp.payload, udp.cut), (SOUND, false));
    assert_eq!((udp.src.port, udp.dst.port), (4000, 5004));
}

#[track_caller]
fn assert_other(content: &Content<'_>, reason: Discard) {
    assert!(matches!(content, Content::Other(given) if *given == reason), "{content:?}, want {reason:?}");
}

#[test]
fn ethernet_with_any_tags() {
    for packet in [udp4(), udp6()] {
        let ip = if packet[0] >> 4 == 4 { 0x0800 } else { 0x86dd };
        for tags in [&[][..], &[0x8100], &[0x88a8, 0x8100], &[0x9100, 0x8100], &[0x8100; 8]] {
            assert_sound(LinkType::ETHERNET, &ethernet_frame(&[tags, &[ip]].concat(), &packet));
        }
    }
    let endless = ethernet_frame(&[0x8100; 500], &[]);
    assert_other(&whole(LinkType::ETHERNET, &endless), Discard::Malformed);
}

#[test]
fn addresses_come_out_as_they_are() {
    let frame = ethernet_frame(&[0x0800], &udp4());
    let content = whole(LinkType::ETHERNET, &frame);
    assert_eq!(udp(&content).src.to_string(), "192.0.2.1:4000");
    assert_eq!(udp(&content).dst.to_string(), "192.0.2.2:5004");
}

#[test]
fn cooked_raw_and_loopback() {
    let sll =
        |protocol: u16| [&[0, 0, 0, 1, 0, 6, 2, 2, 2, 2, 2, 2, 0, 0][..], &protocol.to_be_bytes()].concat();
    let sll2 = |protocol: u16| [&protocol.to_be_bytes()[..], &[0; 18]].concat();
    for (packet, ether_type) in [(udp4(), 0x0800), (udp6(), 0x86dd)] {
        assert_sound(LinkType::LINUX_SLL, &[sll(ether_type), packet.clone()].concat());
        assert_sound(LinkType::LINUX_SLL2, &[sll2(ether_type), packet.clone()].concat());
        for raw in [LinkType::RAW, LinkType(12), LinkType(14)] {
            assert_sound(raw, &packet);
        }
        let families: &[u32] = if ether_type == 0x0800 { &[2] } else { &[10, 24, 28, 30] };
        for family in families {
            for link in [LinkType::NULL, LinkType::LOOP] {
                assert_sound(link, &[&family.to_le_bytes()[..], &packet].concat());
                assert_sound(link, &[&family.to_be_bytes()[..], &packet].concat());
            }
        }
    }
    assert_sound(LinkType::IPV4, &udp4());
    assert_sound(LinkType::IPV6, &udp6());
    assert_other(&whole(LinkType::IPV4, &udp6()), Discard::Malformed);
    assert_other(&whole(LinkType::RAW, &[0x55; 60]), Discard::Malformed);
    assert_other(&whole(LinkType::NULL, &[0, 0, 0, 23, 0x45]), Discard::UnknownLink);
    assert_other(&whole(LinkType::LINUX_SLL, &sll(0x0004)), Discard::NotTelephony);
    assert_other(&whole(LinkType(127), &udp4()), Discard::UnknownLink);
}

#[test]
fn padding_and_trailers_are_no_payload() {
    for packet in [udp4(), udp6()] {
        assert_sound(LinkType::RAW, &[&packet[..], &[0; 40]].concat());
    }
    // UDP shorter than IP says: UDP options, or nonsense. Not the sender's payload.
    let mut packet = udp4();
    packet.extend_from_slice(&[9; 8]);
    let total = packet.len() as u16;
    packet[2..4].copy_from_slice(&total.to_be_bytes());
    assert_sound(LinkType::RAW, &packet);
}

#[test]
fn lengths_left_to_the_card_are_taken_from_the_frame() {
    let mut packet = udp4();
    packet[2..4].fill(0);
    assert_sound(LinkType::RAW, &packet);
    packet[24..26].fill(0);
    assert_sound(LinkType::RAW, &packet);
    let mut packet = udp6();
    packet[4..6].fill(0);
    assert_sound(LinkType::RAW, &packet);
}

#[test]
fn options_and_extension_headers_are_stepped_over() {
    let mut with_options = udp4();
    with_options[0] = 0x47;
    with_options.splice(20..20, [1; 8]);
    let total = with_options.len() as u16;
    with_options[2..4].copy_from_slice(&total.to_be_bytes());
    assert_sound(LinkType::RAW, &with_options);

    let mut packet = udp6();
    let headers = [
        [60, 0, 1, 4, 0, 0, 0, 0], // Hop-by-hop.
        [43, 0, 1, 4, 0, 0, 0, 0], // Destination options.
        [44, 0, 0, 0, 0, 0, 0, 0], // Routing.
        [51, 0, 0, 0, 0, 0, 0, 9], // Atomic fragment.
        [17, 1, 0, 0, 0, 0, 0, 1], // Authentication, with four bytes more.
    ];
    packet.splice(40..40, [headers.concat(), vec![0; 4]].concat());
    packet[6] = 0;
    let length = packet.len() as u16 - 40;
    packet[4..6].copy_from_slice(&length.to_be_bytes());
    assert_sound(LinkType::RAW, &packet);

    packet[40 + 33] = 200;
    assert_other(&whole(LinkType::RAW, &packet), Discard::Malformed);
    let mut endless = udp6();
    endless[6] = 60;
    endless.splice(40..40, [60, 0, 1, 4, 0, 0, 0, 0].repeat(60));
    endless[4] = 2;
    assert_other(&whole(LinkType::RAW, &endless), Discard::Malformed);
}

#[test]
fn snap_length_cuts_and_lies_do_not() {
    let frame = ethernet_frame(&[0x0800], &udp4());
    let wire_len = frame.len() as u32;
    let headers = 14 + 20 + 8;
    for have in 0..frame.len() {
        let content = parse(LinkType::ETHERNET, &frame[..have], wire_len);
        let lie = parse(LinkType::ETHERNET, &frame[..have], have as u32);
        assert_other(&lie, Discard::Malformed);
        if have < headers {
            assert_other(&content, Discard::Cut);
        } else {
            let udp = udp(&content);
            assert_eq!((udp.payload, udp.cut), (&SOUND[..have - headers], true));
        }
    }
    // Only the padding was cut away.
    assert_eq!(udp(&parse(LinkType::ETHERNET, &frame, wire_len + 4)).payload, SOUND);
    assert!(!udp(&parse(LinkType::ETHERNET, &frame, wire_len + 4)).cut);
    // A wire length that makes no sense is no reason to lose the frame.
    assert_eq!(udp(&parse(LinkType::ETHERNET, &frame, 0)).payload, SOUND);
}

#[test]
fn headers_that_contradict_themselves_are_malformed() {
    let faults: [fn(&mut Vec<u8>); 6] = [
        |packet| packet[0] = 0x65, // Version.
        |packet| packet[0] = 0x44, // Header shorter than a header.
        |packet| packet[3] = 19,   // Total length shorter than the header.
        |packet| packet[2] = 1,    // Total length longer than the frame.
        |packet| packet[25] = 7,   // UDP length shorter than its header.
        |packet| packet[25] += 1,  // UDP length longer than the datagram.
    ];
    for (index, fault) in faults.iter().enumerate() {
        let mut frame = ethernet_frame(&[0x0800], &udp4());
        let mut packet = frame.split_off(14);
        fault(&mut packet);
        frame.extend(packet);
        let content = whole(LinkType::ETHERNET, &frame);
        assert!(matches!(content, Content::Other(Discard::Malformed)), "fault {index}: {content:?}");
    }
}

#[test]
fn tcp_with_options() {
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6])
        .ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64)
        .tcp(5060, 5061, 0xfedc_ba98, 1000)
        .syn()
        .fin()
        .rst()
        .options_raw(&[2, 4, 5, 180])
        .unwrap();
    let mut frame = Vec::new();
    builder.write(&mut frame, b"INVITE").unwrap();
    let Content::Tcp(tcp) = whole(LinkType::ETHERNET, &frame) else { panic!("no TCP") };
    assert_eq!((tcp.payload, tcp.sequence, tcp.cut), (&b"INVITE"[..], 0xfedc_ba98, false));
    assert_eq!((tcp.syn, tcp.fin, tcp.rst, tcp.src.port, tcp.dst.port), (true, true, true, 5060, 5061));
    let cut = parse(LinkType::ETHERNET, &frame[..frame.len() - 2], frame.len() as u32);
    assert!(matches!(cut, Content::Tcp(Tcp { payload: b"INVI", cut: true, .. })), "{cut:?}");
    frame[14 + 20 + 12] = 0x40;
    assert_other(&whole(LinkType::ETHERNET, &frame), Discard::Malformed);
}

#[test]
fn fragments_say_where_they_belong() {
    let mut packet = udp4();
    packet[4..8].copy_from_slice(&[0x12, 0x34, 0x20 | 0x01, 0x02]);
    let Content::Fragment(fragment) = whole(LinkType::RAW, &packet) else { panic!("no fragment") };
    let key = FragmentKey {
        net: Net::PLAIN,
        src: Ip::v4([192, 0, 2, 1]),
        dst: Ip::v4([192, 0, 2, 2]),
        id: 0x1234,
        protocol: 17,
    };
    assert_eq!((fragment.key, fragment.offset_bytes, fragment.more), (key, 0x102 * 8, true));
    assert_eq!((fragment.payload, fragment.wire_bytes, fragment.cut), (&packet[20..], 26, false));
    let cut = parse(LinkType::RAW, &packet[..40], packet.len() as u32);
    assert!(matches!(cut, Content::Fragment(Fragment { wire_bytes: 26, cut: true, .. })), "{cut:?}");
    packet[9] = 1;
    assert_other(&whole(LinkType::RAW, &packet), Discard::NotTelephony);

    let mut packet = udp6();
    packet.splice(40..40, [17, 0, 0, 8, 0, 0, 0, 99]);
    packet[6] = 44;
    packet[5] += 8;
    let Content::Fragment(fragment) = whole(LinkType::RAW, &packet) else { panic!("no fragment") };
    assert_eq!((fragment.key.id, fragment.key.protocol), (99, 17));
    assert_eq!((fragment.offset_bytes, fragment.more, fragment.payload), (8, false, &packet[48..]));
}

#[test]
fn a_reassembled_datagram_is_taken_apart() {
    let (src, dst) = (Ip::v4([192, 0, 2, 1]), Ip::v4([192, 0, 2, 2]));
    let net = Net::PLAIN.tagged(10);
    let key = |protocol| FragmentKey { net, src, dst, id: 1, protocol };
    let packet = udp4();
    assert_eq!(udp(&transport(&key(17), &packet[20..], false)).net, net);
    assert_eq!(udp(&transport(&key(17), &packet[20..], false)).payload, SOUND);
    let cut = transport(&key(17), &packet[20..40], true);
    assert_eq!((udp(&cut).payload, udp(&cut).cut), (&SOUND[..12], true));
    assert_other(&transport(&key(17), &packet[20..40], false), Discard::Malformed);
    assert_other(&transport(&key(17), &packet[20..24], true), Discard::Cut);
    // IPv6 puts what follows the fragment header there; a second fragment header does not belong.
    let options = [&[17, 0, 1, 4, 0, 0, 0, 0][..], &packet[20..]].concat();
    assert_eq!(udp(&transport(&key(60), &options, false)).payload, SOUND);
    let nested = [&[17, 0, 0, 1, 0, 0, 0, 1][..], &packet[20..]].concat();
    assert_other(&transport(&key(44), &nested, false), Discard::Malformed);
}

#[test]
fn what_is_not_ours_says_why() {
    let reasons = [
        (0x0806, Discard::NotTelephony), // ARP.
        (0x05dc, Discard::NotTelephony), // An 802.3 length.
        (0x88cc, Discard::NotTelephony), // LLDP.
        (0x88e5, Discard::Tunnel),       // MACsec.
        (0xabcd, Discard::UnknownLink),
    ];
    for (ether_type, reason) in reasons {
        assert_other(&whole(LinkType::ETHERNET, &ethernet_frame(&[ether_type], &udp4())), reason);
    }
    for (protocol, reason) in
        [(1, Discard::NotTelephony), (132, Discard::NotTelephony), (50, Discard::Tunnel)]
    {
        let mut packet = udp4();
        packet[9] = protocol;
        assert_other(&whole(LinkType::RAW, &packet), reason);
    }
    for protocol in [50, 115] {
        let mut packet = udp6();
        packet[6] = protocol;
        assert_other(&whole(LinkType::RAW, &packet), Discard::Tunnel);
    }
}

/// "Port unreachable" quotes the datagram that nobody heard. It must not come out a second time.
#[test]
fn icmp_errors_are_not_what_they_quote() {
    let quote = [&[3, 3, 0, 0, 0, 0, 0, 0][..], &udp4()].concat();
    let mut frame = Vec::new();
    let builder = PacketBuilder::ethernet2([1; 6], [2; 6]).ipv4([192, 0, 2, 2], [192, 0, 2, 1], 64);
    builder.write(&mut frame, etherparse::IpNumber::ICMP, &quote).unwrap();
    assert_other(&whole(LinkType::ETHERNET, &frame), Discard::NotTelephony);
}

/// Changed and cut at random: what etherparse reads in a frame without contradiction, we read too.
#[test]
fn agrees_with_etherparse_on_damaged_frames() {
    let seeds = [
        ethernet_frame(&[0x0800], &udp4()),
        ethernet_frame(&[0x8100, 0x86dd], &udp6()),
        ethernet_frame(&[0x88a8, 0x8100, 0x0800], &udp4()),
    ];
    let mut state = 11_u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut agreed = 0;
    for round in 0..60_000 {
        let mut frame = seeds[round % seeds.len()].clone();
        for _ in 0..next(3) {
            let at = next(frame.len());
            frame[at] = next(256) as u8;
        }
        frame.truncate(frame.len() + 30 - next(60).min(frame.len() + 29));
        for link in [0, 12, 101, 108, 113, 276] {
            let _ = parse(LinkType(link), &frame, frame.len() as u32 + next(3) as u32 * 20);
        }
        if let Content::Udp(udp) = whole(LinkType::ETHERNET, &frame) {
            let oracle = LaxSlicedPacket::from_ethernet(&frame).unwrap();
            let Some(TransportSlice::Udp(theirs)) = oracle.transport else { continue };
            assert_eq!((udp.src.port, udp.dst.port), (theirs.source_port(), theirs.destination_port()));
            assert_eq!(udp.payload, theirs.payload(), "round {round}");
            let source = match oracle.net {
                Some(LaxNetSlice::Ipv4(ip)) => Ip::v4(ip.header().source()),
                Some(LaxNetSlice::Ipv6(ip)) => Ip::v6(ip.header().source()),
                _ => panic!("no network layer"),
            };
            assert_eq!(udp.src.ip, source);
            agreed += 1;
        }
    }
    assert!(agreed > 5_000, "{agreed}");
}

/// The short cut is taken for every header field and length that it looks at, or it is not taken.
#[test]
fn the_short_cut_answers_like_the_long_way() {
    let seed = ethernet_frame(&[0x0800], &udp4());
    let mut taken = 0;
    for at in 12..42 {
        for value in 0..=255 {
            for length in [40, 42, 50, seed.len(), seed.len() + 9] {
                let mut frame = seed.clone();
                frame[at] = value;
                frame.resize(length, 0);
                taken += u32::from(plain(&frame).is_some());
                let short = parse(LinkType::ETHERNET, &frame, 70);
                let seen = Seen {
                    bytes: &frame[14..],
                    missing: 70_usize.saturating_sub(length),
                    tunnels: 0,
                    net: Net::PLAIN,
                };
                let long = network(EtherType(u16::from_be_bytes([frame[12], frame[13]])), seen);
                assert_eq!(format!("{short:?}"), format!("{long:?}"), "byte {at} is {value}");
            }
        }
    }
    assert!(taken > 5_000, "{taken}");
}

/// Every way to a datagram says which network it is of.
#[test]
fn tags_name_the_network() {
    let vlans = |content: &Content<'_>| match content {
        Content::Udp(udp) => udp.net.vlans().collect::<Vec<_>>(),
        Content::Tcp(segment) => segment.net.vlans().collect(),
        Content::Fragment(fragment) => fragment.key.net.vlans().collect(),
        Content::Other(reason) => panic!("{reason:?}"),
    };
    let mut frame = ethernet_frame(&[0x0800], &udp4());
    assert_eq!(vlans(&whole(LinkType::ETHERNET, &frame)), [0; 0]);
    // Priority 7 and VLAN 10, below a service tag of VLAN 2000.
    frame.splice(12..12, [0x88, 0xa8, 0x07, 0xd0, 0x81, 0x00, 0xe0, 0x0a]);
    assert_eq!(vlans(&whole(LinkType::ETHERNET, &frame)), [2_000, 10]);
    // Of a fragment too.
    let more_fragments = 12 + 8 + 2 + 6;
    frame[more_fragments] |= 0x20;
    assert_eq!(vlans(&whole(LinkType::ETHERNET, &frame)), [2_000, 10]);
}
