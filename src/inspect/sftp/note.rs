//! What the guard has to say for the audit. Plain values; who writes them down adds whose session it was.

/// Something to be written down before the bytes that came out with it are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Something is about to be done, or was refused.
    Operation {
        /// A word of `FileOp`, or `extended` for an extension that is not known.
        op: &'static str,
        /// The path as the target resolved it; as the client wrote it when it did not come to that. For `extended` the
        /// name of the extension.
        path: String,
        /// The other path: the new name, where a link leads, what a hard link or a copy is of.
        second: Option<String>,
        /// Whether it is sent to the target.
        allowed: bool,
        /// The rule that spoke.
        rule: String,
    },
    /// Content has passed, and the file is closed, or the session over.
    Transferred {
        /// The path.
        path: String,
        /// Which way.
        way: Way,
        /// Bytes that passed.
        bytes: u64,
        /// SHA-256 in hex when the whole content passed, each byte once, and nothing failed; otherwise none.
        sha256: Option<String>,
    },
}

/// Which way content passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// From the target to the client.
    Read,
    /// From the client to the target.
    Write,
}

impl Way {
    /// The word for the audit.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}
