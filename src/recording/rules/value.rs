//! Values that conditions compare with: address prefixes, ranges of numbers, transports, tunnels.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::base::endpoint::Ip;

/// Why a text is no such value.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum ValueError {
    /// Not an address, or not a prefix of one.
    #[error("`{text}` is no address and no prefix: write 192.0.2.7, 192.0.2.0/24 or 2001:db8::/32")]
    Address {
        /// As written.
        text: String,
    },
    /// Bits beyond the prefix are set, so either the address or the length is not what is meant.
    #[error("`{text}` has bits after its prefix: write `{meant}`, or the single address without a length")]
    HostBits {
        /// As written.
        text: String,
        /// The prefix that it begins with.
        meant: String,
    },
    /// Not a number or a range.
    #[error("`{text}` is no number from 0 to 65535 and no range: write 5060 or 5060-5090")]
    Range {
        /// As written.
        text: String,
    },
    /// Not a transport.
    #[error(
        "`{text}` is no transport that can be read: they are udp, tcp, ws and hep (what a proxy had in TLS comes by HEP)"
    )]
    Transport {
        /// As written.
        text: String,
    },
    /// A tunnel whose number differs by direction, by hop or by call.
    #[error(
        "`{text}`: an MPLS label, a GTP-U endpoint, an ERSPAN or a PPPoE session differs by direction, by hop or by subscriber, so no rule goes by it: calls are taken out of these tunnels all the same; match addresses, `vlan`, or a vxlan, geneve or gre tunnel inside"
    )]
    NamesNoNetwork {
        /// As written.
        text: String,
    },
    /// Not a tunnel.
    #[error(
        "`{text}` is no tunnel: write an id (7, 0x1a2b), a kind that names a network (vxlan, geneve, gre), or both (vxlan:7)"
    )]
    Tunnel {
        /// As written.
        text: String,
    },
}

/// Addresses that begin alike: `192.0.2.0/24`, `2001:db8::/32`, or a single one.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Prefix {
    address: IpAddr,
    bits: u8,
}

impl Prefix {
    /// Whether `ip` is one of them. An IPv4 address is in no IPv6 prefix.
    pub fn contains(self, ip: Ip) -> bool {
        match (self.address, ip.to_std()) {
            (IpAddr::V4(prefix), IpAddr::V4(ip)) => {
                let shift = 32 - u32::from(self.bits.min(32));
                (u32::from(prefix) ^ u32::from(ip)).checked_shr(shift).unwrap_or(0) == 0
            }
            (IpAddr::V6(prefix), IpAddr::V6(ip)) => {
                let shift = 128 - u32::from(self.bits.min(128));
                (u128::from(prefix) ^ u128::from(ip)).checked_shr(shift).unwrap_or(0) == 0
            }
            _ => false,
        }
    }

    fn first(self) -> IpAddr {
        match self.address {
            IpAddr::V4(ip) => {
                let shift = 32 - u32::from(self.bits.min(32));
                let kept = u32::from(ip).checked_shr(shift).unwrap_or(0);
                IpAddr::V4(kept.checked_shl(shift).unwrap_or(0).into())
            }
            IpAddr::V6(ip) => {
                let shift = 128 - u32::from(self.bits.min(128));
                let kept = u128::from(ip).checked_shr(shift).unwrap_or(0);
                IpAddr::V6(kept.checked_shl(shift).unwrap_or(0).into())
            }
        }
    }
}

impl FromStr for Prefix {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::Address { text: text.into() };
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits.parse::<u8>().map_err(|_| wrong())?)),
            None => (text, None),
        };
        let address: IpAddr = address.trim().parse().map_err(|_| wrong())?;
        let all = if address.is_ipv4() { 32 } else { 128 };
        let bits = bits.unwrap_or(all);
        if bits > all {
            return Err(wrong());
        }
        // The same addresses as packets have them.
        let prefix = match address.to_canonical() {
            IpAddr::V4(v4) if all == 128 && bits >= 96 => Self { address: v4.into(), bits: bits - 96 },
            _ => Self { address, bits },
        };
        if prefix.first() != prefix.address {
            let meant = Self { address: prefix.first(), ..prefix }.to_string();
            return Err(ValueError::HostBits { text: text.into(), meant });
        }
        Ok(prefix)
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = if self.address.is_ipv4() { 32 } else { 128 };
        if self.bits == all { self.address.fmt(f) } else { write!(f, "{}/{}", self.address, self.bits) }
    }
}

