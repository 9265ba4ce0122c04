//! Templates: what is looked up, rendered and written, when commands run, and what the start waits for.

use super::*;
use crate::catalogue::{Data, Dependency, Found};
use crate::event::Rendered;
use crate::status::{FileState, LONGEST_ERROR, MOST_NAMES};
use crate::template::{Outcome, Written};
use std::collections::BTreeSet;

fn template(name: &str) -> Template {
    let destination = format!("/etc/{name}");
    let role = Role::Template {
        destination: destination.clone(),
    };
    Template {
        source: TemplateSource::Contents(name.into()),
        destination,
        mode: None,
        owner: None,
        command: Some(job(role, Trigger::OnDemand)),
        wait: None,
        required: false,
    }
}

fn with(templates: Vec<Template>) -> Plan {
    Plan { templates, ..bare() }
}

fn required() -> Plan {
    with(vec![Template {
        required: true,
        ..template("a")
    }])
}

fn service(name: &str) -> Dependency {
    let name = name.into();
    Dependency::Service { name, tag: None }
}

fn key(name: &str) -> Dependency {
    Dependency::Key(name.into())
}

fn value(value: Option<&str>) -> Answer {
    Answer::Found(Found {
        data: Data::Key(value.map(Into::into)),
        cursor: Some(Cursor(1)),
        filtered: false,
    })
}

fn found(ports: &[u16]) -> Answer {
    match instances(ports) {
        Answer::Instances(listing) => Answer::Found(listing.found()),
        other => other,
    }
}

impl Fixture {
    /// The ticket of the rendering or the writing for this file.
    fn work(&mut self, name: &str) -> Ticket {
        let destination = format!("/etc/{name}");
        let place = self.works.iter().position(|(_, of)| *of == destination);
        let place = place.unwrap_or_else(|| panic!("nothing is done for {name}"));
        self.works.remove(place).0
    }

    fn renders(&mut self, name: &str, uses: &[&str], outcome: Outcome) -> Vec<String> {
        let ticket = self.work(name);
        let rendered = Rendered {
            names: uses.iter().map(|name| service(name)).collect(),
            missing: BTreeSet::new(),
            files: None,
            outcome,
        };
        self.step(Event::Rendered(ticket, rendered))
    }

    /// A rendering that uses keys, of which some do not exist.
    fn renders_keys(&mut self, uses: &[&str], missing: &[&str], outcome: Outcome) -> Vec<String> {
        let ticket = self.work("a");
        let rendered = Rendered {
            names: uses.iter().map(|name| key(name)).collect(),
            missing: missing.iter().map(|name| key(name)).collect(),
            files: None,
            outcome,
        };
        self.step(Event::Rendered(ticket, rendered))
    }

    fn writes(&mut self, name: &str, written: Written) -> Vec<String> {
        let ticket = self.work(name);
        self.step(Event::Written(ticket, written))
    }
}

fn complete(contents: &str) -> Outcome {
    Outcome::Complete(contents.into())
}

#[test]
fn a_template_is_rendered_until_all_its_names_are_known_then_written_then_its_command_runs() {
    let mut fixture = Fixture::new(with(vec![template("a")]));
    assert_eq!(
        fixture.step(Event::Begin),
        ["render /etc/a with 0", "start APP"]
            .map(String::from)
            .into_iter()
            .rev()
            .collect::<Vec<_>>()
    );
    assert_eq!(
        fixture.renders("a", &["web"], Outcome::Incomplete),
        ["look up service web"]
    );
    assert_eq!(
        fixture.answers("service web?", found(&[80])),
        ["render /etc/a with 1"]
    );
    assert_eq!(
        fixture.renders("a", &["web"], complete("80")),
        ["write /etc/a: 80"]
    );
    assert_eq!(fixture.writes("a", Written::Changed), ["start template[/etc/a]"]);
    assert!(fixture.has_logged("Template /etc/a was written"));
    fixture.after(50);
    assert_eq!(
        fixture.answers("service web?", found(&[81])),
        ["render /etc/a with 1"]
    );
    assert_eq!(
        fixture.renders("a", &["web"], complete("81")),
        ["write /etc/a: 81"]
    );
    assert_eq!(
        fixture.writes("a", Written::Changed),
        [""; 0],
        "one command at a time"
    );
    assert_eq!(
        fixture.exits("template[/etc/a]", 0),
        ["start template[/etc/a]"],
        "and it is not forgotten"
    );
    assert_eq!(fixture.exits("template[/etc/a]", 1), [""; 0]);
}

