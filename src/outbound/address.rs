//! What an IP address is: the registries of IANA for special purposes (RFC 6890 and its updates), as far as they decide
//! whether a stranger may lead us there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// How private an address is; a later one is more private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Privacy {
    /// Anybody's.
    Public,
    /// A network's own: RFC 1918, CGNAT, benchmarks, unique local and site-local.
    Private,
    /// This machine's own.
    Loopback,
    /// Nowhere that a registry keeps its content; says what it is.
    Never(&'static str),
}

/// Where clouds tell their machines who they are, when it is not a link-local address: from the outside it looks like any
/// other of its kind. AWS (IPv6), Google (IPv6), Alibaba, Azure.
const METADATA: [IpAddr; 4] = [
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0x0ec2, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0x00ce, 0, 0, 0, 0, 0, 0x0254)),
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
];

/// The most private of all that an address means: itself, and the IPv4 addresses inside it.
pub fn place(address: IpAddr) -> Privacy {
    if METADATA.contains(&address) {
        return Privacy::Never("a cloud's metadata service");
    }
    match address {
        IpAddr::V4(address) => place_of_v4(address),
        IpAddr::V6(address) => {
            let inner = embedded(address).into_iter().map(|inner| place(IpAddr::V4(inner)));
            match (place_of_v6(address), inner.max()) {
                (Some(own), Some(inner)) => own.max(inner),
                (Some(own), None) => own,
                (None, Some(inner)) => inner,
                (None, None) => Privacy::Never("no address of the global internet"),
            }
        }
    }
}

fn place_of_v4(address: Ipv4Addr) -> Privacy {
    match address.octets() {
        [0, ..] => Privacy::Never("unspecified"),
        [127, ..] => Privacy::Loopback,
        [169, 254, ..] => Privacy::Never("link-local"),
        [224..=239, ..] => Privacy::Never("multicast"),
        [255, 255, 255, 255] => Privacy::Never("broadcast"),
        [240..=255, ..] | [192, 0, 0, _] | [192, 88, 99, _] => Privacy::Never("reserved"),
        [192, 0, 2, _] | [198, 51, 100, _] | [203, 0, 113, _] => Privacy::Never("for documentation"),
        [10, ..] | [172, 16..=31, ..] | [192, 168, ..] | [100, 64..=127, ..] | [198, 18..=19, ..] => Privacy::Private,
        _ => Privacy::Public,
    }
}

/// `None`: what the IPv4 addresses inside say, or nothing that is in use.
fn place_of_v6(address: Ipv6Addr) -> Option<Privacy> {
    if address == Ipv6Addr::UNSPECIFIED {
        return Some(Privacy::Never("unspecified"));
    }
    if address == Ipv6Addr::LOCALHOST {
        return Some(Privacy::Loopback);
    }
    match address.segments() {
        [0xfe80..=0xfebf, ..] => Some(Privacy::Never("link-local")),
        [0xff00..=0xffff, ..] => Some(Privacy::Never("multicast")),
        [0xfc00..=0xfdff, ..] | [0xfec0..=0xfeff, ..] => Some(Privacy::Private),
        [0x2001, 0x0db8, ..] | [0x3fff, 0x0000..=0x0fff, ..] => Some(Privacy::Never("for documentation")),
        // Teredo, 6to4: what is inside decides.
        [0x2001, 0, ..] | [0x2002, ..] => None,
        [0x2000..=0x3fff, ..] => Some(Privacy::Public),
        // RFC 8215: a translator of somebody's own, which only its owner can read.
        [0x0064, 0xff9b, 1, ..] => Some(Privacy::Never("behind a translator of a network's own")),
        _ => None,
    }
}

