//! The visitors' side: a connection comes in ([`listen`]), what comes in thousands is answered at once (`front`),
//! any other request is read by hyper and looked at (`visit`), and it is
//! forwarded (`balance`, `forward`, `tunnel`; one after the other while the app is freshly ready, `ramp`), kept (`hold`), or answered by the room itself (`wait`, `paths`, `events`,
//! all by way of `reply`).
//!
//! It reads a service's view and asks its task through a handle; it never knows a provider or a store. Every
//! wait has a deadline, every body a bound, and no lock is held while it waits.

pub mod admin;
pub mod listen;
pub mod room;

mod balance;
mod body;
mod challenge;
mod check;
mod copies;
mod cors;
mod events;
mod forward;
mod front;
mod head;
mod headers;
mod hold;
mod manner;
mod paths;
mod plains;
mod ramp;
mod reply;
mod rewind;
mod shield;
mod still;
mod stock;
mod tunnel;
mod unread;
mod visit;
mod wait;
mod wake;
mod workers;

pub use challenge::Challenger;
pub use ramp::Pacing;
pub use room::{Clock, Limits, Room, Setup, Site, Sites};
