//! Properties that hold for every input from outside: configurations, templates, entries of catalogues, and the output
//! of sensors and children.
//!
//! Each property is a function over bytes that panics if the property does not hold. The fuzz targets search for such
//! bytes; `tests/fuzz_corpus.rs` replays the stored inputs. A property reads only its argument, and a clock to measure
//! its run time.

#[path = "../../tests/common/accounts.rs"]
mod accounts;

use containerpilot::adapters::console::{LONGEST, Lines};
use containerpilot::adapters::discovery::{consul, directory, etcd};
use containerpilot::config::{self, Compiled, Readable, Source, Target};
use containerpilot::ports::{Interfaces, Users};
use domain::address::{InterfaceAddress, Specification, select};
use domain::catalogue::{Instance, Query};
use domain::effect::Effect;
use domain::identity::Accounts;
use domain::plan::{Registration, SensorKind, Word};
use domain::process::Pid;
use domain::{Event, Instant, Shim};
use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

/// The time limit for one input, on a slow machine and without optimisation.
const TIME_LIMIT: Duration = Duration::from_secs(10);
/// No rendered template is longer than this.
const LONGEST_RENDERED: usize = config::source::LARGEST;
/// How many steps of a shim are run with a plan.
const STEPS: usize = 8;
/// A time that is longer than any container runs, and far below the largest instant of the core.
const LIFE: Duration = Duration::from_secs(1_000_000_000);

/// A configuration is refused with a position, or becomes a plan with which a shim starts. This parser
/// accepts exactly the texts that `serde_json` accepts.
pub fn configuration(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let is_json: Result<serde_json::Value, _> =
        serde_json::from_str(text.strip_prefix(config::json::MARK).unwrap_or(&text));
    let parsed = config::json::parse(&text);
    assert_eq!(parsed.is_ok(), is_json.is_ok(), "{parsed:?} {is_json:?}");
    let load = || load(&text);
    match within_limit(load) {
        Err(report) => assert!(names_places(&report), "no place is named: {report:?}"),
        Ok(compiled) => {
            assert_eq!(Ok(&compiled), load().as_ref(), "the same text, another plan");
            assert!(!compiled.shown.contains('\n'), "{:?}", compiled.shown);
            let shown = serde_json::from_str::<serde_json::Value>(&compiled.shown);
            assert!(shown.is_ok(), "{:?}", compiled.shown);
            begin(&compiled);
        }
    }
}

fn load(text: &str) -> Result<Compiled, String> {
    let target = Target {
        variables: environment(),
        hostname: Some("box".into()),
        interfaces: &Machine,
        users: &Machine,
        application: &["app".into(), "{{ .NAME }}".into(), Word(vec![0xff])],
        has_etcd: true,
        examination: None,
    };
    config::load(&Source::Inline(text.to_owned()), Readable::Files, &target)
}

/// The machine that configurations are compiled for.
struct Machine;

impl Interfaces for Machine {
    fn addresses(&self) -> io::Result<Vec<InterfaceAddress>> {
        Ok(machine())
    }
}

impl Users for Machine {
    fn accounts(&self) -> io::Result<Rc<Accounts>> {
        Ok(Rc::new(accounts::accounts()))
    }
}

fn machine() -> Vec<InterfaceAddress> {
    let address = |interface: &str, address: IpAddr| InterfaceAddress {
        interface: interface.into(),
        address,
    };
    vec![
        address("lo", IpAddr::from([127, 0, 0, 1])),
        address("lo", IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])),
        address("eth0", IpAddr::from([192, 0, 2, 10])),
        address("eth0", IpAddr::from([0xfd00, 0, 0, 0, 0, 0, 0, 10])),
        address("eth1", IpAddr::from([10, 0, 0, 10])),
    ]
}

fn environment() -> BTreeMap<String, String> {
    let variables = [
        ("NAME", "app"),
        ("PARTS", "a:b:c"),
        ("NUMBER", "3"),
        ("EMPTY", ""),
        ("MY-VAR", "dashed \"quoted\"\né"),
    ];
    variables
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into()
}

/// Whether a report has the form of all reports: each problem begins with line and column, followed by its
/// line, carets, more lines of the sentence, and hints.
fn names_places(report: &str) -> bool {
    let is_place = |line: &str| {
        let rest = line.strip_prefix("configuration:").unwrap_or_default();
        let numbers = rest
            .split(':')
            .take(2)
            .map(|number| number.parse::<usize>().unwrap_or(0));
        numbers.filter(|number| *number > 0).count() == 2
    };
    let mut lines = report.split('\n');
    lines.next().is_some_and(is_place) && lines.all(|line| is_place(line) || is_continued(line))
}

/// Whether a line continues a problem: a numbered line, carets, or one of the lines below them. If no address
/// matches, the specifications and the addresses are listed on lines of their own; the number of further
/// problems is, too.
fn is_continued(line: &str) -> bool {
    let number = line.split_once(" | ").map(|(number, _)| number.trim());
    let is_excerpt = number.is_some_and(|number| number.bytes().all(|byte| byte.is_ascii_digit()));
    let begins = |start: &&str| line.starts_with(*start);
    is_excerpt
        || line == "rendered:"
        || [
            "hint: ",
            "configuration: and ",
            "Specifications: [",
            "Interfaces IPs: [",
        ]
        .iter()
        .any(begins)
}

