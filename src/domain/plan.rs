//! What the shim is to do: a configuration after everything in it was checked.
//!
//! A plan cannot be wrong. Each front end (v2 today, v3 next) compiles into it, so whatever runs a child
//! process is a [`Job`] with the same attributes: the application, the hooks, health checks, handlers, tasks
//! and coprocesses. Times are durations, addresses are resolved, names are checked.

use crate::catalogue::Endpoint;
use crate::probe::Probe;
use crate::signal::Signal;
use crate::time::Duration;
use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, SocketAddr};
use core::num::NonZeroU32;

/// How long a catalogue request may take at the most (SD-10); shorter where the service's `poll` is.
/// (docs/bounds.md)
pub const REQUEST_LIMIT: Duration = Duration::from_secs(2);

/// How many heartbeats there are for one request for the holder of a service's ID (docs/bounds.md).
pub const HEARTBEATS_PER_INSPECTION: u8 = 10;

/// How long the start waits for the templates that are required, unless the configuration says otherwise
/// (docs/bounds.md).
pub const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The whole configuration of the shim, checked and complete.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Plan {
    /// Where the services are registered and the backends looked up.
    pub catalogue: Catalogue,
    /// How many requests may be on their way to the catalogue at a time, at least
    /// [`crate::requests::FEWEST`]; none if any number may.
    pub max_connections: Option<u32>,
    /// The level, format and stream of the shim's own log.
    pub logging: Logging,
    /// The program given on the command line; a reload does not change it (LC-21).
    pub application: Option<Job>,
    /// Run before anything else; its failure ends the shim.
    pub pre_start: Option<Job>,
    /// Runs after the services were deregistered and before the application gets its stop signal.
    pub pre_stop: Option<Job>,
    /// Run after the application ended; its failure replaces the exit code.
    pub post_stop: Option<Job>,
    /// How long the application goes on after its services were deregistered, before preStop and its stop signal.
    pub drain: Duration,
    /// How long the application may take to stop.
    pub stop_timeout: StopTimeout,
    /// The signals that begin the stop; SIGTERM is always one of them.
    pub stop_on: Vec<Signal>,
    /// The services that are registered and renewed by heartbeats.
    pub services: Vec<Service>,
    /// The backends that are watched for changes.
    pub backends: Vec<Backend>,
    /// Tasks and coprocesses.
    pub jobs: Vec<Job>,
    /// The files that are rendered from templates; no two have one path.
    pub templates: Vec<Template>,
    /// How long the start waits for the templates that are required.
    pub start_timeout: Duration,
    /// Whether the shim only writes the templates, and ends then.
    pub renders_only: bool,
    /// The socket to which clients send their requests.
    pub control: Option<ControlSocket>,
    /// The telemetry endpoint. If it is registered, it is also one of [`Self::services`].
    pub telemetry: Option<Telemetry>,
}

impl Plan {
    /// A plan that does nothing yet.
    pub fn new(catalogue: Catalogue) -> Self {
        Self {
            catalogue,
            max_connections: None,
            logging: Logging::default(),
            application: None,
            pre_start: None,
            pre_stop: None,
            post_stop: None,
            drain: Duration::ZERO,
            stop_timeout: StopTimeout::default(),
            stop_on: Vec::from([Signal::TERM, Signal::INT]),
            services: Vec::new(),
            backends: Vec::new(),
            jobs: Vec::new(),
            templates: Vec::new(),
            start_timeout: START_TIMEOUT,
            renders_only: false,
            control: None,
            telemetry: None,
        }
    }
}

impl Plan {
    /// The same plan for a shim that only writes the templates: each of them once, and without its command.
    #[must_use]
    pub fn only_templates(self) -> Self {
        let template = |template| Template {
            command: None,
            required: true,
            ..template
        };
        Self {
            max_connections: self.max_connections,
            logging: self.logging,
            templates: self.templates.into_iter().map(template).collect(),
            start_timeout: self.start_timeout,
            renders_only: true,
            ..Self::new(self.catalogue)
        }
    }
}

/// A Unix socket to which clients send their requests.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ControlSocket {
    /// The path of its file.
    pub path: String,
    /// The number of the group whose members may connect too, besides the shim's own user.
    pub group: Option<u32>,
}

