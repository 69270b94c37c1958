//! What is written down of a client: its address, its network, or a name that means something to us alone; and for
//! how long.
//!
//! Nothing below this ever sees more than it says: logs, metrics, records, the ledger and the keys of the limits get
//! [`Names`], and only the list of triggerers gets an address, and only where the setting says so. Names are made by a
//! [`Namer`] from above, which has the key.

use std::collections::BTreeSet;
use std::net::IpAddr;

use ipnet::IpNet;

use super::client;
use super::time::{DAY_MS, Span, Time};

/// How much of a client's address is written down.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Addresses {
    /// The address for [`Kept::address`], the network for [`Kept::network`].
    #[default]
    Full,
    /// The network alone.
    Network,
    /// Neither: a name that is another one tomorrow.
    Keyed,
}

/// For how long it is kept what is written down of a client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Its whole address.
    pub address: Span,
    /// Its network or its name, and what it asked for.
    pub network: Span,
}

impl Default for Kept {
    fn default() -> Kept {
        Kept {
            address: Span(DAY_MS),
            network: Span(30 * DAY_MS),
        }
    }
}

/// The longest time that anything about a client may be kept. So many daily names an address can have.
pub const KEPT_DAYS_MAX: u64 = 366;

/// The privacy setting.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Privacy {
    /// How much.
    pub addresses: Addresses,
    /// For how long.
    pub kept: Kept,
}

/// Under which key a name is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameKey {
    /// That of a day, as whole days UTC since the epoch.
    Day(u64),
    /// The deployment's: limits hold across midnight.
    Deployment,
}

/// Makes names: the same text has the same name under one key, and nobody without the key finds one from the other.
pub trait Namer {
    /// The name of a text: letters and digits.
    fn name(&self, key: NameKey, text: &str) -> String;
}

/// What a client is called wherever it is written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Names {
    /// In logs, the ledger and the list of triggerers: its network, or its name of the day.
    pub who: String,
    /// Its address, where it may be kept for [`Kept::address`].
    pub address: Option<String>,
    /// In the key of its own limit.
    pub client: String,
    /// In the key of its network's limit.
    pub network: String,
}

impl Names {
    /// What a client is called where everything may be written.
    #[must_use]
    pub fn plain(address: IpAddr) -> Names {
        let address = address.to_canonical();
        let network = client::network(address).to_string();
        Names {
            who: network.clone(),
            address: Some(address.to_string()),
            client: client::household(address).to_string(),
            network,
        }
    }
}

/// How long the keys of a service's limits may stand; zero where there is no such limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lasting {
    /// That of a client's own limit.
    pub client: Span,
    /// That of its network's.
    pub network: Span,
}

impl Privacy {
    /// What a client is called that asks to wake a service whose limits last so long.
    ///
    /// The key of a limit ends when the limit is whole again. One that may last longer than what stands in it may be
    /// kept has a name instead.
    #[must_use]
    pub fn names(&self, namer: &dyn Namer, now: Time, address: IpAddr, limits: Lasting) -> Names {
        let plain = Names::plain(address);
        let keyed = |key| keyed(namer, key, address);
        let full = self.addresses == Addresses::Full;
        let with_network = self.addresses != Addresses::Keyed;
        Names {
            who: match with_network {
                true => plain.who,
                false => keyed(NameKey::Day(now.0 / DAY_MS)).whole(),
            },
            address: plain
                .address
                .filter(|_| full && self.kept.address > Span::ZERO),
            client: match full && limits.client <= self.kept.address {
                true => plain.client,
                false => keyed(NameKey::Deployment).whole(),
            },
            network: match with_network && limits.network <= self.kept.network {
                true => plain.network,
                false => keyed(NameKey::Deployment).network,
            },
        }
    }
}

/// A client's name: that of its network and its own, so that neighbours can be told to be neighbours.
struct Keyed {
    network: String,
    client: String,
}

