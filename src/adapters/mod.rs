//! The implementations of the ports for a real machine. Adapters use the ports and the domain. Several also
//! use the adapters that are shared: the inbox, the clock, the timers, the environment, the console, the requests of clients, the HTTP
//! server, tasks and the turns of the loop.

pub mod clients;
pub mod clock;
pub mod console;
pub mod control;
pub mod descriptors;
pub mod discovery;
pub mod environment;
pub mod http;
pub mod inbox;
pub mod interfaces;
pub mod probes;
pub mod processes;
pub mod programs;
pub mod settings;
pub mod signals;
pub mod tasks;
pub mod telemetry;
pub mod templates;
pub mod timers;
pub mod turns;
pub mod users;
