//! What this front end finds wrong, and what it accepts with a warning. The words are the original's where it had
//! some, because people and scripts look for them.

use crate::config::keys::duration;
use crate::config::problem::Message;
use domain::plan::{Registration, SensorKind};
use std::fmt::{self, Display};
use template::TemplateError;

/// What a message is about.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A service of this name.
    Service(&'a str),
    /// A backend of this name.
    Backend(&'a str),
    /// A sensor of this name.
    Sensor(&'a str),
}

impl Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service {name}"),
            Self::Backend(name) => write!(f, "backend {name}"),
            Self::Sensor(name) => write!(f, "sensor {name}"),
        }
    }
}

/// A duration or a number of seconds that is read; how messages about it begin.
pub enum Reading<'a> {
    /// `stopTimeout`.
    StopTimeout,
    /// A key of something.
    Key(&'static str, Subject<'a>),
    /// How often a task runs.
    Frequency,
    /// The time limit of a task.
    Timeout,
    /// The time limit of a health check.
    HealthTimeout(Subject<'a>),
    /// The time limit of a handler.
    HandlerTimeout(Subject<'a>),
    /// The time limit of a sensor.
    SensorTimeout(Subject<'a>),
    /// When Consul removes a service.
    DeregisterAfter(Subject<'a>),
}

impl Display for Reading<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StopTimeout => f.write_str("`stopTimeout`"),
            Self::Key(key, subject) => write!(f, "`{key}` in {subject}"),
            Self::Frequency => f.write_str("Unable to parse frequency"),
            Self::Timeout => f.write_str("Unable to parse timeout"),
            Self::HealthTimeout(subject) => write!(f, "Could not parse `health` in {subject}"),
            Self::HandlerTimeout(subject) => write!(f, "Could not parse `onChange` in {subject}"),
            Self::SensorTimeout(subject) => write!(f, "could not parse timeout in {subject}"),
            Self::DeregisterAfter(subject) => {
                write!(
                    f,
                    "Could not parse consul `deregisterCriticalServiceAfter` in {subject}"
                )
            }
        }
    }
}

/// Keys that only ContainerPilot 3 has.
pub const KEYS_OF_VERSION_3: [&str; 4] = ["control", "jobs", "registry", "watches"];

/// The file is of another version.
#[derive(Clone, Copy)]
pub enum VersionError {
    /// It has this key, of ContainerPilot 3.
    Three(&'static str),
}

impl Display for VersionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Three(key) = self;
        write!(f, "unknown key `{key}`")
    }
}

impl Message for VersionError {
    fn hint(&self) -> Option<String> {
        let Self::Three(key) = self;
        Some(format!(
            "`{key}` is a key of ContainerPilot 3, whose files are not read; here there are services, backends, tasks, \
             coprocesses and the hooks preStart, preStop and postStop"
        ))
    }
}

/// What is wrong with the catalogue.
#[derive(Clone, Copy)]
pub enum CatalogueError {
    /// Neither `consul` nor `etcd` nor `directory`.
    None,
    /// More than one of them.
    Several,
    /// An empty address of Consul.
    EmptyAddress,
    /// `consul` is neither a string nor an object.
    ConsulStructure,
    /// Neither `http` nor `https`.
    UnknownScheme,
    /// A number of connections that is not possible.
    OutOfRange,
    /// Two keys of which one alone is of no use.
    NeededTogether(&'static str, &'static str),
    /// `etcd` without endpoints.
    NoEndpoints,
    /// An endpoint of etcd without `http://` or `https://`.
    EndpointWithoutScheme,
    /// No path of a folder.
    NotAFolder,
}

const CATALOGUES: &str = "one of consul, etcd, directory";

impl Display for CatalogueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "No discovery backend defined, needed is {CATALOGUES}"),
            Self::Several => write!(
                f,
                "More than one discovery backend defined, allowed is {CATALOGUES}"
            ),
            Self::EmptyAddress => f.write_str("No discovery backend defined"),
            Self::ConsulStructure => f.write_str("Unexpected Consul config structure"),
            Self::UnknownScheme => f.write_str("Unknown scheme"),
            Self::OutOfRange => f.write_str("out of range"),
            Self::NeededTogether(one, other) => write!(f, "`{one}` and `{other}` are needed together"),
            Self::NoEndpoints => {
                f.write_str("Must provide etcd endpoints, allowed is a string or an array of URLs")
            }
            Self::EndpointWithoutScheme => f.write_str("an endpoint without a scheme"),
            Self::NotAFolder => f.write_str("Not a folder"),
        }
    }
}

impl Message for CatalogueError {}

/// A word of `logging` that there is not.
#[derive(Clone, Copy)]
pub enum LoggingError<'a> {
    /// No level.
    Level(&'a str),
    /// No format.
    Format(&'a str),
    /// No output.
    Output(&'a str),
}

impl Display for LoggingError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Level(word) => write!(f, "Unknown log level '{word}'"),
            Self::Format(word) => write!(f, "Unknown log format '{word}'"),
            Self::Output(word) => write!(f, "Unknown output type '{word}'"),
        }
    }
}

impl Message for LoggingError<'_> {}

