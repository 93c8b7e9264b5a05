//! Which addresses may be connected to. Pure.
//!
//! A name is resolved once and every address looked at; what is connected to is that address, not the name (DNS rebinding).
//! Sources of the ranges: the IANA special-purpose address registries (RFC 6890), RFC 4291, RFC 6052, RFC 3056.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How far a client may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reach {
    /// The public internet.
    Public,
    /// This machine, by its own name, and nothing else.
    Loopback,
    /// The public internet, private networks, and this machine.
    Private,
}

impl Reach {
    pub fn allows(self, address: IpAddr) -> bool {
        match (self, class(address)) {
            (_, Class::Never) => false,
            (Self::Private, _) => true,
            (Self::Public, class) => class == Class::Public,
            (Self::Loopback, class) => class == Class::Loopback,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Class {
    Public,
    Loopback,
    /// Private, link-local, shared, documentation, benchmarks, not assigned.
    Private,
    /// Multicast, broadcast, "this host", and where clouds hand out credentials.
    Never,
}

fn class(address: IpAddr) -> Class {
    match address {
        IpAddr::V4(address) => class_v4(address),
        IpAddr::V6(address) => class_v6(address),
    }
}

fn class_v4(address: Ipv4Addr) -> Class {
    match address.octets() {
        // Metadata services of Amazon, Google, Microsoft and others; of containers at Amazon; of Alibaba; of Oracle.
        [169, 254, 169, 254] | [169, 254, 170, 2 | 23] | [100, 100, 100, 200] | [192, 0, 0, 192] => Class::Never,
        [127, ..] => Class::Loopback,
        // 0.0.0.0 is this host on many systems.
        [0 | 224..=255, ..] => Class::Never,
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [169, 254, ..] | [100, 64..=127, ..] => Class::Private,
        [192, 0, 0 | 2, _] | [192, 88, 99, _] | [198, 18..=19, ..] | [198, 51, 100, _] | [203, 0, 113, _] => Class::Private,
        _ => Class::Public,
    }
}

fn class_v6(address: Ipv6Addr) -> Class {
    if let Some(inner) = inner_v4(address) {
        return class_v4(inner);
    }
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0] | [0xff00..=0xffff, ..] => Class::Never,
        [0, 0, 0, 0, 0, 0, 0, 1] => Class::Loopback,
        // Metadata services of Amazon and Google.
        [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254] | [0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254] => Class::Never,
        // Protocol assignments, Teredo among them; documentation.
        [0x2001, 0..=0x1ff | 0xdb8, ..] | [0x3fff, 0..=0xfff, ..] => Class::Private,
        [0x2000..=0x3fff, ..] => Class::Public,
        _ => Class::Private,
    }
}

/// The address inside of one that is mapped, compatible, translated (NAT64) or tunnelled (6to4).
fn inner_v4(address: Ipv6Addr) -> Option<Ipv4Addr> {
    let join = |high: u16, low: u16| Ipv4Addr::from(u32::from(high) << 16 | u32::from(low));
    match address.segments() {
        [0, 0, 0, 0, 0, 0, 0, 0 | 1] => None,
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0, 0, 0, 0, 0xffff, 0, high, low] => Some(join(high, low)),
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => Some(join(high, low)),
        [0x2002, high, low, ..] => Some(join(high, low)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_range_is_of_its_class() {
        use Class::{Loopback, Never, Private, Public};
        for (address, expected) in [
            ("1.1.1.1", Public),
            ("9.255.255.255", Public),
            ("11.0.0.0", Public),
            ("100.63.255.255", Public),
            ("100.128.0.0", Public),
            ("172.15.255.255", Public),
            ("172.32.0.0", Public),
            ("192.167.255.255", Public),
            ("192.169.0.0", Public),
            ("223.255.255.255", Public),
            ("127.0.0.1", Loopback),
            ("127.255.255.255", Loopback),
            ("0.0.0.0", Never),
            ("0.1.2.3", Never),
            ("224.0.0.1", Never),
            ("239.255.255.250", Never),
            ("240.0.0.1", Never),
            ("255.255.255.255", Never),
            ("169.254.169.254", Never),
            ("169.254.170.2", Never),
            ("100.100.100.200", Never),
            ("192.0.0.192", Never),
            ("169.254.0.1", Private),
            ("10.0.0.1", Private),
            ("10.255.255.255", Private),
            ("172.16.0.1", Private),
            ("172.31.255.255", Private),
            ("192.168.1.1", Private),
            ("100.64.0.1", Private),
            ("192.0.0.1", Private),
            ("192.0.2.1", Private),
            ("192.88.99.1", Private),
            ("198.18.0.1", Private),
            ("198.19.255.255", Private),
            ("198.51.100.7", Private),
            ("203.0.113.7", Private),
            ("2606:4700::1111", Public),
            ("3ffe::1", Public),
            ("2001:200::1", Public),
            ("::1", Loopback),
            ("::", Never),
            ("ff02::1", Never),
            ("ff0e::1", Never),
            ("fd00:ec2::254", Never),
            ("fd20:ce::254", Never),
            ("fe80::1", Private),
            ("febf::1", Private),
            ("fec0::1", Private),
            ("fc00::1", Private),
            ("fd12:3456::1", Private),
            ("2001::1", Private),
            ("2001:db8::1", Private),
            ("3fff::1", Private),
            ("100::1", Private),
            ("64:ff9b:1::1", Private),
            ("4000::1", Private),
            ("::ffff:1.1.1.1", Public),
            ("::ffff:127.0.0.1", Loopback),
            ("::ffff:10.0.0.1", Private),
            ("::ffff:169.254.169.254", Never),
            ("::ffff:0.0.0.0", Never),
            ("::10.0.0.1", Private),
            ("::ffff:0:10.0.0.1", Private),
            ("64:ff9b::a9fe:a9fe", Never),
            ("64:ff9b::7f00:1", Loopback),
            ("64:ff9b::101:101", Public),
            ("2002:a00:1::1", Private),
            ("2002:7f00:1::", Loopback),
            ("2002:101:101::1", Public),
        ] {
            assert_eq!(class(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn a_reach_goes_as_far_as_it_says() {
        for (address, public, loopback, private) in [
            ("1.1.1.1", true, false, true),
            ("127.0.0.1", false, true, true),
            ("::1", false, true, true),
            ("10.0.0.1", false, false, true),
            ("fe80::1", false, false, true),
            ("169.254.169.254", false, false, false),
            ("0.0.0.0", false, false, false),
            ("224.0.0.1", false, false, false),
        ] {
            let address = address.parse().unwrap();
            let allowed = [Reach::Public, Reach::Loopback, Reach::Private].map(|reach| reach.allows(address));
            assert_eq!(allowed, [public, loopback, private], "{address}");
        }
    }
}
