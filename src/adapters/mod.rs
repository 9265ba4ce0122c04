//! The real machine behind the ports, one adapter a folder. Adapters know the ports and the domain, and not
//! each other except where the composition root hands one to another.

pub mod clock;
pub mod console;
pub mod descriptors;
pub mod discovery;
pub mod environment;
pub mod inbox;
pub mod interfaces;
pub mod processes;
pub mod settings;
pub mod signals;
pub mod telemetry;
pub mod turns;
