use super::*;
use crate::base::frame::LinkType;
use crate::base::limits::TUNNELS_MAX;
use crate::wire::link::{parse, tunnelled};
use etherparse::PacketBuilder;

const SOUND: &[u8] = b"one frame of sound";

fn ip4() -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv4([192, 0, 2, 1], [192, 0, 2, 2], 64).udp(4000, 5004).write(&mut bytes, SOUND).unwrap();
    bytes
}

fn ip6() -> Vec<u8> {
    let mut bytes = Vec::new();
    PacketBuilder::ipv6([0x20; 16], [0x30; 16], 64).udp(4000, 5004).write(&mut bytes, SOUND).unwrap();
    bytes
}

fn frame(ether_type: u16, payload: &[u8]) -> Vec<u8> {
    [&[0x02; 12][..], &ether_type.to_be_bytes(), payload].concat()
}

fn packet(protocol: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64);
    builder.write(&mut bytes, IpNumber(protocol), payload).unwrap();
    bytes
}

fn datagram(port: u16, payload: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let builder = PacketBuilder::ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64).udp(50_000, port);
    builder.write(&mut bytes, payload).unwrap();
    bytes
}

/// What is inside all tunnels, those over UDP too.
fn inside(link: LinkType, bytes: &[u8], wire_len: u32) -> Content<'_> {
    let mut content = parse(link, bytes, wire_len);
    while let Content::Udp(udp) = content {
        match tunnelled(&udp) {
            Some(inner) => content = inner,
            None => break,
        }
    }
    content
}

/// Asserts that the sound comes out, as a part of the frame, with the sender's port.
#[track_caller]
fn assert_sound(link: LinkType, bytes: &[u8]) {
    let content = inside(link, bytes, bytes.len() as u32);
    let Content::Udp(udp) = content else { panic!("{content:?}") };
    assert_eq!((udp.payload, udp.cut, udp.src.port), (SOUND, false, 4000));
    assert!(udp.tunnels > 0 && bytes.as_ptr_range().contains(&udp.payload.as_ptr()));

    // Cut short: the same, less five bytes and with a mark.
    let content = inside(link, &bytes[..bytes.len() - 5], bytes.len() as u32);
    let Content::Udp(udp) = content else { panic!("{content:?}") };
    assert_eq!((udp.payload, udp.cut), (&SOUND[..SOUND.len() - 5], true));
}

#[track_caller]
fn assert_other(content: &Content<'_>, reason: Discard) {
    assert!(matches!(content, Content::Other(given) if *given == reason), "{content:?}, want {reason:?}");
}

#[test]
fn ip_in_ip() {
    assert_sound(LinkType::RAW, &packet(4, &ip4()));
    assert_sound(LinkType::RAW, &packet(41, &ip6()));
    assert_sound(LinkType::RAW, &packet(97, &[&[0x30, 0][..], &frame(0x0800, &ip4())].concat()));
    assert_sound(LinkType::RAW, &packet(137, &[&[0, 1, 1, 64][..], &ip4()].concat()));
}

fn gre_packet(flags: u8, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let options = vec![9; 4 * (flags & 0xb0).count_ones() as usize];
    packet(47, &[&[flags, 0][..], &ether_type.to_be_bytes(), &options, payload].concat())
}

#[test]
fn gre_with_any_options() {
    for flags in [0, 0x80, 0x20, 0x10, 0xa0, 0x30, 0x90, 0xb0] {
        assert_sound(LinkType::RAW, &gre_packet(flags, 0x0800, &ip4()));
        assert_sound(LinkType::RAW, &gre_packet(flags, 0x86dd, &ip6()));
        assert_sound(LinkType::RAW, &gre_packet(flags, 0x6558, &frame(0x0800, &ip4())));
        assert_sound(LinkType::RAW, &gre_packet(flags, 0x8847, &[&[0, 1, 1, 64][..], &ip4()].concat()));
        assert_sound(LinkType::RAW, &gre_packet(flags, 0x880b, &[&[0, 0x21][..], &ip4()].concat()));
    }
    let routed = gre_packet(0x40, 0x0800, &ip4());
    assert_other(&parse(LinkType::RAW, &routed, routed.len() as u32), Discard::Tunnel);
}

