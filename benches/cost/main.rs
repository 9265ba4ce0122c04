//! What the shim costs: `scripts/bench` runs this, and docs/cost.md explains every figure.
//!
//! `cargo bench --bench cost -- PROGRAM FILE [NAME...]` measures a built program and appends each figure of each run to a
//! file, as `NAME<tab>FIGURE<tab>UNIT<tab>VALUE`. The names choose what is measured; without one, all of it. Nothing else
//! should run meanwhile. Fails only if the program does not do what is measured. With `--table FILE` instead it prints the
//! medians of such a file, and draws a picture of them beside it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    clippy::expect_used,
    clippy::panic,
    reason = "a measurement starts programs, reads the clock, prints what it found and may fail by panicking"
)]

#[allow(dead_code, reason = "the tests need more")]
#[path = "../../tests/program/agent.rs"]
mod agent;
#[allow(dead_code, reason = "the tests need more")]
#[path = "../../tests/program/http.rs"]
mod http;
#[allow(
    dead_code,
    unused_imports,
    reason = "the tests need more, and a benchmark runs none"
)]
#[path = "../../tests/common/loopback.rs"]
mod loopback;
#[path = "../../tests/program/sending.rs"]
mod sending;
#[path = "../common/shim.rs"]
mod shim;
#[path = "../../tests/program/waiting.rs"]
mod waiting;

mod idle;
mod moments;
mod punctual;
mod report;
mod scenario;
mod start;
mod table;

use report::Report;
use std::path::PathBuf;

type Measurement = (&'static str, fn(&mut Report));

/// What can be measured, by name.
const MEASUREMENTS: &[Measurement] = &[
    ("size", start::size),
    ("start", start::start),
    ("stop", moments::stop),
    ("change", moments::change),
    ("reload", moments::reload),
    ("1x1", idle::one),
    ("10x10", idle::ten),
    ("wake-ups", idle::wake_ups),
    ("300x300", punctual::three_hundred),
    ("1000x1000", punctual::thousand),
];

fn main() {
    let mut words = std::env::args().skip(1).filter(|word| word != "--bench");
    let (Some(program), Some(file)) = (words.next(), words.next()) else {
        panic!("usage: cargo bench --bench cost -- PROGRAM FILE [NAME...], or --table FILE");
    };
    if program == "--table" {
        return table::print(&file);
    }
    let chosen: Vec<String> = words.collect();
    for word in &chosen {
        assert!(
            MEASUREMENTS.iter().any(|(name, _)| name == word),
            "there is no measurement {word}"
        );
    }
    let program = PathBuf::from(program)
        .canonicalize()
        .expect("the program is there");
    let mut report = Report::append(program, &file);
    for (name, measure) in MEASUREMENTS {
        if chosen.is_empty() || chosen.iter().any(|word| word == name) {
            report.measure(name, *measure);
        }
    }
}
