//! The only code that knows both the engine and the outside: one task for each service, its inbox, its effects
//! and its one timer. `http` asks it through a [`Handle`](handle::Handle).
//!
//! A task leads its service (`lead`) or follows the room that does (`follow`). Leading is three things in a circle:
//! wait for one input, take one step, carry out its effects. A record is awaited in place; every other effect runs
//! beside the task and comes back as an input. Read [`task`] next, then [`way`] (how visitors reach the service), [`admission`] (who may wake it) and [`story`]
//! (what people are told).

pub mod admission;
pub mod bans;
pub mod clock;
mod face;
mod follow;
pub mod handle;
mod lead;
pub mod names;
mod own;
pub mod probe;
mod seat;
pub mod story;
pub mod task;
pub mod way;
