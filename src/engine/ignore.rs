//! Clients that do not count: monitors and the like, by a part of their user agent, by their networks, or by both. What
//! they ask for neither wakes a service nor keeps it awake.
//!
//! A user agent proves nothing, for anybody can write any. That harms nobody who only does not count; but who is told
//! that all is well while the service sleeps must be known by its network.

use std::net::IpAddr;

use ipnet::IpNet;

use super::client;

/// Who does not count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// A part of the user agent, in lower case; none: any.
    pub agent: Option<String>,
    /// Where it comes from; empty: anywhere.
    pub networks: Vec<IpNet>,
    /// Whether it is told 200 while the service is not there, instead of 503.
    pub told_well: bool,
}

/// How a client counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Counts {
    /// As everybody does.
    #[default]
    Fully,
    /// It neither wakes the service nor keeps it awake.
    Not,
    /// The same, and it is told 200 while the service is not there.
    NotAndToldWell,
}

impl Rule {
    /// Everybody whose user agent holds this, in lower case.
    #[must_use]
    pub const fn by_agent(agent: String) -> Rule {
        Rule {
            agent: Some(agent),
            networks: Vec::new(),
            told_well: false,
        }
    }

    /// `agent` in lower case. A rule that says nothing holds nobody.
    fn holds(&self, agent: &str, address: IpAddr) -> bool {
        let by_agent = self
            .agent
            .as_deref()
            .is_none_or(|part| agent.contains(part));
        let by_network = self.networks.is_empty() || client::contains(&self.networks, address);
        by_agent && by_network && (self.agent.is_some() || !self.networks.is_empty())
    }
}

/// How a client counts by these rules. Of those that hold it, one that tells it 200 wins.
#[must_use]
pub fn counts(rules: &[Rule], agent: Option<&str>, address: IpAddr) -> Counts {
    if rules.is_empty() {
        return Counts::Fully;
    }
    let agent = agent.unwrap_or_default().to_ascii_lowercase();
    let holding = rules.iter().filter(|rule| rule.holds(&agent, address));
    let told_well = holding.map(|rule| rule.told_well).max();
    told_well.map_or(Counts::Fully, |told_well| match told_well {
        true => Counts::NotAndToldWell,
        false => Counts::Not,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_holds_whom_all_its_parts_hold() {
        let nets: Vec<IpNet> = vec!["203.0.113.0/24".parse().unwrap()];
        let rules = [
            Rule::by_agent("uptimerobot".into()),
            Rule {
                agent: Some("pinger".into()),
                networks: nets.clone(),
                told_well: true,
            },
            Rule {
                agent: None,
                networks: vec!["2001:db8::/32".parse().unwrap()],
                told_well: false,
            },
            Rule::default(),
        ];
        for (agent, address, expected) in [
            (
                Some("Mozilla (UptimeRobot/2.0)"),
                "198.51.100.1",
                Counts::Not,
            ),
            (Some("Pinger/1"), "203.0.113.9", Counts::NotAndToldWell),
            (
                Some("Pinger/1"),
                "::ffff:203.0.113.9",
                Counts::NotAndToldWell,
            ),
            (Some("Pinger/1"), "198.51.100.1", Counts::Fully),
            (
                Some("UptimeRobot Pinger"),
                "203.0.113.9",
                Counts::NotAndToldWell,
            ),
            (Some("curl/8"), "203.0.113.9", Counts::Fully),
            (None, "203.0.113.9", Counts::Fully),
            (None, "2001:db8::1", Counts::Not),
            (Some(""), "198.51.100.1", Counts::Fully),
        ] {
            let found = counts(&rules, agent, address.parse().unwrap());
            assert_eq!(found, expected, "{agent:?} {address}");
        }
        let anybody = "203.0.113.9".parse().unwrap();
        assert_eq!(counts(&[], Some("x"), anybody), Counts::Fully);
    }
}
