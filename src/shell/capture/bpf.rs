//! The operator's filter as a program for the kernel, that keeps what belongs to what it keeps.
//!
//! Three things set it apart from the filter of a file:
//! - Fragments after the first have no ports. All of them pass; those of no call are dropped later.
//! - The kernel takes the outermost VLAN tag out before a filter runs. So `udp port 5060` sees tagged frames
//!   too. A filter that says `vlan` is compiled by libpcap for the live interface, where it knows to ask the
//!   kernel for the tag; compiled as for a file it would match nothing.
//! - The value that a program returns is how many bytes are kept: the snap length.
//!
//! The parts are compiled apart and joined as instructions, since in libpcap's language `vlan`, `mpls` and
//! `pppoes` move the offsets of all that comes after them, `or` or not.

use pcap::{Active, BpfProgram, Capture, Linktype};

use crate::base::frame::LinkType;
use crate::shell::filter::FilterError;

/// One instruction of classic BPF.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Instruction {
    pub(super) code: u16,
    pub(super) jt: u8,
    pub(super) jf: u8,
    pub(super) k: u32,
}

/// A program for a packet socket.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Program(pub(super) Vec<Instruction>);

impl Program {
    /// Lets nothing through.
    pub(super) fn nothing() -> Self {
        Self(vec![Instruction { code: RET_K, jt: 0, jf: 0, k: 0 }])
    }

    /// Lets everything through, `snaplen` bytes of it.
    fn everything(snaplen: u32) -> Self {
        Self(vec![Instruction { code: RET_K, jt: 0, jf: 0, k: snaplen }])
    }

    /// Compiles `filter` for frames of `link`, or what lets everything through where there is none.
    /// `interface` is opened for a moment where the filter speaks of VLANs.
    pub(super) fn new(
        filter: Option<&str>,
        link: LinkType,
        snaplen: u32,
        interface: &str,
    ) -> Result<Self, FilterError> {
        let Some(text) = filter else { return Ok(Self::everything(snaplen)) };
        let fail = |source| FilterError::new(text, link, source);
        let wanted = if speaks_of_vlan(text) { live(text, interface) } else { dead(text, link) };
        let mut program = Self(instructions(&wanted.map_err(fail)?));
        let layers = if link == LinkType::ETHERNET { LAYERS } else { &LAYERS[..1] };
        for layer in layers {
            let fragments = dead(&format!("{layer}({FRAGMENTS})"), link).map_err(fail)?;
            program = program.or(Self(instructions(&fragments)));
        }
        for instruction in &mut program.0 {
            if instruction.code == RET_K && instruction.k != 0 {
                instruction.k = snaplen;
            }
        }
        if program.0.len() > INSTRUCTIONS_MAX {
            return Err(fail(pcap::Error::PcapError("too long for the kernel: say less".into())));
        }
        Ok(program)
    }

    /// Lets through what either lets through: where the first says no, the second is asked.
    fn or(mut self, other: Self) -> Self {
        let length = self.0.len();
        for (at, instruction) in self.0.iter_mut().enumerate() {
            if instruction.code == RET_K && instruction.k == 0 {
                let over = u32::try_from(length - at - 1).unwrap_or(u32::MAX);
                *instruction = Instruction { code: JUMP, jt: 0, jf: 0, k: over };
            }
        }
        self.0.extend(other.0);
        self
    }
}

/// Whether a filter asks for the tag that the kernel has taken out.
fn speaks_of_vlan(text: &str) -> bool {
    text.split(|c: char| !c.is_ascii_alphanumeric()).any(|word| word == "vlan")
}

fn dead(text: &str, link: LinkType) -> Result<BpfProgram, pcap::Error> {
    // Files number raw IP otherwise than libpcap does inside.
    let inside = if link == LinkType::RAW { 12 } else { i32::from(link.0) };
    Capture::dead(Linktype(inside))?.compile(text, true)
}

fn live(text: &str, interface: &str) -> Result<BpfProgram, pcap::Error> {
    let capture: Capture<Active> = Capture::from_device(interface)?.buffer_size(SMALL_BUFFER).open()?;
    capture.compile(text, true)
}

/// The instructions of a program, which libpcap's binding only prints.
fn instructions(program: &BpfProgram) -> Vec<Instruction> {
    let parse = |text: String| {
        let mut words = text.split(' ').map(|word| word.parse::<u32>().ok());
        let mut next = || words.next().flatten();
        let (code, jt, jf, k) = (next()?, next()?, next()?, next()?);
        Some(Instruction {
            code: u16::try_from(code).ok()?,
            jt: u8::try_from(jt).ok()?,
            jf: u8::try_from(jf).ok()?,
            k,
        })
    };
    program.get_instructions().iter().filter_map(|instruction| parse(instruction.to_string())).collect()
}

