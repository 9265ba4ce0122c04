//! A simulated world for the shim: the same driver loop as in production, in virtual time.
//!
//! [`World`] implements the ports. It remembers for itself which children live and what is on the wire, and
//! never reads that from the core; [`laws`] are checked after everything that happens. A life of hours takes
//! milliseconds, and the same script always gives the same trace.
//!
//! This is the beginning of the harness: one scripted life at a time. Drawn faults, shrinking and exhaustive
//! exploration are built on it.

pub mod laws;
pub mod world;

pub use world::{Behaviour, Script, World};