/// Starts a shim with the plan; each deadline is later than the step before it.
fn begin(compiled: &Compiled) {
    let mut shim = Shim::new(compiled.plan.clone(), 1);
    let mut now = Instant::START;
    let mut effects = shim.step(now, Event::Begin);
    for _ in 0..STEPS {
        let asked = effects.iter().find_map(|effect| match effect {
            Effect::Start(ticket, _) => Some(*ticket),
            _ => None,
        });
        let deadline = shim.deadline().filter(|deadline| deadline.since_start() < LIFE);
        let event = match (asked, deadline) {
            (Some(ticket), _) => Event::Started(ticket, Pid(7)),
            (None, Some(deadline)) => {
                assert!(deadline > now, "{deadline:?} is over at {now:?}");
                now = deadline;
                Event::Woken
            }
            (None, None) => break,
        };
        effects = shim.step(now, event);
    }
}

/// A template is rendered or refused, within a time limit and a size limit, always with the same result; a
/// text without actions is rendered unchanged.
pub fn template(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let render = || template::render(&text, &environment());
    let rendered = within_limit(render);
    assert_eq!(rendered, render(), "the same text, another result");
    match &rendered {
        Ok(rendered) => assert!(rendered.len() <= LONGEST_RENDERED),
        Err(error) => {
            let lines = text.split('\n').count();
            assert!(
                (1..=lines).contains(&error.line),
                "line {} of {lines}",
                error.line
            );
        }
    }
    if !text.contains("{{") {
        assert_eq!(rendered.as_deref(), Ok(&*text));
    }
}

/// A value in a catalogue is an instance or is refused; an instance that is written and read again is the
/// same.
pub fn catalogue_value(input: &[u8]) {
    etcd_value(input);
    directory_entry(input);
    consul_answer(input);
}

fn etcd_value(input: &[u8]) {
    for tag in [None, Some("a")] {
        let query = Query {
            tag: tag.map(str::to_owned),
            ..Query::default()
        };
        let Ok(Some(instance)) = etcd::value::instance(input, &query) else {
            continue;
        };
        let untagged = etcd::value::instance(input, &Query::default()).ok().flatten();
        assert_eq!(
            untagged.as_ref(),
            Some(&instance),
            "a tag selects, and changes nothing"
        );
        let Ok(address) = instance.address.parse::<IpAddr>() else {
            continue;
        };
        let written = etcd::value::of(&registration(&instance, address, tag));
        let again = etcd::value::instance(written.as_bytes(), &query).ok().flatten();
        let address = address.to_string();
        assert_eq!(again, Some(Instance { address, ..instance }), "{written}");
    }
}

fn registration(instance: &Instance, address: IpAddr, tag: Option<&str>) -> Registration {
    Registration {
        id: instance.id.clone(),
        name: "app".into(),
        address: address.into(),
        port: instance.port,
        tags: tag.into_iter().map(str::to_owned).collect(),
        ttl: Duration::from_secs(1),
        enable_tag_override: false,
        deregister_critical_after: None,
        attributes: Box::default(),
    }
}

/// An entry is accepted only in the file that its own ID names, in the folder of its own service.
fn directory_entry(input: &[u8]) {
    let value: serde_json::Value = serde_json::from_slice(input).unwrap_or_default();
    let named = |key: &str| value[key].as_str().unwrap_or("app").to_owned();
    let (service, id) = (named("name"), named("id"));
    let read = |text: &[u8]| directory::entry_in(text, &service, &id);
    let Ok((instance, written)) = read(input) else {
        return;
    };
    assert_eq!(instance.id, id);
    assert!(!instance.address.is_empty() && !instance.address.contains(char::is_whitespace));
    assert_eq!(read(&written), Ok((instance, written.clone())));
    let elsewhere = [
        (format!("{service}2"), id.clone()),
        (service.clone(), format!("{id}2")),
    ];
    for (service, id) in elsewhere {
        assert!(directory::entry_in(input, &service, &id).is_err());
    }
}

fn consul_answer(input: &[u8]) {
    let Ok(instances) = consul::instances(input) else {
        return;
    };
    let entry = |instance: &Instance| {
        serde_json::json!({
            "Node": {"Address": &instance.address},
            "Service": {"ID": &instance.id, "Address": &instance.address, "Port": instance.port},
        })
    };
    let written = serde_json::Value::from_iter(instances.iter().map(entry)).to_string();
    assert_eq!(
        consul::instances(written.as_bytes()).ok(),
        Some(instances),
        "{written}"
    );
}