/// A service catalogue and how to reach it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Catalogue {
    /// A Consul agent.
    Consul(Consul),
    /// An etcd cluster, used through its v3 API.
    Etcd(Etcd),
    /// A folder on this host that several shims share (design: the embedded catalogue).
    Directory {
        /// The folder's path.
        path: String,
    },
}

impl Catalogue {
    /// Whether both are reached in the same way, so that what is registered in one is in the other: only the
    /// contents of certificates may differ.
    pub fn is_same(&self, other: &Self) -> bool {
        let without_contents = |catalogue: &Self| {
            let mut catalogue = catalogue.clone();
            if let Some(tls) = catalogue.tls_mut() {
                tls.contents = 0;
            }
            catalogue
        };
        without_contents(self) == without_contents(other)
    }

    /// Whether it has keys with values besides its entries.
    pub fn has_keys(&self) -> bool {
        !matches!(self, Self::Directory { .. })
    }

    /// The TLS options, if the catalogue has any.
    pub fn tls_mut(&mut self) -> Option<&mut Tls> {
        match self {
            Self::Consul(consul) => Some(&mut consul.tls),
            Self::Etcd(etcd) => Some(&mut etcd.tls),
            Self::Directory { .. } => None,
        }
    }
}

/// How to reach a Consul agent.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Consul {
    /// `host:port`, or `unix://` and the path of a socket.
    pub address: String,
    /// Whether the connection to the agent uses TLS.
    pub scheme: Scheme,
    /// The ACL token sent with every request.
    pub token: Option<Secret>,
    /// The file that has the token, instead.
    pub token_file: Option<String>,
    /// What counts when the scheme is [`Scheme::Https`].
    pub tls: Tls,
}

/// How to reach an etcd cluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Etcd {
    /// The members' client URLs, each with its scheme; at least one.
    pub endpoints: Vec<String>,
    /// What every key begins with: a leading slash, none at the end, no empty part.
    pub prefix: String,
    /// User name and password.
    pub login: Option<(String, Secret)>,
    /// What counts for endpoints whose scheme is https.
    pub tls: Tls,
}

/// Trusted authorities and the client's certificate. All files are PEM.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tls {
    /// A file of certificates of authorities; without it and [`Self::ca_path`], those of the system count.
    pub ca_file: Option<String>,
    /// A folder of such files.
    pub ca_path: Option<String>,
    /// The client's certificate and its key.
    pub client: Option<(String, String)>,
    /// The name the server's certificate must be for, if it is not the host's.
    pub server_name: Option<String>,
    /// Whether the server's certificate is checked at all.
    pub verify: bool,
    /// A number that changes when the contents of the files change, that of a token included; 0 if no file is named.
    pub contents: u64,
}

/// The authorities of the system, no client certificate, and verification.
impl Default for Tls {
    fn default() -> Self {
        Self {
            ca_file: None,
            ca_path: None,
            client: None,
            server_name: None,
            verify: true,
            contents: 0,
        }
    }
}

/// A text that no log shows.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret(pub String);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The protocol of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Without encryption.
    Http,
    /// Over TLS.
    Https,
}

/// The level and the form of the shim's own log (docs/development/behaviour.md LG-1 to LG-6).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Logging {
    /// Entries below this level are not written.
    pub level: Level,
    /// The form of an entry.
    pub format: LogFormat,
    /// The stream it goes to.
    pub output: LogOutput,
    /// Whether the output of health checks is logged as that of other children is, and not at [`Level::Debug`].
    pub checks: bool,
}

/// How important an entry of the log is, least first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Level {
    /// Details for finding a fault.
    Debug,
    /// Normal operation.
    #[default]
    Info,
    /// Something that an operator may want to correct.
    Warning,
    /// Something failed.
    Error,
    /// The shim ends because of it.
    Fatal,
    /// A fault in the shim itself.
    Panic,
}

/// The form of a log entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogFormat {
    /// Date, time and message.
    #[default]
    Default,
    /// `key=value` pairs.
    Text,
    /// One JSON object a line.
    Json,
    /// Time with its zone, level, name and message.
    Plain,
}

