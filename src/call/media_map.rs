//! Who may send where: transport addresses that calls have negotiated.
//!
//! A [`Claim`] says: in this call, that party receives media here. A packet belongs to a call
//! because its destination is claimed, its source is claimed, or both. When two calls have claimed
//! the same address (port reuse), the answer depends on which of them still lives, so the map keeps
//! every claim until its call closes and [`MediaMap::owner`] chooses.
//!
//! # Networks
//! Calls of two networks (see [`crate::base::net::Net`]) may use the same addresses at once. A call
//! is of every network that its signalling was seen in, and so are its claims:
//!
//! 1. Media belongs to a call of its own network, where any call of that network claims an address of
//!    it, whether that call takes it or not.
//! 2. Where none does, it may belong to a call of another network: some switches mirror each direction
//!    in a VLAN of its own, and some networks keep signalling and media apart. This holds only where
//!    all calls that claim the addresses are of one network. Media in doubt is taken by none.
//! 3. What is taken from another network proves itself for longer, and never sounds beside what comes
//!    from the call's own: when that comes, the other is turned away.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::base::endpoint::Endpoint;
use crate::base::format::Format;
use crate::base::limits::{ADDRESS_CLAIMS_MAX, ADDRESS_TENANTS_MAX};
use crate::base::party::Party;
use crate::base::seed::{HashSeed, SeededMap};
use crate::base::time::Stamp;

/// Payload types and what they mean.
pub type Formats = BTreeMap<u8, Format>;

/// What a media description is about.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// Sound.
    Audio,
    /// Anything else over RTP: counted and kept in packet recordings, not heard.
    Other,
}

/// How the media of a description is protected.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Security {
    /// In the clear.
    #[default]
    None,
    /// SRTP, keys in the session description (RFC 4568).
    Sdes,
    /// SRTP, keys from a DTLS handshake (RFC 5764).
    Dtls,
    /// SRTP, keys agreed in the media path (RFC 6189).
    Zrtp,
}

impl Security {
    /// The name manifests use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Sdes => "sdes",
            Self::Dtls => "dtls",
            Self::Zrtp => "zrtp",
        }
    }
}

/// One party of one call receives media at an address.
#[derive(Clone, Debug)]
pub struct Claim {
    /// The call.
    pub slot: u32,
    /// Who receives here.
    pub party: Party,
    /// What is received.
    pub kind: Kind,
    /// 0 where the party itself said so, higher where a relay on the way wrote its own address.
    pub rank: u8,
    /// When it was said.
    pub at: Stamp,
    /// Payload types as the description lists them.
    pub formats: Arc<Formats>,
    /// Protection as the description offers or accepts it.
    pub security: Security,
}

/// All claims of all calls.
#[derive(Debug)]
pub struct MediaMap {
    media: SeededMap<Endpoint, Vec<Claim>>,
    control: SeededMap<Endpoint, Vec<u32>>,
    epoch: u32,
    evicted: u64,
}

/// What a packet and a call that claims its addresses have to do with each other.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Standing {
    /// The call is of the packet's network.
    pub near: bool,
    /// The call takes new flows.
    pub open: bool,
}

/// Which call a new flow belongs to.
#[derive(Clone, Debug)]
pub enum Belongs {
    /// To none.
    Nobody,
    /// To one of calls of several networks that are not the packet's.
    Unclear,
    /// To this one.
    To(Owner),
}

impl Belongs {
    /// The call, where there is one.
    pub fn owner(self) -> Option<Owner> {
        match self {
            Self::To(owner) => Some(owner),
            Self::Nobody | Self::Unclear => None,
        }
    }
}

/// The call that a flow belongs to, and how.
#[derive(Clone, Debug)]
pub struct Owner {
    /// The call.
    pub slot: u32,
    /// Who speaks.
    pub voice: Party,
    /// See [`Claim::rank`], of the speaker's own address.
    pub rank: u8,
    /// What is sent.
    pub kind: Kind,
    /// Whether the speaker's address was negotiated; where not, the flow must prove itself.
    pub source_known: bool,
    /// Payload types: what the receiver listed, then what the sender listed.
    pub formats: Arc<Formats>,
    /// How the media is protected.
    pub security: Security,
    /// When the newest claim it rests on was made.
    pub at: Stamp,
    /// The call is of another network than the packet.
    pub crossed: bool,
}

