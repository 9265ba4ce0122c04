//! What the HTTP servers of the shim share: the bounds of connections, the forms of answers, and the listening sockets that are bound on
//! trial.
//!
//! It knows neither pages nor the core.

mod answers;
mod listeners;
mod server;

pub use answers::{JSON, answer_with, health, text, with};
pub use listeners::{Address, Listeners, Step};
pub use server::{Answer, Answers, Connections, Stream, serve_until_dropped};
