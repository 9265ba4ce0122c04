//! The ports: traits for what the driver and the configuration need from outside, without implementations or
//! decisions.
//!
//! They depend on the domain only. The adapters implement them for a real machine, `sim` for a simulated one.

mod clock;
mod console;
mod control;
mod discovery;
mod interfaces;
mod probes;
mod processes;
mod programs;
mod settings;
mod telemetry;
mod templates;
mod users;

pub use clock::{Clock, Inbox};
pub use console::Console;
pub use control::Control;
pub use discovery::{Catalogue, CatalogueError, Discovery, Renewal};
pub use interfaces::Interfaces;
pub use probes::Probes;
pub use processes::Processes;
pub use programs::{NotExecutable, Programs};
pub use settings::Settings;
pub use telemetry::Telemetry;
pub use templates::Templates;
pub use users::Users;

#[cfg(test)]
pub use {
    clock::{MockClock, MockInbox},
    console::MockConsole,
    control::MockControl,
    discovery::{MockCatalogue, MockDiscovery},
    interfaces::MockInterfaces,
    probes::MockProbes,
    processes::MockProcesses,
    programs::MockPrograms,
    settings::MockSettings,
    telemetry::MockTelemetry,
    templates::MockTemplates,
    users::MockUsers,
};
