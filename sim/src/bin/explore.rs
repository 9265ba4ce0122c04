//! `cargo explore`: explores small worlds exhaustively, and prints the shortest path to a violated law.
//!
//! ```text
//! cargo explore                   the worlds that are explored in seconds
//! cargo explore whole             this world
//! cargo explore large 1000000     this world, up to this number of states
//! ```
#![allow(
    clippy::disallowed_macros,
    clippy::disallowed_methods,
    reason = "a tool for a terminal, and no part of the shim"
)]

use sim::explore::{Scope, explore};
use sim::scopes;
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    let name = std::env::args().nth(1);
    let most = std::env::args().nth(2).and_then(|most| most.parse().ok());
    let quick = |known: &str| scopes::QUICK.contains(&known);
    let wanted = |known: &str| name.as_ref().map_or_else(|| quick(known), |name| name == known);
    let mut well = true;
    for (known, mut scope) in scopes::all() {
        if wanted(known) {
            scope.most = most.unwrap_or(scope.most);
            well &= print_result(known, &scope);
        }
    }
    if well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn print_result(name: &str, scope: &Scope) -> bool {
    let began = Instant::now();
    let explored = explore(scope);
    let complete = if explored.complete { "all" } else { "not all" };
    println!(
        "{name}: {} states ({complete} there are), {} transitions, {} of them to the exit, {} steps deep, in {:.1} s",
        explored.states,
        explored.transitions,
        explored.exits,
        explored.depth,
        began.elapsed().as_secs_f64()
    );
    let Some((violation, trace)) = explored.violation else {
        return true;
    };
    for entry in trace.iter().filter(|entry| entry.is_printed()) {
        println!("{entry}");
    }
    println!("\nviolated: {violation}");
    false
}
