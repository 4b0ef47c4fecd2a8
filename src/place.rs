//! Where a client is, as far as limits are concerned: one customer of a network counts as one, however many addresses
//! they have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What one customer has: an IPv4 address, or a /64 of IPv6.
pub fn area(from: IpAddr) -> IpAddr {
    masked(from, 32, 64)
}

/// What somebody with a little more has: a /24 of IPv4, or a /48 of IPv6.
pub fn wide_area(from: IpAddr) -> IpAddr {
    masked(from, 24, 48)
}

/// The network's first address. An IPv4 address inside IPv6 is the IPv4 address.
fn masked(from: IpAddr, v4_bits: u32, v6_bits: u32) -> IpAddr {
    match from.to_canonical() {
        IpAddr::V4(ip) => {
            let mask = u32::MAX.checked_shl(32 - v4_bits).unwrap_or(0);
            Ipv4Addr::from_bits(ip.to_bits() & mask).into()
        }
        IpAddr::V6(ip) => {
            let mask = u128::MAX.checked_shl(128 - v6_bits).unwrap_or(0);
            Ipv6Addr::from_bits(ip.to_bits() & mask).into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customer_is_one_area() {
        let rows = [
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("192.0.2.255", "192.0.2.255", "192.0.2.0"),
            ("::ffff:192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("2001:db8:1:2::ffff:1", "2001:db8:1:2::", "2001:db8:1::"),
            ("2001:db8:1:ffff:ffff::", "2001:db8:1:ffff::", "2001:db8:1::"),
            ("::1", "::", "::"),
        ];
        for (from, small, wide) in rows {
            let ip = |text: &str| text.parse::<IpAddr>().unwrap();
            assert_eq!((area(ip(from)), wide_area(ip(from))), (ip(small), ip(wide)), "{from}");
        }
    }
}
