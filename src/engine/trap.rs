//! Traps: paths that no honest visitor opens, and the networks of those who opened one. They may not wake anything for
//! a while; what is awake they may visit as ever.
//!
//! Only whoever typed or programmed the path is caught: a browser that was led there by another site's page says so,
//! and a page that hides such an address in a picture must not get its readers banned. Nor is a proxy caught, whose
//! address stands for many.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;

use super::client;
use super::time::{Span, Time};

/// Networks that are remembered at a time: 400 kB. The one that would end soonest goes first, so a flood from
/// everywhere lets some out early, and no memory is used up.
pub const TRAPPED_MAX: usize = 4_096;

/// Whether this path is one of the traps. One that ends with `/` holds all below it. Letters count as they stand.
#[must_use]
pub fn is_trap(traps: &[String], path: &str) -> bool {
    traps.iter().any(|trap| match trap.ends_with('/') {
        true => path.starts_with(trap.as_str()),
        false => path == trap,
    })
}

/// Whether somebody who sends this opens the path of its own accord: no browser says that another page led it there.
#[must_use]
pub fn is_own_doing(fetch_site: Option<&str>) -> bool {
    fetch_site.is_none_or(|site| site == "none")
}

/// The network that is caught with this client; none where it may stand for others: a trusted proxy, one of its
/// neighbours, this host.
#[must_use]
pub fn caught(client: IpAddr, trusted: &[IpNet]) -> Option<IpNet> {
    let network = client::network(client);
    let client = client.to_canonical();
    let of_proxies = |proxy: &IpNet| {
        let proxy = match proxy.network().to_canonical() {
            IpAddr::V4(address) if matches!(proxy, IpNet::V6(_)) => {
                let bits = proxy.prefix_len().saturating_sub(96);
                IpNet::new(address.into(), bits).unwrap_or(*proxy)
            }
            _ => *proxy,
        };
        network.contains(&proxy) || proxy.contains(&network)
    };
    let stands_for_others = client.is_loopback() || client.is_unspecified();
    let free = !stands_for_others && !trusted.iter().any(of_proxies);
    free.then_some(network)
}

/// The networks that were caught, each until its time.
#[derive(Clone, Debug, Default)]
pub struct Trapped {
    caught: BTreeMap<IpNet, Caught>,
    ends: BTreeSet<(Time, IpNet)>,
}

/// Until when a network is held.
#[derive(Clone, Copy, Debug)]
struct Caught {
    until: Time,
    /// As it was told when it was caught; others may have written that down.
    told: Time,
}

/// Clocks may differ so much from that of a store, which ends what is written there.
const CLOCKS_DIFFER: Span = Span::secs(5);

impl Trapped {
    /// Catches a network for this long. Whether it was free before; one that is held already is held longer.
    pub fn catch(&mut self, network: IpNet, now: Time, length: Span) -> bool {
        self.tidy(now);
        let until = now + length;
        let before = self.caught.get(&network).copied();
        if let Some(before) = before {
            self.ends.remove(&(before.until, network));
        }
        let told = before.map_or(until, |before| before.told);
        self.caught.insert(network, Caught { until, told });
        self.ends.insert((until, network));
        if self.caught.len() > TRAPPED_MAX
            && let Some((_, first)) = self.ends.pop_first()
        {
            self.caught.remove(&first);
        }
        before.is_none()
    }

    /// Lets a network go, and all that are within it or around it: an admin says so. Which that were.
    pub fn pardon(&mut self, network: IpNet) -> Vec<IpNet> {
        let touches = |held: &IpNet| held.contains(&network) || network.contains(held);
        let touched: Vec<_> = self.caught.keys().copied().filter(touches).collect();
        for held in &touched {
            self.remove(held);
        }
        touched
    }

    /// What was written elsewhere of this network is not there any more: somebody took it away, unless its time was
    /// over.
    pub fn taken_away(&mut self, network: IpNet, now: Time) {
        let caught = self.caught.get(&network);
        if caught.is_some_and(|caught| now + CLOCKS_DIFFER < caught.told) {
            self.remove(&network);
        }
    }

    /// Whether this client's network is held.
    #[must_use]
    pub fn holds(&self, client: IpAddr, now: Time) -> bool {
        let caught = self.caught.get(&client::network(client));
        caught.is_some_and(|caught| now < caught.until)
    }

    /// How many are held.
    #[must_use]
    pub fn len(&self) -> usize {
        self.caught.len()
    }

