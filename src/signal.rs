//! Sources of activity. [`edge`] counts what passes the room itself; [`traefik`] reads what passes it by.

pub mod edge;
pub mod traefik;
