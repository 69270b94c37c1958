//! Where the machine of a service lives, as configured: one file for each kind.

pub mod billed;
pub mod command;
pub mod digitalocean;
pub mod docker;
pub mod ec2;
pub mod gce;
pub mod hetzner;
pub mod idcloudhost;
pub mod libvirt;
mod parts;
pub mod process;
pub mod proxmox;
pub mod wol;

use super::keys::PROVIDER_KINDS;
use super::reading::Reading;
use super::value;
pub use billed::Kept;
pub use command::{Command, Control};
pub use digitalocean::DigitalOcean;
pub use docker::{Docker, DockerAddress, DockerCloneFrom, DockerEndpoint};
pub use ec2::Ec2;
pub use gce::Gce;
pub use hetzner::Hetzner;
pub use idcloudhost::IdCloudHost;
pub use libvirt::Libvirt;
pub(super) use parts::Machine;
pub use parts::MachineAddress;
pub use process::Process;
pub use proxmox::Proxmox;
pub use wol::Wol;

/// Where the machine lives.
#[derive(Clone, Debug, PartialEq)]
pub enum Provider {
    /// A child process on this host; it listens on 127.0.0.1 at the service's port.
    Process(Process),
    /// A container that exists already.
    Docker(Docker),
    /// Anything that programs or a webhook can start and stop.
    Command(Command),
    /// A virtual machine at IDCloudHost, or at another cloud of its kind.
    IdCloudHost(IdCloudHost),
    /// A virtual machine at Google Compute Engine.
    Gce(Gce),
    /// A droplet at DigitalOcean.
    DigitalOcean(DigitalOcean),
    /// A server at Hetzner Cloud.
    Hetzner(Hetzner),
    /// A guest of Proxmox VE.
    Proxmox(Proxmox),
    /// A machine at AWS EC2.
    Ec2(Ec2),
    /// A virtual machine of libvirt.
    Libvirt(Libvirt),
    /// A machine on the local network that a magic packet wakes.
    Wol(Wol),
}

impl Provider {
    /// The word in the configuration (`kind = "..."`).
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Provider::Process(_) => "process",
            Provider::Docker(_) => "docker",
            Provider::Command(_) => "command",
            Provider::IdCloudHost(_) => "idcloudhost",
            Provider::Gce(_) => "gce",
            Provider::DigitalOcean(_) => "digitalocean",
            Provider::Hetzner(_) => "hetzner",
            Provider::Proxmox(_) => "proxmox",
            Provider::Ec2(_) => "ec2",
            Provider::Libvirt(_) => "libvirt",
            Provider::Wol(_) => "wol",
        }
    }

    /// The machine, where it has a name of its own.
    pub(super) fn machine(&self) -> Option<Machine> {
        match self {
            Provider::Process(_) | Provider::Command(_) => None,
            Provider::Docker(docker) => Some(docker.machine()),
            Provider::IdCloudHost(idcloudhost) => Some(idcloudhost.machine()),
            Provider::Gce(gce) => Some(gce.machine()),
            Provider::DigitalOcean(digitalocean) => Some(digitalocean.machine()),
            Provider::Hetzner(hetzner) => Some(hetzner.machine()),
            Provider::Proxmox(proxmox) => Some(proxmox.machine()),
            Provider::Ec2(ec2) => Some(ec2.machine()),
            Provider::Libvirt(libvirt) => Some(libvirt.machine()),
            Provider::Wol(wol) => Some(wol.machine()),
        }
    }

    /// Whether programs are run on this host.
    pub(super) fn runs_programs(&self) -> bool {
        match self {
            // A `uri` can name a program.
            Provider::Process(_) | Provider::Libvirt(_) | Provider::Wol(_) => true,
            Provider::Command(command) => command.runs_programs(),
            Provider::Docker(_)
            | Provider::IdCloudHost(_)
            | Provider::Gce(_)
            | Provider::DigitalOcean(_)
            | Provider::Hetzner(_)
            | Provider::Proxmox(_)
            | Provider::Ec2(_) => false,
        }
    }

    /// Why no clones can be made with these settings, as the mend; none where they can. As the provider itself says it
    /// once it is built.
    pub(super) fn makes_no_clones(&self) -> Option<String> {
        let key = match self {
            Provider::Docker(_) | Provider::Proxmox(_) | Provider::IdCloudHost(_) => return None,
            Provider::Process(process) => {
                (!process.says_port()).then_some("{port} in provider.command")
            }
            Provider::Gce(gce) => gce.clone_from.is_none().then_some("provider.clone_from"),
            Provider::Ec2(ec2) => ec2
                .launch_template
                .is_none()
                .then_some("provider.launch_template"),
            Provider::Command(_)
            | Provider::DigitalOcean(_)
            | Provider::Hetzner(_)
            | Provider::Libvirt(_)
            | Provider::Wol(_) => {
                let kinds = "docker, process, gce, ec2, proxmox or idcloudhost";
                let kind = self.kind();
                return Some(format!(
                    "{kind} makes none: write a provider of the kind {kinds}"
                ));
            }
        };
        key.map(|key| format!("write {key}"))
    }

    /// What has one address in common for all its instances, which differ by their ports alone.
    pub(super) fn shares_an_address(&self) -> Option<&'static str> {
        match self {
            Provider::Process(_) => Some("processes"),
            Provider::Docker(docker) if docker.address == DockerAddress::Published => {
                Some("containers with published ports")
            }
            _ => None,
        }
    }

    /// Reads the block of a service whose app listens on `port`.
    pub(super) fn read(service: &Reading<'_>, port: u16) -> Option<Provider> {
        let Some(node) = service.table.get("provider") else {
            service.fault(
                "provider",
                "is missing; write provider = { kind = \"docker\", container = \"blog\" }",
            );
            return None;
        };
        let kind = service.reader.kind(node, PROVIDER_KINDS, "provider")?;
        let section = service.reader.open(node, kind)?;
        // The kind was read above; this asks the table of keys as for every other key.
        section.read("kind", value::words)?;
        Some(match kind {
            "process" => Provider::Process(Process::read(&section)?),
            "docker" => Provider::Docker(Docker::read(&section)?),
            "idcloudhost" => Provider::IdCloudHost(IdCloudHost::read(&section)?),
            "gce" => Provider::Gce(Gce::read(&section)?),
            "digitalocean" => Provider::DigitalOcean(DigitalOcean::read(&section)?),
            "hetzner" => Provider::Hetzner(Hetzner::read(&section)?),
            "proxmox" => Provider::Proxmox(Proxmox::read(&section, port)?),
            "ec2" => Provider::Ec2(Ec2::read(&section)?),
            "libvirt" => Provider::Libvirt(Libvirt::read(&section, port)?),
            "wol" => Provider::Wol(Wol::read(&section, port)?),
            _ => Provider::Command(Command::read(&section, port)?),
        })
    }
}
