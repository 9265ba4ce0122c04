//! Explores small worlds in every run of the tests, up to a number of states.
//!
//! `cargo explore` prints what a failing exploration has found.

use sim::explore::explore;
use sim::scopes;

/// How many states of each world are visited.
const MOST: usize = 60_000;

#[test]
fn no_state_of_the_small_worlds_breaks_a_law_and_every_stop_ends() {
    for (name, mut scope) in scopes::all() {
        if scopes::QUICK.contains(&name) {
            // Some worlds have more states than fit into memory since templates and reactions are both there.
            scope.most = MOST;
            let explored = explore(&scope);
            assert!(explored.violation.is_none(), "`cargo explore {name}` shows it");
        }
    }
}