impl MediaMap {
    /// Makes an empty one.
    pub fn new(seed: HashSeed) -> Self {
        Self { media: seed.table(), control: seed.table(), epoch: 0, evicted: 0 }
    }

    /// Claims that gave way to newer ones on the same address.
    pub fn evicted(&self) -> u64 {
        self.evicted
    }

    /// Counts changes, so that a decision once taken can be known to be stale.
    pub fn epoch(&self) -> u32 {
        self.epoch
    }

    /// Enters a claim, replacing the same call's earlier claim on the address. `akin` tells which
    /// calls are of a network of this one. Returns other calls that claim it too.
    pub fn claim(&mut self, at: Endpoint, claim: Claim, akin: impl Fn(u32) -> bool) -> Vec<u32> {
        self.epoch = self.epoch.wrapping_add(1);
        let claims = self.media.entry(at).or_default();
        let others = claims.iter().map(|other| other.slot).filter(|slot| *slot != claim.slot).collect();
        match claims.iter_mut().find(|other| other.slot == claim.slot && other.party == claim.party) {
            Some(earlier) => {
                let rank = earlier.rank.min(claim.rank);
                *earlier = Claim { rank, ..claim };
            }
            None => {
                // Hostile or not, so many calls on one address cannot be told apart: the oldest gives way.
                if claims.len() >= ADDRESS_TENANTS_MAX {
                    claims.remove(0);
                    self.evicted += 1;
                } else if claims.len() >= ADDRESS_CLAIMS_MAX
                    && claims.iter().filter(|other| akin(other.slot)).count() >= ADDRESS_CLAIMS_MAX
                    && let Some(oldest) = claims.iter().position(|other| akin(other.slot))
                {
                    claims.remove(oldest);
                    self.evicted += 1;
                }
                claims.push(claim);
            }
        }
        others
    }

    /// The clock was set.
    pub fn shift(&mut self, nanos: i64) {
        self.media.retain(|_, claims| {
            claims.iter_mut().for_each(|claim| claim.at = claim.at.shifted(nanos));
            true
        });
    }

    /// Notes where a call's RTCP goes.
    pub fn claim_control(&mut self, at: Endpoint, slot: u32) {
        let slots = self.control.entry(at).or_default();
        slots.retain(|other| *other != slot);
        if slots.len() >= ADDRESS_TENANTS_MAX {
            slots.remove(0);
            self.evicted += 1;
        }
        slots.push(slot);
    }

    /// Forgets a call's claims on `media` and `control` addresses.
    pub fn release(&mut self, slot: u32, media: &[Endpoint], control: &[Endpoint]) {
        self.epoch = self.epoch.wrapping_add(1);
        for at in media {
            if let Some(claims) = self.media.get_mut(at) {
                claims.retain(|claim| claim.slot != slot);
                if claims.is_empty() {
                    self.media.remove(at);
                }
            }
        }
        for at in control {
            if let Some(slots) = self.control.get_mut(at) {
                slots.retain(|other| *other != slot);
                if slots.is_empty() {
                    self.control.remove(at);
                }
            }
        }
    }

    /// Returns the call that RTCP, STUN or DTLS between two addresses belongs to: the last to claim
    /// one of them, of the packet's own network where there is one, else only where it is the only one.
    pub fn control_owner(&self, src: Endpoint, dst: Endpoint, near: impl Fn(u32) -> bool) -> Option<u32> {
        let control = |at| self.control.get(&at).map(Vec::as_slice).unwrap_or_default();
        let media = |at| self.media.get(&at).map(Vec::as_slice).unwrap_or_default();
        let of_network = |at| {
            let control = control(at).iter().rev().find(|slot| near(**slot)).copied();
            control.or_else(|| media(at).iter().rev().map(|claim| claim.slot).find(|slot| near(*slot)))
        };
        of_network(dst).or_else(|| of_network(src)).or_else(|| {
            let claimed = |at| control(at).iter().copied().chain(media(at).iter().map(|claim| claim.slot));
            let mut slots = claimed(dst).chain(claimed(src));
            let first = slots.next()?;
            slots.all(|slot| slot == first).then_some(first)
        })
    }