#[test]
fn a_key_that_does_not_exist_is_waited_for_and_logged_once() {
    let mut fixture = Fixture::running(with(vec![template("a")]));
    let looks_up = fixture.renders_keys(&["k", "d"], &[], Outcome::Incomplete);
    assert_eq!(looks_up, ["look up key d", "look up key k"]);
    let sentence = "Template /etc/a is not written before key k exists";
    let renders = ["render /etc/a with 1"];
    assert_eq!(fixture.answers("key d?", value(None)), renders);
    assert_eq!(
        fixture.renders_keys(&["k", "d"], &[], Outcome::Incomplete),
        [""; 0]
    );
    assert_eq!(fixture.answers("key k?", value(None)), ["render /etc/a with 2"]);
    assert!(!fixture.has_logged(sentence));
    let waits = fixture.renders_keys(&["k", "d"], &["k"], Outcome::Incomplete);
    assert_eq!((waits, fixture.how_often(sentence)), (vec![], 1));
    fixture.after(50);
    fixture.answers("key d?", value(Some("x")));
    fixture.renders_keys(&["k", "d"], &["k"], Outcome::Incomplete);
    assert_eq!(fixture.how_often(sentence), 1);
    fixture.after(50);
    fixture.answers("key k?", value(Some("1")));
    let writes = fixture.renders_keys(&["k", "d"], &[], complete("1"));
    assert_eq!(writes, ["write /etc/a: 1"]);
    fixture.writes("a", Written::Changed);
    fixture.after(50);
    assert_eq!(fixture.answers("key k?", value(None)), ["render /etc/a with 2"]);
    let gone = fixture.renders_keys(&["k", "d"], &["k"], Outcome::Incomplete);
    assert_eq!((gone, fixture.how_often(sentence)), (vec![], 2));
}

#[test]
fn of_the_keys_that_do_not_exist_only_those_that_are_needed_hold_back_the_start() {
    let mut fixture = Fixture::running(required());
    fixture.renders_keys(&["k", "d"], &[], Outcome::Incomplete);
    fixture.answers("key d?", value(None));
    fixture.renders_keys(&["k", "d"], &[], Outcome::Incomplete);
    fixture.answers("key k?", value(None));
    fixture.renders_keys(&["k", "d"], &["k"], Outcome::Incomplete);
    let end = Instant::START + Duration::from_secs(60);
    while let Some(next) = fixture.shim.deadline().filter(|next| *next <= end) {
        fixture.now = next;
        fixture.step(Event::Woken);
    }
    let sentence = "Template /etc/a is required and was not written within 1m0s: it waits for key k";
    assert!(fixture.has_logged(sentence));
}

#[test]
fn equal_answers_and_equal_bytes_cause_nothing() {
    let mut fixture = Fixture::running(with(vec![template("a")]));
    fixture.renders("a", &["web"], Outcome::Incomplete);
    fixture.answers("service web?", found(&[80, 81]));
    fixture.renders("a", &["web"], complete("x"));
    assert_eq!(fixture.writes("a", Written::Unchanged), [""; 0], "no command");
    fixture.after(50);
    assert_eq!(
        fixture.answers("service web?", found(&[81, 80])),
        [""; 0],
        "the order does not matter"
    );
    fixture.after(10_000);
    assert_eq!(
        fixture.answers("service web?", found(&[80])),
        ["render /etc/a with 1"]
    );
    assert_eq!(fixture.renders("a", &["web"], complete("x")), [""; 0]);
}