#[test]
fn erspan_of_each_type() {
    let mirrored = frame(0x0800, &ip4());
    assert_sound(LinkType::RAW, &gre_packet(0, 0x88be, &mirrored));
    let second = [&[0x10, 100, 0, 5, 0, 0, 0, 0][..], &mirrored].concat();
    assert_sound(LinkType::RAW, &gre_packet(0x10, 0x88be, &second));
    let third = [&[0x20, 100, 0, 5, 0, 0, 0, 0, 0, 0, 0, 0][..], &mirrored].concat();
    assert_sound(LinkType::RAW, &gre_packet(0x10, 0x22eb, &third));
    let platform = [&[0x20, 100, 0, 5, 0, 0, 0, 0, 0, 0, 0, 1][..], &[7; 8], &mirrored].concat();
    assert_sound(LinkType::RAW, &gre_packet(0x10, 0x22eb, &platform));
    let no_ethernet = [&[0x20, 100, 0, 5, 0, 0, 0, 0, 0, 0, 2 << 2, 0][..], &ip4()].concat();
    assert_sound(LinkType::RAW, &gre_packet(0x10, 0x22eb, &no_ethernet));
    let tagged = [&[0x10, 100, 0, 5, 0, 0, 0, 0][..], &frame(0x8100, &[&[0, 5, 8, 0][..], &ip4()].concat())];
    assert_sound(LinkType::RAW, &gre_packet(0x10, 0x88be, &tagged.concat()));
}

#[test]
fn labels_with_whatever_is_below() {
    let labels = [0x12, 0x34, 0x50, 64, 0x00, 0x01, 0x01, 64];
    for below in [
        ip4(),
        ip6(),
        frame(0x0800, &ip4()),
        [&[0; 4][..], &frame(0x0800, &ip4())].concat(),
        [&[0x45; 12][..], &[0x08, 0], &ip4()].concat(),
    ] {
        for ether_type in [0x8847, 0x8848] {
            assert_sound(LinkType::ETHERNET, &frame(ether_type, &[&labels[..], &below].concat()));
        }
    }
    let endless = frame(0x8847, &[0; 400]);
    assert_other(&parse(LinkType::ETHERNET, &endless, 414), Discard::Malformed);
    let unknown = frame(0x8847, &[&labels[..], &[0x77; 40]].concat());
    assert_other(&parse(LinkType::ETHERNET, &unknown, unknown.len() as u32), Discard::Tunnel);
}

#[test]
fn sessions_of_ppp() {
    for (protocol, ip) in [(&[0, 0x21][..], ip4()), (&[0, 0x57], ip6()), (&[0x21], ip4())] {
        let length = (protocol.len() + ip.len()) as u16;
        let session = [&[0x11, 0, 0, 7][..], &length.to_be_bytes(), protocol, &ip].concat();
        assert_sound(LinkType::ETHERNET, &frame(0x8864, &session));
    }
    let control = frame(0x8864, &[0x11, 0, 0, 7, 0, 4, 0xc0, 0x21, 9, 1]);
    assert_other(&parse(LinkType::ETHERNET, &control, 24), Discard::NotTelephony);
}

#[test]
fn tunnels_over_udp() {
    let ethernet = frame(0x0800, &ip4());
    for port in [4789, 8472] {
        assert_sound(LinkType::RAW, &datagram(port, &[&[8, 0, 0, 0, 0, 0, 42, 0][..], &ethernet].concat()));
    }
    let policy = [0x88, 0x08, 0, 9, 0, 0, 42, 0];
    assert_sound(LinkType::RAW, &datagram(4789, &[&policy[..], &ethernet].concat()));
    for (next, inner) in [(1, ip4()), (2, ip6()), (3, ethernet.clone())] {
        let header = [0x0c, 0, 0, next, 0, 0, 42, 0];
        assert_sound(LinkType::RAW, &datagram(4790, &[&header[..], &inner].concat()));
    }
    for (ether_type, inner) in [([0x65, 0x58], ethernet.clone()), ([8, 0], ip4()), ([0x86, 0xdd], ip6())] {
        for words in [0, 3] {
            let header = [&[words, 0x40][..], &ether_type, &[0, 0, 42, 0]].concat();
            let options = vec![0; 4 * usize::from(words)];
            assert_sound(LinkType::RAW, &datagram(6081, &[header, options, inner.clone()].concat()));
        }
    }
    let tags = [1, 0, 0, 1, 10, 1, 0xaa, 0, 0, 1];
    assert_sound(LinkType::RAW, &datagram(37_008, &[&tags[..], &ethernet].concat()));
}

