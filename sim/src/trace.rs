//! The trace of a run: typed entries, and the timeline that prints them.
//!
//! Each entry is an event, an effect or a fact of the simulated machine. Nothing in it is read from the core.

use domain::catalogue::{Answer, Endpoint, Request};
use domain::plan::{Check, HealthActions, OwnCheck, Plan, Role, Thresholds, Timing};
use domain::process::Ending;
use domain::time::Duration;
use domain::{Effect, Event, Instant};
use std::fmt;

/// One entry of a trace.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TraceEntry {
    /// When.
    pub at: Instant,
    /// What.
    pub kind: EntryKind,
}

/// The kinds of entries.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// The driver got this event.
    Event(Event),
    /// The driver performed this effect.
    Effect(Effect),
    /// The driver waits until this deadline.
    Wait(Option<Instant>),
    /// A fact of the simulated machine of which the driver gets no event.
    Fact(Fact),
}

/// Facts of the simulated machine of which the driver gets no event.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Fact {
    /// The catalogue has an entry of the shim with this ID.
    Entered(String),
    /// An entry of the shim was removed from the catalogue: deregistered or lost.
    Removed(String),
    /// Another instance replaced an entry of the shim.
    Overwritten(String, Endpoint),
    /// An entry of the shim has not been renewed for its TTL.
    Expired(String),
    /// An entry of the shim was removed, or is critical, because a check failed.
    Critical(String),
    /// The instances of a backend have changed.
    InstancesChanged(String, Vec<(String, u16)>),
    /// A key has this value now, or is gone.
    KeyChanged(String, Option<String>),
    /// The catalogue becomes unreachable.
    Outage,
    /// The catalogue becomes reachable again.
    OutageOver,
    /// No process can be started from now on.
    NoPids,
    /// Processes can be started again.
    PidsAgain,
    /// The machine was paused until now, for this long.
    MachinePaused(Duration),
    /// The catalogue lost all data.
    DataLost,
    /// A cancelled request arrives.
    ArrivesLate(String),
    /// A fault of the program itself is simulated here: the next turn is that of an emergency.
    Panics,
    /// From now on there are no faults.
    Healed,
    /// The time for the shim to reach its expected state is over.
    Settled,
    /// The time within which the shim had to exit is over.
    Overdue,
}

impl TraceEntry {
    /// Whether the timeline shows it: measurements are left out, because other entries have the same
    /// information.
    pub const fn is_printed(&self) -> bool {
        !matches!(
            self.kind,
            EntryKind::Effect(Effect::Measure(_) | Effect::Configure(_) | Effect::Expose(_))
        )
    }
}

impl fmt::Display for TraceEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.at.since_start();
        write!(f, "{:>6}.{:03}  ", at.as_secs(), at.subsec_millis())?;
        match &self.kind {
            EntryKind::Event(event) => write!(f, "-> {}", PrintedEvent(event)),
            EntryKind::Effect(effect) => write!(f, "     {}", PrintedEffect(effect)),
            EntryKind::Wait(None) => f.write_str("        waits"),
            EntryKind::Wait(Some(until)) => {
                let until = until.since_start();
                write!(
                    f,
                    "        waits until {}.{:03}",
                    until.as_secs(),
                    until.subsec_millis()
                )
            }
            EntryKind::Fact(fact) => write!(f, "**   {fact:?}"),
        }
    }
}

/// An event as the timeline prints it.
struct PrintedEvent<'a>(&'a Event);

impl fmt::Display for PrintedEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Event::Begin => f.write_str("begin"),
            Event::Woken => f.write_str("time"),
            Event::Signal(signal) => write!(f, "{signal}"),
            Event::Started(ticket, pid) => write!(f, "#{} runs with PID {pid}", ticket.0),
            Event::NotStarted(ticket, failure) => {
                write!(f, "#{} cannot be started: {}", ticket.0, failure.cause)
            }
            Event::Exited(ticket, status) => write!(f, "#{} is gone: {}", ticket.0, Ending::Exited(*status)),
            Event::Probed(ticket, end, _) => write!(f, "#{} has {:?}", ticket.0, end.verdict),
            Event::OrphanReaped(pid) => write!(f, "orphan {pid} is reaped"),
            Event::Answered(ticket, answer) => {
                write!(f, "#{} is answered: {}", ticket.0, PrintedAnswer(answer))
            }
            Event::Loaded(ticket, loaded) => match loaded {
                domain::event::Loaded::Refused(report) => write!(f, "#{} is refused: {report}", ticket.0),
                domain::event::Loaded::Plan { plan, .. } => {
                    write!(f, "#{} is a plan: {}", ticket.0, PrintedPlan(plan))
                }
            },
            other => write!(f, "{other:?}"),
        }
    }
}