#[test]
fn templates_share_what_they_look_up_and_the_last_one_closes_it() {
    let mut fixture = Fixture::running(with(vec![template("a"), template("b")]));
    fixture.renders("a", &["web"], Outcome::Incomplete);
    fixture.answers("service web?", found(&[80]));
    fixture.renders("a", &["web"], complete("80"));
    assert_eq!(
        fixture.renders("b", &["web"], Outcome::Incomplete),
        ["render /etc/b with 1"],
        "it is known already"
    );
    fixture.writes("a", Written::Unchanged);
    fixture.after(50);
    let asked = fixture.requests["service web?"];
    fixture.renders("b", &["db"], complete("none"));
    assert!(fixture.requests.values().any(|open| *open == asked));
    fixture.writes("b", Written::Unchanged);
    assert_eq!(
        fixture.answers("service web?", found(&[])),
        ["render /etc/a with 1"],
        "only the template that uses it"
    );
    let ended = fixture.renders("a", &[], complete(""));
    assert!(
        ended.iter().all(|effect| !effect.contains("look up")),
        "{ended:?}"
    );
    assert!(!fixture.requests.contains_key("service web?"));
}

#[test]
fn the_application_starts_after_the_required_templates_were_written() {
    let mut fixture = Fixture::new(Plan {
        pre_start: hook(Role::PreStart),
        services: vec![super::service("app")],
        ..required()
    });
    assert_eq!(fixture.step(Event::Begin), ["start preStart"]);
    assert_eq!(fixture.exits("preStart", 0), ["render /etc/a with 0"]);
    assert_eq!(fixture.signal(Signal::new(12)), [""; 0], "it is kept");
    fixture.renders("a", &["web"], Outcome::Incomplete);
    fixture.answers("service web?", found(&[80]));
    fixture.renders("a", &["web"], complete("80"));
    assert_eq!(
        fixture.writes("a", Written::Changed),
        [
            "start template[/etc/a]",
            "start APP",
            "send SIGUSR2 to the Process of APP"
        ]
    );
}

#[test]
fn without_them_nothing_starts_and_the_shim_ends_with_1() {
    let mut fixture = Fixture::running(Plan {
        post_stop: hook(Role::PostStop),
        pre_stop: hook(Role::PreStop),
        ..required()
    });
    fixture.renders("a", &["web", "db"], Outcome::Incomplete);
    fixture.answers("service web?", found(&[80]));
    let end = Instant::START + Duration::from_secs(60);
    while let Some(next) = fixture.shim.deadline().filter(|next| *next < end) {
        fixture.now = next;
        let done = fixture.step(Event::Woken);
        assert!(!done.contains(&"exit(1)".into()), "{done:?}");
    }
    fixture.now = end;
    assert_eq!(
        fixture.step(Event::Woken).last().map(String::as_str),
        Some("exit(1)")
    );
    assert!(
        fixture.has_logged(
            "Template /etc/a is required and was not written within 1m0s: it waits for service db"
        )
    );
}

#[test]
fn a_stop_while_the_start_waits_ends_it_and_kills_a_command() {
    let mut fixture = Fixture::running(with(vec![
        template("b"),
        Template {
            required: true,
            ..template("a")
        },
    ]));
    fixture.renders("b", &[], complete("x"));
    assert_eq!(fixture.writes("b", Written::Changed), ["start template[/etc/b]"]);
    assert_eq!(
        fixture.signal(Signal::TERM),
        ["send SIGKILL to the Tree of template[/etc/b]"]
    );
    assert_eq!(fixture.renders("a", &[], complete("x")), [""; 0], "too late");
    assert_eq!(fixture.dies("template[/etc/b]", Signal::KILL), ["exit(143)"]);
}

