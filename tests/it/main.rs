//! One integration binary, a module per behaviour.
#![expect(clippy::unwrap_used, reason = "a test may unwrap")]

mod support {
    pub(crate) mod anteroom;
    pub(crate) mod app;
    pub(crate) mod billed;
    pub(crate) mod browser;
    pub(crate) mod crash;
    pub(crate) mod digitalocean;
    pub(crate) mod docker;
    pub(crate) mod ec2;
    pub(crate) mod ec2_metadata;
    pub(crate) mod ec2_moto;
    pub(crate) mod exporter;
    pub(crate) mod gce;
    pub(crate) mod hetzner;
    pub(crate) mod house;
    pub(crate) mod libvirt;
    pub(crate) mod load;
    pub(crate) mod machine;
    pub(crate) mod proxmox;
    pub(crate) mod real_app;
    pub(crate) mod redis;
    pub(crate) mod traefik;
    pub(crate) mod visitor;
    pub(crate) mod wait;
    pub(crate) mod warren;
}

mod config;
mod config_added;
mod demo;
mod doctor;
mod forwarded_for;
mod http_balance;
mod http_forward;
mod http_front;
mod http_hold;
mod http_limits;
mod http_links;
mod http_listen;
mod http_paths;
mod http_wait;
mod lifecycle;
mod lifecycle_browser;
mod lifecycle_limits;
mod lifecycle_paused;
mod lifecycle_privacy;
mod lifecycle_rooms;
mod lifecycle_rooms_traefik;
mod lifecycle_traefik;
mod lifecycle_woke;
mod page;
mod provider_conformance;
mod rooms;
mod signal_node_exporter;
mod store_conformance;
mod store_file;
mod store_kill;
mod store_redis;
mod store_redis_added;
mod store_redis_admit;
mod store_redis_alone;
mod store_redis_failover;
mod store_redis_rooms;
mod store_redis_storm;
mod store_redis_surface;
mod tidy;
