//! Under which address a guest is reached: told by the agent inside a virtual machine, or by the node for a container.

use std::net::IpAddr;

use serde::Deserialize;

/// One of a guest's network interfaces. A virtual machine's agent and a container's node name the same things
/// differently.
#[derive(Debug, Deserialize)]
pub(super) struct Interface {
    #[serde(default)]
    name: String,
    #[serde(default, rename = "ip-addresses")]
    addresses: Option<Vec<Numbered>>,
    #[serde(default)]
    inet: Option<String>,
    #[serde(default)]
    inet6: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Numbered {
    #[serde(default, rename = "ip-address")]
    address: Option<String>,
}

/// What a virtual machine's agent answers.
#[derive(Deserialize)]
pub(super) struct FromAgent {
    pub(super) result: Vec<Interface>,
}

/// Interfaces that a guest has for guests of its own, by how their names begin.
const INNER: &[&str] = &[
    "lo", "docker", "br-", "veth", "virbr", "cni", "flannel", "podman", "tap",
];

/// The first address that can be reached from elsewhere, an IPv4 one before an IPv6 one.
pub(super) fn usable(interfaces: &[Interface]) -> Option<IpAddr> {
    let outer =
        |interface: &&Interface| !INNER.iter().any(|inner| interface.name.starts_with(inner));
    let all: Vec<IpAddr> = interfaces
        .iter()
        .filter(outer)
        .flat_map(addresses)
        .collect();
    let is_usable = |ip: &&IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => !ip.is_loopback() && !ip.is_unicast_link_local() && !ip.is_unspecified(),
    };
    let mut usable = all.iter().filter(is_usable);
    let first_v4 = usable.clone().find(|ip| ip.is_ipv4());
    first_v4.or_else(|| usable.next()).copied()
}

fn addresses(interface: &Interface) -> Vec<IpAddr> {
    let listed = interface.addresses.iter().flatten();
    let listed = listed.filter_map(|numbered| numbered.address.as_deref());
    let named = [interface.inet.as_deref(), interface.inet6.as_deref()];
    let plain = |text: &str| text.split('/').next()?.parse().ok();
    listed
        .chain(named.into_iter().flatten())
        .filter_map(plain)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn first(interfaces: &str) -> Option<IpAddr> {
        let interfaces: Vec<Interface> = serde_json::from_str(interfaces).expect("understood");
        usable(&interfaces)
    }

    #[test]
    fn the_first_address_that_others_can_reach_is_taken() {
        let agent = r#"[
            {"name":"lo","ip-addresses":[{"ip-address":"127.0.0.1"}]},
            {"name":"docker0","ip-addresses":[{"ip-address":"172.17.0.1"}]},
            {"name":"eth0","ip-addresses":[{"ip-address":"fe80::1"},{"ip-address":"2001:db8::7"},{"ip-address":"192.0.2.10"}]}]"#;
        assert_eq!(first(agent), "192.0.2.10".parse().ok());
        let container = r#"[{"name":"lo","inet":"127.0.0.1/8"},{"name":"eth0","inet":"10.0.0.5/24","inet6":"fe80::2/64"}]"#;
        assert_eq!(first(container), "10.0.0.5".parse().ok());
        let only_v6 = r#"[{"name":"eth0","ip-addresses":[{"ip-address":"fe80::1"},{"ip-address":"2001:db8::7"}]}]"#;
        assert_eq!(first(only_v6), "2001:db8::7".parse().ok());
    }

    #[test]
    fn a_guest_that_has_no_address_yet_has_none() {
        for none in [
            "[]",
            r#"[{"name":"eth0"}]"#,
            r#"[{"name":"eth0","ip-addresses":[{"ip-address":"169.254.3.4"},{"ip-address":"fe80::1"}]}]"#,
            r#"[{"name":"eth0","inet":"not an address"}]"#,
        ] {
            assert_eq!(first(none), None, "{none}");
        }
    }
}
