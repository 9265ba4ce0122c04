//! The state of the shim as a page for people: one file without scripts and without anything from elsewhere, which loads
//! itself again every few seconds.
//!
//! Every text of the status is escaped by the template. The page shows what `/status` shows, and a limited part of long
//! lists.

use super::status::{Backend, Catalogue, Job, Last, Service, StatusDocument, Template};
use maud::{DOCTYPE, Markup, PreEscaped, html};

/// How many instances of a backend are shown. (docs/bounds.md)
const INSTANCES: usize = 20;
/// How many services, backends, templates and processes are shown of each. (docs/bounds.md)
const ENTRIES: usize = 500;
/// Seconds until the page is loaded again.
const REFRESH: u8 = 5;

/// The width of a bar in a strip with the space between two, in pixels.
const BAR: usize = 6;
/// The results in a strip, and where the bar of each begins below the top.
const BARS: [(&str, usize); 4] = [("passed", 8), ("failed", 0), ("timed_out", 0), ("stopped", 13)];

const STYLE: &str = "
:root { color-scheme: light dark; --good: #1a7f37; --bad: #cf222e; --unknown: #9a6700; --line: #8884; }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #ff7b72; --unknown: #d29922; } }
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 60rem; padding: 1rem; }
h1 { font-size: 1.4rem; margin: 0; } h2 { font-size: 1.1rem; margin: 2rem 0 .5rem; }
header p { margin: .25rem 0; opacity: .8; }
article { border: 1px solid var(--line); border-radius: .5rem; margin: .5rem 0; padding: .75rem 1rem; }
article h3 { display: flex; flex-wrap: wrap; gap: .25rem .75rem; font-size: 1rem; margin: 0; overflow-wrap: anywhere; }
time { white-space: nowrap; }
article p { margin: .25rem 0 0; overflow-wrap: anywhere; }
pre { border-left: 3px solid var(--line); margin: .5rem 0 0; max-height: 12rem; overflow: auto; padding-left: .75rem;
  white-space: pre-wrap; overflow-wrap: anywhere; }
.healthy, .passed, .written { color: var(--good); } .unhealthy, .failed, .timed_out { color: var(--bad); }
.unknown, .stopped, .waiting { color: var(--unknown); }
svg { vertical-align: text-bottom; } path { stroke: currentColor; stroke-width: 4; } path.timed_out { stroke-dasharray: 3 2; }
";

/// The page of a status.
pub fn html(status: &StatusDocument<'_>) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta http-equiv="refresh" content=(REFRESH);
                title { "containerpilot" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header {
                    h1 { "containerpilot" }
                    p {
                        "version " (status.version) ", " strong id="phase" { (words(status.phase)) }
                        @if status.maintenance { ", " strong { "in maintenance" } }
                        ", for " (for_people(status.uptime_seconds))
                    }
                    p { time { (status.time) } }
                    (catalogue(&status.catalogue))
                    @if let Some(reload) = &status.last_reload {
                        p {
                            @if reload.successful { "configuration read again at " } @else {
                                strong class="failed" { "a new configuration was refused" } " at "
                            }
                            time { (reload.at) }
                        }
                        @if let Some(errors) = reload.errors { pre { (errors) } }
                    }
                }
                (section("Services", &status.services, service))
                (section("Backends", &status.backends, backend))
                (section("Templates", &status.templates, template))
                (section("Processes", &status.jobs, process))
            }
        }
    };
    page.into_string()
}

fn catalogue(catalogue: &Catalogue<'_>) -> Markup {
    let (class, words) = match catalogue.available {
        None => ("unknown", "has not answered yet"),
        Some(true) => ("healthy", "answers"),
        Some(false) => ("unhealthy", "does not answer"),
    };
    html! {
        p id="catalogue" {
            "the catalogue " span class=(class) { (words) }
            @if let Some(since) = &catalogue.since { " since " time { (since) } }
        }
        @if let (Some(false), Some(error)) = (catalogue.available, catalogue.last_error) { pre { (error) } }
    }
}

fn section<T>(title: &str, entries: &[T], show: impl Fn(&T) -> Markup) -> Markup {
    html! {
        @if !entries.is_empty() {
            h2 { (title) }
            @for entry in entries.iter().take(ENTRIES) { article { (show(entry)) } }
            @if entries.len() > ENTRIES { p { "and " (entries.len() - ENTRIES) " more, which /status has" } }
        }
    }
}

