//! Explores small worlds exhaustively in every run of the tests.
//!
//! `cargo explore` prints what a failing exploration has found.

use sim::explore::explore;
use sim::scopes;

#[test]
fn no_state_of_the_small_worlds_breaks_a_law_and_every_stop_ends() {
    for (name, scope) in scopes::all() {
        if scopes::QUICK.contains(&name) {
            let explored = explore(&scope);
            assert!(explored.violation.is_none(), "`cargo explore {name}` shows it");
            assert!(
                explored.complete,
                "{name}: {} states are not all",
                explored.states
            );
        }
    }
}
