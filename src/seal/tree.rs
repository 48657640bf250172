//! Merkle trees as in RFC 6962 section 2.1: hashes, proofs and their verification (RFC 9162 section 2.1).
//!
//! A tree is a list of leaves. A *perfect* node is one over `2^height` leaves that begin at a multiple of
//! that; every other node is made of perfect ones, so whoever can look up perfect nodes
//! ([`Nodes`]) can make any root and any proof.

use ring::digest;

/// A node's hash.
#[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Hash(pub [u8; HASH_BYTES]);

impl Hash {
    /// The root of a tree without leaves.
    pub fn empty() -> Self {
        hash(&[])
    }

    /// The hash of a leaf.
    pub fn leaf(entry: &[u8]) -> Self {
        hash(&[&[0], entry])
    }

    /// The hash of a node with two children.
    pub fn node(left: &Self, right: &Self) -> Self {
        hash(&[&[1], &left.0, &right.0])
    }
}

impl std::fmt::Debug for Hash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Looks up perfect nodes.
pub trait Nodes {
    /// The node over leaves `index << height ..(index + 1) << height`, or `None` where it is not known.
    fn node(&self, height: u32, index: u64) -> Option<Hash>;
}

/// Leaves' hashes, of which every node is made anew.
impl Nodes for [Hash] {
    fn node(&self, height: u32, index: u64) -> Option<Hash> {
        let width = 1_usize.checked_shl(height)?;
        let start = usize::try_from(index).ok()?.checked_mul(width)?;
        self.get(start..start.checked_add(width)?).and_then(perfect_root)
    }
}

/// A tree that grows: its root at each size, without going through what was before.
#[derive(Clone, Debug, Default)]
pub(crate) struct Growing {
    size: u64,
    /// Roots of its perfect parts, the largest first.
    parts: Vec<Hash>,
}

impl Growing {
    pub(crate) fn push(&mut self, leaf: Hash) {
        // What is as large as what is added becomes one with it: as often as the size ends in ones.
        let equal = self.parts.split_off(self.parts.len() - self.size.trailing_ones() as usize);
        self.parts.push(equal.iter().rev().fold(leaf, |right, left| Hash::node(left, &right)));
        self.size += 1;
    }

    pub(crate) fn size(&self) -> u64 {
        self.size
    }

    pub(crate) fn root(&self) -> Hash {
        let parts = self.parts.iter().copied();
        parts.rev().reduce(|right, left| Hash::node(&left, &right)).unwrap_or_else(Hash::empty)
    }
}

/// The root of a tree of `size` leaves.
pub fn root(nodes: &(impl Nodes + ?Sized), size: u64) -> Option<Hash> {
    range(nodes, 0, size)
}

