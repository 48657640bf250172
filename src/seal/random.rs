//! Where random bytes come from is the shell's business; here is what sealing asks of them.

use hpke::rand_core::{TryCryptoRng, TryRng};
use ring::hmac;

/// A source of random bytes.
pub trait Randomness {
    /// Fills `bytes`.
    fn fill(&mut self, bytes: &mut [u8]);
}

/// Reproducible bytes: the same seed, label and ordinal give the same run, byte for byte.
///
/// For replays and tests. Whoever knows the seed knows every file key made from it, so a recorder
/// takes the operating system's randomness instead. HMAC-SHA-256 in counter mode (as NIST
/// SP 800-108 section 4.1): block `i` is `HMAC(HMAC(seed, ordinal || label), i)`.
pub struct Seeded {
    key: hmac::Key,
    counter: u64,
    block: [u8; 32],
    used: usize,
}

impl Seeded {
    /// Makes the source for one use: `label` says for what, `ordinal` for which one of them.
    pub fn new(seed: &[u8; 32], label: &str, ordinal: u64) -> Self {
        let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, seed));
        context.update(&ordinal.to_be_bytes());
        context.update(label.as_bytes());
        let key = hmac::Key::new(hmac::HMAC_SHA256, context.sign().as_ref());
        Self { key, counter: 0, block: [0; 32], used: 32 }
    }
}

impl Randomness for Seeded {
    fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            if self.used == self.block.len() {
                self.block.copy_from_slice(hmac::sign(&self.key, &self.counter.to_be_bytes()).as_ref());
                self.counter = self.counter.wrapping_add(1);
                self.used = 0;
            }
            *byte = self.block[self.used];
            self.used += 1;
        }
    }
}

/// Our randomness in the clothes that other libraries ask for.
pub(crate) struct RandCore<'a>(pub(crate) &'a mut dyn Randomness);

impl TryRng for RandCore<'_> {
    type Error = std::convert::Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Self::Error> {
        let mut bytes = [0; 4];
        self.0.fill(&mut bytes);
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Self::Error> {
        let mut bytes = [0; 8];
        self.0.fill(&mut bytes);
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Self::Error> {
        self.0.fill(bytes);
        Ok(())
    }
}

impl TryCryptoRng for RandCore<'_> {}

/// Says what it is, never where it stands.
impl std::fmt::Debug for Seeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seeded").finish_non_exhaustive()
    }
}

impl<R: Randomness + ?Sized> Randomness for Box<R> {
    fn fill(&mut self, bytes: &mut [u8]) {
        (**self).fill(bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(mut from: Seeded, sizes: &[usize]) -> Vec<u8> {
        let mut all = Vec::new();
        for size in sizes {
            let mut part = vec![0; *size];
            from.fill(&mut part);
            all.extend(part);
        }
        all
    }

    #[test]
    fn the_same_seed_gives_the_same_bytes_however_they_are_taken() {
        let new = || Seeded::new(&[7; 32], "call", 3);
        assert_eq!(take(new(), &[100]), take(new(), &[1, 31, 32, 33, 3]));
    }

    #[test]
    fn seed_label_and_ordinal_each_matter() {
        let mut all = vec![
            take(Seeded::new(&[7; 32], "call", 3), &[64]),
            take(Seeded::new(&[8; 32], "call", 3), &[64]),
            take(Seeded::new(&[7; 32], "log", 3), &[64]),
            take(Seeded::new(&[7; 32], "call", 4), &[64]),
        ];
        all.sort();
        all.dedup();
        assert_eq!(all.len(), 4);
    }
}