/// The stream log entries go to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LogOutput {
    /// The shim's standard output.
    #[default]
    Stdout,
    /// The shim's standard error.
    Stderr,
}

/// How long the application may take to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StopTimeout {
    /// It is killed at once, without a SIGTERM.
    Immediately,
    /// It gets a SIGTERM, and is killed after this time.
    After(Duration),
}

impl Default for StopTimeout {
    fn default() -> Self {
        Self::After(Duration::from_secs(5))
    }
}

impl StopTimeout {
    /// The time between SIGTERM and SIGKILL; zero means SIGKILL at once.
    pub fn grace(self) -> Duration {
        match self {
            Self::Immediately => Duration::ZERO,
            Self::After(grace) => grace,
        }
    }
}

/// A service that is registered, and renewed by a heartbeat after each passing health check.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Service {
    /// The fields that a registration has in the catalogue.
    pub registration: Registration,
    /// The time between two health checks.
    pub poll: Duration,
    /// The health check that runs at each `poll`; without any check the service is always healthy.
    pub check: Option<Check>,
    /// Which of the check's results count; without thresholds each of them does.
    pub thresholds: Option<Thresholds>,
    /// Checks with schedules of their own, which all have to pass; none if `check` decides.
    pub checks: Vec<OwnCheck>,
    /// What is done when its health changes.
    pub actions: HealthActions,
    /// The first heartbeat that succeeds after a registration, and each of so many after it, is followed by a request
    /// for the holder of the service's ID. 0 means the same as 1.
    pub heartbeats_per_inspection: u8,
}

impl Service {
    /// All its health checks.
    pub fn all_checks(&self) -> impl Iterator<Item = &Check> {
        self.check.iter().chain(self.checks.iter().map(|own| &own.check))
    }

    /// The same, to be changed.
    pub fn all_checks_mut(&mut self) -> impl Iterator<Item = &mut Check> {
        let own = self.checks.iter_mut().map(|own| &mut own.check);
        self.check.iter_mut().chain(own)
    }
}

/// A health check with a schedule of its own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnCheck {
    /// Its name, if its service has an array of checks.
    pub name: Option<String>,
    /// What it does.
    pub check: Check,
    /// The time between two runs.
    pub interval: Duration,
    /// Which of its results count.
    pub thresholds: Thresholds,
}

/// What decides whether a service can be used.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(
    clippy::large_enum_variant,
    reason = "most checks are commands, which are the larger ones"
)]
pub enum Check {
    /// A command, by its exit code.
    Command(Job),
    /// A request that the shim sends by itself, by its answer.
    Probe(Probe),
}

impl Check {
    /// How long a run may take, if that is limited.
    pub fn time_limit(&self) -> Option<Duration> {
        match self {
            Self::Command(job) => job.time_limit,
            Self::Probe(probe) => Some(probe.time_limit),
        }
    }

    /// What it is for.
    pub fn role(&self) -> &Role {
        match self {
            Self::Command(job) => &job.role,
            Self::Probe(probe) => &probe.role,
        }
    }

    /// The command, if it is one.
    pub fn job(&self) -> Option<&Job> {
        match self {
            Self::Command(job) => Some(job),
            Self::Probe(_) => None,
        }
    }

    /// The probe, if it is one.
    pub fn probe(&self) -> Option<&Probe> {
        match self {
            Self::Command(_) => None,
            Self::Probe(probe) => Some(probe),
        }
    }
}

/// What is done when the health of a service changes; by default nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HealthActions {
    /// Run when the service becomes unhealthy.
    pub on_unhealthy: Option<Box<Job>>,
    /// Run when it becomes healthy after that.
    pub on_healthy: Option<Box<Job>>,
    /// So many failures of a check in a row stop the shim; those that do not count for its thresholds do not count.
    pub exit_after: Option<NonZeroU32>,
}

impl HealthActions {
    /// Its commands.
    pub fn jobs(&self) -> impl Iterator<Item = &Job> {
        let jobs = self.on_unhealthy.iter().chain(&self.on_healthy);
        jobs.map(Box::as_ref)
    }
}