#[test]
fn a_failure_leaves_the_file_and_is_tried_again() {
    let mut fixture = Fixture::running(with(vec![template("a")]));
    let failed = || Outcome::Failed("a.tmpl, line 3, column 5: no".into());
    assert_eq!(fixture.renders("a", &[], failed()), [""; 0]);
    assert!(fixture.has_logged("Template /etc/a was not written: a.tmpl, line 3, column 5: no"));
    assert_eq!(fixture.after(1_000), ["render /etc/a with 0"]);
    fixture.renders("a", &[], complete("x"));
    let full = Written::Failed("no space left on device".into());
    assert_eq!(fixture.writes("a", full), [""; 0], "no command");
    assert_eq!(fixture.after(2_000), ["render /etc/a with 0"]);
    fixture.renders("a", &[], complete("x"));
    assert_eq!(fixture.writes("a", Written::Changed), ["start template[/etc/a]"]);
    assert!(fixture.has_logged("Template /etc/a is written again after 2 failed attempts"));
}

#[test]
fn in_maintenance_nothing_is_looked_up_rendered_or_run() {
    let mut fixture = Fixture::running(with(vec![template("a")]));
    fixture.renders("a", &["web"], Outcome::Incomplete);
    fixture.answers("service web?", found(&[80]));
    fixture.signal(Signal::USR1);
    assert_eq!(fixture.renders("a", &["web"], complete("80")), [""; 0]);
    assert_eq!(fixture.after(30_000), [""; 0]);
    let resumed: BTreeSet<String> = fixture.signal(Signal::USR1).into_iter().collect();
    assert_eq!(
        resumed,
        ["look up service web", "render /etc/a with 1"]
            .map(String::from)
            .into()
    );
}

#[test]
fn a_reload_renders_again_and_replaces_what_changed() {
    let mut fixture = Fixture::running(with(vec![template("a"), template("b")]));
    for name in ["a", "b"] {
        fixture.renders(name, &["web"], Outcome::Incomplete);
    }
    fixture.answers("service web?", found(&[80]));
    for name in ["a", "b"] {
        fixture.renders(name, &["web"], complete("x"));
        fixture.writes(name, Written::Changed);
    }
    fixture.exits("template[/etc/a]", 0);
    fixture.signal(Signal::HUP);
    let other = Template {
        mode: Some(0o600),
        ..template("b")
    };
    assert_eq!(
        fixture.loads(with(vec![template("a"), other])),
        ["send SIGKILL to the Tree of template[/etc/b]"],
        "it has another command, perhaps"
    );
    let after = fixture.dies("template[/etc/b]", Signal::KILL);
    assert_eq!(
        after,
        ["render /etc/a with 1", "render /etc/b with 0"],
        "the one that stays knows what it uses"
    );
    assert_eq!(
        fixture.renders("a", &["web"], complete("x")),
        ["write /etc/a: x"],
        "the file is compared"
    );
}

#[test]
fn a_reload_may_bring_what_the_start_waits_for() {
    let mut fixture = Fixture::running(required());
    fixture.renders("a", &["nope"], Outcome::Incomplete);
    fixture.signal(Signal::HUP);
    assert_eq!(
        fixture.loads(with(vec![])).last().map(String::as_str),
        Some("start APP")
    );
    assert!(fixture.requests.is_empty());
}

#[test]
fn only_rendering_ends_with_0_when_all_is_written_and_with_1_at_an_error() {
    let plan = with(vec![template("a"), template("b")]).only_templates();
    let mut fixture = Fixture::running(plan.clone());
    fixture.renders("a", &[], complete("x"));
    assert_eq!(fixture.writes("a", Written::Changed), [""; 0], "no command");
    fixture.renders("b", &[], complete("x"));
    assert_eq!(
        fixture.writes("b", Written::Unchanged).last().map(String::as_str),
        Some("exit(0)")
    );
    let mut fixture = Fixture::running(plan);
    let ended = fixture.renders("a", &[], Outcome::Failed("nonsense".into()));
    assert_eq!(ended.last().map(String::as_str), Some("exit(1)"));
}

#[test]
fn values_that_are_too_large_or_hidden_count_as_unknown() {
    let mut fixture = Fixture::running(with(vec![template("a")]));
    fixture.renders("a", &["web"], Outcome::Incomplete);
    let hidden = Found {
        data: crate::catalogue::Data::Instances(vec![]),
        cursor: None,
        filtered: true,
    };
    assert_eq!(fixture.answers("service web?", Answer::Found(hidden)), [""; 0]);
    assert!(fixture.has_logged("its ACLs hide some"));
    fixture.after(10_000);
    let large = Found {
        data: crate::catalogue::Data::Key(Some("x".repeat(33 * 1024 * 1024))),
        cursor: None,
        filtered: false,
    };
    assert_eq!(fixture.answers("service web?", Answer::Found(large)), [""; 0]);
    assert!(fixture.has_logged("would take more than 32 MiB"));
}

