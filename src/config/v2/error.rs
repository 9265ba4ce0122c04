//! The errors and warnings of this front end. Where the original had a message, its words are kept, because
//! people and scripts search for them.

use crate::config::keys::duration;
use crate::config::keys::url::UrlFault;
use crate::config::problem::Message;
use domain::plan::{Registration, SensorKind};
use domain::signal::Signal;
use domain::time::Duration;
use std::fmt::{self, Display};
use template::TemplateError as Unrendered;

/// The subject of a message.
#[derive(Clone, Copy)]
pub enum Subject<'a> {
    /// A service of this name.
    Service(&'a str),
    /// A backend of this name.
    Backend(&'a str),
    /// A sensor of this name.
    Sensor(&'a str),
    /// The template of the file of this path.
    Template(&'a str),
    /// A check of this name, of a service of that name.
    Check(&'a str, &'a str),
}

impl Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Service(name) => write!(f, "service {name}"),
            Self::Backend(name) => write!(f, "backend {name}"),
            Self::Sensor(name) => write!(f, "sensor {name}"),
            Self::Template(destination) => write!(f, "template {destination}"),
            Self::Check("", service) => write!(f, "a check of service {service}"),
            Self::Check(name, service) => write!(f, "check {name} of service {service}"),
        }
    }
}

/// The object of a health check: `health` of a service, or an element of `checks`.
struct CheckObject<'a>(&'a Subject<'a>);

impl Display for CheckObject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Subject::Check(..) => self.0.fmt(f),
            subject => write!(f, "`health` in {subject}"),
        }
    }
}

/// The key whose duration is read; its [`Display`] is the beginning of messages about it.
pub enum DurationKey<'a> {
    /// `stopTimeout`.
    StopTimeout,
    /// `drain`.
    Drain,
    /// `startTimeout`.
    StartTimeout,
    /// A key of a subject.
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

impl Display for DurationKey<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StopTimeout => f.write_str("`stopTimeout`"),
            Self::Drain => f.write_str("`drain`"),
            Self::StartTimeout => f.write_str("`startTimeout`"),
            Self::Key(key, subject) => write!(f, "`{key}` in {subject}"),
            Self::Frequency => f.write_str("Unable to parse frequency"),
            Self::Timeout => f.write_str("Unable to parse timeout"),
            Self::HealthTimeout(subject) => write!(f, "Could not parse {}", CheckObject(subject)),
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

/// Keys of ContainerPilot 3 that version 2 does not have.
pub const KEYS_OF_VERSION_3: [&str; 3] = ["jobs", "registry", "watches"];

/// The file is for another version.
#[derive(Clone, Copy)]
pub enum VersionError {
    /// It has this key of ContainerPilot 3.
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

/// Errors of the section `control`.
#[derive(Clone, Copy)]
pub enum ControlError {
    /// The path is relative, empty or too long.
    Path,
}

impl Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path => f.write_str("this cannot be the path of the control socket"),
        }
    }
}

impl Message for ControlError {}

/// Errors of the section of the catalogue.
#[derive(Clone, Copy)]
pub enum CatalogueSectionError {
    /// Neither `consul` nor `etcd` nor `directory`. What may be there depends on whether the program was built with etcd.
    None { has_etcd: bool },
    /// More than one of them.
    Several { has_etcd: bool },
    /// An empty address of Consul.
    EmptyAddress,
    /// `consul` is neither a string nor an object.
    ConsulStructure,
    /// Neither `http` nor `https`.
    UnknownScheme,
    /// A number of connections outside the allowed range.
    OutOfRange,
    /// Two keys that must be given together, and only one is.
    NeededTogether(&'static str, &'static str),
    /// Two keys of which only one may be given.
    OnlyOne(&'static str, &'static str),
    /// `etcd`, and the program was built without it.
    BuiltWithoutEtcd,
    /// `etcd` without endpoints.
    NoEndpoints,
    /// An endpoint of etcd without `http://` or `https://`.
    EndpointWithoutScheme,
    /// `directory` without a valid path.
    NotAFolder,
}