/// How many results of a health check in a row change the health of its service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Thresholds {
    /// So many failures make it unhealthy, and then the catalogue gets at once that it is critical. `None`: the first
    /// failure makes it unhealthy, and only its TTL makes it critical.
    pub failures: Option<NonZeroU32>,
    /// So many successes make it healthy again; the very first success does so alone.
    pub successes: NonZeroU32,
    /// For so long after the service's checks began, failures before the first success do not count.
    pub start_period: Duration,
}

impl Thresholds {
    /// How many failures in a row make the service unhealthy.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures.map_or(1, NonZeroU32::get)
    }
}

/// Each result decides alone.
impl Default for Thresholds {
    fn default() -> Self {
        Self {
            failures: None,
            successes: NonZeroU32::MIN,
            start_period: Duration::ZERO,
        }
    }
}

/// One instance of a service as it is entered in a catalogue.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Registration {
    /// `<name>-<hostname>` unless the operator chose another; also the check's ID and name in Consul (SD-1).
    pub id: String,
    /// The service's name.
    pub name: String,
    /// The address others reach it at.
    pub address: Host,
    /// The port others reach it at.
    pub port: u16,
    /// The tags others may filter by.
    pub tags: Vec<String>,
    /// How long the entry is passing after a heartbeat.
    pub ttl: Duration,
    /// Consul only: others may change the tags.
    pub enable_tag_override: bool,
    /// Consul only: when Consul removes an entry that stays critical, as the operator wrote it.
    pub deregister_critical_after: Option<String>,
    /// What the entry has besides.
    pub attributes: Box<Attributes>,
}

/// What an entry in a catalogue may have besides.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Attributes {
    /// Pairs that others can read.
    pub meta: BTreeMap<String, String>,
    /// Consul only: how much of the requests that Consul distributes by DNS it gets.
    pub weights: Option<Weights>,
    /// Consul only: the endpoint for others in the same network.
    pub lan: Option<Endpoint>,
    /// Consul only: the endpoint for others elsewhere.
    pub wan: Option<Endpoint>,
}

/// The weights of an instance in Consul's answers to DNS SRV queries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Weights {
    /// While it is passing, at least 1.
    pub passing: u16,
    /// While a check of it warns.
    pub warning: u16,
}

/// An IP address or a host name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Host {
    /// An IP address.
    Address(IpAddr),
    /// A name, which clients resolve.
    Name(String),
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => write!(f, "{address}"),
            Self::Name(name) => f.write_str(name),
        }
    }
}

impl From<IpAddr> for Host {
    fn from(address: IpAddr) -> Self {
        Self::Address(address)
    }
}

impl From<[u8; 4]> for Host {
    fn from(address: [u8; 4]) -> Self {
        Self::Address(address.into())
    }
}

/// A text that is not an IP address is a name.
impl From<&str> for Host {
    fn from(text: &str) -> Self {
        text.parse()
            .map_or_else(|_| Self::Name(text.into()), Self::Address)
    }
}

/// A service this one depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Backend {
    /// The service's name in the catalogue.
    pub name: String,
    /// Only instances with this tag count.
    pub tag: Option<String>,
    /// Which instances count besides.
    pub filter: Filter,
    /// The longest time between two requests to the catalogue.
    pub poll: Duration,
    /// Run when the passing instances change.
    pub on_change: Job,
    /// When it runs after a change.
    pub timing: Timing,
    /// Whether it gets the instances as JSON on its standard input.
    pub json: bool,
}

/// Which instances of a service count. By default all that are passing, of the catalogue's own datacenter.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    /// Only those with all of these tags.
    pub tags: Vec<String>,
    /// Consul only: those of this datacenter.
    pub datacenter: Option<String>,
    /// Consul only: also those that are not passing.
    pub also_failing: bool,
}

/// When the handler of a backend runs after a change. By default it runs at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timing {
    /// How long the list has to stay the same.
    pub wait: Option<Wait>,
    /// The longest random delay after that.
    pub splay: Duration,
    /// With fewer instances the handler does not run.
    pub minimum: u32,
}

impl Timing {
    /// Whether the handler may run with so many instances.
    pub fn is_enough(&self, instances: usize) -> bool {
        u32::try_from(instances).map_or(true, |instances| instances >= self.minimum)
    }
}

/// A quiet time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Wait {
    /// How long nothing may change.
    pub quiet: Duration,
    /// How long changes can delay what follows from them, from the first of them on; at least the quiet time.
    pub most: Duration,
}

