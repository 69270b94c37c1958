//! From the checked configuration of a machine to its provider: one line and one function for each kind.

use std::path::Path;
use std::sync::Arc;

use crate::config;
use crate::config::provider::{
    Command, Control, DigitalOcean, Docker, DockerAddress, Gce, Hetzner, IdCloudHost, Libvirt,
    MachineAddress, Process, Wol,
};
use crate::config::{Provider as Configured, Service};
use crate::provider::{
    Provider, command, digitalocean, docker, gce, hetzner, idcloudhost, libvirt, process, wol,
};

/// The provider of a service's machine. `state_dir` is where it keeps what must outlive the process.
pub(in crate::app) fn provider(
    service: &Service,
    state_dir: &Path,
) -> anyhow::Result<Arc<dyn Provider>> {
    Ok(match &service.provider {
        Configured::Process(kind) => Arc::new(of_process(service, kind, state_dir)?),
        Configured::Docker(kind) => Arc::new(of_docker(service, kind)?),
        Configured::Command(kind) => Arc::new(of_command(service, kind)?),
        Configured::IdCloudHost(kind) => Arc::new(of_idcloudhost(service, kind)?),
        Configured::Gce(kind) => Arc::new(of_gce(service, kind)?),
        Configured::DigitalOcean(kind) => Arc::new(of_digitalocean(service, kind)?),
        Configured::Hetzner(kind) => Arc::new(of_hetzner(service, kind)?),
        Configured::Libvirt(kind) => Arc::new(of_libvirt(service, kind)?),
        Configured::Wol(kind) => Arc::new(of_wol(service, kind)?),
    })
}

fn of_process(
    service: &Service,
    kind: &Process,
    state_dir: &Path,
) -> anyhow::Result<process::Process> {
    Ok(process::Process::new(process::Settings {
        service: service.name.clone(),
        command: kind.command.clone(),
        port: service.port,
        cwd: kind.cwd.clone(),
        env: kind.env.clone(),
        stop_timeout: kind.stop_timeout.into(),
        state_dir: state_dir.to_owned(),
    })?)
}

fn of_docker(service: &Service, kind: &Docker) -> anyhow::Result<docker::Docker> {
    Ok(docker::Docker::new(docker::Settings {
        container: kind.container.clone(),
        endpoint: kind.endpoint.to_string().parse()?,
        port: service.port,
        address: match kind.address {
            DockerAddress::Container => docker::AddressFrom::Container,
            DockerAddress::Published => docker::AddressFrom::Published,
        },
        stop_timeout: kind.stop_timeout.into(),
    })?)
}

fn of_command(service: &Service, kind: &Command) -> anyhow::Result<command::Command> {
    let control = match kind.control.clone() {
        Control::Programs { start, stop, state } => {
            command::Control::Scripts(command::Scripts { start, stop, state })
        }
        Control::Webhook { url, token } => {
            let token = token.map(|token| token.expose().to_owned());
            command::Control::Webhook(command::Webhook { url, token })
        }
    };
    Ok(command::Command::new(command::Settings {
        service: service.name.clone(),
        control,
        address: Some(kind.address.clone()),
        timeout: kind.timeout.into(),
    })?)
}

fn of_idcloudhost(
    service: &Service,
    kind: &IdCloudHost,
) -> anyhow::Result<idcloudhost::IdCloudHost> {
    Ok(idcloudhost::IdCloudHost::new(idcloudhost::Settings {
        base_url: kind.base_url.clone(),
        location: kind.location.clone(),
        uuid: kind.uuid.clone(),
        apikey: kind.apikey.expose().to_owned(),
        port: service.port,
        address: match kind.address {
            MachineAddress::Private => idcloudhost::AddressFrom::Private,
            MachineAddress::Public => idcloudhost::AddressFrom::Public,
        },
        stop_timeout: kind.stop_timeout.into(),
        ca: kind.ca.clone(),
    })?)
}

fn of_libvirt(service: &Service, kind: &Libvirt) -> anyhow::Result<libvirt::Libvirt> {
    Ok(libvirt::Libvirt::new(libvirt::Settings {
        virsh: kind.virsh.clone(),
        uri: kind.uri.clone(),
        domain: kind.domain.clone(),
        port: service.port,
        address: kind.address.parse()?,
        sleep: kind.sleep,
        stop_timeout: kind.stop_timeout.into(),
    })?)
}

fn of_wol(service: &Service, kind: &Wol) -> anyhow::Result<wol::Wol> {
    let password = kind.password.as_ref();
    Ok(wol::Wol::new(wol::Settings {
        service: service.name.clone(),
        mac: kind.mac,
        address: kind.address.clone(),
        broadcast: kind.broadcast,
        password: password
            .and_then(|password| config::provider::wol::bytes(password.expose()))
            .unwrap_or_default(),
        stop: kind.stop.clone(),
        stop_timeout: kind.stop_timeout.into(),
        wake_timeout: kind.wake_timeout.into(),
    })?)
}

fn of_gce(service: &Service, kind: &Gce) -> anyhow::Result<gce::Gce> {
    Ok(gce::Gce::new(gce::Settings {
        base_url: kind.base_url.clone(),
        project: kind.project.clone(),
        zone: kind.zone.clone(),
        instance: kind.instance.clone(),
        credentials: kind.credentials.clone(),
        around: gce::Surroundings::of_process(),
        port: service.port,
        address: match kind.address {
            MachineAddress::Private => gce::AddressFrom::Private,
            MachineAddress::Public => gce::AddressFrom::Public,
        },
        sleep: kind.sleep,
        stop_timeout: kind.stop_timeout.into(),
        ca: kind.ca.clone(),
    })?)
}

fn of_digitalocean(
    service: &Service,
    kind: &DigitalOcean,
) -> anyhow::Result<digitalocean::DigitalOcean> {
    Ok(digitalocean::DigitalOcean::new(digitalocean::Settings {
        base_url: kind.base_url.clone(),
        token: kind.token.expose().to_owned(),
        droplet: kind.droplet,
        port: service.port,
        address: match kind.address {
            MachineAddress::Private => digitalocean::AddressFrom::Private,
            MachineAddress::Public => digitalocean::AddressFrom::Public,
        },
        stop_timeout: kind.stop_timeout.into(),
        ca: kind.ca.clone(),
        poll: digitalocean::POLL,
    })?)
}

fn of_hetzner(service: &Service, kind: &Hetzner) -> anyhow::Result<hetzner::Hetzner> {
    Ok(hetzner::Hetzner::new(hetzner::Settings {
        base_url: kind.base_url.clone(),
        token: kind.token.expose().to_owned(),
        server: kind.server,
        port: service.port,
        address: match kind.address {
            MachineAddress::Private => hetzner::AddressFrom::Private,
            MachineAddress::Public => hetzner::AddressFrom::Public,
        },
        stop_timeout: kind.stop_timeout.into(),
        ca: kind.ca.clone(),
        poll: hetzner::POLL,
    })?)
}
