//! Which addresses are called. Looked at after the name was resolved, for the very address that is
//! connected to: a name that resolves differently a moment later gains nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Where a cloud keeps the credentials of its machines, outside of the link-local ranges.
const METADATA: [IpAddr; 5] = [
    // Alibaba Cloud, Azure's platform, Oracle Cloud.
    IpAddr::V4(Ipv4Addr::new(100, 100, 100, 200)),
    IpAddr::V4(Ipv4Addr::new(168, 63, 129, 16)),
    IpAddr::V4(Ipv4Addr::new(192, 0, 0, 192)),
    // AWS and Google Cloud, which have them among the unique local addresses.
    IpAddr::V6(Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254)),
    IpAddr::V6(Ipv6Addr::new(0xfd20, 0xce, 0, 0, 0, 0, 0, 0x254)),
];

/// What an address is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Anybody's.
    Public,
    /// Of this machine, cluster or company: only where it is allowed.
    Private,
    /// Never called.
    Never,
}

/// Classifies an address; one of IPv4 that is written as IPv6 is what it stands for.
pub(crate) fn reach(address: IpAddr) -> Reach {
    let address = embedded(address);
    if METADATA.contains(&address) {
        return Reach::Never;
    }
    match address {
        IpAddr::V4(address) => reach_v4(address),
        IpAddr::V6(address) => reach_v6(address),
    }
}

/// The address of IPv4 inside one of IPv6: mapped (RFC 4291), compatible (the same), NAT64 (RFC 6052).
fn embedded(address: IpAddr) -> IpAddr {
    let IpAddr::V6(v6) = address else { return address };
    if v6.is_loopback() || v6.is_unspecified() {
        return address;
    }
    match v6.segments() {
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] | [0x64, 0xff9b, 0, 0, 0, 0, high, low] => {
            IpAddr::V4(Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)))
        }
        _ => address,
    }
}

fn reach_v4(address: Ipv4Addr) -> Reach {
    let [first, second, ..] = address.octets();
    // 0.0.0.0/8 is this machine to many systems; 224.0.0.0/4 is multicast and what follows is reserved.
    if address.is_link_local() || first == 0 || first >= 224 {
        return Reach::Never;
    }
    let shared = first == 100 && second & 0xc0 == 64;
    let benchmark = first == 198 && second & 0xfe == 18;
    if address.is_private() || address.is_loopback() || shared || benchmark {
        return Reach::Private;
    }
    Reach::Public
}

fn reach_v6(address: Ipv6Addr) -> Reach {
    if address.is_unicast_link_local() || address.is_unspecified() || address.is_multicast() {
        return Reach::Never;
    }
    let site_local = address.segments()[0] & 0xffc0 == 0xfec0;
    if address.is_loopback() || address.is_unique_local() || site_local {
        return Reach::Private;
    }
    Reach::Public
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(expected: Reach, addresses: &[&str]) {
        for address in addresses {
            assert_eq!(reach(address.parse().unwrap()), expected, "{address}");
        }
    }

    #[test]
    fn never() {
        check(
            Reach::Never,
            &[
                "169.254.0.0",
                "169.254.169.254",
                "169.254.255.255",
                "0.0.0.0",
                "0.255.255.255",
                "224.0.0.1",
                "239.255.255.255",
                "240.0.0.1",
                "255.255.255.255",
                "100.100.100.200",
                "168.63.129.16",
                "192.0.0.192",
                "fe80::1",
                "febf::1",
                "::",
                "ff02::1",
                "fd00:ec2::254",
                "fd20:ce::254",
                "::ffff:169.254.169.254",
                "::169.254.169.254",
                "::ffff:0.0.0.0",
                "64:ff9b::169.254.169.254",
                "64:ff9b::224.0.0.1",
            ],
        );
    }

    #[test]
    fn private() {
        check(
            Reach::Private,
            &[
                "10.0.0.0",
                "10.255.255.255",
                "172.16.0.0",
                "172.31.255.255",
                "192.168.0.1",
                "127.0.0.1",
                "127.255.255.255",
                "100.64.0.0",
                "100.127.255.255",
                "198.18.0.1",
                "::1",
                "fc00::1",
                "fdff::1",
                "fec0::1",
                "::ffff:10.0.0.1",
                "::ffff:127.0.0.1",
                "64:ff9b::10.0.0.1",
            ],
        );
    }

    #[test]
    fn public() {
        check(
            Reach::Public,
            &[
                "1.1.1.1",
                "9.255.255.255",
                "11.0.0.0",
                "172.15.255.255",
                "172.32.0.0",
                "192.167.255.255",
                "192.169.0.0",
                "126.255.255.255",
                "128.0.0.0",
                "100.63.255.255",
                "100.128.0.0",
                "169.253.255.255",
                "169.255.0.0",
                "198.17.0.1",
                "198.20.0.1",
                "223.255.255.255",
                "2606:4700::1111",
                "::ffff:1.1.1.1",
                "64:ff9b::1.1.1.1",
            ],
        );
    }
}
