//! Sources of activity. [`edge`] counts what passes the room itself; [`traefik`] reads what passes it by.
//! [`samples`] keeps what they say until the service's task takes it. [`load`] tells how busy the instances are, [`webhook`]
//! reads alerts that come in.

pub mod edge;
pub mod load;
pub mod samples;
pub mod traefik;
pub mod webhook;