#[test]
fn mobile_users() {
    for inner in [ip4(), ip6(), frame(0x0800, &ip4())] {
        for (flags, optional) in [
            (0x30, &[][..]),
            (0x32, &[0, 9, 0, 0]),
            // A PDU session container, then a PDCP number.
            (0x34, &[0, 0, 0, 0x85, 1, 0, 9, 0xc0, 1, 0, 1, 0]),
        ] {
            let length = (optional.len() + inner.len()) as u16;
            let packet = [&[flags, 255][..], &length.to_be_bytes(), &[0, 0, 0, 7], optional, &inner].concat();
            assert_sound(LinkType::RAW, &datagram(2152, &packet));
        }
    }
}

/// Media may use the port of a tunnel.
#[test]
fn what_is_not_exactly_a_tunnel_is_none() {
    let media = [&[0x80, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1][..], &[0xd5; 160]].concat();
    for port in [2152, 4789, 4790, 6081, 8472, 37_008] {
        let bytes = datagram(port, &media);
        let Content::Udp(udp) = parse(LinkType::RAW, &bytes, bytes.len() as u32) else { panic!() };
        assert!(tunnelled(&udp).is_none(), "{port}");
    }
    let header = [&[0x30, 255, 0, 9, 0, 0, 0, 7][..], &ip4()].concat();
    let wrong_length = datagram(2152, &header);
    let Content::Udp(udp) = parse(LinkType::RAW, &wrong_length, wrong_length.len() as u32) else { panic!() };
    assert!(tunnelled(&udp).is_none());
}

#[test]
fn tunnels_end_somewhere() {
    let mut bytes = ip4();
    for depth in 0..=TUNNELS_MAX {
        let vxlan = [&[8, 0, 0, 0, 0, 0, 42, 0][..], &frame(0x0800, &bytes)].concat();
        let content = inside(LinkType::RAW, &bytes, bytes.len() as u32);
        assert!(matches!(content, Content::Udp(udp) if udp.tunnels == depth), "{depth}");
        bytes = if depth % 2 == 0 { packet(4, &bytes) } else { datagram(4789, &vxlan) };
    }
    assert_other(&inside(LinkType::RAW, &bytes, bytes.len() as u32), Discard::Tunnel);
}

/// A mirror that makes packets longer than its own path allows sends them in parts.
#[test]
fn a_tunnel_in_fragments_is_put_together() {
    let bytes = gre_packet(0, 0x0800, &ip4());
    let mut first = bytes[..20 + 24].to_vec();
    first[2..4].copy_from_slice(&44_u16.to_be_bytes());
    first[6] = 0x20;
    let content = parse(LinkType::RAW, &first, first.len() as u32);
    let Content::Fragment(fragment) = content else { panic!("{content:?}") };
    assert_eq!((fragment.key.protocol, fragment.payload), (47, &bytes[20..44]));
    let key = fragment.key;
    let whole = crate::wire::link::transport(&key, &bytes[20..], false);
    assert!(matches!(whole, Content::Udp(udp) if udp.payload == SOUND), "{whole:?}");
}