    /// Returns the call that media from `src` to `dst` belongs to. `standing` tells of each call what
    /// it has to do with the packet, `akin` whether two calls are of one network.
    pub fn owner(
        &self,
        src: Endpoint,
        dst: Endpoint,
        standing: impl Fn(u32) -> Standing,
        akin: impl Fn(u32, u32) -> bool,
    ) -> Belongs {
        let from = self.media.get(&src).map(Vec::as_slice).unwrap_or_default();
        let to = self.media.get(&dst).map(Vec::as_slice).unwrap_or_default();
        let claims = || to.iter().chain(from);
        // A call that takes nothing more still shows whose network this is.
        let near = claims().any(|claim| standing(claim.slot).near);
        let chosen = claims()
            .filter(|claim| {
                let standing = standing(claim.slot);
                standing.open && (standing.near || !near)
            })
            .map(|claim| {
                let sender = newest(from, claim.slot);
                // Of the receiver's claims, the one that makes the two ends opposite parties.
                let receiver = newest_of(to, claim.slot, sender.map(|sender| sender.party.other()));
                (sender, receiver)
            })
            .max_by_key(|(sender, receiver)| {
                let ends = u8::from(sender.is_some()) + 2 * u8::from(receiver.is_some());
                (ends, sender.map(|claim| claim.at).max(receiver.map(|claim| claim.at)))
            })
            .and_then(|(sender, receiver)| pair(sender, receiver));
        let Some(owner) = chosen else { return Belongs::Nobody };
        if !near && claims().any(|claim| claim.slot != owner.slot && !akin(claim.slot, owner.slot)) {
            return Belongs::Unclear;
        }
        Belongs::To(Owner { crossed: !near, ..owner })
    }
}

fn newest(claims: &[Claim], slot: u32) -> Option<&Claim> {
    claims.iter().filter(|claim| claim.slot == slot).max_by_key(|claim| claim.at)
}

fn newest_of(claims: &[Claim], slot: u32, party: Option<Party>) -> Option<&Claim> {
    let of_call = || claims.iter().filter(|claim| claim.slot == slot);
    of_call()
        .filter(|claim| Some(claim.party) == party)
        .max_by_key(|claim| claim.at)
        .or_else(|| of_call().max_by_key(|claim| claim.at))
}

/// Puts the two ends of a flow together; at least one is known.
fn pair(sender: Option<&Claim>, receiver: Option<&Claim>) -> Option<Owner> {
    let known = sender.or(receiver)?;
    let voice = sender.map(|claim| claim.party).or_else(|| receiver.map(|claim| claim.party.other()))?;
    let security = match (sender, receiver) {
        // Optional SRTP is in force only where both ends took part (RFC 4568 section 5.1).
        (Some(a), Some(b)) if a.security == Security::None || b.security == Security::None => Security::None,
        _ => known.security,
    };
    let mut formats = receiver.unwrap_or(known).formats.clone();
    if let (Some(sender), Some(receiver)) = (sender, receiver)
        && sender.formats.iter().any(|(payload_type, _)| !receiver.formats.contains_key(payload_type))
    {
        let mut merged = (*sender.formats).clone();
        merged.extend(receiver.formats.iter().map(|(payload_type, format)| (*payload_type, format.clone())));
        formats = Arc::new(merged);
    }
    Some(Owner {
        slot: known.slot,
        voice,
        rank: sender.map_or(LATCHED_RANK, |claim| claim.rank),
        kind: known.kind,
        source_known: sender.is_some(),
        formats,
        security,
        at: known.at.max(receiver.map_or(known.at, |claim| claim.at)),
        crossed: false,
    })
}

/// A sender known only by where it sends to ranks behind one that was negotiated.
const LATCHED_RANK: u8 = 1;
