//! Which network an address is of: tenants behind one mirror port use the same addresses.

use std::fmt;

use crate::base::endpoint::Endpoint;

/// What tells one network from another on one wire: its VLAN tags and the tunnel that names it.
///
/// - A VLAN tag counts, the two innermost of them; a priority tag (VLAN 0) is none.
/// - A tunnel that names the network it carries begins anew: VXLAN and Geneve by VNI, GRE by key.
///   What is around it is how it got here.
/// - What differs by direction, by hop or by subscriber names no network: MPLS labels, GTP-U
///   endpoints (TEID), ERSPAN and PPPoE sessions. Networks that only such a number tells apart are
///   one here.
///
/// The directions of one call may still be in two networks, as some switches mirror them in a VLAN
/// each: see `call::media_map` for what that means.
#[derive(Clone, Copy, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Net(u64);

/// A tunnel that names the network it carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tunnel {
    /// Geneve, by VNI.
    Geneve(u32),
    /// GRE, by key (all of it, for NVGRE the flow too).
    Gre(u32),
    /// VXLAN, by VNI.
    Vxlan(u32),
}

/// What a datagram or message goes between, and where.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Path {
    /// The network.
    pub net: Net,
    /// Sender.
    pub src: Endpoint,
    /// Receiver.
    pub dst: Endpoint,
}

impl Net {
    /// Untagged, in no tunnel that names its network.
    pub const PLAIN: Self = Self(0);

    /// Inside one more VLAN tag; of the tag's 16 bits (IEEE 802.1Q), the 12 of the VLAN count.
    #[must_use]
    pub const fn tagged(self, tag: u16) -> Self {
        match tag as u64 & VLAN_MASK {
            0 => self,
            vlan => Self(self.0 & TUNNEL_MASK | (self.0 & VLAN_MASK) << VLAN_BITS | vlan),
        }
    }

    /// Inside a tunnel.
    pub const fn tunnelled(tunnel: Tunnel) -> Self {
        let (kind, id) = match tunnel {
            Tunnel::Geneve(id) => (1, id),
            Tunnel::Gre(id) => (2, id),
            Tunnel::Vxlan(id) => (3, id),
        };
        Self(kind << KIND_SHIFT | (id as u64) << ID_SHIFT)
    }

    /// As a number, for [`Self::from_bits`] of this version.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// From such a number.
    pub const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// VLAN tags inside the tunnel, outermost first.
    pub fn vlans(self) -> impl Iterator<Item = u16> {
        let vlan = |shift: u32| (self.0 >> shift & VLAN_MASK) as u16;
        [vlan(VLAN_BITS), vlan(0)].into_iter().filter(|vlan| *vlan != 0)
    }

    /// The tunnel.
    pub fn tunnel(self) -> Option<Tunnel> {
        let id = (self.0 >> ID_SHIFT) as u32;
        match self.0 >> KIND_SHIFT {
            1 => Some(Tunnel::Geneve(id)),
            2 => Some(Tunnel::Gre(id)),
            3 => Some(Tunnel::Vxlan(id)),
            _ => None,
        }
    }
}

/// `vxlan 5001, vlan 10.20`, or `untagged`.
impl fmt::Debug for Net {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tunnel = match self.tunnel() {
            Some(Tunnel::Geneve(id)) => format!("geneve {id}"),
            Some(Tunnel::Gre(id)) => format!("gre {id}"),
            Some(Tunnel::Vxlan(id)) => format!("vxlan {id}"),
            None => String::new(),
        };
        let vlans: Vec<String> = self.vlans().map(|vlan| vlan.to_string()).collect();
        match (tunnel.is_empty(), vlans.is_empty()) {
            (true, true) => f.write_str("untagged"),
            (true, false) => write!(f, "vlan {}", vlans.join(".")),
            (false, true) => f.write_str(&tunnel),
            (false, false) => write!(f, "{tunnel}, vlan {}", vlans.join(".")),
        }
    }
}

impl Path {
    /// The way back in the same network.
    #[must_use]
    pub fn back(self) -> Self {
        Self { net: self.net, src: self.dst, dst: self.src }
    }
}

const VLAN_BITS: u32 = 12;
const VLAN_MASK: u64 = 0xfff;
/// Two VLANs, then the tunnel's number, then its kind.
const ID_SHIFT: u32 = 2 * VLAN_BITS;
const KIND_SHIFT: u32 = ID_SHIFT + 32;
const TUNNEL_MASK: u64 = !0 << ID_SHIFT;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_pile_up_and_the_two_innermost_count() {
        assert_eq!(Net::PLAIN.tagged(0), Net::PLAIN);
        assert_eq!(Net::PLAIN.tagged(0xe00a), Net::PLAIN.tagged(10), "priority bits are no name");
        let net = Net::PLAIN.tagged(7).tagged(100).tagged(20);
        assert_eq!(net.vlans().collect::<Vec<_>>(), [100, 20]);
        assert_ne!(Net::PLAIN.tagged(100).tagged(20), Net::PLAIN.tagged(20).tagged(100));
    }

    #[test]
    fn tunnels_keep_their_whole_number() {
        for tunnel in [Tunnel::Geneve(0), Tunnel::Gre(u32::MAX), Tunnel::Vxlan(0xff_ffff)] {
            let net = Net::tunnelled(tunnel).tagged(4_095).tagged(4_094);
            assert_eq!(net.tunnel(), Some(tunnel));
            assert_eq!(net.vlans().collect::<Vec<_>>(), [4_095, 4_094]);
        }
        assert_ne!(Net::tunnelled(Tunnel::Vxlan(5)), Net::tunnelled(Tunnel::Geneve(5)));
        assert_eq!(format!("{:?}", Net::tunnelled(Tunnel::Vxlan(5)).tagged(10)), "vxlan 5, vlan 10");
    }
}
