//! A value that must not be printed: no `Debug`, no `Display`, wiped when dropped. How one is kept where others may read
//! is in `keyring`.

mod keyring;

use std::fmt;

use zeroize::{Zeroize, Zeroizing};

pub use keyring::{BadKeys, KeyFileError, Keyring, OpenError, SealFailed, Sealed};

/// Holds a secret; the only way to the value is [`Secret::expose`], which is easy to grep for.
#[derive(Clone)]
pub struct Secret<T: Zeroize>(Zeroizing<T>);

impl<T: Zeroize> Secret<T> {
    /// Takes the value in.
    pub fn new(value: T) -> Self {
        Self(Zeroizing::new(value))
    }

    /// The value itself.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(secret)")
    }
}
