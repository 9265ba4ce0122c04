//! Laws of the change from one plan to the next, and of the state some time after all faults have ended.

use super::bounds::LONGEST_RELOAD_WAIT;
use super::observer::{Address, BackendFacts, Observer, OnceRun, key_of, sensor_jobs};
use super::{Verdict, hold};
use crate::templates::names;
use crate::trace::{EntryKind, Fact, TraceEntry};
use domain::catalogue::{Report, Request};
use domain::control::ControlAnswer;
use domain::plan::{HealthActions, Job, Plan, Restarts, Role};
use domain::{Effect, Notice};

/// Whatever starts belongs to the plan in force, in every detail: after a reload the units start what they
/// would after a fresh start with the same plan (LC-3, LC-21).
pub(super) fn whatever_starts_is_of_the_plan_in_force(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let plan = observer.plan();
    let there = match &entry.kind {
        EntryKind::Effect(Effect::Start(_, job)) => is_planned(plan, job),
        EntryKind::Effect(Effect::Probe(_, probe)) => plan.services.iter().any(|service| {
            let mut checks = service.all_checks();
            checks.any(|check| check.probe() == Some(&**probe))
        }),
        EntryKind::Effect(Effect::Request { request, .. }) => match request {
            Request::Register(r)
            | Request::Renew(r)
            | Request::Inspect(r)
            | Request::Deregister(r)
            | Request::Report(Report { registration: r, .. }) => {
                plan.services.iter().any(|service| service.registration == *r)
            }
            Request::LookUp(look_up) => {
                let mut used = plan.templates.iter().map(|template| names(&template.source));
                used.any(|names| names.contains(&look_up.dependency))
            }
            Request::Instances(query) => {
                let same = |name: &str, tag: &Option<String>| *name == query.service && *tag == query.tag;
                plan.backends
                    .iter()
                    .any(|backend| same(&backend.name, &backend.tag))
            }
        },
        _ => true,
    };
    hold(there, || format!("{entry}"))
}

/// Whether the plan has the job, apart from the variables of the run.
fn is_planned(plan: &Plan, started: &Job) -> bool {
    let job = &Job {
        variables: Vec::new(),
        text: None,
        ..started.clone()
    };
    let one = |planned: Option<&Job>| planned == Some(job);
    match &job.role {
        Role::Application => one(plan.application.as_ref()),
        Role::PreStart => one(plan.pre_start.as_ref()),
        Role::PreStop => one(plan.pre_stop.as_ref()),
        Role::PostStop => one(plan.post_stop.as_ref()),
        Role::Health { .. } => plan.services.iter().any(|service| {
            let mut checks = service.all_checks();
            checks.any(|check| check.job() == Some(job))
        }),
        Role::OnUnhealthy { .. } => actions(plan).any(|actions| one(actions.on_unhealthy.as_deref())),
        Role::OnHealthy { .. } => actions(plan).any(|actions| one(actions.on_healthy.as_deref())),
        Role::OnChange { .. } => plan.backends.iter().any(|backend| backend.on_change == *job),
        Role::Task { .. } | Role::Coprocess { .. } => plan.jobs.contains(job),
        Role::Template { .. } => plan
            .templates
            .iter()
            .any(|template| one(template.command.as_ref())),
        Role::Sensor { .. } => sensor_jobs(plan).any(|other| other == job),
    }
}

fn actions(plan: &Plan) -> impl Iterator<Item = &HealthActions> {
    plan.services.iter().map(|service| &service.actions)
}

/// SIGHUP is never lost: the configuration is read at once, or after the reading in progress (LC-4, LC-7).
pub(super) fn a_sighup_reads_the_configuration(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let rests = matches!(entry.kind, EntryKind::Wait(_));
    let due = observer.to_be_read && observer.loading.is_none() && observer.takes_configuration();
    hold(!(rests && due), || "SIGHUP was lost".into())
}

/// However often SIGHUP comes, there is one reading of the configuration at a time.
pub(super) fn the_configuration_is_read_once_at_a_time(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let reads = matches!(entry.kind, EntryKind::Effect(Effect::Load(_)));
    hold(!(reads && observer.loading.is_some()), || format!("{entry}"))
}

/// A refused configuration changes nothing (LC-14).
pub(super) fn a_refused_configuration_changes_nothing(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let changes = matches!(
        entry.kind,
        EntryKind::Effect(
            Effect::Connect(_)
                | Effect::Configure(_)
                | Effect::Expose(_)
                | Effect::Listen(_)
                | Effect::Log(Notice::Reloaded)
        )
    );
    hold(!(observer.turn.refused && changes), || format!("{entry}"))
}

/// A new plan comes into force when everything that it removes has ended, or after five seconds when all
/// removed services are deregistered; and only after a plan was read.
pub(super) fn a_reload_waits_for_what_it_removes(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Log(Notice::Reloaded)) = &entry.kind else {
        return Ok(());
    };
    let Some((_, since)) = &observer.incoming else {
        return Err("there is no plan that waits".into());
    };
    let patient = observer.now >= *since + LONGEST_RELOAD_WAIT;
    let begun = observer.opened.or(observer.awaiting).is_some();
    let free = !begun || observer.replaced_have_ended();
    let patient = patient && observer.removed_have_deregistered();
    hold(observer.takes_configuration() && (free || patient), || {
        format!("{entry} too early")
    })
}

