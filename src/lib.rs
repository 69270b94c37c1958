//! Anteroom lets people pay for a virtual machine only while somebody uses it.
//!
//! Read in this order:
//!
//! 1. [`engine`]: the pure core that decides.
//! 2. [`provider`], [`store`], [`page`], [`gate`]: the rooms on one floor, which do not know each other.

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
