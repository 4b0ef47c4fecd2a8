//! Address ranges as the critical option `source-address` lists them (PROTOCOL.certkeys) and as the policy names
//! networks. Pure. Stricter than OpenSSH where a text is odd, because what is not understood must not match.

use std::net::IpAddr;

/// Longest list we look at; OpenSSH keeps certificates far below this.
const LIST_BYTES_MAX: usize = 4096;

/// One range. Addresses of IPv4 inside IPv6 (`::ffff:192.0.2.1`) count as IPv4, in ranges and in what is matched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: IpAddr,
    prefix: u32,
}

impl Cidr {
    /// The range of exactly one address.
    pub fn exactly(address: IpAddr) -> Self {
        let network = address.to_canonical();
        Self { network, prefix: width(network) }
    }

    /// Reads `ADDRESS` or `ADDRESS/BITS`; bits of the address beyond the prefix must be zero, as OpenSSH wants.
    pub fn parse(text: &str) -> Option<Self> {
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().ok()?;
        let prefix = match prefix {
            None => width(address),
            // `u32::from_str` takes a plus sign.
            Some(digits) if digits.len() <= 3 && digits.bytes().all(|b| b.is_ascii_digit()) => {
                digits.parse().ok()?
            }
            Some(_) => return None,
        };
        if prefix > width(address) {
            return None;
        }
        let network = address.to_canonical();
        let prefix = if width(network) == width(address) { prefix } else { prefix.checked_sub(96)? };
        (masked(network, prefix) == bits(network)).then_some(Self { network, prefix })
    }

    /// How many leading bits an address must share with the network.
    pub fn prefix(&self) -> u32 {
        self.prefix
    }

    /// The first address of the range.
    pub fn network(&self) -> IpAddr {
        self.network
    }

    /// Whether the address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        width(address) == width(self.network) && masked(address, self.prefix) == bits(self.network)
    }
}

impl Cidr {
    /// Whether it is a range of one address.
    pub fn is_one(&self) -> bool {
        self.prefix == width(self.network)
    }

    /// Whether it is the range of every address of its kind.
    pub fn is_all(&self) -> bool {
        self.prefix == 0
    }

    /// Whether every address of this range is in `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        self.prefix >= other.prefix && other.contains(self.network)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

/// Whether `from` is in one of the ranges of a comma-separated list. None when the list is empty or any part of it is
/// malformed: a list we only half understand restricts nothing reliably.
pub(crate) fn list_contains(list: &str, from: IpAddr) -> Option<bool> {
    if list.len() > LIST_BYTES_MAX {
        return None;
    }
    let ranges: Vec<Cidr> = list.split(',').map(Cidr::parse).collect::<Option<_>>()?;
    Some(ranges.iter().any(|range| range.contains(from)))
}

fn width(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    }
}

fn bits(address: IpAddr) -> u128 {
    match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()),
        IpAddr::V6(v6) => v6.to_bits(),
    }
}

/// The first `prefix` bits of the address, the others zero.
fn masked(address: IpAddr, prefix: u32) -> u128 {
    let drop = width(address).saturating_sub(prefix);
    // A shift by the full width is no number in Rust; there, nothing is left.
    bits(address).checked_shr(drop).and_then(|kept| kept.checked_shl(drop)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists() {
        let rows: &[(&str, &str, Option<bool>)] = &[
            ("192.0.2.7/32", "192.0.2.7", Some(true)),
            ("192.0.2.7", "192.0.2.7", Some(true)),
            ("192.0.2.7/32", "192.0.2.8", Some(false)),
            ("192.0.2.0/24", "192.0.2.255", Some(true)),
            ("192.0.2.0/24", "192.0.3.0", Some(false)),
            ("0.0.0.0/0", "203.0.113.9", Some(true)),
            ("0.0.0.0/0", "2001:db8::1", Some(false)),
            ("::/0", "2001:db8::1", Some(true)),
            ("::/0", "192.0.2.7", Some(false)),
            ("2001:db8::/32", "2001:db8:ffff::1", Some(true)),
            ("2001:db8::1/128", "2001:db8::2", Some(false)),
            // IPv4 seen through an IPv6 socket is the same client.
            ("192.0.2.7/32", "::ffff:192.0.2.7", Some(true)),
            ("::ffff:192.0.2.7/128", "192.0.2.7", Some(true)),
            ("::ffff:192.0.2.0/120", "192.0.2.99", Some(true)),
            ("::ffff:0.0.0.0/90", "192.0.2.99", None),
            ("10.0.0.0/8,192.0.2.7/32", "192.0.2.7", Some(true)),
            // Malformed: nothing holds, not even the parts that would.
            ("", "192.0.2.7", None),
            ("192.0.2.7/32,", "192.0.2.7", None),
            (",192.0.2.7/32", "192.0.2.7", None),
            ("192.0.2.7/32, 10.0.0.1/32", "192.0.2.7", None),
            ("192.0.2.7/33", "192.0.2.7", None),
            ("192.0.2.7/+32", "192.0.2.7", None),
            ("192.0.2.7/", "192.0.2.7", None),
            ("192.0.2.7/32/32", "192.0.2.7", None),
            ("192.0.2.7/24", "192.0.2.7", None),
            ("192.0.2", "192.0.2.0", None),
            ("192.0.2.07/32", "192.0.2.7", None),
            ("!192.0.2.7/32", "192.0.2.8", None),
            ("192.0.2.*", "192.0.2.7", None),
            ("localhost", "127.0.0.1", None),
            ("fe80::1%eth0", "fe80::1", None),
        ];
        for (list, from, expect) in rows {
            assert_eq!(list_contains(list, from.parse().unwrap()), *expect, "{list} {from}");
        }
        assert_eq!(list_contains(&"192.0.2.7,".repeat(500), "192.0.2.7".parse().unwrap()), None);
    }

    #[test]
    fn one_address() {
        for (address, expect) in [
            ("192.0.2.7", "192.0.2.7/32"),
            ("::ffff:192.0.2.7", "192.0.2.7/32"),
            ("2001:db8::1", "2001:db8::1/128"),
        ] {
            assert_eq!(Cidr::exactly(address.parse().unwrap()).to_string(), expect);
        }
    }
}
