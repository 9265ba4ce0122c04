//! A simulated world for the shim: the same driver loop as in production, in virtual time.
//!
//! [`world`] implements the ports. It remembers for itself which children live and what is on the wire, and
//! never reads that from the core; [`laws`] are asked after everything that happens. Whatever is drawn comes
//! from one stream of [`choices`], so a life can be lived again, compared and made shorter.

pub mod choices;
pub mod explore;
pub mod fake_catalogue;
pub mod laws;
pub mod life;
pub mod mutants;
pub mod options;
pub mod plans;
pub mod regressions;
pub mod scopes;
pub mod shrink;
pub mod state_key;
pub mod trace;
pub mod world;

pub use choices::Choices;
pub use laws::Violation;
pub use life::{Life, live, live_in_emergency, live_twice};
