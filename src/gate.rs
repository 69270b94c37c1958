//! What a client must show before its trigger counts: the page's nonce, a text that only somebody who has loaded the
//! waiting page can know, so that a link, an image or another site's form wakes nothing; and where the service asks
//! for it, the solution of a challenge.
//!
//! A [ticket](nonce::Keeper::ticket) is the other thing that a visitor carries: its place among those who wait.
//!
//! It never decides who may wake a service or how often; that is the engine's rule about clients and limits.
//! Read [`nonce`] for how the text is made, then [`challenge`], and [`captcha`] for those that are solved elsewhere. How hard a challenge is follows from the load, by
//! [`engine::toll`](crate::engine::toll).

pub mod captcha;
pub mod challenge;
pub mod nonce;
mod ticket;

pub use challenge::{Bound, ChallengeError, Task};
pub use nonce::{Keeper, Nonce, NonceError};
