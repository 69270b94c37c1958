//! Telling others where a service is: [`traefik`] puts the visitors' routing in force.

pub mod traefik;
