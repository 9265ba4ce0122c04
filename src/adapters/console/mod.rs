//! The shim's own log. So far only what cuts the output of children into entries.

mod lines;

pub use lines::{LONGEST, Lines};
