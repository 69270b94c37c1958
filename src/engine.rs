//! The pure core: what to do, decided from what has happened. No clock, no I/O, no async, no logging, no
//! randomness that is not passed in.
//!
//! The lints below hold that for this module tree alone (`clippy.toml` names what is banned). Read in this
//! order: [`contract`] (what goes in and what comes out; its words are in [`trigger`], [`traffic`] and [`story`]),
//! [`service`] (the life of a service), [`idle`] (when it may be put to sleep), [`scale`] (how many machines its load
//! needs), [`route`] (what a request gets), [`admit`] (who may wake it, and how often), [`rooms`] (how the use of many
//! rooms is summed up), [`privacy`] (what is written down of a client), [`ramp`] (how fast those who have waited are let
//! in), then the small ones.
#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod admit;
pub mod backoff;
pub mod chess;
pub mod client;
pub mod contract;
pub mod eta;
pub mod fleet;
pub mod id;
pub mod idle;
pub mod ignore;
pub mod load;
pub mod machine;
pub mod policy;
pub mod privacy;
pub mod ramp;
pub mod record;
pub mod rooms;
pub mod route;
pub mod scale;
pub mod service;
pub mod story;
pub mod time;
pub mod toll;
pub mod traffic;
pub mod trap;
pub mod trigger;
pub mod triggerers;
pub mod view;
pub mod why;
pub mod wish;