/// Proves that leaf `index` is in the tree of `size` leaves (RFC 6962 section 2.1.1), nearest node first.
/// `None` where it is not, or where a node is not known.
pub fn inclusion_proof(nodes: &(impl Nodes + ?Sized), index: u64, size: u64) -> Option<Vec<Hash>> {
    if index >= size {
        return None;
    }
    let (mut start, mut end) = (0, size);
    let mut proof = Vec::new();
    while end - start > 1 {
        let middle = start + split(end - start);
        if index < middle {
            proof.push(range(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range(nodes, start, middle)?);
            start = middle;
        }
    }
    proof.reverse();
    Some(proof)
}

/// Proves that the tree of `old` leaves is the start of that of `new` (RFC 6962 section 2.1.2).
/// `None` where `old` is 0 or above `new`, or where a node is not known.
pub fn consistency_proof(nodes: &(impl Nodes + ?Sized), old: u64, new: u64) -> Option<Vec<Hash>> {
    if old == 0 || old > new {
        return None;
    }
    let (mut start, mut end) = (0, new);
    let mut proof = Vec::new();
    while end != old {
        let middle = start + split(end - start);
        if old <= middle {
            proof.push(range(nodes, middle, end)?);
            end = middle;
        } else {
            proof.push(range(nodes, start, middle)?);
            start = middle;
        }
    }
    // The verifier has the old root: it is not sent where it is a node of the new tree.
    if start != 0 {
        proof.push(range(nodes, start, end)?);
    }
    proof.reverse();
    Some(proof)
}

/// Checks an inclusion proof (RFC 9162 section 2.1.3.2).
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for node in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = Hash::node(node, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = Hash::node(&hash, node);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Checks a consistency proof (RFC 9162 section 2.1.4.2).
pub fn verify_consistency(old: u64, old_root: &Hash, new: u64, new_root: &Hash, proof: &[Hash]) -> bool {
    if old == new {
        return proof.is_empty() && old_root == new_root;
    }
    if old == 0 || old > new {
        return false;
    }
    let mut nodes = proof.iter();
    let first = if old.is_power_of_two() { Some(old_root) } else { nodes.next() };
    let Some(first) = first else { return false };
    let (mut at, mut last) = (old - 1, new - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old_hash, mut new_hash) = (*first, *first);
    for node in nodes {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old_hash = Hash::node(node, &old_hash);
            new_hash = Hash::node(node, &new_hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new_hash = Hash::node(&new_hash, node);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old_hash == *old_root && new_hash == *new_root
}

/// The root over `hashes`, whose number is a power of two.
pub(crate) fn perfect_root(hashes: &[Hash]) -> Option<Hash> {
    if !hashes.len().is_power_of_two() {
        return None;
    }
    let mut row = hashes.to_vec();
    while row.len() > 1 {
        row = row.chunks_exact(2).map(|pair| Hash::node(&pair[0], &pair[1])).collect();
    }
    row.first().copied()
}

/// The root over leaves `start..end` of one tree, where `start` is where a subtree begins.
fn range(nodes: &(impl Nodes + ?Sized), start: u64, end: u64) -> Option<Hash> {
    if start == end {
        return Some(Hash::empty());
    }
    let mut parts = Vec::new();
    let mut at = start;
    while at < end {
        // The largest perfect node that begins here and ends in time: sizes only fall, because
        // `start` is a multiple of a power of two that is not smaller than the range.
        let height = (end - at).ilog2();
        parts.push(nodes.node(height, at >> height)?);
        at += 1 << height;
    }
    parts.into_iter().rev().reduce(|right, left| Hash::node(&left, &right))
}

/// The largest power of two below `size`, which is above 1.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut out = [0; HASH_BYTES];
    out.copy_from_slice(context.finish().as_ref());
    Hash(out)
}

/// Bytes of a hash.
pub const HASH_BYTES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6962 section 2.1, word for word: what all else is compared with.
    fn mth(leaves: &[Hash]) -> Hash {
        match leaves.len() {
            0 => Hash::empty(),
            1 => leaves[0],
            n => {
                let (left, right) = leaves.split_at(split(n as u64) as usize);
                Hash::node(&mth(left), &mth(right))
            }
        }
    }

    /// RFC 6962 section 2.1.1, word for word.
    fn path(m: usize, leaves: &[Hash]) -> Vec<Hash> {
        if leaves.len() == 1 {
            return Vec::new();
        }
        let k = split(leaves.len() as u64) as usize;
        let (mut proof, other) = if m < k {
            (path(m, &leaves[..k]), &leaves[k..])
        } else {
            (path(m - k, &leaves[k..]), &leaves[..k])
        };
        proof.push(mth(other));
        proof
    }

    fn leaves(count: u64) -> Vec<Hash> {
        (0..count).map(|number| Hash::leaf(&number.to_be_bytes())).collect()
    }

    #[test]
    fn a_tree_that_grows_has_each_root_on_its_way() {
        let (leaves, mut growing) = (leaves(530), Growing::default());
        for size in 0..=leaves.len() {
            assert_eq!((growing.size(), growing.root()), (size as u64, mth(&leaves[..size])));
            leaves.get(size).into_iter().for_each(|leaf| growing.push(*leaf));
        }
    }

    /// The test tree of Certificate Transparency's reference implementation.
    #[test]
    fn roots_are_those_of_the_published_vectors() {
        let entries: [&[u8]; 8] = [
            b"",
            b"\0",
            b"\x10",
            b"\x20\x21",
            b"\x30\x31",
            b"\x40\x41\x42\x43",
            b"\x50\x51\x52\x53\x54\x55\x56\x57",
            b"\x60\x61\x62\x63\x64\x65\x66\x67\x68\x69\x6a\x6b\x6c\x6d\x6e\x6f",
        ];
        let leaves: Vec<_> = entries.iter().map(|entry| Hash::leaf(entry)).collect();
        let hex = |size: usize| format!("{:?}", root(&leaves[..], size as u64).unwrap());
        assert_eq!(hex(0), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
        assert_eq!(hex(1), "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d");
        assert_eq!(hex(2), "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125");
        assert_eq!(hex(3), "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77");
        assert_eq!(hex(8), "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328");
    }

    #[test]
    fn roots_and_inclusion_proofs_are_those_of_the_rfc() {
        let all = leaves(70);
        for size in 0..=70_u64 {
            let tree = &all[..size as usize];
            let top = root(tree, size).unwrap();
            assert_eq!(top, mth(tree));
            for index in 0..size {
                let proof = inclusion_proof(tree, index, size).unwrap();
                assert_eq!(proof, path(index as usize, tree));
                let leaf = &all[index as usize];
                assert!(verify_inclusion(leaf, index, size, &proof, &top));
                assert!(!verify_inclusion(leaf, index + 1, size, &proof, &top));
                assert!(!verify_inclusion(&all[(index as usize + 1) % 70], index, size, &proof, &top));
                if !proof.is_empty() {
                    assert!(!verify_inclusion(leaf, index, size, &proof[1..], &top));
                }
            }
            assert!(inclusion_proof(tree, size, size).is_none());
        }
    }

    #[test]
    fn consistency_is_proved_between_any_two_sizes_and_nothing_else_is() {
        let all = leaves(40);
        for new in 1..=40 {
            let new_root = root(&all[..], new).unwrap();
            for old in 1..=new {
                let old_root = root(&all[..], old).unwrap();
                let proof = consistency_proof(&all[..], old, new).unwrap();
                assert!(verify_consistency(old, &old_root, new, &new_root, &proof), "{old} in {new}");
                assert!(!verify_consistency(old, &Hash::empty(), new, &new_root, &proof));
                assert!(!verify_consistency(old, &old_root, new, &Hash::empty(), &proof));
                for at in 0..proof.len() {
                    let mut changed = proof.clone();
                    changed[at].0[0] ^= 1;
                    assert!(!verify_consistency(old, &old_root, new, &new_root, &changed));
                }
                let mut longer = proof.clone();
                longer.push(Hash::empty());
                assert!(!verify_consistency(old, &old_root, new, &new_root, &longer));
            }
        }
        assert!(consistency_proof(&all[..], 0, 4).is_none());
        assert!(consistency_proof(&all[..], 5, 4).is_none());
    }
}
