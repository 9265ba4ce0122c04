//! Real configuration files: what the original 2.7.8 accepted is accepted and renders to the same bytes, and
//! what it refused is refused, except for the exceptions below, which are deliberate.
//!
//! The files are other people's and not in this repository: `common/shared.rs` defines where they are.
#![allow(
    clippy::disallowed_macros,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking, and prints what it counted"
)]

#[path = "common/shared.rs"]
mod shared;

use containerpilot::adapters::programs::MachinePrograms;
use containerpilot::adapters::users::MachineUsers;
use containerpilot::config::{self, Examination, Readable, Source, Target};
use containerpilot::ports::Interfaces;
use domain::address::InterfaceAddress;
use std::collections::BTreeMap;
use std::io;
use std::path::Path;

/// The release whose verdicts are compared.
const ORIGINAL: &str = "2.7.8";

/// Verdicts that differ on purpose: the file, and the row of docs/development/behaviour.md that decides it.
const EXCEPTIONS: &[(&str, &str)] = &[
    // The original checked these values only when it opened its log, and then did not start.
    ("032", "LG-6: unknown log format"),
    ("034", "LG-6: unknown log format"),
    ("035", "LG-6: unknown log format"),
    ("346", "LG-6: unknown log level"),
    ("348", "LG-6: unknown log level"),
    ("349", "LG-6: unknown log level"),
    ("350", "LG-6: unknown log level"),
    ("356", "LG-6: unknown log level"),
    ("048", "CFG-8: an empty preStart is none"),
    ("497", "CFG-8: an empty preStart is none"),
    ("262", "CFG-16: two services of one name"),
    ("594", "CFG-16: two services of one name"),
    ("333", "CFG-20: an empty address"),
    ("334", "CFG-20: an empty address"),
    ("390", "CFG-20: an empty address"),
    ("391", "CFG-20: an empty address"),
    ("440", "CFG-20: an empty address"),
    ("442", "CFG-20: an empty address"),
    ("443", "CFG-20: an empty address"),
];

/// The interfaces the original ran with.
struct OriginalsMachine;

impl Interfaces for OriginalsMachine {
    fn addresses(&self) -> io::Result<Vec<InterfaceAddress>> {
        let names = [
            "eth0", "eth1", "eth2", "net0", "net1", "net2", "en0", "enp0s8", "docker0",
        ];
        let address = |(number, name): (u8, &str)| InterfaceAddress {
            interface: name.into(),
            address: [10, 0, number, 1].into(),
        };
        let loopback = ["lo", "lo0"].map(|name| InterfaceAddress {
            interface: name.into(),
            address: [127, 0, 0, 1].into(),
        });
        Ok((0..).zip(names).map(address).chain(loopback).collect())
    }
}

/// One run of the original.
struct Verdict {
    id: String,
    environment: String,
    status: String,
    rendered: String,
}

#[test]
fn the_original_s_verdicts_and_renderings() {
    let Some(corpus) = shared::shared("corpus") else {
        println!("corpus: skipped, as asked for");
        return;
    };
    let table = |name: &str| {
        read(&corpus.join(name))
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let files: BTreeMap<String, (String, String)> =
        table("manifest.tsv").iter().map(|line| manifest(line)).collect();
    let environments: BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>> =
        serde_json::from_str(&read(&corpus.join("environments.json"))).unwrap();
    let oracle = table("oracle.tsv");
    let verdicts = oracle
        .iter()
        .filter_map(|line| verdict(line))
        .filter(|verdict| files[&verdict.id].0 != "v3");

    let mut tally = Tally::default();
    for verdict in verdicts {
        let source = read(&corpus.join(&files[&verdict.id].1));
        let variables = &environments[&verdict.id][&verdict.environment];
        tally.compare_verdict(&verdict, &load(&source, variables));
        if let Some(original) = rendered(&corpus, &verdict, &source) {
            let ours = config::render(&Source::Inline(source), Readable::Files, variables);
            tally.compare_rendering(&verdict, &original, &ours);
        }
    }
    let Tally {
        verdicts: [same, all],
        renderings: [alike, rendered],
        ..
    } = tally;
    println!("corpus: {same} of {all} verdicts and {alike} of {rendered} renderings are those of {ORIGINAL}");
    assert!(all > 600, "the corpus is whole: {all}");
    assert_eq!(tally.failures, [""; 0], "{} differences", tally.failures.len());
    for (id, row) in EXCEPTIONS {
        assert!(
            tally.exceptions.contains(&id.to_string()),
            "{id} ({row}) is no exception any more"
        );
    }
}

/// How many results are the same, and how many were compared.
#[derive(Default)]
struct Tally {
    verdicts: [usize; 2],
    renderings: [usize; 2],
    exceptions: Vec<String>,
    failures: Vec<String>,
}

impl Tally {
    fn compare_verdict(&mut self, verdict: &Verdict, ours: &Result<(), String>) {
        self.verdicts[1] += 1;
        if ours.is_ok() == (verdict.status == "ok") {
            self.verdicts[0] += 1;
        } else if EXCEPTIONS.iter().any(|(id, _)| *id == verdict.id) {
            self.exceptions.push(verdict.id.clone());
        } else {
            self.failures.push(format!(
                "{verdict}: the original has {:?}, this program has {ours:?}",
                verdict.status
            ));
        }
    }

    fn compare_rendering(&mut self, verdict: &Verdict, original: &str, ours: &Result<String, String>) {
        self.renderings[1] += 1;
        if ours.as_deref() == Ok(original) {
            self.renderings[0] += 1;
        } else {
            self.failures
                .push(format!("{verdict}: renders otherwise: {ours:?}"));
        }
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} in environment {}", self.id, self.environment)
    }
}

fn load(source: &str, variables: &BTreeMap<String, String>) -> Result<(), String> {
    let target = Target {
        variables: variables.clone(),
        hostname: Some("box1".into()),
        interfaces: &OriginalsMachine,
        users: &MachineUsers::default(),
        application: &[],
        // What a check looks at besides may add warnings and no errors.
        examination: Some(Examination {
            programs: &MachinePrograms,
            has_other_interfaces: false,
        }),
    };
    config::load(&Source::Inline(source.into()), Readable::Files, &target).map(drop)
}

/// What the original rendered: the source itself if it changed nothing, `None` if it refused.
fn rendered(corpus: &Path, verdict: &Verdict, source: &str) -> Option<String> {
    match verdict.rendered.as_str() {
        "(same as source)" => Some(source.to_owned()),
        "" => None,
        file => Some(read(&corpus.join(file))),
    }
}

fn manifest(line: &str) -> (String, (String, String)) {
    let fields: Vec<&str> = line.split('\t').collect();
    (fields[0].into(), (fields[1].into(), fields[4].into()))
}

fn verdict(line: &str) -> Option<Verdict> {
    let fields: Vec<&str> = line.split('\t').collect();
    let [id, version, environment, status, rendered, ..] = fields[..] else {
        panic!("{line}")
    };
    (version == ORIGINAL).then(|| Verdict {
        id: id.into(),
        environment: environment.into(),
        status: status.into(),
        rendered: rendered.into(),
    })
}

fn read(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
