//! A simulated machine for the shim: the same driver loop as in production, in virtual time.
//!
//! [`machine`] implements the ports. It records which children run and which requests are in flight, and never
//! reads that from the core; [`laws`] are checked after every entry. One stream of [`choices`] decides
//! everything random, so a run can be repeated, compared and shortened.

pub mod choices;
pub mod explore;
pub mod fake_catalogue;
pub mod laws;
pub mod machine;
pub mod mutants;
pub mod options;
pub mod plans;
pub mod regressions;
pub mod scopes;
pub mod shrink;
pub mod simulated_run;
pub mod state_key;
mod templates;
pub mod trace;

pub use choices::Choices;
pub use laws::Violation;
pub use simulated_run::{SimulatedRun, simulate, simulate_emergency, simulate_twice, simulate_with};
