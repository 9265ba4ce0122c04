//! Real configuration files: what the original 2.7.8 accepted is accepted and renders to the same bytes, and
//! what it refused is refused, except for the exceptions below, which are deliberate. `-check` reports no error in what the
//! original accepted.
//!
//! The files are other people's and not in this repository: `common/shared.rs` defines where they are.
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test may fail by panicking, starts the program and prints what it counted"
)]

#[path = "common/shared.rs"]
mod shared;

use containerpilot::adapters::programs::MachinePrograms;
use containerpilot::adapters::users::MachineUsers;
use containerpilot::config::{self, Examination, Readable, Source, Target};
use containerpilot::ports::Interfaces;
use domain::address::InterfaceAddress;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

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

/// How many checks report an address of Consul that is none, such as `:8500` where a variable is not set, or `[consul]`.
/// The original accepted these and sent its requests elsewhere or nowhere.
const WRONG_ADDRESSES: usize = 32;

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

/// The variables of each environment of each file.
type Environments = BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>>;

/// The files, and what the original made of them.
struct Corpus {
    folder: PathBuf,
    /// The generation and the path of each file.
    files: BTreeMap<String, (String, String)>,
    environments: Environments,
}

impl Corpus {
    fn open() -> Option<Self> {
        let Some(folder) = shared::shared("corpus") else {
            println!("corpus: skipped, as asked for");
            return None;
        };
        let files = table(&folder.join("manifest.tsv"));
        Some(Self {
            files: files.iter().map(|line| manifest(line)).collect(),
            environments: serde_json::from_str(&read(&folder.join("environments.json"))).unwrap(),
            folder,
        })
    }

    /// The verdicts about files of the format that this program reads.
    fn verdicts(&self) -> Vec<Verdict> {
        let all = table(&self.folder.join("oracle.tsv"));
        let verdicts = all.iter().filter_map(|line| verdict(line));
        verdicts
            .filter(|verdict| self.files[&verdict.id].0 != "v3")
            .collect()
    }

    fn path(&self, verdict: &Verdict) -> PathBuf {
        self.folder.join(&self.files[&verdict.id].1)
    }

    fn variables(&self, verdict: &Verdict) -> &BTreeMap<String, String> {
        &self.environments[&verdict.id][&verdict.environment]
    }
}

fn table(file: &Path) -> Vec<String> {
    read(file).lines().skip(1).map(str::to_owned).collect()
}

#[test]
fn the_original_s_verdicts_and_renderings() {
    let Some(corpus) = Corpus::open() else {
        return;
    };
    let mut tally = Tally::default();
    for verdict in corpus.verdicts() {
        let source = read(&corpus.path(&verdict));
        let variables = corpus.variables(&verdict);
        tally.compare_verdict(&verdict, &load(&source, variables));
        if let Some(original) = rendered(&corpus.folder, &verdict, &source) {
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

/// On this machine, which does not have the interfaces of the files, and without their programs.
#[test]
fn a_check_reports_no_error_in_a_file_that_the_original_accepted() {
    let Some(corpus) = Corpus::open() else {
        return;
    };
    let accepted = corpus.verdicts().into_iter().filter(|verdict| {
        let decided = EXCEPTIONS.iter().any(|(id, _)| *id == verdict.id);
        verdict.status == "ok" && !decided
    });
    let (mut checked, mut addresses, mut wrong) = (0, 0, Vec::new());
    let mut warnings: BTreeMap<String, usize> = BTreeMap::new();
    for verdict in accepted {
        let result = check(&corpus.path(&verdict), corpus.variables(&verdict));
        checked += 1;
        let explained = result["explanation"]
            .as_str()
            .is_some_and(|text| !text.is_empty());
        if has_wrong_address(&result) {
            addresses += 1;
        } else if result["valid"] != true || result["errors"] != json!([]) || !explained {
            wrong.push(format!("{verdict}: {result}"));
        }
        for warning in result["warnings"].as_array().unwrap() {
            *warnings.entry(kind(warning)).or_default() += 1;
        }
    }
    let number: usize = warnings.values().sum();
    println!("corpus: {checked} checks, {addresses} of them with a wrong address, and {number} warnings:");
    for (kind, number) in &warnings {
        println!("{number:>6} {kind}");
    }
    assert_eq!(wrong, [""; 0], "{} of {checked} checks", wrong.len());
    assert_eq!(addresses, WRONG_ADDRESSES);
    assert!(checked > 400, "the corpus is whole: {checked}");
}

/// What `-check` prints about a file.
fn check(file: &Path, variables: &BTreeMap<String, String>) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_containerpilot"))
        .args(["-check", "-explain", "-format", "json", "-interfaces", "optional"])
        .args(["-config", &format!("file://{}", file.display())])
        .env_clear()
        .envs(variables)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}: {output:?}", file.display()))
}

/// Whether the only error is that the address of Consul is none.
fn has_wrong_address(result: &Value) -> bool {
    let errors = result["errors"].as_array().unwrap();
    let is_address = |error: &Value| {
        let message = error["message"].as_str().unwrap();
        message.contains("' is not an address of Consul: ")
    };
    matches!(errors.as_slice(), [error] if is_address(error))
}

/// The message of a warning without its names and numbers.
fn kind(warning: &Value) -> String {
    let message = warning["message"].as_str().unwrap();
    let words = message.split(' ').filter(|word| {
        word.chars()
            .all(|character| character.is_ascii_lowercase() || character == ',')
    });
    words.collect::<Vec<_>>().join(" ")
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
        has_etcd: true,
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