/// The IPv4 addresses that an IPv6 address leads to or speaks of: mapped and compatible (RFC 4291), NAT64 (RFC 6052), 6to4
/// (RFC 3056), Teredo's server and client (RFC 4380), ISATAP (RFC 5214).
pub fn embedded(address: Ipv6Addr) -> Vec<Ipv4Addr> {
    let [.., s4, s5, s6, s7] = address.segments();
    let [_, s1, s2, s3, ..] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from((u32::from(high) << 16) | u32::from(low));
    match address.segments() {
        // `::` and `::1` are addresses of their own kind.
        [0, 0, 0, 0, 0, 0, 0, 0..=1] => Vec::new(),
        [0, 0, 0, 0, 0, 0 | 0xffff, _, _] | [0x0064, 0xff9b, 0, 0, 0, 0, _, _] => vec![v4(s6, s7)],
        [0x2002, ..] => vec![v4(s1, s2)],
        [0x2001, 0, ..] => vec![v4(s2, s3), v4(!s6, !s7)],
        _ if matches!(s4, 0 | 0x0200) && s5 == 0x5efe => vec![v4(s6, s7)],
        _ => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is(address: &str) -> Privacy {
        place(address.parse().unwrap())
    }

    #[test]
    fn addresses_of_version_4_are_what_iana_says() {
        for public in [
            "1.1.1.1",
            "8.8.8.8",
            "100.63.255.255",
            "100.128.0.0",
            "172.15.0.1",
            "172.32.0.1",
            "192.167.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "169.253.1.1",
            "169.255.1.1",
            "223.255.255.255",
            "192.0.1.1",
        ] {
            assert_eq!(is(public), Privacy::Public, "{public}");
        }
        for private in [
            "10.0.0.1",
            "10.255.255.255",
            "172.16.0.1",
            "172.31.255.1",
            "192.168.0.1",
            "100.64.0.1",
            "100.127.255.255",
            "198.18.0.1",
            "198.19.255.1",
        ] {
            assert_eq!(is(private), Privacy::Private, "{private}");
        }
        for loopback in ["127.0.0.1", "127.0.0.2", "127.255.255.254"] {
            assert_eq!(is(loopback), Privacy::Loopback, "{loopback}");
        }
        for (never, what) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("169.254.169.254", "link-local"),
            ("169.254.0.1", "link-local"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.255", "multicast"),
            ("255.255.255.255", "broadcast"),
            ("240.0.0.1", "reserved"),
            ("192.0.0.192", "reserved"),
            ("192.88.99.1", "reserved"),
            ("192.0.2.1", "for documentation"),
            ("198.51.100.7", "for documentation"),
            ("203.0.113.9", "for documentation"),
            ("100.100.100.200", "a cloud's metadata service"),
            ("168.63.129.16", "a cloud's metadata service"),
        ] {
            assert_eq!(is(never), Privacy::Never(what), "{never}");
        }
    }

    #[test]
    fn addresses_of_version_6_are_what_iana_says() {
        for public in ["2606:4700::1111", "2a00:1450:4001::1", "2001:4860:4860::8888", "2001:1::1"] {
            assert_eq!(is(public), Privacy::Public, "{public}");
        }
        for private in ["fc00::1", "fd12:3456::1", "fec0::1", "feff::1"] {
            assert_eq!(is(private), Privacy::Private, "{private}");
        }
        assert_eq!(is("::1"), Privacy::Loopback);
        for (never, what) in [
            ("::", "unspecified"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("ff02::1", "multicast"),
            ("2001:db8::1", "for documentation"),
            ("3fff:fff::1", "for documentation"),
            ("fd00:ec2::254", "a cloud's metadata service"),
            ("fd20:ce::254", "a cloud's metadata service"),
            ("64:ff9b:1::a00:1", "behind a translator of a network's own"),
            ("100::1", "no address of the global internet"),
            ("5f00::1", "no address of the global internet"),
            ("4000::1", "no address of the global internet"),
            ("::ffff:0:7f00:1", "no address of the global internet"),
        ] {
            assert_eq!(is(never), Privacy::Never(what), "{never}");
        }
    }

    #[test]
    fn an_address_is_as_private_as_the_one_inside_it() {
        for (inner, mapped, nat64, six_to_four, teredo_client) in [
            ("127.0.0.1", "::ffff:127.0.0.1", "64:ff9b::127.0.0.1", "2002:7f00:1::1", "2001:0:808:808::80ff:fffe"),
            (
                "169.254.169.254",
                "::ffff:169.254.169.254",
                "64:ff9b::a9fe:a9fe",
                "2002:a9fe:a9fe::",
                "2001:0:808:808::5601:5601",
            ),
            ("10.0.0.1", "::ffff:a00:1", "64:ff9b::10.0.0.1", "2002:a00:1::1", "2001:0:808:808::f5ff:fffe"),
            ("8.8.8.8", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1", "2001:0:808:808::f7f7:f7f7"),
            ("0.0.0.0", "::ffff:0.0.0.0", "64:ff9b::", "2002::1", "2001:0:808:808::ffff:ffff"),
        ] {
            for outer in [mapped, nat64, six_to_four, teredo_client] {
                assert_eq!(is(outer), is(inner), "{outer} is {inner}");
            }
        }
        // Teredo's server, the deprecated compatible form, ISATAP in a public and in a private network.
        assert_eq!(is("2001:0:7f00:1::f7f7:f7f7"), Privacy::Loopback);
        assert_eq!(is("::127.0.0.1"), Privacy::Loopback);
        assert_eq!(is("2606:4700::5efe:a9fe:a9fe"), Privacy::Never("link-local"));
        assert_eq!(is("2606:4700::200:5efe:8.8.8.8"), Privacy::Public);
        assert_eq!(is("fd00::5efe:8.8.8.8"), Privacy::Private);
    }
}