impl Backend {
    /// The tags that its instances have, for metrics and the status.
    pub fn shown_tag(&self) -> Option<String> {
        let tags: Vec<&str> = self
            .tag
            .iter()
            .chain(&self.filter.tags)
            .map(String::as_str)
            .collect();
        (!tags.is_empty()).then(|| tags.join(","))
    }

    /// Whether both are about the same instances, so that what one has seen counts for the other (SD-5).
    pub fn is_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.tag == other.tag
            && self.filter == other.filter
            && self.json == other.json
    }
}

/// A file that is rendered from a template, and written whenever its contents change.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Template {
    /// Where the template is.
    pub source: TemplateSource,
    /// The path of the file.
    pub destination: String,
    /// The permissions of the file; without them those that it has.
    pub mode: Option<u32>,
    /// The numbers of the user and the group that own the file; without them those that it has.
    pub owner: Option<(u32, u32)>,
    /// Run after the file has changed.
    pub command: Option<Job>,
    /// How long values have to stay the same before the template is rendered again.
    pub wait: Option<Wait>,
    /// Whether the application starts only after the file was written.
    pub required: bool,
}

/// Where a template is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TemplateSource {
    /// In the file of this path, which is read for each rendering.
    File(String),
    /// In the configuration.
    Contents(String),
}

/// The endpoint that telemetry is read at, and what is measured beside the shim itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Telemetry {
    /// Where it listens.
    pub address: SocketAddr,
    /// Metrics whose values commands print; no two have one name (TM-7).
    pub sensors: Vec<Sensor>,
}

/// A metric, and the command that prints its values.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sensor {
    /// The whole name, by Prometheus' rules.
    pub name: String,
    /// The help text of the metric; not empty (TM-8).
    pub help: String,
    /// What a value does to the metric.
    pub kind: SensorKind,
    /// The command.
    pub job: Job,
}

/// How a metric takes a value (docs/development/behaviour.md TM-5, TM-6).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SensorKind {
    /// It is added.
    Counter,
    /// It replaces the one before.
    Gauge,
    /// It is counted in the buckets it is not above.
    Histogram,
    /// It counts for the quantiles of the last ten minutes.
    Summary,
}

/// A command and how it is run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Job {
    /// What the job is for.
    pub role: Role,
    /// The program and its arguments.
    pub command: Command,
    /// What makes it run.
    pub trigger: Trigger,
    /// How often it is started again after it ended.
    pub restarts: Restarts,
    /// The user and the groups of its process; without them those of the shim.
    pub identity: Option<Identity>,
    /// How long one run may take; after that its tree is killed.
    pub time_limit: Option<Duration>,
    /// Variables that one run gets beside those of every child; a plan has none.
    pub variables: Vec<Variable>,
    /// What it can read.
    pub input: Input,
    /// What one run reads on its standard input instead of nothing; a plan has none.
    pub text: Option<String>,
    /// Where its output goes.
    pub output: Output,
    /// How it is stopped.
    pub stop: Stop,
    /// When the stop of the shim ends it.
    pub lifetime: Lifetime,
}

impl Job {
    /// A job that runs once when it is triggered, without a time limit, and is killed when it is stopped.
    pub fn new(role: Role, command: Command, trigger: Trigger, output: Output) -> Self {
        let lifetime = match trigger {
            Trigger::Lifecycle => Lifetime::UntilExit,
            Trigger::OnDemand | Trigger::Every(_) => Lifetime::UntilStop,
        };
        Self {
            role,
            command,
            trigger,
            restarts: Restarts::NEVER,
            identity: None,
            time_limit: None,
            variables: Vec::new(),
            input: Input::Nothing,
            text: None,
            output,
            stop: Stop::AT_ONCE,
            lifetime,
        }
    }
}

/// A variable in the environment of one run. It replaces an inherited or exported one of its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Variable {
    name: &'static str,
    value: String,
}

impl Variable {
    /// A variable whose value the kernel takes: U+FFFD replaces NUL. The caller limits its length.
    pub fn new(name: &'static str, value: &str) -> Self {
        Self {
            name,
            value: value.replace('\0', "\u{FFFD}"),
        }
    }

