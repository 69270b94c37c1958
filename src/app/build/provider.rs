//! From the checked configuration of a machine to its provider: one line and one function for each kind.

use std::path::Path;
use std::sync::Arc;

use crate::config;
use crate::config::provider::ec2::Keys;
use crate::config::provider::proxmox::Guest;
use crate::config::provider::{
    Command, Control, DigitalOcean, Docker, DockerAddress, DockerCloneFrom, Ec2, Gce, Hetzner,
    IdCloudHost, Kept, Libvirt, MachineAddress, Process, Proxmox, Wol,
};
use crate::config::{Provider as Configured, Service};
use crate::provider::{
    Provider, command, digitalocean, docker, ec2, gce, hetzner, idcloudhost, libvirt, process,
    proxmox, wol,
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
        Configured::Proxmox(kind) => Arc::new(of_proxmox(service, kind)?),
        Configured::Ec2(kind) => Arc::new(of_ec2(service, kind)?),
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
        service: service.name.clone(),
        container: kind.container.clone(),
        endpoint: kind.endpoint.to_string().parse()?,
        port: service.port,
        address: match kind.address {
            DockerAddress::Container => docker::AddressFrom::Container,
            DockerAddress::Published => docker::AddressFrom::Published,
        },
        clone_from: match kind.clone_from {
            DockerCloneFrom::Image => docker::CloneFrom::Image,
            DockerCloneFrom::Disk => docker::CloneFrom::Disk,
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
        service: service.name.clone(),
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
        clone_timeout: kind.clone_timeout.into(),
        billing_account: kind.billing_account,
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
    let clone_from = kind.clone_from.as_deref().map(str::parse);
    Ok(gce::Gce::new(gce::Settings {
        service: service.name.clone(),
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
        clone_from: clone_from.transpose().map_err(anyhow::Error::msg)?,
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
        kept: match kind.kept.clone() {
            Kept::Off(id) => digitalocean::Kept::Off(id),
            Kept::Snapshot { mark, ssh_keys } => {
                digitalocean::Kept::Snapshot(digitalocean::Snapshots {
                    mark,
                    ssh_keys,
                    settles: digitalocean::SETTLES,
                })
            }
        },
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
        kept: match kind.kept.clone() {
            Kept::Off(id) => hetzner::Kept::Off(id),
            Kept::Snapshot { mark, ssh_keys } => hetzner::Kept::Snapshot(hetzner::Snapshots {
                mark,
                ssh_keys,
                settles: hetzner::SETTLES,
            }),
        },
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

fn of_proxmox(service: &Service, kind: &Proxmox) -> anyhow::Result<proxmox::Proxmox> {
    Ok(proxmox::Proxmox::new(proxmox::Settings {
        service: service.name.clone(),
        base_url: kind.base_url.clone(),
        token_id: kind.token_id.clone(),
        secret: kind.secret.expose().to_owned(),
        vmid: kind.vmid,
        guest: kind.guest.map(|guest| match guest {
            Guest::Qemu => proxmox::GuestKind::Qemu,
            Guest::Lxc => proxmox::GuestKind::Lxc,
        }),
        clone: match kind.full_clones {
            true => proxmox::CloneKind::Full,
            false => proxmox::CloneKind::Linked,
        },
        clone_from: kind.clone_from,
        pool: kind.pool.clone(),
        storage: kind.storage.clone(),
        clone_settles: proxmox::CLONE_SETTLES,
        port: service.port,
        address: match &kind.address {
            Some(fixed) => proxmox::AddressFrom::Fixed(fixed.clone()),
            None => proxmox::AddressFrom::Guest,
        },
        sleep: kind.sleep,
        stop_timeout: kind.stop_timeout.into(),
        ca: kind.ca.clone(),
        fingerprint: kind.fingerprint.as_deref().map(str::parse).transpose()?,
    })?)
}

fn of_ec2(service: &Service, kind: &Ec2) -> anyhow::Result<ec2::Ec2> {
    Ok(ec2::Ec2::new(ec2::Settings {
        service: service.name.clone(),
        region: kind.region.clone(),
        base_url: kind.base_url.clone(),
        instance: kind.instance.clone(),
        credentials: match &kind.keys {
            Keys::Written {
                id,
                secret,
                session,
            } => ec2::Source::Keys {
                id: id.clone(),
                secret: secret.expose().to_owned(),
                session: session.as_ref().map(|session| session.expose().to_owned()),
            },
            Keys::Profile(name) => ec2::Source::Profile(name.clone()),
            Keys::Anywhere => ec2::Source::Anywhere,
        },
        launch_template: kind.launch_template.clone(),
        launch_template_version: kind.launch_template_version.clone(),
        surroundings: ec2::Surroundings::of_this_process(),
        port: service.port,
        address: match kind.address {
            MachineAddress::Private => ec2::AddressFrom::Private,
            MachineAddress::Public => ec2::AddressFrom::Public,
        },
        sleep: kind.sleep,
        stop_timeout: kind.stop_timeout.into(),
        ca: kind.ca.clone(),
    })?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Problem};

    fn parse(provider: &str, scale: &str) -> Result<Config, Vec<Problem>> {
        let text = format!(
            "[service.a]\nhosts = [\"a.example.com\"]\nport = 80\nprovider = {{ {provider} }}\n{scale}"
        );
        Config::parse(&text, "a.toml", &|_| Some("00:11:22:33:44:55".to_owned()))
    }

    #[test]
    fn the_configuration_knows_which_machines_can_be_cloned() {
        let gce =
            r#"kind = "gce", project = "blog-471008", zone = "europe-west1-b", instance = "blog""#;
        let ec2 = r#"kind = "ec2", region = "eu-central-1", instance = "i-0123456789abcdef0""#;
        let image = "projects/blog-471008/global/machineImages/blog-1";
        let providers = [
            r#"kind = "process", command = ["./app", "80"]"#,
            r#"kind = "process", command = ["./app", "--port={port}"]"#,
            r#"kind = "process", command = ["./app"], env = { PORT = "{port}" }"#,
            r#"kind = "docker", container = "a""#,
            r#"kind = "command", start = ["a"], stop = ["a"], state = ["a"], address = "10.0.0.8""#,
            r#"kind = "idcloudhost", location = "jkt01", uuid = "f80b1d62-0000-4000-8000-000000000000", apikey = { env = "KEY" }"#,
            gce,
            &format!("{gce}, clone_from = {image:?}"),
            r#"kind = "digitalocean", droplet = 1, token = { env = "KEY" }, sleep = "power_off""#,
            r#"kind = "hetzner", server = 1, token = { env = "KEY" }, sleep = "power_off""#,
            r#"kind = "proxmox", base_url = "https://pve.example.com:8006", vmid = 100, guest = "qemu", token_id = "a@pve!a", secret = { env = "KEY" }"#,
            ec2,
            &format!("{ec2}, launch_template = \"lt-0123456789abcdef0\""),
            r#"kind = "libvirt", domain = "a""#,
            r#"kind = "wol", mac = "52:54:00:12:34:56", address = "192.168.1.7", stop = ["true"]"#,
        ];
        let mut able = 0;
        for text in providers {
            let config = parse(text, "").unwrap_or_else(|why| panic!("{text}: {why:?}"));
            let service = config.services.values().next().expect("there is one");
            let built =
                provider(service, Path::new("/tmp")).unwrap_or_else(|e| panic!("{text}: {e}"));
            let scale = r#"scale = { max = 2, signal = { kind = "webhook" } }"#;
            let accepted = parse(text, scale).is_ok();
            assert_eq!(accepted, built.can_clone(), "{text}");
            able += usize::from(accepted);
        }
        assert_eq!(able, 7);
    }
}
