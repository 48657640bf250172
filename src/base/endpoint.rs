//! Transport addresses, small enough to be hashed on every packet.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// An IP address with IPv4 mapped into IPv6, so that a pair of them hashes as plain integers.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Ip(u128);

impl Ip {
    /// From the four bytes of an IPv4 header.
    pub const fn v4(octets: [u8; 4]) -> Self {
        Self(0xffff_0000_0000 | u32::from_be_bytes(octets) as u128)
    }

    /// From the sixteen bytes of an IPv6 header.
    pub const fn v6(octets: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(octets))
    }

    /// Returns the address as the standard library has it; mapped addresses come out as IPv4.
    pub fn to_std(self) -> IpAddr {
        Ipv6Addr::from(self.0).to_canonical()
    }

    /// Returns whether this is `0.0.0.0` or `::`, which in SDP means hold (RFC 2543) or not yet known.
    pub fn is_unspecified(self) -> bool {
        self.to_std().is_unspecified()
    }
}

impl From<IpAddr> for Ip {
    fn from(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(v4) => v4.into(),
            IpAddr::V6(v6) => Self::v6(v6.octets()),
        }
    }
}

impl From<Ipv4Addr> for Ip {
    fn from(ip: Ipv4Addr) -> Self {
        Self::v4(ip.octets())
    }
}

impl fmt::Display for Ip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_std().fmt(f)
    }
}

/// A transport address: IP address and port.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Endpoint {
    /// The host.
    pub ip: Ip,
    /// The UDP or TCP port.
    pub port: u16,
}

impl Endpoint {
    /// Makes an endpoint.
    pub const fn new(ip: Ip, port: u16) -> Self {
        Self { ip, port }
    }
}

/// `192.0.2.1:4000` or `[2001:db8::1]:4000`.
impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        SocketAddr::new(self.ip.to_std(), self.port).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mapped_addresses_print_as_ipv4() {
        assert_eq!(Endpoint::new(Ip::v4([192, 0, 2, 1]), 4000).to_string(), "192.0.2.1:4000");
        let v6: Ipv6Addr = "2001:db8::1".parse().unwrap();
        assert_eq!(Endpoint::new(Ip::v6(v6.octets()), 4000).to_string(), "[2001:db8::1]:4000");
        assert_eq!(Ip::from(IpAddr::from([192, 0, 2, 1])), Ip::v4([192, 0, 2, 1]));
    }
}
