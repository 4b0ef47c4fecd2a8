//! Recognises a caller from what they show: a certificate (SSH) or a signed request (HTTP).