fn service(service: &Service<'_>) -> Markup {
    let registered = if service.registered {
        "registered"
    } else {
        "not registered"
    };
    html! {
        h3 { span { (service.name) } span class=(service.health) { (service.health) } span { (registered) } }
        @if let Some(since) = &service.since { p { (service.health) " since " time { (since) } } }
        @if service.heartbeat_failures > 0 {
            p class="failed" { (service.heartbeat_failures) " requests to the catalogue failed in a row" }
        }
        p { (service.address) " port " (service.port) ", ID " (service.id) (tags(service.tags)) }
        @if let Some(check) = &service.check {
            (strip(&check.recent))
            (last("check", check.job.last.as_ref()))
        }
        @for check in &service.checks {
            p { "check " (check.name) " " span class=(check.health) { (check.health) } }
            (strip(&check.recent))
            (last("run", check.last.as_ref()))
        }
    }
}

/// The results of the last runs of a check as a bar each, the latest one on the right. The bars of different results have
/// different colours and also different shapes, and the title has the results as words.
fn strip(results: &[&str]) -> Markup {
    let passed = results.iter().filter(|result| **result == "passed").count();
    html! {
        @if results.len() > 1 {
            p {
                svg role="img" width=(results.len() * BAR) height="16" {
                    title { "the last runs, the oldest first: " (in_a_row(results)) }
                    @for (result, from) in BARS {
                        @let bars = bars(results, result, from);
                        @if !bars.is_empty() { path class=(result) d=(bars) {} }
                    }
                }
                " " (passed) " of " (results.len()) " passed"
            }
        }
    }
}

/// A line from this height down to the ground for each run that has this result.
fn bars(results: &[&str], result: &str, from: usize) -> String {
    let places = results.iter().enumerate().filter(|(_, other)| **other == result);
    let bar = |(place, _)| format!("M{} {from}V16", place * BAR + BAR / 2);
    places.map(bar).collect()
}

/// How many results of each kind follow each other.
fn in_a_row(results: &[&str]) -> String {
    let rows = results.chunk_by(|one, next| one == next);
    let rows: Vec<String> = rows
        .map(|row| format!("{} {}", row.len(), words(row[0])))
        .collect();
    rows.join(", ")
}

fn tags(tags: &[String]) -> Markup {
    html! { @if !tags.is_empty() { ", tags " (tags.join(", ")) } }
}

fn backend(backend: &Backend<'_>) -> Markup {
    let number = backend.instances.len();
    let class = if backend.failures > 0 { "failed" } else { "" };
    html! {
        h3 {
            span { (backend.name) @if let Some(tag) = backend.tag { " with tag " (tag) } }
            span { (number) @if number == 1 { " instance" } @else { " instances" } }
            @if backend.failures > 0 { span class=(class) { (backend.failures) " requests failed in a row" } }
        }
        @if number > 0 {
            p {
                @for (index, instance) in backend.instances.iter().take(INSTANCES).enumerate() {
                    @if index > 0 { ", " }
                    (instance.address) " port " (instance.port)
                }
                @if number > INSTANCES { ", and " (number - INSTANCES) " more" }
            }
        }
        @if let Some(changed) = &backend.changed_at { p { "changed " time { (changed) } } }
        (last("handler", backend.handler.last.as_ref()))
    }
}

fn template(template: &Template<'_>) -> Markup {
    html! {
        h3 { span { (template.destination) } span class=(template.state) { (template.state) } }
        @if let Some(written) = &template.written_at { p { "last written " time { (written) } } }
        @if !template.waits_for.is_empty() { p { "waits for " (template.waits_for.join(", ")) } }
        @if let ("failed", Some(error)) = (template.state, template.last_error) { pre { (error) } }
        @if !template.watches.is_empty() { p { "uses " (template.watches.join(", ")) } }
        @if let Some(command) = &template.command { (last("command", command.last.as_ref())) }
    }
}

fn process(job: &Job<'_>) -> Markup {
    html! {
        h3 {
            span { (words(job.kind)) @if let Some(name) = job.name { " " (name) } }
            @if let Some(pid) = job.pid { span { "runs with PID " (pid) } } @else { span { "does not run" } }
            @if job.restarts > 0 { span { "restarted " (job.restarts) " times" } }
        }
        (last("run", job.last.as_ref()))
    }
}

/// The run that ended last, and the end of what it printed.
fn last(what: &str, last: Option<&Last<'_>>) -> Markup {
    html! {
        @if let Some(last) = last {
            p {
                "last " (what) " " span class=(last.result) { (words(last.result)) } " at " time { (last.ended_at) } " after "
                (for_people(last.duration_seconds)) ": " (last.detail)
            }
            @if !last.output.trim().is_empty() { pre { (last.output) } }
        }
    }
}

/// A name of the status as words.
fn words(name: &str) -> String {
    name.replace('_', " ")
}

