//! The one source of randomness. Everything that must be unguessable (ids, nonces, serial numbers, keys)
//! comes from here, so a test can seed it.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use rand::rngs::StdRng;
use rand::{CryptoRng, SeedableRng};

/// Where random bytes come from.
#[derive(Clone)]
pub enum Random {
    /// The thread-local CSPRNG of `rand`, seeded by the operating system.
    System,
    /// A seeded generator for tests; clones share one stream.
    Seeded(Arc<Mutex<StdRng>>),
}

impl Random {
    /// A reproducible source. Only for tests and never behind a listening server.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// Lends the generator, for libraries that draw for themselves (`ssh_key::PrivateKey::random`).
    pub fn with<T>(&self, draw: impl FnOnce(&mut dyn CryptoRng) -> T) -> T {
        match self {
            Self::System => {
                #[expect(clippy::disallowed_methods, reason = "the one place that asks for randomness")]
                let mut rng = rand::rng();
                draw(&mut rng)
            }
            Self::Seeded(rng) => draw(&mut *rng.lock().unwrap_or_else(PoisonError::into_inner)),
        }
    }

    /// `N` random bytes.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut out = [0; N];
        self.with(|rng| rng.fill_bytes(&mut out));
        out
    }

    /// A random 64-bit number, e.g. a certificate serial.
    pub fn u64(&self) -> u64 {
        u64::from_be_bytes(self.bytes())
    }

    /// A token of 256 bits in URL-safe base64 without padding (43 characters).
    pub fn token(&self) -> String {
        use base64::Engine as _;
        base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(self.bytes::<32>())
    }
}

impl fmt::Debug for Random {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::System => "Random::System",
            Self::Seeded(_) => "Random::Seeded",
        })
    }
}