    /// The name.
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// The value, without NUL.
    pub fn value(&self) -> &str {
        &self.value
    }
}

/// What a job is for. It gives the job its label, its log fields and its environment variable.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// The shimmed program.
    Application,
    /// The hook before the application.
    PreStart,
    /// The hook before the application is stopped.
    PreStop,
    /// The hook after the application ended.
    PostStop,
    /// The health check of a service.
    Health {
        /// The service's name.
        service: String,
        /// The service's ID.
        id: String,
        /// The name of the check, if the service has an array of checks.
        check: Option<String>,
    },
    /// The command for a service that becomes unhealthy.
    OnUnhealthy {
        /// The service's name.
        service: String,
        /// The service's ID.
        id: String,
    },
    /// The command for a service that becomes healthy again.
    OnHealthy {
        /// The service's name.
        service: String,
        /// The service's ID.
        id: String,
    },
    /// The handler of a backend's changes.
    OnChange {
        /// The backend's name.
        backend: String,
    },
    /// A periodic task.
    Task {
        /// The task's name.
        name: String,
    },
    /// A program that runs beside the application.
    Coprocess {
        /// The coprocess' name.
        name: String,
    },
    /// The command of a sensor.
    Sensor {
        /// The metric's name.
        name: String,
    },
    /// The command of a template.
    Template {
        /// The path of the template's file.
        destination: String,
    },
}

impl Role {
    /// The log fields of this job's output, sorted by name (docs/development/behaviour.md EX-12).
    pub fn fields(&self) -> Vec<(&'static str, &str)> {
        match self {
            Self::Application => [("process", "APP")].into(),
            Self::PreStart => [("process", "PreStart")].into(),
            Self::PreStop => [("process", "PreStop")].into(),
            Self::PostStop => [("process", "PostStop")].into(),
            Self::Health { service, id, check } => {
                let mut fields = Vec::from([
                    ("process", "health"),
                    ("serviceID", id.as_str()),
                    ("serviceName", service.as_str()),
                ]);
                if let Some(check) = check {
                    fields.insert(0, ("check", check));
                }
                fields
            }
            Self::OnUnhealthy { service, id } => [
                ("process", "onUnhealthy"),
                ("serviceID", id),
                ("serviceName", service),
            ]
            .into(),
            Self::OnHealthy { service, id } => [
                ("process", "onHealthy"),
                ("serviceID", id),
                ("serviceName", service),
            ]
            .into(),
            Self::OnChange { backend } => [("backend", backend.as_str()), ("process", "onChange")].into(),
            Self::Task { name } => [("process", "task"), ("task", name)].into(),
            Self::Coprocess { name } => [("coprocess", name.as_str()), ("process", "coprocess")].into(),
            Self::Sensor { name } => [("process", "sensor"), ("sensor", name)].into(),
            Self::Template { .. } => [("process", "template")].into(),
        }
    }

    /// The environment variable that later children find this job's PID in (docs/development/behaviour.md
    /// EX-15, EX-16).
    pub fn pid_variable(&self) -> Option<String> {
        let variable = match self {
            Self::Application => "CONTAINERPILOT_APP_PID".into(),
            Self::PreStart => "CONTAINERPILOT_PRESTART_PID".into(),
            Self::PreStop => "CONTAINERPILOT_PRESTOP_PID".into(),
            Self::PostStop => "CONTAINERPILOT_POSTSTOP_PID".into(),
            Self::Coprocess { name } => variable(name, "PID"),
            Self::Health { .. }
            | Self::OnUnhealthy { .. }
            | Self::OnHealthy { .. }
            | Self::OnChange { .. }
            | Self::Task { .. }
            | Self::Sensor { .. }
            | Self::Template { .. } => return None,
        };
        Some(variable)
    }
}

impl Service {
    /// The environment variable that children find this service's address in (docs/development/behaviour.md
    /// EX-17).
    pub fn address_variable(&self) -> String {
        variable(&self.registration.name, "IP")
    }
}