#[test]
fn renderings_and_writings_are_measured_from_the_first_one_on() {
    use crate::measurement::{RenderResult, WriteResult};
    let mut fixture = Fixture::running(required());
    let [counted] = fixture.exposed.as_slice() else {
        panic!("{:?}", fixture.exposed);
    };
    assert_eq!((counted.templates.len(), &counted.telemetry), (1, &None));
    fixture.renders("a", &["db"], Outcome::Incomplete);
    fixture.answers("service db?", found(&[1]));
    fixture.renders("a", &["db"], Outcome::Failed("no".into()));
    fixture.after(30_000);
    fixture.renders("a", &["db"], complete("x"));
    fixture.writes("a", Written::Failed("full".into()));
    fixture.after(30_000);
    fixture.renders("a", &["db"], complete("x"));
    fixture.writes("a", Written::Changed);
    let results = fixture.measured.iter().filter_map(|measured| match measured {
        Measurement::Rendered { destination, result } => Some((destination.as_str(), format!("{result:?}"))),
        Measurement::Written { destination, result } => Some((destination.as_str(), format!("{result:?}"))),
        _ => None,
    });
    let expected = [
        "Incomplete",
        "Failed",
        "Complete",
        "Failed",
        "Complete",
        "Changed",
    ];
    assert_eq!(
        results.collect::<Vec<_>>(),
        expected.map(|result| ("/etc/a", result.into()))
    );
    assert_eq!(RenderResult::of(&Outcome::Incomplete), RenderResult::Incomplete);
    assert_eq!(WriteResult::of(&Written::Unchanged), WriteResult::Unchanged);
}

#[test]
fn the_status_has_the_state_of_each_template() {
    let mut fixture = Fixture::running(with(vec![template("a")]));
    let state = |fixture: &mut Fixture| fixture.status().templates.remove(0);
    let before = state(&mut fixture);
    assert_eq!(
        (before.destination.as_str(), before.state, before.written),
        ("/etc/a", FileState::Waiting, None)
    );
    let many: Vec<String> = (10..10 + MOST_NAMES + 5)
        .map(|number| format!("s{number}"))
        .collect();
    let names: Vec<&str> = many.iter().map(String::as_str).collect();
    fixture.renders("a", &names, Outcome::Incomplete);
    fixture.answers("service s10?", found(&[1]));
    let waiting = state(&mut fixture);
    assert_eq!(
        (waiting.names.len(), waiting.waits_for.len()),
        (MOST_NAMES, MOST_NAMES)
    );
    assert_eq!(
        (&waiting.names[0], &waiting.waits_for[0]),
        (&service("s10"), &service("s11"))
    );
    fixture.renders("a", &["s10"], Outcome::Failed("é".repeat(LONGEST_ERROR)));
    let failed = state(&mut fixture);
    assert_eq!((failed.state, failed.written), (FileState::Failed, None));
    assert_eq!(failed.last_error, Some("é".repeat(LONGEST_ERROR / 2)));
    fixture.after(30_000);
    fixture.renders("a", &["s10"], complete("x"));
    assert_eq!(
        state(&mut fixture).state,
        FileState::Failed,
        "it is not written yet"
    );
    fixture.writes("a", Written::Changed);
    fixture.exits("template[/etc/a]", 0);
    let written = state(&mut fixture);
    assert_eq!(
        (written.state, written.written, written.last_error),
        (FileState::Written, Some(fixture.now), failed.last_error)
    );
    assert_eq!((written.names, written.waits_for), (vec![service("s10")], vec![]));
    let last = written.command.unwrap().last.unwrap();
    assert_eq!(last.result, crate::measurement::RunResult::Passed);
}
