//! Anteroom lets people pay for a virtual machine only while somebody uses it.
//!
//! Read in this order:
//!
//! 1. [`engine`]: the pure core that decides; [`engine::contract`] says what goes in and what comes out.
//! 2. [`driver`]: the one task of each service, which carries out what the engine decides.
//! 3. [`provider`], [`store`], [`signal`], [`publish`], [`page`], [`gate`], [`config`]: the rooms on one floor,
//!    which do not know each other.
//! 4. [`http`]: the visitors' and the admins' side.
//! 5. [`app`]: what is built, in what order it starts and stops; [`cli`]: the command line.
//!
//! Imports run down only: cli, app, http, driver, the rooms, engine. `docs/architecture.md` has the whole plan.

pub mod app;
pub mod cli;
pub mod config;
pub mod driver;
pub mod engine;
pub mod gate;
pub mod http;
pub mod page;
pub mod provider;
pub mod publish;
pub mod signal;
pub mod store;
pub mod telemetry;
