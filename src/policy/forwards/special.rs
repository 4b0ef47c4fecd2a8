//! Addresses that a wide rule does not open: who reaches them is on the inside of something. A rule opens one only when
//! it is a range inside the special one, or, for the bastion and for metadata, exactly that address.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::net::Cidr;

/// Why an address is special.
pub(super) struct Special {
    /// For people: "ADDRESS is ...".
    pub(super) word: &'static str,
    /// A rule inside this range opens it; `None` when only a rule for exactly this address does.
    range: Option<Cidr>,
}

impl Special {
    /// Whether a rule for `range` names `address` on purpose.
    pub(super) fn is_named_by(&self, range: &Cidr) -> bool {
        range.is_one() || self.range.is_some_and(|special| range.is_within(&special))
    }
}

/// Metadata services of clouds: AWS and most others, AWS on IPv6 (instances, containers, name service), Google on IPv6,
/// Alibaba, Oracle, Azure's wire server.
const METADATA: &[IpAddr] = &[
    IpAddr::V4(Ipv4Addr::new(169, 254, 169, 254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// Ranges with their words.
const RANGES: &[(&str, &str)] = &[
    ("127.0.0.0/8", "the target's loopback"),
    ("::1/128", "the target's loopback"),
    ("0.0.0.0/8", "no address of a host"),
    // `::`, and IPv4 in the way of before `::ffff:`, which nobody needs.
    ("::/96", "no address of a host"),
    ("169.254.0.0/16", "link-local"),
    ("fe80::/10", "link-local"),
    ("fec0::/10", "site-local"),
    ("224.0.0.0/4", "multicast"),
    ("ff00::/8", "multicast"),
    ("240.0.0.0/4", "broadcast or reserved"),
    // Which IPv4 address such a translator takes out, only who has set it up knows (RFC 8215).
    ("64:ff9b:1::/48", "behind a translator to any IPv4 address"),
];

/// Translators that carry an IPv4 address in an IPv6 one: NAT64 (RFC 6052, last 32 bits) and 6to4 (RFC 3056, bits 16 to 48).
const CARRIERS: &[(&str, u32)] = &[("64:ff9b::/96", 0), ("2002::/16", 80)];

/// Why `address` is special, if it is. `own` are the bastion's addresses.
pub(super) fn special(address: IpAddr, own: &[IpAddr]) -> Option<Special> {
    let address = address.to_canonical();
    if METADATA.contains(&address) {
        return Some(Special { word: "a metadata service", range: None });
    }
    let in_range = |text: &str| Cidr::parse(text).filter(|range| range.contains(address));
    if let Some((word, range)) = RANGES.iter().find_map(|(text, word)| Some((*word, in_range(text)?))) {
        return Some(Special { word, range: Some(range) });
    }
    if own.iter().any(|own| own.to_canonical() == address) {
        return Some(Special { word: "the bastion itself", range: None });
    }
    let IpAddr::V6(v6) = address else { return None };
    let carried = CARRIERS.iter().find(|(text, _)| in_range(text).is_some())?;
    let v4 = Ipv4Addr::from_bits(u32::try_from(v6.to_bits() >> carried.1 & u128::from(u32::MAX)).ok()?);
    special(IpAddr::V4(v4), own).map(|inner| Special { word: inner.word, range: None })
}

/// Why nobody should be made to send anything to `address`, if there is a reason: see [`special`].
pub(crate) fn why_special(address: IpAddr) -> Option<&'static str> {
    special(address, &[]).map(|special| special.word)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let own = ["10.1.2.3".parse().unwrap(), "fd00::5".parse().unwrap()];
        for (address, expect) in [
            ("10.1.2.4", None),
            ("203.0.113.9", None),
            ("fd00::6", None),
            ("10.1.2.3", Some("the bastion itself")),
            ("::ffff:10.1.2.3", Some("the bastion itself")),
            ("fd00::5", Some("the bastion itself")),
            ("127.0.0.1", Some("the target's loopback")),
            ("127.255.255.254", Some("the target's loopback")),
            ("::1", Some("the target's loopback")),
            ("::ffff:127.0.0.1", Some("the target's loopback")),
            ("::127.0.0.1", Some("no address of a host")),
            ("0.0.0.0", Some("no address of a host")),
            ("::", Some("no address of a host")),
            ("169.254.1.1", Some("link-local")),
            ("fe80::1", Some("link-local")),
            ("169.254.169.254", Some("a metadata service")),
            ("fd00:ec2::254", Some("a metadata service")),
            ("fd00:ec2::23", Some("a metadata service")),
            ("fd20:ce::254", Some("a metadata service")),
            ("fd20:ce::255", None),
            ("64:ff9b:1::a9fe:a9fe", Some("behind a translator to any IPv4 address")),
            ("64:ff9b:1:a9fe:a9:fe00::", Some("behind a translator to any IPv4 address")),
            ("64:ff9b:2::1", None),
            ("100.100.100.200", Some("a metadata service")),
            ("255.255.255.255", Some("broadcast or reserved")),
            ("224.0.0.1", Some("multicast")),
            ("ff02::1", Some("multicast")),
            ("64:ff9b::a9fe:a9fe", Some("a metadata service")),
            ("64:ff9b::808:808", None),
            ("2002:7f00:1::", Some("the target's loopback")),
            ("2002:a01:203::1", Some("the bastion itself")),
        ] {
            assert_eq!(special(address.parse().unwrap(), &own).map(|s| s.word), expect, "{address}");
        }
    }

    #[test]
    fn every_range_is_one() {
        for (text, _) in RANGES {
            assert!(Cidr::parse(text).is_some(), "{text}");
        }
        for (text, _) in CARRIERS {
            assert!(Cidr::parse(text).is_some(), "{text}");
        }
    }
}
