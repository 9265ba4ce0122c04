//! The configuration of this process: its source, compiled for this machine as it is now.

use crate::adapters::discovery;
use crate::adapters::environment::Environment;
use crate::adapters::interfaces::Listed;
use crate::adapters::telemetry::Doors;
use crate::cause;
use crate::config::{self, Compiled, Readable, Source, Target};
use crate::ports::{Interfaces, Settings};
use domain::event::Loaded;
use domain::plan::{Telemetry, Word};
use domain::{Notice, Plan};

/// Where this process' configuration comes from, and what it is compiled for.
pub struct MachineSettings<I> {
    /// The place that is read, at each reload anew.
    pub source: Source,
    /// The environment that templates see.
    pub environment: Environment,
    /// Where addresses are looked up.
    pub interfaces: I,
    /// The application and its arguments.
    pub application: Vec<Word>,
    /// Where it is tried out whether telemetry can be served.
    pub doors: Doors,
}

impl<I: Interfaces> MachineSettings<I> {
    /// Reads and compiles the configuration: the plan, and what operators are told about it.
    ///
    /// # Errors
    /// A report for the operator.
    pub fn compile(&self) -> Result<(Plan, Vec<Notice>), String> {
        let hostname = nix::unistd::gethostname().ok();
        // Each service looks for its address.
        let interfaces = Listed::now(&self.interfaces);
        let target = Target {
            variables: self.environment.variables(),
            hostname: hostname.and_then(|name| name.into_string().ok()),
            interfaces: &interfaces,
            application: &self.application,
        };
        let compiled = config::load(&self.source, Readable::FilesAndPipes, &target)?;
        // A catalogue that can never be reached as described is refused before anything starts.
        let opened = discovery::open(&compiled.plan.catalogue);
        opened.map_err(|error| format!("{}: {error}", self.source))?;
        self.try_out(compiled.plan.telemetry.as_ref())?;
        let Compiled {
            plan,
            warnings,
            shown,
        } = compiled;
        let remarks = warnings
            .into_iter()
            .map(Notice::Advice)
            .chain([Notice::LoadedConfiguration(shown)]);
        Ok((plan, remarks.collect()))
    }

    /// So is an address that telemetry cannot be served on (TM-10).
    fn try_out(&self, telemetry: Option<&Telemetry>) -> Result<(), String> {
        let address = telemetry.map(|telemetry| telemetry.address);
        self.doors.try_out(address).map_err(|error| {
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            let cause = cause::in_kernel_words(&error);
            format!("{}: Error serving telemetry on {address}: {cause}", self.source)
        })
    }
}

impl<I: Interfaces> Settings for MachineSettings<I> {
    fn load(&mut self) -> Loaded {
        match self.compile() {
            Ok((plan, remarks)) => Loaded::Plan {
                plan: Box::new(plan),
                remarks,
            },
            Err(report) => Loaded::Refused(report),
        }
    }
}
