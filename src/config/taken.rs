//! What belongs to one service alone: its hostnames and its machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::Config;
use super::provider::{Machine, Provider};
use super::service::Service;
use crate::engine::id::ServiceName;

/// A fault: the service's key, and what is wrong with it.
pub(super) type Fault = (&'static str, String);

/// What is taken so far.
pub(super) struct Taken {
    listeners: [(SocketAddr, &'static str); 2],
    hosts: BTreeMap<String, ServiceName>,
    ports: BTreeMap<u16, ServiceName>,
    machines: BTreeMap<Machine, ServiceName>,
}

impl Taken {
    /// What Anteroom itself takes.
    pub(super) fn new(config: &Config) -> Taken {
        Taken {
            listeners: [
                (config.server.listen, "server.listen"),
                (config.admin.listen, "admin.listen"),
            ],
            hosts: BTreeMap::new(),
            ports: BTreeMap::new(),
            machines: BTreeMap::new(),
        }
    }

    /// From now on this is the service's.
    pub(super) fn take(&mut self, service: &Service) {
        let name = &service.name;
        for host in &service.hosts {
            let host = self.hosts.entry(host.clone());
            host.or_insert_with(|| name.clone());
        }
        match &service.provider {
            Provider::Process(_) => {
                let port = self.ports.entry(service.port);
                port.or_insert_with(|| name.clone());
            }
            other => {
                if let Some(machine) = other.machine() {
                    let machine = self.machines.entry(machine);
                    machine.or_insert_with(|| name.clone());
                }
            }
        }
    }

    /// What speaks against a service's hostnames.
    pub(super) fn hosts(&self, service: &Service) -> Vec<Fault> {
        let fault = |(at, host): (usize, &String)| {
            let twice = service.hosts[..at].contains(host).then_some(&service.name);
            let other = self.hosts.get(host).or(twice)?;
            let message = format!(
                "{host:?} is already in service.{other}; a hostname belongs to one service"
            );
            Some(("hosts", message))
        };
        service.hosts.iter().enumerate().filter_map(fault).collect()
    }

    /// What speaks against a service's machine: it belongs to one service, else one would put the other to sleep.
    pub(super) fn machine(&self, service: &Service) -> Vec<Fault> {
        let mut faults = Vec::new();
        match &service.provider {
            Provider::Process(_) => {
                let app = SocketAddr::from(([127, 0, 0, 1], service.port));
                for (listen, of) in self.listeners {
                    if clash(app, listen) {
                        let message =
                            format!("{} is the port of {of}; write another", service.port);
                        faults.push(("port", message));
                    }
                }
                if let Some(other) = self.ports.get(&service.port) {
                    let message = format!(
                        "{} is also the port of service.{other}, whose process runs on this host too; write another",
                        service.port
                    );
                    faults.push(("port", message));
                }
            }
            machine => {
                if let Some(machine) = machine.machine()
                    && let Some(other) = self.machines.get(&machine)
                {
                    let Machine { what, id, .. } = machine;
                    let message = format!(
                        "the {what} {id:?} belongs to service.{other} already, and each would put the \
                         other to sleep; name both hostnames in one service"
                    );
                    faults.push(("provider", message));
                }
            }
        }
        faults
    }
}

/// Whether two listeners would fight for one port.
pub(super) fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (everywhere || one.ip() == other.ip())
}
