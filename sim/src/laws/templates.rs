//! Laws of templates: what is rendered and written, and when the command runs.

use super::observer::{Observer, TemplateFacts, command_of};
use super::{Verdict, hold};
use crate::templates;
use crate::trace::{EntryKind, Fact, TraceEntry};
use domain::catalogue::{Data, Dependency, Instance};
use domain::notice::templates::TemplateNotice;
use domain::plan::Role;
use domain::{Effect, Notice};
use std::collections::BTreeMap;

/// There is one rendering or writing of a template at a time, and none of a template that a reload or the stop ends.
pub(super) fn one_rendering_or_writing_of_each_template(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let destination = match &entry.kind {
        EntryKind::Effect(Effect::Render(_, rendering)) => &rendering.destination,
        EntryKind::Effect(Effect::Write(_, writing)) => &writing.destination,
        _ => return Ok(()),
    };
    let facts = observer.templates.get(destination);
    let may = facts.is_some_and(|facts| facts.work.is_none() && !facts.closing);
    let stopping = observer.is_stopping() && !observer.turn.has_late_failure;
    hold(may && !stopping, || format!("{entry}"))
}

/// Only the result of the last rendering is written, and only if everything was known that the template uses.
pub(super) fn only_what_was_rendered_is_written(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Write(_, writing)) = &entry.kind else {
        return Ok(());
    };
    let facts = observer.templates.get(&writing.destination);
    let rendered = facts.and_then(|facts| facts.rendered.as_ref());
    hold(rendered == Some(&writing.contents), || format!("{entry}"))
}

/// A file is not written twice with the same bytes, unless the configuration was read in between.
pub(super) fn the_same_bytes_are_not_written_twice(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Write(_, writing)) = &entry.kind else {
        return Ok(());
    };
    let facts = observer.templates.get(&writing.destination);
    let written = facts.and_then(|facts| facts.written.as_ref());
    hold(written != Some(&writing.contents), || format!("{entry} again"))
}

/// The command of a template runs only after the file has changed since its last run began: never before the writing, and
/// never without one.
pub(super) fn a_command_runs_only_after_its_file_has_changed(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let EntryKind::Effect(Effect::Start(_, job)) = &entry.kind else {
        return Ok(());
    };
    let Role::Template { destination } = &job.role else {
        return Ok(());
    };
    let facts = observer.templates.get(destination);
    let early = |facts: &TemplateFacts| facts.retry.is_some_and(|(least, _)| observer.now < least);
    hold(facts.is_some_and(|facts| facts.owed && !early(facts)), || {
        format!("{entry}")
    })
}

/// After a file has changed its command runs at once, or as soon as the run in progress has ended; never two at a time.
pub(super) fn a_changed_file_runs_its_command(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let idle = matches!(entry.kind, EntryKind::Wait(_)) && !observer.is_stopping();
    if !idle || observer.maintenance || observer.lenient || observer.exited {
        return Ok(());
    }
    let late = |facts: &TemplateFacts| facts.retry.is_none_or(|(_, most)| observer.turn.began >= most);
    let forgotten = observer.templates.iter().find(|(destination, facts)| {
        facts.owed && !facts.closing && late(facts) && !observer.is_running(&command_of(destination))
    });
    hold(forgotten.is_none(), || {
        format!(
            "the command of {} does not run",
            forgotten.map_or("", |(destination, _)| destination)
        )
    })
}

/// The start waits for the templates that are required no longer than its time limit, and not shorter.
pub(super) fn the_start_waits_for_templates_as_long_as_said(
    observer: &Observer,
    entry: &TraceEntry,
) -> Verdict {
    let over = |since| observer.turn.began >= since + observer.plan().start_timeout;
    match &entry.kind {
        EntryKind::Effect(Effect::Log(Notice::Template(TemplateNotice::Missing { destination, .. }))) => {
            let facts = observer.templates.get(destination);
            let missing = facts.is_some_and(|facts| facts.template.required && !facts.done);
            hold(missing && observer.awaiting.is_some_and(over), || {
                format!("{entry} too early")
            })
        }
        EntryKind::Wait(_) if !observer.is_stopping() => {
            hold(!observer.awaiting.is_some_and(over), || "it still waits".into())
        }
        _ => Ok(()),
    }
}

/// Every lasting change is written: some time after faults stop each file has the contents that its template gives with
/// the present instances and keys, unless a key is missing that it needs.
pub(super) fn every_lasting_change_is_written(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let calm = !observer.is_stopping() && !observer.exited && !observer.maintenance;
    let calm = calm && observer.incoming.is_none() && observer.opened.is_some();
    if entry.kind != EntryKind::Fact(Fact::Settled) || !calm {
        return Ok(());
    }
    let stale = observer.templates.values().find(|facts| {
        let source = &facts.template.source;
        let known = templates::names(source)
            .into_iter()
            .map(|name| present(observer, name));
        let known: BTreeMap<Dependency, Data> = known.collect();
        let contents = templates::contents(source, &known);
        contents.is_some() && facts.written != contents
    });
    hold(stale.is_none(), || {
        format!(
            "{} is not what it has to be",
            stale.map_or("", |facts| &facts.template.destination)
        )
    })
}

/// What the catalogue has under a name at present.
fn present(observer: &Observer, name: Dependency) -> (Dependency, Data) {
    let mut instances = Vec::new();
    match &name {
        Dependency::Key(key) => {
            let value = observer.keys.get(key).cloned();
            return (name, Data::Key(value));
        }
        Dependency::Keys(prefix) => {
            let named = |(key, value): (&String, &String)| {
                Some((key.strip_prefix(prefix)?.to_owned(), value.clone()))
            };
            let pairs = observer.keys.iter().filter_map(named).collect();
            return (name, Data::Keys(pairs));
        }
        Dependency::Service { .. } | Dependency::Services => {}
    }
    if let Dependency::Service { name, tag } = &name {
        let listed = observer.other_instances.get(name).into_iter().flatten();
        for (address, port) in listed.filter(|(_, port)| tag.is_none() || port % 2 == 0) {
            instances.push(Instance {
                id: String::new(),
                address: address.clone(),
                port: *port,
                details: None,
            });
        }
    }
    (name, Data::Instances(instances))
}