/// A number that a metric accepts follows the rule of its kind, and every metric that accepts it has the same
/// value; the message of a refusal is one short line.
pub fn sensor_text(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let gauge = domain::sensor::read(SensorKind::Gauge, &text);
    let kinds = [
        SensorKind::Counter,
        SensorKind::Gauge,
        SensorKind::Histogram,
        SensorKind::Summary,
    ];
    for kind in kinds {
        match domain::sensor::read(kind, &text) {
            Ok(value) => {
                let number = value.number();
                assert_eq!(gauge.as_ref(), Ok(&value), "{kind}");
                assert!(kind == SensorKind::Gauge || number.is_finite(), "{kind} {number}");
                assert!(kind != SensorKind::Counter || number >= 0.0, "{kind} {number}");
                let again = domain::sensor::read(kind, &format!(" {number:e}\n"));
                assert!(again == Ok(value), "{number:e}");
            }
            Err(sentence) => {
                assert!(!sentence.contains('\n'), "{sentence:?}");
                assert!(sentence.chars().count() < 500, "{sentence:?}");
            }
        }
    }
}

/// In a list of specifications, one a line, each is parsed again from its displayed form, and the first that
/// matches selects an existing address, whatever the order of the addresses.
pub fn interfaces(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let mut wanted = Vec::new();
    for line in text.split('\n') {
        match Specification::parse(line) {
            Err(error) => assert!(error.to_string().contains(line), "{error}"),
            Ok(one) => {
                let shown = one.to_string();
                // `static:` followed by an address has a different meaning.
                if !matches!(&one, Specification::Interface(name, _) if name == "static") {
                    assert_eq!(Specification::parse(&shown).as_ref(), Ok(&one), "{shown}");
                }
                wanted.push(one);
            }
        }
    }
    let found = machine();
    let reversed: Vec<_> = found.iter().rev().cloned().collect();
    let selected = select(&wanted, &found);
    assert_eq!(
        selected,
        select(&wanted, &reversed),
        "the order of the addresses counts"
    );
    let alone = wanted
        .iter()
        .find_map(|one| Some((one, select(std::slice::from_ref(one), &found).ok()?)));
    assert_eq!(
        selected.ok(),
        alone.map(|(_, address)| address),
        "the first that matches"
    );
    if let Some((one, address)) = alone {
        let is_there = found.iter().any(|entry| entry.address == address);
        assert!(
            is_there || matches!(one, Specification::Static(_)),
            "{one} gave {address}"
        );
    }
}

/// The result does not depend on how the output is divided into reads, no piece exceeds the limit, and at
/// most one piece is stored. The first byte is the length of the reads; bytes from 0xF8 on stand for long
/// runs.
pub fn output_lines(input: &[u8]) {
    let (first, rest) = input.split_first().unwrap_or((&0, &[]));
    let output = output_of(rest);
    let expected = lines_of(&output);
    let sizes = [
        usize::from(*first) + 1,
        usize::from(*first) * 1000 + 1,
        output.len().max(1),
    ];
    for size in sizes.into_iter().filter(|size| output.len() / size < 10_000) {
        let (mut lines, mut pieces) = (Lines::default(), Vec::new());
        let (mut fed, mut out) = (0, 0);
        for read in output.chunks(size) {
            lines.feed(read, |piece| {
                assert!(piece.len() <= LONGEST);
                out += piece.len() + 2;
                pieces.push(piece.to_vec());
            });
            fed += read.len();
            assert!(
                fed <= out + LONGEST,
                "{fed} bytes came in, at the most {out} went out"
            );
        }
        lines.finish(|piece| pieces.push(piece.to_vec()));
        assert!(pieces == expected, "reads of {size} bytes give other lines");
    }
}

/// Bytes from 0xF8 on stand for long runs of one letter, so that short inputs produce pieces of the maximal
/// length.
fn output_of(input: &[u8]) -> Vec<u8> {
    let mut output = Vec::new();
    for byte in input {
        match byte {
            0xf8.. if output.len() > 4 * LONGEST => {}
            0xf8.. => {
                let length = usize::from(byte - 0xf7) * LONGEST / 4 - usize::from(byte & 1);
                output.resize(output.len() + length, b'x');
            }
            _ => output.push(*byte),
        }
    }
    output
}

/// The expected lines of an output: without line ends, long lines in pieces, and no empty last piece.
fn lines_of(output: &[u8]) -> Vec<Vec<u8>> {
    let mut lines = Vec::new();
    for line in output.split_inclusive(|byte| *byte == b'\n') {
        let line = line.strip_suffix(b"\n").unwrap_or(line);
        let last = line.len().saturating_sub(1) / LONGEST * LONGEST;
        lines.extend(line[..last].chunks(LONGEST).map(<[u8]>::to_vec));
        let end = &line[last..];
        let end = end.strip_suffix(b"\r").unwrap_or(end);
        if last == 0 || !end.is_empty() {
            lines.push(end.to_vec());
        }
    }
    lines
}

#[allow(
    clippy::disallowed_methods,
    reason = "how long a text takes is part of what is checked"
)]
fn within_limit<T>(work: impl FnOnce() -> T) -> T {
    let begun = std::time::Instant::now();
    let done = work();
    let taken = begun.elapsed();
    assert!(taken < TIME_LIMIT, "it took {taken:?}");
    done
}
