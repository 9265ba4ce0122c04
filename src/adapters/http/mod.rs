//! What the HTTP servers of the shim share: the bounds of connections, and the listening sockets that are bound on
//! trial.
//!
//! It knows neither pages nor the core.

mod listeners;
mod server;

pub use listeners::{Address, Listeners, Step};
pub use server::{Answer, Answers, Connections, serve_until_dropped};
