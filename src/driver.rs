//! The only code that knows both the engine and the outside: one task for each service, its inbox, its effects
//! and its one timer. `http` asks it through a [`Handle`](handle::Handle).

pub mod handle;