struct PrintedAnswer<'a>(&'a Answer);

impl fmt::Display for PrintedAnswer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Answer::Done => f.write_str("done"),
            Answer::Removed => f.write_str("removed"),
            Answer::Unknown(words, _) => write!(f, "unknown ({words})"),
            Answer::Holder(None) => f.write_str("no holder"),
            Answer::Holder(Some(endpoint)) => write!(f, "{endpoint}"),
            Answer::Failed(cause) => write!(f, "failed ({cause})"),
            Answer::Busy(cause) => write!(f, "busy ({cause})"),
            Answer::Found(found) => write!(f, "{:?}", found.data),
            Answer::Instances(listing) => {
                write!(f, "instances")?;
                for instance in &listing.instances {
                    write!(f, " {}:{}", instance.address, instance.port)?;
                }
                match listing.cursor {
                    Some(cursor) => write!(f, " at cursor {}", cursor.0),
                    None => f.write_str(" without a cursor"),
                }
            }
        }
    }
}

/// An effect as the timeline prints it.
struct PrintedEffect<'a>(&'a Effect);

impl fmt::Display for PrintedEffect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Effect::Start(ticket, job) => {
                write!(f, "start {} #{}", PrintedJob(&job.role, &job.command), ticket.0)?;
                for variable in &job.variables {
                    write!(f, " {}={:?}", variable.name(), variable.value())?;
                }
                Ok(())
            }
            Effect::Send(ticket, signal, reach) => {
                write!(f, "send {signal} to the {reach:?} of #{}", ticket.0)
            }
            Effect::Request { ticket, request, .. } => write!(f, "{} #{}", PrintedRequest(request), ticket.0),
            Effect::Cancel(ticket) => write!(f, "cancel #{}", ticket.0),
            Effect::Probe(ticket, probe) => write!(f, "probe {} #{}", probe.role, ticket.0),
            Effect::EndProbe(ticket) => write!(f, "end the probe #{}", ticket.0),
            Effect::Render(ticket, rendering) => {
                write!(
                    f,
                    "render {} #{}: {:?}",
                    rendering.destination, ticket.0, rendering.known
                )
            }
            Effect::Write(ticket, writing) => {
                write!(
                    f,
                    "write {} #{}: {}",
                    writing.destination, ticket.0, writing.contents
                )
            }
            Effect::Load(ticket) => write!(f, "read the configuration #{}", ticket.0),
            Effect::Connect(_) => f.write_str("connect to another catalogue"),
            Effect::Log(notice) => write!(f, "\"{notice}\""),
            Effect::Exit(code) => write!(f, "exit {code}"),
            other => {
                let text = format!("{other:?}");
                let end = text.char_indices().nth(100).map_or(text.len(), |(end, _)| end);
                f.write_str(&text[..end])
            }
        }
    }
}

struct PrintedJob<'a>(&'a Role, &'a domain::plan::Command);

impl fmt::Display for PrintedJob<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

struct PrintedRequest<'a>(&'a Request);

impl fmt::Display for PrintedRequest<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Request::Register(registration) => write!(f, "register {}", registration.id),
            Request::Renew(registration) => write!(f, "renew {}", registration.id),
            Request::Report(report) => {
                let result = if report.healthy { "pass" } else { "fail" };
                write!(f, "{result} {}", report.registration.id)
            }
            Request::Inspect(registration) => write!(f, "inspect {}", registration.id),
            Request::Deregister(registration) => write!(f, "deregister {}", registration.id),
            Request::LookUp(look_up) => write!(f, "look up {}", look_up.dependency),
            Request::Instances(query) => {
                let tag = query.tag.as_deref().unwrap_or("-");
                let after = query
                    .after
                    .map_or_else(|| "-".into(), |cursor| cursor.0.to_string());
                write!(
                    f,
                    "list {} tag {tag} after {after} for {:?}",
                    query.service, query.wait
                )
            }
        }
    }
}