/// A number, or a range with both ends: `5060`, `5060-5090`. Ports and VLAN ids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Range {
    first: u16,
    last: u16,
}

impl Range {
    /// Whether `number` is in it.
    pub fn contains(self, number: u16) -> bool {
        (self.first..=self.last).contains(&number)
    }

    /// Its end.
    pub fn last(self) -> u16 {
        self.last
    }
}

impl FromStr for Range {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::Range { text: text.into() };
        let number = |text: &str| text.trim().parse::<u16>().map_err(|_| wrong());
        let (first, last) = match text.split_once('-') {
            Some((first, last)) => (number(first)?, number(last)?),
            None => (number(text)?, number(text)?),
        };
        if first <= last { Ok(Self { first, last }) } else { Err(wrong()) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last { self.first.fmt(f) } else { write!(f, "{}-{}", self.first, self.last) }
    }
}

/// How signalling came.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
#[non_exhaustive]
pub enum Transport {
    /// From a capture agent, whatever it saw (HEP).
    Hep,
    /// TCP.
    Tcp,
    /// UDP.
    Udp,
    /// WebSocket (RFC 7118).
    Ws,
}

impl Transport {
    /// As in a Via header, in small letters.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Hep => "hep",
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Ws => "ws",
        }
    }
}

impl FromStr for Transport {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        [Self::Hep, Self::Tcp, Self::Udp, Self::Ws]
            .into_iter()
            .find(|transport| transport.as_str().eq_ignore_ascii_case(text))
            .ok_or_else(|| ValueError::Transport { text: text.into() })
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Kinds of tunnels whose id names a network. Labels, endpoints and sessions (MPLS, GTP-U, ERSPAN) differ by
/// direction and by hop, so no rule can go by them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[non_exhaustive]
pub enum TunnelKind {
    /// Geneve VNI (RFC 8926).
    Geneve,
    /// GRE key (RFC 2890).
    Gre,
    /// VXLAN VNI (RFC 7348).
    Vxlan,
}

impl TunnelKind {
    const ALL: [Self; 3] = [Self::Geneve, Self::Gre, Self::Vxlan];

    /// As rules write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Geneve => "geneve",
            Self::Gre => "gre",
            Self::Vxlan => "vxlan",
        }
    }
}

/// The innermost tunnel that a frame came through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Tunnel {
    /// What it is.
    pub kind: TunnelKind,
    /// VNI or key.
    pub id: u32,
}

impl fmt::Display for Tunnel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.kind.as_str(), self.id)
    }
}

/// Tunnels that a condition asks for: by kind, by id, or both.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TunnelPattern {
    kind: Option<TunnelKind>,
    id: Option<u32>,
}

impl TunnelPattern {
    /// Whether `tunnel` is one of them.
    pub fn matches(self, tunnel: Tunnel) -> bool {
        self.kind.is_none_or(|kind| kind == tunnel.kind) && self.id.is_none_or(|id| id == tunnel.id)
    }
}

impl FromStr for TunnelPattern {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let wrong = || ValueError::Tunnel { text: text.into() };
        let kind = |text: &str| {
            TunnelKind::ALL.into_iter().find(|kind| kind.as_str().eq_ignore_ascii_case(text.trim()))
        };
        let id = |text: &str| match text.trim().strip_prefix("0x") {
            Some(digits) => u32::from_str_radix(digits, 16).map_err(|_| wrong()),
            None => text.trim().parse().map_err(|_| wrong()),
        };
        let before = text.split(':').next().unwrap_or_default().trim();
        if NAME_NO_NETWORK.iter().any(|kind| kind.eq_ignore_ascii_case(before)) {
            return Err(ValueError::NamesNoNetwork { text: text.into() });
        }
        match text.split_once(':') {
            Some((before, after)) => {
                Ok(Self { kind: Some(kind(before).ok_or_else(wrong)?), id: Some(id(after)?) })
            }
            None => match kind(text) {
                Some(kind) => Ok(Self { kind: Some(kind), id: None }),
                None => Ok(Self { kind: None, id: Some(id(text)?) }),
            },
        }
    }
}

