//! What a client must show before its trigger counts. Today that is the page's nonce: a text that only somebody
//! who has loaded the waiting page can know, so that a link, an image or another site's form wakes nothing.
//!
//! It never decides who may wake a service or how often; that is the engine's rule about clients and limits.
//! Read [`nonce`] for how the text is made.

pub mod nonce;

pub use nonce::{Keeper, Nonce, NonceError};