/// A new plan comes into force as soon as possible (LC-4, LC-19).
pub(super) fn a_reload_ends_without_delay(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let (EntryKind::Wait(_), Some((_, since))) = (&entry.kind, &observer.incoming) else {
        return Ok(());
    };
    let due = observer.turn.began >= *since + LONGEST_RELOAD_WAIT && observer.removed_have_deregistered();
    let begun = observer.opened.or(observer.awaiting).is_some();
    let waits = begun && !observer.replaced_have_ended() && !due;
    let alike = observer.backends.values().any(|facts| facts.alike > 1);
    hold(waits || alike && !due || observer.is_stopping(), || {
        "the new plan is not in force".into()
    })
}

/// After a reload the units equal those of a fresh start: the status lists the services, backends and jobs of
/// the plan, and no others.
pub(super) fn the_units_are_those_of_the_plan(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Answer(_, ControlAnswer::Status(status))) = &entry.kind else {
        return Ok(());
    };
    hold(status.maintenance == observer.maintenance, || {
        "the status is wrong about maintenance".into()
    })?;
    if observer.opened.is_none() || observer.is_stopping() || observer.incoming.is_some() {
        return Ok(());
    }
    let plan = observer.plan();
    let mut services: Vec<_> = plan
        .services
        .iter()
        .map(|service| &service.registration)
        .collect();
    let mut listed: Vec<_> = status
        .services
        .iter()
        .map(|service| &service.registration)
        .collect();
    services.sort();
    listed.sort();
    hold(services == listed, || format!("the services are {listed:?}"))?;
    let mut backends: Vec<_> = plan
        .backends
        .iter()
        .map(|backend| (&backend.name, &backend.tag))
        .collect();
    let mut listed: Vec<_> = status
        .backends
        .iter()
        .map(|b| (&b.backend.name, &b.backend.tag))
        .collect();
    backends.sort();
    listed.sort();
    hold(backends == listed, || format!("the backends are {listed:?}"))?;
    let application = plan
        .application
        .iter()
        .filter(|_| observer.application.is_running());
    let mut jobs: Vec<_> = application
        .chain(&plan.jobs)
        .chain(sensor_jobs(plan))
        .chain(actions(plan).flat_map(HealthActions::jobs))
        .map(|job| &job.role)
        .collect();
    let mut listed: Vec<_> = status.jobs.iter().map(|job| &job.role).collect();
    jobs.sort();
    listed.sort();
    hold(jobs == listed, || format!("the jobs are {listed:?}"))
}

/// Some time after faults stop, healthy services are in the catalogue, the list of each backend is the
/// present one and no handler waits to be started beyond its quiet time, and every coprocess with restarts left runs.
pub(super) fn without_faults_the_expected_state_is_reached(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let calm = !observer.is_stopping() && observer.opened.is_some() && !observer.exited;
    if entry.kind != EntryKind::Fact(Fact::Settled) || !calm || observer.plan().application.is_none() {
        return Ok(());
    }
    hold(observer.incoming.is_none(), || "a plan still waits".into())?;
    let silent = observer
        .coprocesses
        .iter()
        .find(|(owner, facts)| facts.restarts == Restarts::Unlimited && !observer.is_running(owner));
    hold(silent.is_none(), || {
        format!("{} does not run", silent.map_or("", |(owner, _)| owner))
    })?;
    hold(observer.application != OnceRun::NotStarted, || {
        "the application does not run".into()
    })?;
    if observer.maintenance {
        return Ok(());
    }
    let missing = observer
        .services
        .keys()
        .find(|id| !observer.entries.contains(*id));
    hold(missing.is_none(), || {
        format!("{missing:?} does not stand in the catalogue")
    })?;
    let owed = |(owner, facts): &(&String, &BackendFacts)| {
        facts.is_due(observer.now) && facts.alike == 1 && !observer.is_running(owner)
    };
    let waiting = observer.backends.iter().find(owed);
    hold(waiting.is_none(), || {
        format!(
            "the handler of {} has not run",
            waiting.map_or("", |(owner, _)| owner)
        )
    })?;
    let none = Vec::new();
    let stale = observer.plan().backends.iter().find(|backend| {
        let there = observer.other_instances.get(&backend.name).unwrap_or(&none);
        let counts = |(_, port): &&Address| backend.tag.is_none() || port % 2 == 0;
        let there: Vec<Address> = there.iter().filter(counts).cloned().collect();
        observer
            .backends
            .get(&key_of(backend))
            .is_none_or(|facts| facts.seen != there)
    });
    hold(stale.is_none(), || {
        format!("{:?} is not seen as it is", stale.map(|backend| &backend.name))
    })
}