/// The catalogues of a program with or without etcd.
const fn catalogues(has_etcd: bool) -> &'static str {
    match has_etcd {
        true => "one of consul, etcd, directory",
        false => "one of consul, directory",
    }
}

impl Display for CatalogueSectionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None { has_etcd } => {
                let needed = catalogues(*has_etcd);
                write!(f, "No discovery backend defined, needed is {needed}")
            }
            Self::Several { has_etcd } => {
                let allowed = catalogues(*has_etcd);
                write!(f, "More than one discovery backend defined, allowed is {allowed}")
            }
            Self::EmptyAddress => f.write_str("No discovery backend defined"),
            Self::ConsulStructure => f.write_str("Unexpected Consul config structure"),
            Self::UnknownScheme => f.write_str("Unknown scheme"),
            Self::OutOfRange => f.write_str("out of range"),
            Self::NeededTogether(one, other) => write!(f, "`{one}` and `{other}` are needed together"),
            Self::OnlyOne(one, other) => write!(f, "only one of `{one}` and `{other}` may be given"),
            Self::BuiltWithoutEtcd => f.write_str(
                "this containerpilot was built without etcd; use one that was built with it, or `consul` or `directory`",
            ),
            Self::NoEndpoints => {
                f.write_str("Must provide etcd endpoints, allowed is a string or an array of URLs")
            }
            Self::EndpointWithoutScheme => f.write_str("an endpoint without a scheme"),
            Self::NotAFolder => f.write_str("Not a folder"),
        }
    }
}

impl Message for CatalogueSectionError {}