struct PrintedActions<'a>(&'a HealthActions);

impl fmt::Display for PrintedActions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let HealthActions {
            on_unhealthy,
            on_healthy,
            exit_after,
        } = self.0;
        for job in on_unhealthy.iter().chain(on_healthy) {
            write!(f, " {}", job.role)?;
        }
        exit_after.map_or(Ok(()), |failures| write!(f, " exit after {failures}"))
    }
}

fn thresholds(thresholds: &Thresholds) -> String {
    let Thresholds {
        failures,
        successes,
        start_period,
    } = thresholds;
    format!(" ({failures:?} failures, {successes} successes, after {start_period:?})")
}

/// A check with a schedule of its own.
fn own_check(own: &OwnCheck) -> String {
    let kind = match own.check {
        Check::Command(_) => "command",
        Check::Probe(_) => "probe",
    };
    let (name, limit) = (own.name.as_deref().unwrap_or("-"), own.check.time_limit());
    let thresholds = thresholds(&own.thresholds);
    format!(
        " [{kind} {name} every {:?} for {limit:?}{thresholds}]",
        own.interval
    )
}

/// The contents of a plan in one line.
pub(crate) struct PrintedPlan<'a>(pub &'a Plan);

impl fmt::Display for PrintedPlan<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plan = self.0;
        for service in &plan.services {
            let registration = &service.registration;
            let check = match service.check {
                Some(Check::Command(_)) => "checked",
                Some(Check::Probe(_)) => "probed",
                None if !service.checks.is_empty() => "with checks",
                None => "unchecked",
            };
            let own: String = service.checks.iter().map(own_check).collect();
            let thresholds = service.thresholds.as_ref().map_or_else(String::new, thresholds);
            let (poll, ttl, actions) = (service.poll, registration.ttl, &service.actions);
            write!(
                f,
                "service {} at {} {check}{thresholds}{own} every {poll:?} for {ttl:?}{}; ",
                registration.id,
                registration.address,
                PrintedActions(actions)
            )?;
        }
        for backend in &plan.backends {
            let handler = &backend.on_change.command;
            write!(f, "backend {} {handler} every {:?}", backend.name, backend.poll)?;
            if backend.timing != Timing::default() {
                let Timing { wait, splay, minimum } = backend.timing;
                let wait = wait.map(|wait| (wait.quiet, wait.most));
                write!(f, " (wait {wait:?}, splay {splay:?}, minimum {minimum})")?;
            }
            f.write_str("; ")?;
        }
        for template in &plan.templates {
            let required = if template.required { " required" } else { "" };
            let command = template.command.as_ref().map(|job| &job.command);
            let (destination, source) = (&template.destination, &template.source);
            write!(f, "template {destination} of {source:?}{required}")?;
            write!(f, " wait {:?} then {command:?}; ", template.wait)?;
        }
        let sensors = plan.telemetry.iter().flat_map(|telemetry| &telemetry.sensors);
        for job in plan.jobs.iter().chain(sensors.map(|sensor| &sensor.job)) {
            let limit = job
                .time_limit
                .map_or_else(|| "no limit".into(), |limit| format!("limit {limit:?}"));
            write!(f, "{} {:?} {:?} {limit}; ", job.role, job.trigger, job.restarts)?;
        }
        let there = |name: &'static str, job: &Option<_>| if job.is_some() { name } else { "" };
        f.write_str(there("application ", &plan.application))?;
        f.write_str(there("preStart ", &plan.pre_start))?;
        f.write_str(there("preStop ", &plan.pre_stop))?;
        f.write_str(there("postStop ", &plan.post_stop))?;
        write!(f, "drain {:?} stop {:?}", plan.drain, plan.stop_timeout)
    }
}
