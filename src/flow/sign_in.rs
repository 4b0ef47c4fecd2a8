//! Signing in with an OpenID provider, for the command line (loopback, device code), the web page and `ssh`.
