//! Who asks: the client's true address, from the peer and `X-Forwarded-For`.
//!
//! The header is read from the right, hop by hop, for as long as the hop that wrote an element is a proxy we
//! trust. The first element that is not understood ends the walk at the nearest address that is known: a wrong
//! setting makes clients look like their proxy, it never lets a client choose its address. `Forwarded`
//! (RFC 7239) is never read: Traefik passes a client's own one untouched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

/// Hops that are looked at. Real chains have one to four; a longer one is somebody's joke.
pub const HOPS_MAX: usize = 32;

/// The client's address.
///
/// `forwarded_for` are the values of all `X-Forwarded-For` lines in their order.
#[must_use]
pub fn address(peer: IpAddr, forwarded_for: &[impl AsRef<str>], trusted: &[IpNet]) -> IpAddr {
    let mut nearest = peer.to_canonical();
    let lines = forwarded_for.iter().rev();
    let elements = lines.flat_map(|line| line.as_ref().rsplit(','));
    for element in elements.take(HOPS_MAX) {
        if !trusts(trusted, nearest) {
            break;
        }
        match parse(element) {
            Some(hop) => nearest = hop,
            None => break,
        }
    }
    nearest
}

/// The client's address of a request on Traefik's errors path, the only one where `X-Real-Ip` is read: there
/// Traefik makes a new request and leaves `X-Forwarded-For` out (observed with 3.7). It counts only when the
/// peer is trusted and no `X-Forwarded-For` is there.
#[must_use]
pub fn address_on_errors_path(
    peer: IpAddr,
    forwarded_for: &[impl AsRef<str>],
    real_ip: Option<&str>,
    trusted: &[IpNet],
) -> IpAddr {
    let peer = peer.to_canonical();
    match real_ip.and_then(parse) {
        Some(real) if forwarded_for.is_empty() && trusts(trusted, peer) => real,
        _ => address(peer, forwarded_for, trusted),
    }
}

/// Whether this address is one of the proxies we believe.
#[must_use]
pub fn trusts(trusted: &[IpNet], address: IpAddr) -> bool {
    contains(trusted, address)
}

/// Whether one of the networks holds the address. IPv4 in IPv6 clothes counts as IPv4.
#[must_use]
pub fn contains(networks: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(&address))
}

/// The client's network, for logs and the ledger: /24 of IPv4, /48 of IPv6. It names a neighbourhood, not a
/// person.
#[must_use]
pub fn network(address: IpAddr) -> IpNet {
    let whole = match address.to_canonical() {
        IpAddr::V4(ip) => IpNet::new(IpAddr::V4(ip), 24),
        IpAddr::V6(ip) => IpNet::new(IpAddr::V6(ip), 48),
    };
    whole.expect("24 and 48 are prefix lengths").trunc()
}

/// What counts as one client: the address itself of IPv4, the /64 of IPv6, which is what a household gets and may
/// choose any address of.
#[must_use]
pub fn household(address: IpAddr) -> IpNet {
    let whole = match address.to_canonical() {
        IpAddr::V4(ip) => IpNet::new(IpAddr::V4(ip), 32),
        IpAddr::V6(ip) => IpNet::new(IpAddr::V6(ip), 64),
    };
    whole.expect("32 and 64 are prefix lengths").trunc()
}

/// One element: `ip`, `ip:port`, `[v6]` or `[v6]:port`.
fn parse(element: &str) -> Option<IpAddr> {
    let text = element.trim_matches([' ', '\t']);
    let bare = text
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'));
    let ip = match (text.parse::<IpAddr>(), bare) {
        (Ok(ip), _) => ip,
        (Err(_), Some(inner)) => IpAddr::V6(inner.parse::<Ipv6Addr>().ok()?),
        (Err(_), None) => text.parse::<SocketAddr>().ok()?.ip(),
    };
    let ip = ip.to_canonical();
    // "unknown" as an address: nobody comes from there.
    let nobody = ip == IpAddr::V4(Ipv4Addr::UNSPECIFIED) || ip == IpAddr::V6(Ipv6Addr::UNSPECIFIED);
    (!nobody).then_some(ip)
}