impl Keyed {
    fn whole(&self) -> String {
        format!("{}-{}", self.network, self.client)
    }
}

fn keyed(namer: &dyn Namer, key: NameKey, address: IpAddr) -> Keyed {
    Keyed {
        network: namer.name(key, &client::network(address).to_string()),
        client: namer.name(key, &client::household(address).to_string()),
    }
}

/// A client, or a whole network, of which nothing may be left: everything that it may have been called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Forgotten {
    all: IpNet,
    /// Names under every key that may have been used; of a network, the first half of its clients'.
    names: BTreeSet<String>,
}

/// What stands in the ledger where a client was named.
pub const FORGOTTEN: &str = "forgotten";

/// What can be forgotten is one client or one network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "write an address, like 203.0.113.7, or a network as it is written down: an IPv4 /24 or an IPv6 /48"
)]
pub struct NotForgettable;

impl Forgotten {
    /// An address, which stands for its whole /64 where it is IPv6, or an IPv4 /24 or IPv6 /48. Names are made for the
    /// longest time that anything may be kept, so that an earlier setting is undone as well.
    ///
    /// # Errors
    /// When the text is neither.
    pub fn parse(text: &str, now: Time, namer: &dyn Namer) -> Result<Forgotten, NotForgettable> {
        let net = match text.parse::<IpAddr>() {
            Ok(address) => IpNet::from(address.to_canonical()),
            Err(_) => text.parse::<IpNet>().map_err(|_| NotForgettable)?,
        };
        let (first, today) = (net.network(), now.0 / DAY_MS);
        let (household, network) = (client::household(first), client::network(first));
        let (all, whole) = match net.trunc() {
            net if net == network => (network, true),
            net if household.contains(&net) => (household, false),
            _ => return Err(NotForgettable),
        };
        let days = (today.saturating_sub(KEPT_DAYS_MAX)..=today).map(NameKey::Day);
        let names = days.chain([NameKey::Deployment]).map(|key| {
            let keyed = keyed(namer, key, first);
            match whole {
                true => keyed.network,
                false => keyed.whole(),
            }
        });
        Ok(Forgotten {
            all,
            names: names.collect(),
        })
    }

    /// What is forgotten, as an address's network.
    #[must_use]
    pub fn network(&self) -> IpNet {
        self.all
    }

