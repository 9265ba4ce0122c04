//! What must be true of every run: each law is a function whose doc comment is its sentence.
//!
//! A law reads one entry of the trace and what the [`Observer`] knows from all entries before it. It never
//! reads the state of the core. The list is closed: [`LAWS`] are checked after everything that happens, in simulated
//! runs and in the exhaustive exploration alike.

pub(crate) mod bounds;
mod catalogue;
mod children;
#[cfg(test)]
mod corrupted_traces;
mod emergency;
mod observer;
mod order;
mod reload;
mod schedule;
mod time;
mod turn;

use crate::trace::Entry;
pub use observer::Observer;
pub(crate) use observer::Run;
use std::fmt;

impl Observer {
    /// Checks every law on the entry, and remembers it.
    ///
    /// # Errors
    /// The first law that it violates.
    pub fn see(&mut self, entry: &Entry) -> Result<(), Violation> {
        self.turns_to(entry);
        for (law, holds) in self.laws() {
            holds(self, entry).map_err(|how| Violation { law, how })?;
        }
        self.remembers(entry);
        Ok(())
    }

    /// The laws that hold now.
    fn laws(&self) -> &'static [(&'static str, Law)] {
        if self.emergency.is_some() {
            EMERGENCY_LAWS
        } else {
            LAWS
        }
    }
}

/// A law and what broke it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The law's name.
    pub law: &'static str,
    /// What was seen.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law.replace('_', " "), self.how)
    }
}

/// Whether a law holds.
pub(crate) type Verdict = Result<(), String>;

/// One law.
pub(crate) type Law = fn(&Observer, &Entry) -> Verdict;

macro_rules! laws {
    ($($module:ident :: $law:ident),* $(,)?) => {
        &[$((stringify!($law), $module::$law)),*]
    };
}

/// The laws of a life, by name.
pub const LAWS: &[(&str, Law)] = laws![
    order::nothing_follows_the_exit,
    order::nothing_starts_before_pre_start_ended,
    order::after_a_start_was_called_off_nothing_begins,
    order::after_the_stop_began_nothing_begins_but_what_stops,
    order::what_runs_periodically_is_killed_as_the_stop_begins,
    order::pre_stop_runs_once_after_the_services_left,
    order::the_application_is_stopped_after_the_services_left,
    order::the_application_is_killed_only_after_its_grace,
    order::post_stop_runs_once_after_the_application_is_gone,
    order::coprocesses_are_stopped_last,
    order::the_stop_goes_on,
    order::the_exit_leaves_no_child,
    order::the_exit_code_tells_the_truth,
    order::once_faults_stop_a_stop_ends_in_its_bounds,
    children::one_run_of_each_job,
    children::signals_go_to_children_that_are_there,
    children::only_what_may_be_is_asked_to_stop,
    children::only_what_may_be_is_killed,
    children::what_takes_too_long_is_killed,
    children::what_ended_with_0_did_not_time_out,
    children::kills_reach_the_group,
    children::other_signals_are_passed_on_once,
    children::coprocesses_restart_as_often_as_they_may,
    children::coprocesses_that_end_at_once_are_spaced_out,
    children::pids_are_exported_before_anything_else_starts,
    children::the_application_and_its_hooks_run_once,
    catalogue::one_request_of_each_requester,
    catalogue::requests_are_bounded,
    catalogue::requests_stay_within_the_budget,
    catalogue::blocking_queries_leave_room_for_others,
    catalogue::forgotten_is_only_what_was_asked,
    catalogue::no_heartbeat_without_a_passing_check,
    catalogue::a_passing_check_is_a_heartbeat,
    catalogue::only_what_is_not_known_is_registered,
    catalogue::only_what_has_to_leave_is_deregistered,
    catalogue::what_has_to_leave_asks_for_it,
    catalogue::maintenance_is_quiet,
    catalogue::a_failed_answer_is_no_change,
    catalogue::handlers_that_cannot_start_are_spaced_out,
    catalogue::a_change_is_reacted_to,
    catalogue::another_instance_is_reported_only_if_there_is_one,
    catalogue::another_instance_is_reported,
    catalogue::a_healthy_entry_never_expires,
    catalogue::a_service_that_left_stays_away,
    time::deadlines_lie_in_the_future,
    time::no_bound_is_slept_through,
    time::tickets_are_never_used_again,
    time::checks_keep_their_beat,
    time::checks_are_not_left_out,
    time::tasks_and_sensors_keep_their_beat,
    time::tasks_and_sensors_are_not_left_out,
    time::backends_are_not_asked_in_a_hurry,
    time::backends_are_asked_at_least_once_a_poll,
    reload::what_begins_is_of_the_plan_in_force,
    reload::a_hangup_reads_the_configuration,
    reload::the_configuration_is_read_once_at_a_time,
    reload::a_refused_configuration_changes_nothing,
    reload::a_reload_waits_for_what_has_to_go,
    reload::a_reload_ends,
    reload::the_units_are_those_of_the_plan,
    reload::once_faults_stop_all_is_well,
];

/// The laws after a fault of the program itself.
pub const EMERGENCY_LAWS: &[(&str, Law)] = laws![
    order::nothing_follows_the_exit,
    children::kills_reach_the_group,
    emergency::an_emergency_begins_nothing,
    emergency::an_emergency_sends_sigterm_to_all_children,
    emergency::an_emergency_kills_after_the_grace,
    emergency::an_emergency_deregisters_what_stands,
    emergency::an_emergency_waits_for_what_it_asked,
    emergency::an_emergency_ends_in_time,
    emergency::an_emergency_ends_with_70,
    emergency::what_an_emergency_deregistered_stays_away,
];

/// The law holds, or the words say what was seen.
pub(crate) fn hold(holds: bool, how: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { Err(how()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_law_has_a_name_of_its_own() {
        let names: BTreeSet<&str> = LAWS.iter().map(|(name, _)| *name).collect();
        assert_eq!(names.len(), LAWS.len());
    }

    #[test]
    fn every_law_has_a_doc_comment() {
        let sources = [
            include_str!("laws/order.rs"),
            include_str!("laws/children.rs"),
            include_str!("laws/catalogue.rs"),
            include_str!("laws/time.rs"),
            include_str!("laws/reload.rs"),
            include_str!("laws/emergency.rs"),
        ];
        for (law, _) in LAWS.iter().chain(EMERGENCY_LAWS) {
            let opening = format!("pub(super) fn {law}(");
            let source = sources.iter().find(|source| source.contains(&opening));
            let before = source.and_then(|source| source.split(&opening).next());
            let last = before.and_then(|before| before.trim_end().lines().last());
            assert!(last.is_some_and(|line| line.starts_with("/// ")), "{law}");
        }
    }
}