/// Tunnels that are taken apart, and that no rule can go by.
const NAME_NO_NETWORK: [&str; 7] = ["erspan", "gtp", "gtp-u", "gtpu", "mpls", "pppoe", "teid"];

impl fmt::Display for TunnelPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.kind, self.id) {
            (Some(kind), Some(id)) => Tunnel { kind, id }.fmt(f),
            (Some(kind), None) => f.write_str(kind.as_str()),
            (None, Some(id)) => id.fmt(f),
            (None, None) => f.write_str("any"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_contain_what_begins_alike() {
        for (prefix, ip, want) in [
            ("192.0.2.0/24", "192.0.2.255", true),
            ("192.0.2.0/24", "192.0.3.0", false),
            ("192.0.2.7", "192.0.2.7", true),
            ("192.0.2.7", "192.0.2.6", false),
            ("0.0.0.0/0", "255.1.2.3", true),
            ("0.0.0.0/0", "2001:db8::1", false),
            ("::/0", "2001:db8::1", true),
            ("::/0", "192.0.2.1", false),
            ("2001:db8::/32", "2001:db8:ffff::", true),
            ("2001:db8::/32", "2001:db9::", false),
            ("2001:db8::1", "2001:db8::1", true),
            ("::ffff:192.0.2.0/120", "192.0.2.9", true),
            ("::ffff:192.0.2.0/120", "192.0.3.9", false),
        ] {
            let ip: IpAddr = ip.parse().unwrap();
            assert_eq!(prefix.parse::<Prefix>().unwrap().contains(ip.into()), want, "{prefix} {ip}");
        }
        for wrong in ["", "192.0.2", "192.0.2.0/33", "::/129", "192.0.2.0/", "192.0.2.0/-1", "host"] {
            assert!(wrong.parse::<Prefix>().is_err(), "{wrong}");
        }
        let error = "192.0.2.9/24".parse::<Prefix>().unwrap_err().to_string();
        assert!(error.contains("`192.0.2.0/24`"), "{error}");
    }

    #[test]
    fn ranges_transports_and_tunnels() {
        let range: Range = "5060-5061".parse().unwrap();
        assert!(range.contains(5060) && range.contains(5061) && !range.contains(5062));
        assert!(["", "x", "5-4", "70000", "1-2-3"].iter().all(|text| text.parse::<Range>().is_err()));
        assert_eq!("UDP".parse(), Ok(Transport::Udp));
        assert!("tls".parse::<Transport>().is_err());
        let vxlan = Tunnel { kind: TunnelKind::Vxlan, id: 0x1a };
        for (text, want) in [
            ("26", true),
            ("0x1a", true),
            ("vxlan", true),
            ("vxlan:26", true),
            ("gre:26", false),
            ("27", false),
        ] {
            assert_eq!(text.parse::<TunnelPattern>().unwrap().matches(vxlan), want, "{text}");
        }
        for wrong in ["", "vxlan:", ":7", "l2tp:7", "gtp:7", "-1", "0xzz", "4294967296"] {
            assert!(wrong.parse::<TunnelPattern>().is_err(), "{wrong}");
        }
        for wrong in ["gtp:7", "GTP-U", "mpls:16", "mpls", "erspan:1", "teid:0x1"] {
            let error = wrong.parse::<TunnelPattern>().unwrap_err();
            assert_eq!(error, ValueError::NamesNoNetwork { text: wrong.into() });
            assert!(error.to_string().contains("match addresses"), "{error}");
        }
        for text in ["gre:7", "geneve", "9"] {
            assert_eq!(text.parse::<TunnelPattern>().unwrap().to_string(), text);
        }
    }
}