    /// Whether this is an address or a name of it and of nobody else.
    #[must_use]
    pub fn covers(&self, who: &str) -> bool {
        if let Ok(address) = who.parse::<IpAddr>() {
            return self.all.contains(&address);
        }
        match who.parse::<IpNet>() {
            Ok(net) => self.all.contains(&net),
            Err(_) => {
                let network = who.split('-').next().unwrap_or_default();
                self.names.contains(who) || self.names.contains(network)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T0: Time = Time(1_800_000_000_000);

    /// Names that can be read: `d20833x203x0x113x0x24`.
    struct Plain;

    impl Namer for Plain {
        fn name(&self, key: NameKey, text: &str) -> String {
            let key = match key {
                NameKey::Day(day) => format!("d{day}"),
                NameKey::Deployment => "ever".into(),
            };
            format!("{key}x{}", text.replace(['.', ':', '/'], "x"))
        }
    }

    fn names(addresses: Addresses, address: &str, limits: Lasting) -> Names {
        let kept = Kept::default();
        let privacy = Privacy { addresses, kept };
        privacy.names(&Plain, T0, address.parse().unwrap(), limits)
    }

    fn forgotten(text: &str) -> Forgotten {
        Forgotten::parse(text, T0, &Plain).unwrap()
    }

    fn in_keyed(address: &str) -> Names {
        names(Addresses::Keyed, address, Lasting::default())
    }

    #[test]
    fn in_full_the_address_is_for_the_triggerers_and_its_own_limit_alone() {
        let names = names(Addresses::Full, "::ffff:203.0.113.7", Lasting::default());
        assert_eq!(names.who, "203.0.113.0/24");
        assert_eq!(names.address.as_deref(), Some("203.0.113.7"));
        assert_eq!(names.client, "203.0.113.7/32");
        assert_eq!(names.network, "203.0.113.0/24");
    }

    #[test]
    fn otherwise_no_address_stands_in_any_name() {
        for address in ["203.0.113.7", "2001:db8:0:7::7"] {
            let network = client::network(address.parse().unwrap()).to_string();
            let of_network = names(Addresses::Network, address, Lasting::default());
            assert_eq!(of_network.address, None);
            assert_eq!((&of_network.who, &of_network.network), (&network, &network));
            assert!(of_network.client.starts_with("ever"));
            let keyed = in_keyed(address);
            assert_eq!(keyed.address, None);
            assert!(keyed.who.starts_with("d20833x"));
            assert!(keyed.client.starts_with("ever") && keyed.network.starts_with("ever"));
        }
    }

    #[test]
    fn a_limit_that_lasts_longer_than_an_address_may_be_kept_has_a_name() {
        let lasting = |client, network| Lasting {
            client: Span(client * DAY_MS),
            network: Span(network * DAY_MS),
        };
        let short = names(Addresses::Full, "203.0.113.7", lasting(1, 30));
        assert_eq!(
            (&*short.client, &*short.network),
            ("203.0.113.7/32", "203.0.113.0/24")
        );
        let long = names(Addresses::Full, "203.0.113.7", lasting(2, 31));
        assert!(long.client.starts_with("ever") && long.network.starts_with("ever"));
    }

    #[test]
    fn forgetting_a_client_covers_all_its_names_and_none_of_its_neighbours() {
        for (client, same, neighbour) in [
            ("203.0.113.7", "203.0.113.7", "203.0.113.8"),
            ("2001:db8:0:7::7", "2001:db8:0:7::8", "2001:db8:0:8::7"),
        ] {
            let forgotten = forgotten(client);
            for (other, covered) in [(same, true), (neighbour, false)] {
                let plain = Names::plain(other.parse().unwrap());
                let keyed = in_keyed(other);
                for name in [
                    &plain.address.unwrap(),
                    &plain.client,
                    &keyed.who,
                    &keyed.client,
                ] {
                    assert_eq!(forgotten.covers(name), covered, "{client}: {name}");
                }
                for shared in [&plain.network, &keyed.network] {
                    assert!(!forgotten.covers(shared), "{client}: {shared}");
                }
            }
        }
    }

    #[test]
    fn forgetting_a_network_covers_all_its_clients() {
        for (network, inside, outside) in [
            ("203.0.113.0/24", "203.0.113.8", "203.0.112.8"),
            ("2001:db8::/48", "2001:db8:0:8::7", "2001:db8:1:8::7"),
        ] {
            let forgotten = forgotten(network);
            for (other, covered) in [(inside, true), (outside, false)] {
                let plain = Names::plain(other.parse().unwrap());
                let keyed = in_keyed(other);
                let names = [plain.client, plain.network, plain.address.unwrap()];
                for name in names.iter().chain([&keyed.who, &keyed.network]) {
                    assert_eq!(forgotten.covers(name), covered, "{network}: {name}");
                }
            }
        }
        assert!(!forgotten("203.0.113.0/24").covers("an admin"));
    }

    #[test]
    fn only_a_client_or_a_network_can_be_forgotten() {
        for bad in [
            "",
            "blog",
            "203.0.113.0/25",
            "203.0.0.0/16",
            "2001:db8::/32",
        ] {
            assert!(Forgotten::parse(bad, T0, &Plain).is_err(), "{bad}");
        }
        assert_eq!(
            forgotten("::ffff:203.0.113.7").network(),
            "203.0.113.7/32".parse().unwrap()
        );
        assert_eq!(
            forgotten("2001:db8::7").network(),
            "2001:db8::/64".parse().unwrap()
        );
    }
}