/// `CONTAINERPILOT_{NAME}_{suffix}`: upper case, and `_` for all that is no letter, digit or `_` (EX-15, EX-17).
fn variable(name: &str, suffix: &str) -> String {
    let safe = |character: char| match character.to_ascii_uppercase() {
        upper @ ('A'..='Z' | '0'..='9' | '_') => upper,
        _ => '_',
    };
    let name: String = name.chars().map(safe).collect();
    alloc::format!("CONTAINERPILOT_{name}_{suffix}")
}

/// The name of a job in messages.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Application => f.write_str("APP"),
            Self::PreStart => f.write_str("preStart"),
            Self::PreStop => f.write_str("preStop"),
            Self::PostStop => f.write_str("postStop"),
            Self::Health {
                service,
                check: Some(check),
                ..
            } => write!(f, "{service}.health[{check}]"),
            Self::Health { service, .. } => write!(f, "{service}.health"),
            Self::OnUnhealthy { service, .. } => write!(f, "{service}.onUnhealthy"),
            Self::OnHealthy { service, .. } => write!(f, "{service}.onHealthy"),
            Self::OnChange { backend } => write!(f, "{backend}.onChange"),
            Self::Task { name } => write!(f, "task[{name}]"),
            Self::Coprocess { name } => write!(f, "coprocess[{name}]"),
            Self::Sensor { name } => write!(f, "{name}.sensor"),
            Self::Template { destination } => write!(f, "template[{destination}]"),
        }
    }
}

/// A program and its arguments; no shell comes between.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Command {
    /// A path, or a name that is looked up in `PATH`.
    pub program: Word,
    /// The arguments, without the program.
    pub arguments: Vec<Word>,
}

impl Command {
    /// A program with its arguments.
    pub fn new(program: impl Into<Word>, arguments: impl IntoIterator<Item = Word>) -> Self {
        Self {
            program: program.into(),
            arguments: arguments.into_iter().collect(),
        }
    }
}

/// The arguments in square brackets, as the original shows them. No log does: they may be
/// secret.
impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, argument) in self.arguments.iter().enumerate() {
            let space = if index == 0 { "" } else { " " };
            write!(f, "{space}{argument}")?;
        }
        f.write_str("]")
    }
}

/// One word of a command line, as the kernel takes it: bytes that need not be UTF-8.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Word(pub Vec<u8>);

impl From<&str> for Word {
    fn from(text: &str) -> Self {
        Self(text.as_bytes().into())
    }
}

impl fmt::Display for Word {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&String::from_utf8_lossy(&self.0))
    }
}

/// The user and the groups of a process, as the kernel takes them (docs/development/pid1.md, row 30).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The number of the user.
    pub user: u32,
    /// The number of the group.
    pub group: u32,
    /// The numbers of the supplementary groups, in ascending order; without them those of the shim.
    pub groups: Option<Vec<u32>>,
    /// What its environment says about the user; without it the environment is that of the shim.
    pub login: Option<Login>,
}

/// The variables that a login sets.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Login {
    /// `USER` and `LOGNAME`.
    pub name: Word,
    /// `HOME`.
    pub home: Word,
}

/// What makes a job run.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Trigger {
    /// A phase of the lifecycle starts it: the application, the hooks, coprocesses.
    Lifecycle,
    /// A unit starts it: health checks by the heartbeat, handlers by the watch.
    OnDemand,
    /// Time starts it: first after one period, then every period.
    Every(Duration),
}

/// How often a job is started again after it ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Restarts {
    /// Never, or this many times.
    AtMost(u64),
    /// For ever.
    Unlimited,
}

impl Restarts {
    /// No restarts.
    pub const NEVER: Self = Self::AtMost(0);
}

/// The standard input of a job, and whether it can use the terminal (docs/development/behaviour.md EX-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Input {
    /// `/dev/null`, and no terminal.
    Nothing,
    /// The standard input of the shim. If that is a terminal whose foreground the shim has, the job gets the foreground,
    /// and [`crate::Event::Stopped`] reports that the terminal has stopped it. In the background of a terminal
    /// `/dev/null`.
    Inherited,
}

/// Where a job's output goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Output {
    /// Straight to the shim's own standard output and error.
    Inherit,
    /// Line by line into the shim's log; the end of it comes back as [`crate::Event::Printed`].
    Log,
    /// Standard output comes back as [`crate::Event::Printed`], standard error goes straight to the shim's
    /// own.
    Capture,
}