/// What is wrong with a service or a backend.
#[derive(Clone, Copy)]
pub enum ServiceError<'a> {
    /// No name.
    NoName,
    /// A whole number that must be above zero.
    NotPositive(&'static str, Subject<'a>),
    /// The key of such a number is missing; what it may be.
    Missing(&'static str, Subject<'a>, &'static str),
    /// A port above 65535.
    PortTooLarge(Subject<'a>),
    /// A backend without a handler.
    NoHandler(Subject<'a>),
    /// Two services have one name.
    OneName(&'a str),
    /// Two services have one ID: the name of the one, and the other.
    OneId(&'a str, &'a Registration),
}

impl Display for ServiceError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoName => f.write_str("`name` must not be blank"),
            Self::NotPositive(key, subject) => write!(f, "`{key}` must be > 0 in {subject}"),
            Self::Missing(key, subject, allowed) => {
                write!(
                    f,
                    "`{key}` must be > 0 in {subject}: it is missing, allowed is {allowed}"
                )
            }
            Self::PortTooLarge(subject) => write!(f, "`port` must be < 65536 in {subject}"),
            Self::NoHandler(subject) => write!(f, "`onChange` is required in {subject}"),
            Self::OneName(name) => write!(f, "there are two services called {name}"),
            Self::OneId(other, Registration { id, name, .. }) => {
                write!(f, "the services {other} and {name} have one ID, {id:?}")
            }
        }
    }
}

impl Message for ServiceError<'_> {}

/// What is wrong with a task or a coprocess.
#[derive(Clone, Copy)]
pub enum JobError<'a> {
    /// A task without a command.
    NoTaskCommand,
    /// A task without a frequency.
    NoFrequency,
    /// A coprocess without a command.
    NoCoprocessCommand,
    /// A number of restarts that is none; as it is written.
    Restarts(&'a str),
}

impl Display for JobError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTaskCommand => f.write_str("Task did not provide a command"),
            Self::NoFrequency => {
                write!(f, "a task needs a `frequency`, allowed is {}", duration::ALLOWED)
            }
            Self::NoCoprocessCommand => f.write_str("Coprocess did not provide a command"),
            Self::Restarts(found) => write!(
                f,
                "Invalid 'restarts' field \"{found}\": accepts positive integers, \"unlimited\" or \"never\""
            ),
        }
    }
}

impl Message for JobError<'_> {}

/// What is wrong with telemetry and its sensors.
#[derive(Clone, Copy)]
pub enum TelemetryError<'a> {
    /// A service has the name under which telemetry is registered.
    NameIsTaken(&'a str),
    /// A port that is none.
    PortOutOfRange,
    /// A sensor without a help text.
    NoHelp(Subject<'a>),
    /// A sensor without a check.
    NoCheck(Subject<'a>),
    /// A sensor without a period, or with one that is not above zero; what it may be.
    NoPoll(Subject<'a>, &'static str),
    /// A sensor of an unknown type, and the known ones.
    UnknownType(&'a str, [SensorKind; 4]),
    /// A name that no metric may have.
    MetricName(&'a str),
    /// A sensor needs the name of a metric of the shim's own.
    OwnMetric(&'a str),
    /// Two sensors of one name.
    OneName(&'a str),
    /// Two sensors need one series.
    OneSeries(&'a str, &'a str),
}

impl Display for TelemetryError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NameIsTaken(name) => {
                write!(
                    f,
                    "there are two services called {name}: telemetry is registered under that name"
                )
            }
            Self::PortOutOfRange => f.write_str("`port` is out of range"),
            Self::NoHelp(sensor) => write!(f, "`help` must not be blank in {sensor}"),
            Self::NoCheck(sensor) => {
                write!(
                    f,
                    "could not parse check in {sensor}: received zero-length argument"
                )
            }
            Self::NoPoll(sensor, allowed) => {
                write!(f, "`poll` must be > 0 in {sensor}, allowed is {allowed}")
            }
            Self::UnknownType(found, kinds) => {
                let kinds = kinds.map(|kind| kind.to_string()).join(", ");
                write!(f, "invalid sensor type: {found}, allowed are {kinds}")
            }
            Self::MetricName(name) => write!(f, "\"{name}\" is not a valid metric name"),
            Self::OwnMetric(name) => {
                write!(
                    f,
                    "{name} is in the way of a metric that is there without any sensor"
                )
            }
            Self::OneName(name) => write!(f, "there are two sensors called {name}"),
            Self::OneSeries(name, other) => write!(f, "{name} and {other} need series of one name"),
        }
    }
}

impl Message for TelemetryError<'_> {}

/// What is accepted but looks like a mistake.
#[derive(Clone, Copy)]
pub enum Warning<'a> {
    /// `onStart` beside `preStart`.
    OnStartIgnored,
    /// `onStart` instead of `preStart`.
    OnStart,
    /// `stopTimeout` is 0.
    ZeroStopTimeout,
    /// The arguments of the application are no template.
    Arguments(&'a TemplateError),
    /// An address of Consul without a port; the one that is used.
    NoPort(u16),
    /// A name outside the rule.
    Name,
    /// A `ttl` that is not longer than `poll`.
    ShortTtl(Subject<'a>),
}

impl Display for Warning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ON_START: &str =
            "The onStart option has been deprecated in favor of preStart. ContainerPilot will use";
        match self {
            Self::OnStartIgnored => write!(f, "{ON_START} only the preStart option provided"),
            Self::OnStart => write!(f, "{ON_START} the onStart option as a preStart"),
            Self::ZeroStopTimeout => {
                f.write_str("0 means the default of 5 seconds, not \"at once\", which is -1")
            }
            Self::Arguments(error) => write!(f, "Unable to render command arguments template: {error}"),
            Self::NoPort(port) => write!(
                f,
                "the address of Consul has no port, so {port} is used; Consul's own is 8500"
            ),
            Self::Name => f.write_str(
                "Deprecation warning: service names must be alpha-numeric with dashes. \
                 In a future version of ContainerPilot this will be an error.",
            ),
            Self::ShortTtl(subject) => write!(
                f,
                "`ttl` should be longer than `poll` in {subject}, or it will turn critical between two checks"
            ),
        }
    }
}

impl Message for Warning<'_> {}