/// Whether a user agent says by itself that it is a program which runs pages as a browser does: a crawler that renders, a
/// measurer. Who lies is not found by this; a robot whose maker sells telephones (Cubot) is none.
#[must_use]
pub fn says_it_is_a_program(agent: &str) -> bool {
    const WORDS: [&str; 10] = [
        "bot",
        "crawl",
        "spider",
        "lighthouse",
        "prerender",
        "pingdom",
        "gtmetrix",
        "synthetics",
        "speedcurve",
        "archiver",
    ];
    let agent = agent.to_ascii_lowercase().replace("cubot", "");
    WORDS.iter().any(|word| agent.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn proxies() -> Vec<IpNet> {
        ["127.0.0.0/8", "::1/128", "10.0.0.0/8", "2001:db8:1::/48"]
            .map(|net| net.parse().unwrap())
            .to_vec()
    }

    #[test]
    fn a_program_that_says_so_is_one_and_a_telephone_is_none() {
        for (agent, program) in [
            (
                "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; Googlebot/2.1) Chrome/128.0 Safari/537.36",
                true,
            ),
            (
                "Mozilla/5.0 (Linux; Android 11) Chrome/125.0 Mobile Safari/537.36 Chrome-Lighthouse",
                true,
            ),
            (
                "Mozilla/5.0 (Linux; Android 11; CUBOT NOTE 20) Chrome/128.0 Mobile Safari/537.36",
                false,
            ),
            (
                "Mozilla/5.0 (Linux; Android 11; CUBOT) (compatible; bingbot/2.0)",
                true,
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0",
                false,
            ),
            ("", false),
        ] {
            assert_eq!(says_it_is_a_program(agent), program, "{agent}");
        }
    }

    #[test]
    fn the_walk_goes_from_the_right_and_stops_where_trust_ends() {
        for (peer, lines, client) in [
            ("203.0.113.9", &[][..], "203.0.113.9"),
            ("203.0.113.9", &["6.6.6.6"], "203.0.113.9"),
            ("127.0.0.1", &[], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", &["6.6.6.6, 198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", &["6.6.6.6", "198.51.100.7"], "198.51.100.7"),
            ("127.0.0.1", &["198.51.100.7, 10.1.1.1"], "198.51.100.7"),
            (
                "127.0.0.1",
                &["6.6.6.6,198.51.100.7,10.1.1.1"],
                "198.51.100.7",
            ),
            (
                "127.0.0.1",
                &["198.51.100.7", "10.1.1.1 , 10.2.2.2"],
                "198.51.100.7",
            ),
            // Not understood: the nearest address that is known.
            ("127.0.0.1", &["198.51.100.7, nonsense"], "127.0.0.1"),
            (
                "127.0.0.1",
                &["198.51.100.7, nonsense, 10.1.1.1"],
                "10.1.1.1",
            ),
            ("127.0.0.1", &[""], "127.0.0.1"),
            ("127.0.0.1", &["198.51.100.7,"], "127.0.0.1"),
            ("127.0.0.1", &["unknown"], "127.0.0.1"),
            ("127.0.0.1", &["_hidden"], "127.0.0.1"),
            ("127.0.0.1", &["0.0.0.0"], "127.0.0.1"),
            ("127.0.0.1", &["::"], "127.0.0.1"),
            ("127.0.0.1", &["for=6.6.6.6"], "127.0.0.1"),
            ("127.0.0.1", &["6.6.6.6 7.7.7.7"], "127.0.0.1"),
            ("127.0.0.1", &["01.2.3.4"], "127.0.0.1"),
            // All trusted: the leftmost one.
            ("127.0.0.1", &["10.0.0.1, 10.0.0.2"], "10.0.0.1"),
            // Forms.
            ("127.0.0.1", &["198.51.100.7:4711"], "198.51.100.7"),
            ("127.0.0.1", &["2001:db8::7"], "2001:db8::7"),
            ("127.0.0.1", &["[2001:db8::7]"], "2001:db8::7"),
            ("127.0.0.1", &["[2001:db8::7]:4711"], "2001:db8::7"),
            ("127.0.0.1", &["[198.51.100.7]"], "127.0.0.1"),
            ("127.0.0.1", &["::ffff:198.51.100.7"], "198.51.100.7"),
            ("::ffff:127.0.0.1", &["198.51.100.7"], "198.51.100.7"),
            ("::ffff:203.0.113.9", &["6.6.6.6"], "203.0.113.9"),
            (
                "127.0.0.1",
                &["198.51.100.7, ::ffff:10.9.9.9"],
                "198.51.100.7",
            ),
            ("::1", &["\t198.51.100.7 "], "198.51.100.7"),
            ("2001:db8:1::5", &["2001:db8:2::5"], "2001:db8:2::5"),
        ] {
            assert_eq!(
                address(ip(peer), lines, &proxies()),
                ip(client),
                "{peer} {lines:?}"
            );
        }
    }

    #[test]
    fn a_chain_without_end_is_looked_at_for_a_while() {
        let endless = vec!["10.0.0.1"; 10_000].join(",");
        let lines = ["6.6.6.6", endless.as_str()];
        assert_eq!(address(ip("127.0.0.1"), &lines, &proxies()), ip("10.0.0.1"));
    }

    #[test]
    fn x_real_ip_counts_only_from_a_trusted_peer_and_without_a_chain() {
        let seen = |peer, lines: &[&str], real| {
            address_on_errors_path(ip(peer), lines, Some(real), &proxies())
        };
        assert_eq!(seen("127.0.0.1", &[], "198.51.100.7"), ip("198.51.100.7"));
        assert_eq!(seen("127.0.0.1", &[], "?"), ip("127.0.0.1"));
        assert_eq!(seen("203.0.113.9", &[], "6.6.6.6"), ip("203.0.113.9"));
        assert_eq!(
            seen("127.0.0.1", &["198.51.100.7"], "6.6.6.6"),
            ip("198.51.100.7")
        );
    }

    #[test]
    fn a_network_names_a_neighbourhood() {
        assert_eq!(network(ip("203.0.113.77")).to_string(), "203.0.113.0/24");
        assert_eq!(
            network(ip("::ffff:203.0.113.77")).to_string(),
            "203.0.113.0/24"
        );
        assert_eq!(
            network(ip("2001:db8:7:8:9::1")).to_string(),
            "2001:db8:7::/48"
        );
    }

    #[test]
    fn a_household_is_one_client_whatever_address_it_takes() {
        for (address, one) in [
            ("203.0.113.77", "203.0.113.77/32"),
            ("::ffff:203.0.113.77", "203.0.113.77/32"),
            ("2001:db8:7:8:9::1", "2001:db8:7:8::/64"),
        ] {
            assert_eq!(household(ip(address)).to_string(), one);
        }
    }

    proptest! {
        #[test]
        fn a_stranger_cannot_choose_its_address(line in ".{0,200}", last in any::<[u8; 4]>()) {
            let stranger = IpAddr::from(last);
            prop_assume!(!trusts(&proxies(), stranger) && stranger != ip("0.0.0.0"));
            // Directly, and through one proxy that appends what it saw.
            prop_assert_eq!(address(stranger, &[&line], &proxies()), stranger);
            let behind = format!("{line}, {stranger}");
            prop_assert_eq!(address(ip("127.0.0.1"), &[&behind], &proxies()), stranger);
            prop_assert_eq!(address(ip("127.0.0.1"), &[&line, &stranger.to_string()], &proxies()), stranger);
        }
    }
}