/// An unknown word in `logging`.
#[derive(Clone, Copy)]
pub enum LoggingError<'a> {
    /// An unknown level.
    Level(&'a str),
    /// An unknown format.
    Format(&'a str),
    /// An unknown output.
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

/// Errors of a service or a backend.
#[derive(Clone, Copy)]
pub enum ServiceError<'a> {
    /// No name.
    NoName,
    /// A whole number that must be greater than zero.
    NotPositive(&'static str, Subject<'a>),
    /// The key of such a number is missing; the last field is the allowed values.
    Missing(&'static str, Subject<'a>, &'static str),
    /// A port above 65535.
    PortTooLarge(Subject<'a>),
    /// A backend without a handler.
    NoHandler(Subject<'a>),
    /// Two services with the same name.
    OneName(&'a str),
    /// Two services with the same ID: the name of the one, and the other.
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

/// Errors of a health check.
#[derive(Clone, Copy)]
pub enum CheckError<'a> {
    /// An object that says nothing to check.
    Nothing(Subject<'a>),
    /// A command and a probe in one object.
    Several(Subject<'a>),
    /// A time limit in the object and one of the service.
    TwoLimits(Subject<'a>),
    /// A number of results in a row outside the allowed range.
    OutOfRange(&'static str, Subject<'a>),
    /// A time limit that is longer than the time between two checks, which this key gives.
    TooLong(Subject<'a>, &'static str, Duration),
    /// A number of failures that ends the shim, outside the allowed range.
    ExitAfter(Subject<'a>),
    /// A key that is about changes of health, in a service without a health check.
    NoHealth(&'static str, Subject<'a>),
    /// `health` and `checks`.
    HealthAndChecks(Subject<'a>),
    /// `timeout` of a service beside `checks`.
    TimeoutBesideChecks(Subject<'a>),
    /// `checks` without an element.
    NoChecks(Subject<'a>),
    /// More checks than there may be: their number, and how many are allowed.
    TooMany(Subject<'a>, usize, usize),
    /// A check without a name.
    NoName(Subject<'a>),
    /// Two checks of this name.
    OneName(&'a str, Subject<'a>),
}

impl Display for CheckError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nothing(subject) => {
                write!(
                    f,
                    "{} needs a `command`, or one of {PROBES}",
                    CheckObject(subject)
                )
            }
            Self::Several(subject) => {
                write!(f, "{} has a `command` and one of {PROBES}", CheckObject(subject))
            }
            Self::TwoLimits(subject) => {
                write!(f, "{} has a `timeout` already", CheckObject(subject))
            }
            Self::OutOfRange(key, subject) => {
                write!(f, "`{key}` of {} is out of range", CheckObject(subject))
            }
            Self::ExitAfter(subject) => write!(f, "`exitAfter` in {subject} is out of range"),
            Self::NoHealth(key, subject) => {
                write!(
                    f,
                    "`{key}` in {subject} needs `health` or `checks`: without them the service is always healthy"
                )
            }
            Self::TooLong(subject, key, period) => write!(
                f,
                "the timeout of {} must not be longer than `{key}`, which is {period:?}",
                CheckObject(subject)
            ),
            Self::HealthAndChecks(subject) => {
                write!(f, "{subject} has `health` and `checks`: give one of them")
            }
            Self::TimeoutBesideChecks(subject) => write!(
                f,
                "`timeout` in {subject} has no effect with `checks`: each of them may have its own"
            ),
            Self::NoChecks(subject) => write!(f, "`checks` in {subject} is empty, so nothing is checked"),
            Self::TooMany(subject, number, most) => write!(
                f,
                "`checks` in {subject} has {number} elements, and there can be {most} at most"
            ),
            Self::NoName(subject) => write!(f, "{subject} needs a `name`"),
            Self::OneName(name, subject) => write!(f, "two checks of {subject} have the name {name}"),
        }
    }
}

impl Message for CheckError<'_> {}

/// Errors of the keys about the entry of a service and about which instances of a backend count.
#[derive(Clone, Copy)]
pub enum RegistrationError<'a> {
    /// A key that only Consul has, and the other catalogue.
    NeedsConsul(&'static str, Subject<'a>, &'static str),
    /// `address` and `interfaces`.
    TwoAddresses(Subject<'a>),
    /// Neither an IP address nor a host name.
    Host(&'static str, Subject<'a>),
    /// `meta` is not an object.
    Meta(Subject<'a>),
    /// An invalid key in `meta`; the longest key, and what keys must not begin with.
    MetaKey(Subject<'a>, usize, &'static str),
    /// A value in `meta` that is too long; its length, and the longest.
    MetaValue(Subject<'a>, usize, usize),
    /// Too many pairs in `meta`; their number, and the limit.
    ManyPairs(Subject<'a>, usize, usize),
    /// A weight out of range.
    Weight(&'static str, Subject<'a>),
    /// An endpoint without an address.
    NoAddress(Subject<'a>),
    /// A port out of range.
    Port(Subject<'a>),
    /// Not the name of a datacenter.
    Datacenter(Subject<'a>),
}

impl Display for RegistrationError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NeedsConsul(key, subject, catalogue) => {
                write!(
                    f,
                    "`{key}` in {subject} needs Consul: {catalogue} has nothing like it"
                )
            }
            Self::TwoAddresses(subject) => {
                write!(
                    f,
                    "only one of `address` and `interfaces` may be given in {subject}"
                )
            }
            Self::Host(key, subject) => write!(f, "`{key}` in {subject} cannot be used"),
            Self::Meta(subject) => write!(f, "`meta` in {subject} is not an object"),
            Self::MetaKey(subject, longest, reserved) => write!(
                f,
                "a key of `meta` in {subject} cannot be used, allowed are 1 to {longest} letters, digits, - and _ that do not \
                 begin with {reserved}"
            ),
            Self::MetaValue(subject, length, longest) => write!(
                f,
                "a value of `meta` in {subject} has {length} bytes, allowed are {longest} at the most"
            ),
            Self::ManyPairs(subject, number, most) => {
                write!(
                    f,
                    "`meta` in {subject} has {number} pairs, allowed are {most} at the most"
                )
            }
            Self::Weight(key, subject) => write!(f, "`{key}` of `weights` in {subject} is out of range"),
            Self::NoAddress(subject) => write!(
                f,
                "an endpoint of `taggedAddresses` in {subject} needs an `address`"
            ),
            Self::Port(subject) => write!(f, "a port of `taggedAddresses` in {subject} is out of range"),
            Self::Datacenter(subject) => write!(f, "`datacenter` in {subject} cannot be used"),
        }
    }
}

impl Message for RegistrationError<'_> {}

/// Errors of the keys that say when a handler runs.
#[derive(Clone, Copy)]
pub enum BackendError<'a> {
    /// The maximum of a quiet time, the last one, is shorter than the quiet time.
    MaximumTooShort(Subject<'a>, Duration, Duration),
    /// A number of instances outside the allowed range.
    MinimumOutOfRange(Subject<'a>),
    /// A form of the standard input that is unknown.
    Stdin(Subject<'a>),
}

impl Display for BackendError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MaximumTooShort(subject, quiet, most) => write!(
                f,
                "`wait` in {subject} has a maximum of {most:?}, allowed is its quiet time of {quiet:?} or more"
            ),
            Self::MinimumOutOfRange(subject) => write!(f, "`minimum` in {subject} is out of range"),
            Self::Stdin(subject) => write!(f, "`stdin` in {subject} is unknown"),
        }
    }
}

impl Message for BackendError<'_> {}

const PROBES: &str = "`http`, `tcp`, `grpc`";

/// Errors of a health check over HTTP, TCP or gRPC.
#[derive(Clone)]
pub enum ProbeError<'a> {
    /// More than one of them in one object.
    Several(Subject<'a>),
    /// Not `host:port`.
    NoPlace,
    /// An invalid URL.
    Url(UrlFault),
    /// Not the path of a socket.
    NoSocket,
    /// Not a method of HTTP.
    NoMethod,
    /// `headers` is not an object.
    NoHeaders,
    /// Not the name of a header.
    HeaderName,
    /// A header that the shim sets.
    OwnHeader,
    /// A header whose value has a line break or another control character.
    HeaderValue,
    /// Not a status or a range of statuses.
    Status,
    /// An invalid regular expression: the reason.
    Pattern(String),
    /// `tls` for a URL without it.
    NeedlessTls(Subject<'a>),
}

impl Display for ProbeError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Several(subject) => {
                write!(f, "{} has more than one of {PROBES}", CheckObject(subject))
            }
            Self::NoPlace => f.write_str("not a host and a port"),
            Self::Url(fault) => fault.fmt(f),
            Self::NoSocket => f.write_str("not the path of a socket"),
            Self::NoMethod => f.write_str("not a method that can be sent"),
            Self::NoHeaders => f.write_str("not headers"),
            Self::HeaderName => f.write_str("not the name of a header"),
            Self::OwnHeader => f.write_str("this header cannot be set: it follows from the connection"),
            Self::HeaderValue => f.write_str("a header cannot contain control characters"),
            Self::Status => f.write_str("not a range of statuses"),
            Self::Pattern(reason) => f.write_str(reason),
            Self::NeedlessTls(subject) => {
                write!(
                    f,
                    "`tls` of {} has no effect without https://",
                    CheckObject(subject)
                )
            }
        }
    }
}

impl Message for ProbeError<'_> {}

/// Errors of a template.
#[derive(Clone, Copy)]
pub enum TemplateError<'a> {
    /// No destination.
    NoDestination,
    /// Neither `source` nor `contents`, or both of them.
    Source(Subject<'a>, bool),
    /// Two templates with this destination.
    OneDestination(&'a str),
    /// More templates than there may be: their number, and how many are allowed.
    TooMany(usize, usize),
    /// No permissions in octal digits.
    Mode(Subject<'a>),
    /// `contents` is not a template.
    Syntax(Subject<'a>, &'a Unrendered),
}

impl Display for TemplateError<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoDestination => {
                f.write_str("a template needs a `destination`, allowed is the path of a file")
            }
            Self::Source(subject, false) => {
                write!(
                    f,
                    "{subject} needs a `source`, which is the path of a file, or `contents`"
                )
            }
            Self::Source(subject, true) => {
                write!(
                    f,
                    "`source` and `contents` are both given in {subject}, allowed is one of them"
                )
            }
            Self::OneDestination(path) => write!(f, "there are two templates with the destination {path}"),
            Self::TooMany(found, most) => {
                write!(f, "there are {found} templates, allowed are {most} at the most")
            }
            Self::Mode(subject) => write!(f, "`mode` in {subject} is not a mode"),
            Self::Syntax(subject, error) => write!(
                f,
                "`contents` of {subject} is not a template: line {} of it: {}",
                error.line, error.message
            ),
        }
    }
}

impl Message for TemplateError<'_> {}

/// Errors of a task or a coprocess.
#[derive(Clone, Copy)]
pub enum JobError<'a> {
    /// A task without a command.
    NoTaskCommand,
    /// A task without a frequency.
    NoFrequency,
    /// A coprocess without a command.
    NoCoprocessCommand,
    /// An invalid number of restarts, as written.
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

/// A signal that cannot be used.
#[derive(Clone, Copy)]
pub enum SignalError {
    /// There is no such signal.
    Unknown,
    /// The kernel does not let a process handle it.
    NotHandled(Signal),
    /// It has another meaning for the shim.
    NotFree(Signal),
}

impl Display for SignalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("not a signal"),
            Self::NotHandled(signal) => write!(f, "{signal} cannot be used: no process can handle it"),
            Self::NotFree(signal) => write!(f, "{signal} cannot begin the stop"),
        }
    }
}

impl Message for SignalError {
    fn hint(&self) -> Option<String> {
        match self {
            Self::NotHandled(Signal::KILL) => {
                Some("`stopTimeout` of -1 kills the application at once".into())
            }
            Self::NotFree(Signal::HUP) => Some("it reads the configuration again".into()),
            Self::NotFree(Signal::USR1) => Some("it begins and ends maintenance".into()),
            _ => None,
        }
    }
}

/// Errors of the telemetry and its sensors.
#[derive(Clone, Copy)]
pub enum TelemetryError<'a> {
    /// A service has the name of the telemetry's own service.
    NameIsTaken(&'a str),
    /// An invalid port.
    PortOutOfRange,
    /// A sensor without a help text.
    NoHelp(Subject<'a>),
    /// A sensor without a check.
    NoCheck(Subject<'a>),
    /// A sensor without a period, or with one that is not greater than zero; the last field is the allowed
    /// values.
    NoPoll(Subject<'a>, &'static str),
    /// A sensor of an unknown type, and the known ones.
    UnknownType(&'a str, [SensorKind; 4]),
    /// An invalid name of a metric.
    MetricName(&'a str),
    /// A sensor with the name of one of the shim's own metrics.
    OwnMetric(&'a str),
    /// Two sensors with the same name.
    OneName(&'a str),
    /// Two sensors that need the same series.
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

/// Warnings.
#[derive(Clone, Copy)]
pub enum Warning<'a> {
    /// `onStart` beside `preStart`.
    OnStartIgnored,
    /// `onStart` instead of `preStart`.
    OnStart,
    /// `stopTimeout` is 0.
    ZeroStopTimeout,
    /// An argument of the application is not a valid template.
    Arguments(&'a Unrendered),
    /// An address of Consul without a port; the one that is used.
    NoPort(u16),
    /// A name that does not follow the rule.
    Name,
    /// A `ttl` that is not greater than `poll`.
    ShortTtl(Subject<'a>),
    /// A stop for which a container engine does not wait by default.
    LongStop {
        /// Whether a drain is part of it.
        drains: bool,
    },
    /// A time limit of a health check that is longer than `poll`.
    LongCheck(Subject<'a>),
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
            Self::LongStop { drains } => {
                let keys = if *drains {
                    "`drain` and `stopTimeout` together"
                } else {
                    "`stopTimeout`"
                };
                write!(
                    f,
                    "Docker kills a container 10 seconds after `docker stop`, which is not later than {keys}"
                )
            }
            Self::LongCheck(subject) => write!(
                f,
                "`timeout` is longer than `poll` in {subject}: a check that hangs delays the next one"
            ),
        }
    }
}

impl Message for Warning<'_> {
    fn hint(&self) -> Option<String> {
        match self {
            Self::LongStop { .. } => Some(
                "give the container more time with `docker run --stop-timeout` or with `stop_grace_period` of Docker Compose"
                    .into(),
            ),
            _ => None,
        }
    }
}