    /// Whether none is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.caught.is_empty()
    }

    fn remove(&mut self, network: &IpNet) {
        if let Some(caught) = self.caught.remove(network) {
            self.ends.remove(&(caught.until, *network));
        }
    }

    fn tidy(&mut self, now: Time) {
        while self.ends.first().is_some_and(|(until, _)| *until <= now) {
            if let Some((_, network)) = self.ends.pop_first() {
                self.caught.remove(&network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Time = Time(1_800_000_000_000);
    const HOUR: Span = Span::mins(60);

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn nets(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn a_trap_is_a_path_or_a_folder() {
        let traps = ["/.env".to_owned(), "/.git/".to_owned()];
        for (path, held) in [
            ("/.env", true),
            ("/.git/", true),
            ("/.git/config", true),
            ("/.git", false),
            ("/.env.example", false),
            ("/.env/", false),
            ("/a/.env", false),
            ("/.ENV", false),
            ("/", false),
        ] {
            assert_eq!(is_trap(&traps, path), held, "{path}");
        }
        assert!(!is_trap(&[], "/.env"));
    }

    #[test]
    fn who_is_led_there_by_another_page_is_not_caught() {
        for (site, own) in [
            (None, true),
            (Some("none"), true),
            (Some("cross-site"), false),
            (Some("same-site"), false),
            (Some("same-origin"), false),
            (Some(""), false),
        ] {
            assert_eq!(is_own_doing(site), own, "{site:?}");
        }
    }

    #[test]
    fn a_neighbourhood_is_caught_and_no_proxy_with_it() {
        let trusted = nets(&[
            "127.0.0.0/8",
            "198.51.100.7/32",
            "2001:db8:1::/64",
            "10.0.0.0/8",
        ]);
        for (client, network) in [
            ("203.0.113.9", Some("203.0.113.0/24")),
            ("::ffff:203.0.113.9", Some("203.0.113.0/24")),
            ("2001:db8:7:8::1", Some("2001:db8:7::/48")),
            // The proxy itself, and whoever shares its network.
            ("198.51.100.7", None),
            ("198.51.100.99", None),
            ("::ffff:198.51.100.99", None),
            ("10.1.2.3", None),
            ("2001:db8:1:9::1", None),
            ("127.0.0.1", None),
            ("::1", None),
            ("0.0.0.0", None),
        ] {
            let found = caught(ip(client), &trusted);
            assert_eq!(
                found.map(|it| it.to_string()).as_deref(),
                network,
                "{client}"
            );
        }
        let mapped = nets(&["::ffff:198.51.100.0/120"]);
        assert_eq!(caught(ip("198.51.100.9"), &mapped), None);
    }

    #[test]
    fn whoever_is_caught_is_held_for_its_time_and_its_neighbours_with_it() {
        let mut trapped = Trapped::default();
        let network = client::network(ip("203.0.113.9"));
        assert!(trapped.catch(network, NOW, HOUR));
        assert!(!trapped.catch(network, NOW + Span::mins(30), HOUR), "again");
        assert!(trapped.holds(ip("203.0.113.200"), NOW + Span::mins(80)));
        assert!(!trapped.holds(ip("203.0.114.9"), NOW));
        let end = NOW + Span::mins(90);
        assert!(!trapped.holds(ip("203.0.113.9"), end));
        assert!(trapped.catch(client::network(ip("198.51.100.1")), end, HOUR));
        assert_eq!(trapped.len(), 1, "what is over is forgotten");
    }

    #[test]
    fn whoever_is_pardoned_is_free_at_once_and_nobody_else_is() {
        let all = ["203.0.113.9", "203.0.114.9", "198.51.100.9"];
        for (pardoned, free) in [
            ("203.0.113.0/24", vec!["203.0.113.9"]),
            ("203.0.113.200/32", vec!["203.0.113.9"]),
            ("203.0.0.0/16", vec!["203.0.113.9", "203.0.114.9"]),
            ("203.0.115.0/24", vec![]),
            ("0.0.0.0/0", all.to_vec()),
            ("::/0", vec![]),
        ] {
            let mut trapped = Trapped::default();
            for client in all {
                trapped.catch(client::network(ip(client)), NOW, HOUR);
            }
            let gone = trapped.pardon(pardoned.parse().unwrap());
            assert_eq!(gone.len(), free.len(), "{pardoned}");
            for client in all {
                let held = trapped.holds(ip(client), NOW);
                assert_eq!(held, !free.contains(&client), "{pardoned} {client}");
            }
            assert_eq!(trapped.ends.len(), trapped.len());
        }
    }

    #[test]
    fn who_was_taken_out_of_the_store_is_free_and_who_only_ended_there_is_held_on() {
        let network = client::network(ip("203.0.113.9"));
        let half = NOW + Span::mins(30);
        for (at, free) in [(half, true), (NOW + HOUR, false)] {
            let mut trapped = Trapped::default();
            trapped.catch(network, NOW, HOUR);
            trapped.catch(network, half, HOUR);
            trapped.taken_away(network, at);
            assert_eq!(trapped.holds(ip("203.0.113.9"), at), !free, "{at:?}");
        }
    }

    #[test]
    fn a_flood_from_everywhere_uses_up_no_memory() {
        let mut trapped = Trapped::default();
        for number in 0..TRAPPED_MAX as u32 + 100 {
            let address = IpAddr::from((number << 8).to_be_bytes());
            let network = client::network(address);
            assert!(trapped.catch(network, NOW + Span(u64::from(number)), HOUR));
        }
        assert_eq!(
            (trapped.len(), trapped.ends.len()),
            (TRAPPED_MAX, TRAPPED_MAX)
        );
        let last = IpAddr::from(((TRAPPED_MAX as u32 + 99) << 8).to_be_bytes());
        assert!(trapped.holds(last, NOW + Span::mins(1)));
        assert!(!trapped.is_empty());
    }
}