#[test]
fn any_bytes_have_an_answer() {
    let ethernet = frame(0x0800, &ip4());
    let seeds = [
        gre_packet(0x30, 0x0800, &ip4()),
        gre_packet(0x10, 0x88be, &[&[0x10, 100, 0, 5, 0, 0, 0, 0][..], &ethernet].concat()),
        gre_packet(0x10, 0x22eb, &[&[0x20; 12][..], &ethernet].concat()),
        packet(137, &[&[0, 1, 1, 64][..], &ethernet].concat()),
        datagram(4789, &[&[8, 0, 0, 0, 0, 0, 42, 0][..], &ethernet].concat()),
        datagram(4790, &[&[0x0c, 0, 0, 3, 0, 0, 42, 0][..], &ethernet].concat()),
        datagram(6081, &[&[1, 0, 0x65, 0x58, 0, 0, 42, 0, 1, 1, 1, 0][..], &ethernet].concat()),
        datagram(2152, &[&[0x34, 255, 0, 54, 0, 0, 0, 7, 0, 0, 0, 0x85, 1, 0, 9, 0][..], &ip4()].concat()),
        datagram(37_008, &[&[1, 0, 0, 1, 10, 1, 0xaa, 0, 0, 1][..], &ethernet].concat()),
    ];
    let mut state = 5_u32;
    let mut next = |below: usize| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as usize % below
    };
    let mut read = 0;
    for round in 0..40_000 {
        let mut bytes = seeds[round % seeds.len()].clone();
        for _ in 0..next(4) {
            let at = 20 + next(bytes.len() - 20);
            bytes[at] = next(256) as u8;
        }
        bytes.truncate(bytes.len() - next(bytes.len()) * next(2));
        let content = inside(LinkType::RAW, &bytes, bytes.len() as u32 + next(2) as u32 * 30);
        read += u32::from(matches!(content, Content::Udp(udp) if udp.tunnels > 0));
        let _ = inside(LinkType::ETHERNET, &bytes, bytes.len() as u32);
    }
    assert!(read > 8_000, "{read}");
}

fn net(bytes: &[u8]) -> crate::base::net::Net {
    match inside(LinkType::ETHERNET, bytes, bytes.len() as u32) {
        Content::Udp(udp) => udp.net,
        content => panic!("{content:?}"),
    }
}

#[test]
fn tunnels_with_a_network_number_name_the_network_and_others_do_not() {
    use crate::base::net::Net;
    // On the way in a VLAN, which is the tunnel's and not what it carries.
    let outer = |packet: &[u8]| frame(0x8100, &[&[0, 7, 8, 0][..], packet].concat());
    let inner = frame(0x8100, &[&[0, 5, 8, 0][..], &ip4()].concat());
    let vxlan = outer(&datagram(4_789, &[&[8, 0, 0, 0, 1, 2, 3, 0][..], &inner].concat()));
    assert_eq!(net(&vxlan), Net::tunnelled(Tunnel::Vxlan(0x01_0203)).tagged(5));
    let gpe = outer(&datagram(4_790, &[&[12, 0, 0, 1, 1, 2, 3, 0][..], &ip4()].concat()));
    assert_eq!(net(&gpe), Net::tunnelled(Tunnel::Vxlan(0x01_0203)));
    let geneve = outer(&datagram(6_081, &[&[0, 0, 0x65, 0x58, 1, 2, 3, 0][..], &inner].concat()));
    assert_eq!(net(&geneve), Net::tunnelled(Tunnel::Geneve(0x01_0203)).tagged(5));
    let keyed = outer(&packet(47, &[&[0xa0, 0, 8, 0, 9, 9, 9, 9, 0, 0, 1, 2][..], &ip4()].concat()));
    assert_eq!(net(&keyed), Net::tunnelled(Tunnel::Gre(0x102)));
    let bare = outer(&packet(47, &[&[0, 0, 8, 0][..], &ip4()].concat()));
    assert_eq!(net(&bare), Net::PLAIN.tagged(7));

    // An ERSPAN session is a mirror's; the VLAN in its header is the mirrored port's, where the frame
    // has none.
    let plain = frame(0x0800, &ip4());
    for (mirrored, vlan) in [(&plain, 100), (&inner, 5)] {
        let sessions = [1, 2].map(|session| {
            let header = [0x10, 100, 0, session, 0, 0, 0, 0];
            net(&frame(0x0800, &gre_packet(0x10, 0x88be, &[&header[..], mirrored].concat())))
        });
        assert_eq!(sessions, [Net::PLAIN.tagged(vlan); 2]);
    }
    // A GTP-U endpoint is a direction's.
    let ends = [1, 2].map(|end| {
        let length = ip4().len() as u8;
        net(&frame(0x0800, &datagram(2_152, &[&[0x30, 255, 0, length, 0, 0, 0, end][..], &ip4()].concat())))
    });
    assert_eq!(ends, [Net::PLAIN; 2]);
}
