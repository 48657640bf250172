//! The operating system's random bytes.

use ring::rand::{SecureRandom, SystemRandom};

use crate::seal::random::Randomness;

/// The operating system's generator.
#[derive(Clone, Debug)]
pub struct OsRandom(SystemRandom);

impl OsRandom {
    /// Returns the generator, once it has shown that it works.
    pub fn new() -> Result<Self, NoRandomness> {
        let generator = SystemRandom::new();
        generator.fill(&mut [0; 16]).map_err(|_| NoRandomness)?;
        Ok(Self(generator))
    }
}

impl Randomness for OsRandom {
    fn fill(&mut self, bytes: &mut [u8]) {
        // A key of zeros would be worse than no recording.
        self.0
            .fill(bytes)
            .expect("the generator worked when it was made, and getrandom(2) does not stop working");
    }
}

/// The operating system gives no random bytes.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the operating system gives no random bytes: no key can be made")]
pub struct NoRandomness;
