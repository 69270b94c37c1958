//! Telling others where a service is: [`traefik`] puts the visitors' routing in force, [`prometheus`] lists what is to be
//! measured.

mod file;
pub mod prometheus;
pub mod traefik;
