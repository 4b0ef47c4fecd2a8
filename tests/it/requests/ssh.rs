//! The whole way with the real commands and stock ssh.