/// How a job is stopped: a signal first, SIGKILL to its whole tree after the grace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Stop {
    /// The stop signal.
    pub signal: Signal,
    /// Who gets this signal.
    pub reach: SignalTarget,
    /// The time between this signal and SIGKILL; zero means SIGKILL at once.
    pub grace: Duration,
}

impl Stop {
    /// SIGKILL to the whole tree at once.
    pub const AT_ONCE: Self = Self {
        signal: Signal::TERM,
        reach: SignalTarget::Tree,
        grace: Duration::ZERO,
    };
}

/// When the stop of the shim ends a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Lifetime {
    /// At the beginning of the stop, with SIGKILL: health checks, handlers, tasks and sensors (LC-5).
    UntilStop,
    /// The stop waits for it, or stops it in the phase that is for it: the application and the hooks; or it is stopped
    /// as [`Job::stop`] says after the postStop hook: coprocesses (EX-22).
    UntilExit,
}

/// Who gets a signal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignalTarget {
    /// The process that was started.
    Process,
    /// The process that was started. The processes below it are noted, so that those that outlive it are reported
    /// ([`crate::Event::Outlived`]) and can be signalled.
    Leader,
    /// It, its process group and all of its descendants, also those that made groups and sessions of their own; after
    /// its end those of them that outlived it.
    Tree,
}

crate::keyed_as_is!(
    Plan,
    Job,
    Service,
    Backend,
    Timing,
    Wait,
    Sensor,
    SensorKind,
    Role,
    Restarts,
    Stop,
    Template,
    TemplateSource
);

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn variables_are_upper_case_with_underscores() {
        let role = Role::Coprocess {
            name: "consul-agent [1]".into(),
        };
        assert_eq!(
            role.pid_variable().unwrap(),
            "CONTAINERPILOT_CONSUL_AGENT__1__PID"
        );
        assert_eq!(variable("héllo", "IP"), "CONTAINERPILOT_H_LLO_IP");
        assert_eq!(
            variable("containerpilot", "IP"),
            "CONTAINERPILOT_CONTAINERPILOT_IP"
        );
        assert_eq!(Role::Task { name: "t".into() }.pid_variable(), None);
    }

    #[test]
    fn the_value_of_a_variable_has_no_nul() {
        let variable = Variable::new("CONTAINERPILOT_REASON", "a\0b\0");
        assert_eq!(
            (variable.name(), variable.value()),
            ("CONTAINERPILOT_REASON", "a\u{FFFD}b\u{FFFD}")
        );
    }

    #[test]
    fn labels_are_those_of_the_original() {
        let health = Role::Health {
            service: "app".into(),
            id: "app-host".into(),
            check: None,
        };
        assert_eq!(health.to_string(), "app.health");
        let named = Role::Health {
            service: "app".into(),
            id: "app-host".into(),
            check: Some("db".into()),
        };
        assert_eq!(named.to_string(), "app.health[db]");
        assert_eq!(Role::OnChange { backend: "db".into() }.to_string(), "db.onChange");
        assert_eq!(Role::Task { name: "t1".into() }.to_string(), "task[t1]");
        assert_eq!(Role::Coprocess { name: "c".into() }.to_string(), "coprocess[c]");
        assert_eq!(Role::Sensor { name: "s".into() }.to_string(), "s.sensor");
        assert_eq!(Role::Application.to_string(), "APP");
    }

    #[test]
    fn log_fields_are_sorted_by_name() {
        let roles = [
            Role::Application,
            Role::Health {
                service: "app".into(),
                id: "app-host".into(),
                check: Some("db".into()),
            },
            Role::OnChange { backend: "db".into() },
            Role::Task { name: "t1".into() },
            Role::Coprocess { name: "c".into() },
            Role::Sensor { name: "s".into() },
        ];
        for role in roles {
            let fields = role.fields();
            assert!(fields.is_sorted(), "{fields:?}");
        }
    }

    #[test]
    fn a_command_shows_its_arguments_only() {
        let command = Command {
            program: "sleep".into(),
            arguments: ["2".into(), "/task3.txt".into()].into(),
        };
        assert_eq!(command.to_string(), "[2 /task3.txt]");
    }
}