/// Fragments after the first (IPv4), and all that begin with a fragment header (IPv6).
const FRAGMENTS: &str = "(ip[6:2] & 0x1fff != 0) or (ip6[6] == 44)";
/// What may stand before the IP header. The outermost tag is gone, so `vlan` is the second of QinQ.
const LAYERS: &[&str] = &["", "vlan and ", "mpls and ", "pppoes and "];
/// `ret #k`
const RET_K: u16 = 0x06;
/// `ja k`
const JUMP: u16 = 0x05;
/// The kernel's BPF_MAXINSNS.
const INSTRUCTIONS_MAX: usize = 4_096;
/// Bytes of a libpcap buffer that nothing is read from.
const SMALL_BUFFER: i32 = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// What the kernel would do, as far as libpcap's compiler goes for headers of fixed places.
    fn run(program: &Program, frame: &[u8]) -> u32 {
        let load = |at: u32, size: usize| {
            let bytes = frame.get(at as usize..)?.get(..size)?;
            Some(bytes.iter().fold(0_u32, |value, byte| value << 8 | u32::from(*byte)))
        };
        let (mut a, mut x, mut at) = (0_u32, 0_u32, 0_usize);
        let mut memory = [0_u32; 16];
        loop {
            let Instruction { code, jt, jf, k } = program.0[at];
            at += 1;
            let jump = |holds: bool| usize::from(if holds { jt } else { jf });
            let size = [4, 2, 1][usize::from(code >> 3 & 3) % 3];
            match code {
                0x06 => return k,
                0x05 => at += k as usize,
                0x15 => at += jump(a == k),
                0x25 => at += jump(a > k),
                0x35 => at += jump(a >= k),
                0x45 => at += jump(a & k != 0),
                0x54 => a &= k,
                0x04 => a = a.wrapping_add(k),
                0x0c => a = a.wrapping_add(x),
                0x07 => x = a,
                0x87 => a = x,
                0x00 => a = k,
                0x01 => x = k,
                0x02 => memory[k as usize] = a,
                0x60 => a = memory[k as usize],
                0x61 => x = memory[k as usize],
                0x20 | 0x28 | 0x30 => match load(k, size) {
                    Some(value) => a = value,
                    None => return 0,
                },
                0x40 | 0x48 | 0x50 => match load(x.wrapping_add(k), size) {
                    Some(value) => a = value,
                    None => return 0,
                },
                0xb1 => match load(k, 1) {
                    Some(value) => x = 4 * (value & 15),
                    None => return 0,
                },
                other => panic!("an instruction that nobody expected: {other:#x}"),
            }
        }
    }

    /// An IPv4 packet in Ethernet, `fragment` being flags and offset.
    fn frame(before: &[u8], fragment: u16, port: u16) -> Vec<u8> {
        let mut ip = [0_u8; 28];
        (ip[0], ip[3], ip[9]) = (0x45, 28, 17);
        ip[6..8].copy_from_slice(&fragment.to_be_bytes());
        ip[22..24].copy_from_slice(&port.to_be_bytes());
        [&[0; 12], before, &ip].concat()
    }

    #[test]
    fn fragments_pass_with_what_is_asked_for() {
        let program = Program::new(Some("udp port 5060"), LinkType::ETHERNET, 1_500, "none").unwrap();
        let ip = [8, 0];
        assert_eq!(run(&program, &frame(&ip, 0, 5_060)), 1_500);
        assert_eq!(run(&program, &frame(&ip, 0, 5_061)), 0);
        assert_eq!(run(&program, &frame(&ip, 0x2000, 5_060)), 1_500, "the first fragment has ports");
        assert_eq!(run(&program, &frame(&ip, 0x2000, 5_061)), 0);
        assert_eq!(run(&program, &frame(&ip, 0x00b9, 9)), 1_500, "a later one");
        let q_in_q = [0x81, 0, 0, 5, 8, 0];
        assert_eq!(run(&program, &frame(&q_in_q, 0x00b9, 9)), 1_500, "and one with a second tag");
        assert_eq!(run(&program, &frame(&q_in_q, 0, 9)), 0);
        let mpls = [0x88, 0x47, 0, 1, 1, 64];
        assert_eq!(run(&program, &frame(&mpls, 0x00b9, 9)), 1_500);
        let mut six = frame(&[0x86, 0xdd], 0, 0);
        six[14] = 0x60;
        six[20] = 44;
        six.resize(14 + 40 + 16, 0);
        assert_eq!(run(&program, &six), 1_500);
    }

    #[test]
    fn raw_ip_and_no_filter_at_all() {
        let program = Program::new(Some("udp port 5060"), LinkType::RAW, 900, "none").unwrap();
        assert_eq!(run(&program, &frame(&[8, 0], 0x00b9, 9)[14..]), 900);
        assert_eq!(run(&program, &frame(&[8, 0], 0, 9)[14..]), 0);
        assert_eq!(run(&Program::new(None, LinkType::RAW, 77, "none").unwrap(), &[]), 77);
        assert_eq!(run(&Program::nothing(), &frame(&[8, 0], 0, 9)), 0);
    }

    #[test]
    fn senseless_filters_are_refused_with_their_text() {
        let error = Program::new(Some("udp prot 1"), LinkType::ETHERNET, 1, "none").unwrap_err().to_string();
        assert!(error.contains("`udp prot 1`"), "{error}");
        assert!(speaks_of_vlan("not(vlan 7)") && !speaks_of_vlan("host vlanhost"));
    }
}