/// A duration, rounded.
pub fn for_people(seconds: f64) -> String {
    match seconds {
        ..1.0 => format!("{:.0} ms", seconds * 1000.0),
        ..120.0 => format!("{seconds:.1} s"),
        ..7200.0 => format!("{:.0} min", seconds / 60.0),
        ..172_800.0 => format!("{:.1} h", seconds / 3600.0),
        _ => format!("{:.0} days", seconds / 86_400.0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, Utc};
    use domain::Instant;
    use domain::availability::CatalogueStatus;
    use domain::catalogue::Dependency;
    use domain::lifecycle::Phase;
    use domain::measurement::WatchedBackend;
    use domain::plan::Role;
    use domain::status::{BackendStatus, FileState, JobStatus, Status, TemplateStatus};

    fn job(name: String) -> JobStatus {
        JobStatus {
            role: Role::Task { name },
            pid: None,
            restarts: 0,
            last: None,
        }
    }

    fn empty() -> Status {
        Status {
            at: Instant::START,
            phase: Phase::Running,
            maintenance: false,
            last_reload: None,
            catalogue: CatalogueStatus::default(),
            services: vec![],
            backends: vec![],
            templates: vec![],
            jobs: vec![],
        }
    }

    fn page_of(status: &Status) -> String {
        html(&StatusDocument::new(status, DateTime::<Utc>::UNIX_EPOCH))
    }

    #[test]
    fn a_strip_has_a_bar_for_each_result_and_the_results_as_words() {
        let strip = |results: &[&str]| strip(results).into_string();
        assert_eq!(strip(&["passed"]), "", "the last run is shown anyway");
        let shown = strip(&["passed", "passed", "timed_out", "failed", "stopped", "passed"]);
        let title = "the last runs, the oldest first: 2 passed, 1 timed out, 1 failed, 1 stopped, 1 passed";
        assert_eq!(
            shown,
            format!(
                "<p><svg role=\"img\" width=\"36\" height=\"16\"><title>{title}</title>\
                 <path class=\"passed\" d=\"M3 8V16M9 8V16M33 8V16\"></path>\
                 <path class=\"failed\" d=\"M21 0V16\"></path><path class=\"timed_out\" d=\"M15 0V16\"></path>\
                 <path class=\"stopped\" d=\"M27 13V16\"></path></svg> 3 of 6 passed</p>"
            )
        );
    }

    #[test]
    fn a_template_is_shown_with_what_it_waits_for_and_with_an_error_only_while_it_fails() {
        let of = |state, waits_for: &[&str]| TemplateStatus {
            destination: "/etc/a".into(),
            state,
            written: None,
            last_error: Some("line 1".into()),
            names: vec![Dependency::Services],
            waits_for: waits_for
                .iter()
                .map(|key| Dependency::Key((*key).into()))
                .collect(),
            command: None,
        };
        for (template, shown, hidden) in [
            (
                of(FileState::Waiting, &["a", "b"]),
                "<p>waits for key a, key b</p>",
                "line 1",
            ),
            (of(FileState::Failed, &[]), "<pre>line 1</pre>", "waits for"),
            (
                of(FileState::Written, &[]),
                "<p>uses the list of services</p>",
                "line 1",
            ),
        ] {
            let templates = vec![template];
            let page = page_of(&Status { templates, ..empty() });
            assert!(page.contains(shown) && !page.contains(hidden), "{page}");
        }
    }

    #[test]
    fn a_limited_number_of_entries_and_of_instances_is_shown() {
        let backend = BackendStatus {
            backend: WatchedBackend {
                name: "db".into(),
                tag: None,
            },
            instances: (0..1000).map(|port| ("192.0.2.1".into(), port)).collect(),
            changed: None,
            failures: 2,
            handler: job("handler".into()),
        };
        let page = page_of(&Status {
            maintenance: true,
            backends: vec![backend],
            jobs: (0..1000).map(|number| job(format!("task-{number}"))).collect(),
            ..empty()
        });
        assert_eq!(page.matches("192.0.2.1 port ").count(), INSTANCES);
        assert!(page.contains(", and 980 more"), "{page}");
        assert_eq!(page.matches("task task-").count(), ENTRIES);
        assert!(page.contains("and 500 more, which /status has"), "{page}");
        assert!(page.contains("2 requests failed in a row") && page.contains("in maintenance"));
    }

    #[test]
    fn durations_are_rounded() {
        for (seconds, text) in [
            (0.0421, "42 ms"),
            (5.44, "5.4 s"),
            (300.0, "5 min"),
            (9000.0, "2.5 h"),
            (900_000.0, "10 days"),
        ] {
            assert_eq!(for_people(seconds), text);
        }
    }
}
