//! Who is banned: networks as sorted ranges that do not touch, so that a hundred thousand of them cost a trigger no more
//! than a few do.

use std::net::{IpAddr, Ipv6Addr};

use ipnet::IpNet;

/// The first bits of an IPv4 address in IPv6 clothes.
const MAPPED_BITS: u8 = 96;

/// The network that an admin bans, as it is written behind `ban:`: an address, or an address and the length of its
/// network. IPv4 in IPv6 clothes is IPv4, as it is of clients.
///
/// # Errors
/// What is wrong with it and how to mend it.
pub fn ban(text: &str) -> Result<IpNet, &'static str> {
    const WRONG: &str = "is not an address or a network; write it like 203.0.113.7, 203.0.113.0/24 or 2001:db8::/48";
    let single = || text.parse::<IpAddr>().map(IpNet::from);
    let network = text.parse().or_else(|_| single()).map_err(|_| WRONG)?;
    let IpNet::V6(wide) = network else {
        return Ok(network);
    };
    match (
        wide.network().to_ipv4_mapped(),
        wide.prefix_len().checked_sub(MAPPED_BITS),
    ) {
        (Some(inner), Some(bits)) => IpNet::new(inner.into(), bits).map_err(|_| WRONG),
        _ => Ok(network),
    }
}

/// The bans in force.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Bans {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Bans {
    /// Whether one of them holds this address. IPv4 in IPv6 clothes counts as IPv4.
    #[must_use]
    pub fn hold(&self, address: IpAddr) -> bool {
        match address.to_canonical() {
            IpAddr::V4(ip) => within(&self.v4, ip.to_bits()),
            IpAddr::V6(ip) => within(&self.v6, ip.to_bits()),
        }
    }
}

impl FromIterator<IpNet> for Bans {
    fn from_iter<I: IntoIterator<Item = IpNet>>(networks: I) -> Bans {
        let mut bans = Bans::default();
        for network in networks {
            match network {
                IpNet::V4(net) => {
                    let range = (net.network().to_bits(), net.broadcast().to_bits());
                    bans.v4.push(range);
                }
                IpNet::V6(net) => {
                    let bits = Ipv6Addr::to_bits;
                    bans.v6.push((bits(net.network()), bits(net.broadcast())));
                }
            }
        }
        Bans {
            v4: apart(bans.v4),
            v6: apart(bans.v6),
        }
    }
}

/// The same addresses as sorted ranges that do not overlap.
fn apart<T: Copy + Ord>(mut ranges: Vec<(T, T)>) -> Vec<(T, T)> {
    ranges.sort_unstable();
    let mut apart: Vec<(T, T)> = Vec::with_capacity(ranges.len());
    for (from, to) in ranges {
        match apart.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => apart.push((from, to)),
        }
    }
    apart
}

fn within<T: Copy + Ord>(ranges: &[(T, T)], address: T) -> bool {
    let begun = ranges.partition_point(|(from, _)| *from <= address);
    begun
        .checked_sub(1)
        .is_some_and(|last| address <= ranges[last].1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::client;
    use proptest::prelude::*;

    #[test]
    fn a_ban_is_an_address_or_a_network() {
        for (text, net) in [
            ("203.0.113.7", "203.0.113.7/32"),
            ("203.0.113.0/24", "203.0.113.0/24"),
            ("0.0.0.0/0", "0.0.0.0/0"),
            ("2001:db8::7", "2001:db8::7/128"),
            ("2001:db8::/48", "2001:db8::/48"),
            ("::ffff:203.0.113.7", "203.0.113.7/32"),
            ("::ffff:203.0.113.0/120", "203.0.113.0/24"),
            ("::/0", "::/0"),
        ] {
            assert_eq!(ban(text), Ok(net.parse().unwrap()), "{text}");
        }
        for bad in [
            "",
            "hello",
            "203.0.113",
            "203.0.113.7/33",
            "203.0.113.7:80",
            "[2001:db8::7]",
            " 203.0.113.7",
            "203.0.113.007",
        ] {
            assert!(ban(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_ends_of_a_network_are_in_it_and_their_neighbours_are_not() {
        let bans: Bans = ["203.0.113.0/24", "203.0.113.7", "2001:db8::/48"]
            .map(|text| ban(text).unwrap())
            .into_iter()
            .collect();
        for (address, held) in [
            ("203.0.112.255", false),
            ("203.0.113.0", true),
            ("203.0.113.255", true),
            ("203.0.114.0", false),
            ("::ffff:203.0.113.9", true),
            ("2001:db8::", true),
            ("2001:db8:0:ffff:ffff:ffff:ffff:ffff", true),
            ("2001:db8:1::", false),
            ("::", false),
            ("255.255.255.255", false),
        ] {
            assert_eq!(bans.hold(address.parse().unwrap()), held, "{address}");
        }
        assert!(!Bans::default().hold("203.0.113.1".parse().unwrap()));
        let all: Bans = ["0.0.0.0/0", "::/0"]
            .map(|it| ban(it).unwrap())
            .into_iter()
            .collect();
        for address in ["0.0.0.0", "255.255.255.255", "::", "ffff::1"] {
            assert!(all.hold(address.parse().unwrap()), "{address}");
        }
    }

    proptest! {
        #[test]
        fn ranges_hold_what_the_networks_hold(
            nets in proptest::collection::vec((any::<u32>(), 0..=32u8), 0..40),
            wide in proptest::collection::vec((any::<u128>(), 0..=128u8), 0..40),
            address in any::<u32>(),
            far in any::<u128>(),
        ) {
            let mut all = Vec::new();
            for (bits, length) in nets {
                // Near each other, so that they nest and touch.
                all.push(IpNet::new(IpAddr::V4((bits & 0xff_ffff).into()), length).unwrap());
            }
            for (bits, length) in wide {
                all.push(IpNet::new(IpAddr::V6((bits >> 96).into()), length).unwrap());
            }
            let bans: Bans = all.iter().copied().collect();
            let mut asked = vec![IpAddr::V4((address & 0xff_ffff).into()), IpAddr::V6((far >> 96).into())];
            for net in &all {
                asked.extend([net.network(), net.broadcast()]);
            }
            for address in asked {
                prop_assert_eq!(bans.hold(address), client::contains(&all, address), "{}", address);
            }
        }
    }
}
