//! The properties that must hold in every run: each law is a function whose doc comment states the property.
//!
//! A law reads one entry of the trace and the state that the [`Observer`] has computed from all entries
//! before it. It never reads the state of the core. The list is closed: all [`LAWS`] are checked after every
//! entry, in simulated runs and in the exhaustive exploration.

pub(crate) mod bounds;
mod catalogue;
mod checks;
mod children;
mod control;
#[cfg(test)]
mod corrupted_traces;
mod emergency;
mod observer;
mod order;
mod probes;
mod reactions;
mod reload;
mod schedule;
mod templates;
mod time;
mod trees;
mod turn;

use crate::trace::TraceEntry;
pub use observer::Observer;
#[cfg(test)]
pub(crate) use observer::OnceRun;
pub(crate) use observer::{Run, Work};
use std::fmt;

impl Observer {
    /// Checks every law for the entry, and adds the entry.
    ///
    /// # Errors
    /// The first law that it violates.
    pub fn see(&mut self, entry: &TraceEntry) -> Result<(), Violation> {
        self.begin_turn(entry);
        for (law, holds) in self.laws() {
            holds(self, entry).map_err(|how| Violation { law, how })?;
        }
        self.add(entry);
        Ok(())
    }

    /// The laws that apply now.
    fn laws(&self) -> &'static [(&'static str, Law)] {
        if self.emergency.is_some() {
            EMERGENCY_LAWS
        } else {
            LAWS
        }
    }
}

/// A violated law.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// The law's name.
    pub law: &'static str,
    /// How the entry violates it.
    pub how: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.law.replace('_', " "), self.how)
    }
}

/// Whether a law holds; otherwise how it is violated.
pub(crate) type Verdict = Result<(), String>;

/// One law.
pub(crate) type Law = fn(&Observer, &TraceEntry) -> Verdict;

macro_rules! laws {
    ($($module:ident :: $law:ident),* $(,)?) => {
        &[$((stringify!($law), $module::$law)),*]
    };
}

/// The laws of a run, by name.
pub const LAWS: &[(&str, Law)] = laws![
    order::nothing_follows_the_exit,
    order::nothing_starts_before_pre_start_ended,
    order::after_a_cancelled_start_nothing_starts,
    order::after_the_stop_began_only_hooks_and_coprocesses_start,
    order::periodic_runs_are_killed_when_the_stop_begins,
    order::pre_stop_runs_once_after_the_deregistrations,
    order::the_drain_is_not_cut_short,
    order::the_drain_is_not_extended,
    order::the_application_is_stopped_after_the_deregistrations,
    order::the_application_is_killed_only_after_its_grace,
    order::post_stop_runs_once_after_the_application_has_ended,
    order::coprocesses_are_stopped_last,
    order::the_stop_continues_without_delay,
    order::the_exit_leaves_no_child,
    order::the_exit_code_is_correct,
    order::without_faults_a_stop_ends_within_its_time_limits,
    children::one_run_of_each_job,
    probes::one_probe_of_each_check,
    probes::only_the_last_probe_is_ended,
    probes::probes_end_with_what_needs_them,
    children::signals_go_to_running_children,
    children::only_permitted_children_get_a_stop_signal,
    children::what_is_asked_to_stop_can_see_it,
    children::only_permitted_children_get_sigkill,
    children::a_run_beyond_its_time_limit_is_killed,
    children::a_run_that_ended_with_0_did_not_time_out,
    children::kills_reach_the_tree,
    children::other_signals_are_passed_on_once,
    children::the_shim_suspends_itself_with_the_application,
    children::coprocesses_restart_as_often_as_they_may,
    children::there_is_a_pause_after_a_coprocess_that_ends_at_once,
    children::pids_are_exported_before_anything_else_starts,
    children::the_application_and_its_hooks_run_once,
    trees::what_outlives_the_application_is_asked_to_stop,
    trees::what_is_left_is_asked_to_stop_last,
    trees::what_is_left_ends_in_time,
    trees::the_exit_waits_for_what_is_left,
    catalogue::one_request_of_each_requester,
    catalogue::requests_are_bounded,
    catalogue::requests_stay_within_the_budget,
    catalogue::nothing_is_sent_in_a_pause,
    catalogue::failures_have_an_answer_or_waited,
    catalogue::blocking_queries_leave_places_for_short_ones,
    catalogue::only_requests_in_flight_are_cancelled,
    catalogue::no_heartbeat_without_a_passing_check,
    catalogue::no_heartbeat_of_an_unhealthy_service,
    catalogue::critical_only_after_so_many_failures,
    catalogue::an_unhealthy_service_is_reported_at_once,
    catalogue::a_passing_check_is_a_heartbeat,
    checks::no_heartbeat_while_a_check_fails_or_is_overdue,
    checks::critical_only_while_a_check_says_so,
    checks::requests_follow_a_change_or_a_tick,
    checks::no_tick_of_a_heartbeat_is_omitted,
    checks::each_check_starts_at_its_own_ticks,
    checks::no_tick_of_one_of_several_checks_is_omitted,
    catalogue::only_an_unregistered_service_is_registered,
    catalogue::only_a_service_that_is_to_be_absent_is_deregistered,
    catalogue::a_service_that_is_to_be_absent_is_deregistered,
    catalogue::in_maintenance_nothing_starts,
    catalogue::a_failed_answer_is_no_change,
    catalogue::there_is_a_pause_after_a_handler_that_cannot_start,
    catalogue::a_handler_waits_for_its_quiet_time,
    catalogue::a_handler_runs_with_enough_instances,
    catalogue::a_handler_gets_what_has_changed,
    catalogue::after_a_change_the_handler_runs,
    catalogue::another_instance_is_reported_only_if_there_is_one,
    catalogue::another_instance_is_reported,
    catalogue::a_healthy_entry_never_expires,
    catalogue::a_deregistered_service_stays_absent,
    reactions::a_command_starts_only_after_a_change_of_health,
    reactions::commands_of_a_service_run_one_at_a_time,
    reactions::after_a_change_of_health_the_command_runs,
    reactions::there_is_a_pause_after_a_command_that_cannot_start,
    reactions::a_command_has_the_reason_in_its_environment,
    reactions::a_check_that_fails_too_often_stops_the_shim,
    time::deadlines_lie_in_the_future,
    time::the_driver_wakes_at_every_time_limit,
    time::tickets_are_never_used_again,
    time::checks_start_at_their_ticks,
    time::no_tick_of_a_check_is_omitted,
    time::tasks_and_sensors_start_at_their_ticks,
    time::no_tick_of_a_task_or_sensor_is_omitted,
    time::there_is_a_pause_between_queries,
    time::every_backend_is_queried_once_a_poll,
    control::every_request_is_answered_once,
    control::every_answer_is_true,
    control::answers_come_without_delay,
    templates::one_rendering_or_writing_of_each_template,
    templates::only_what_was_rendered_is_written,
    templates::the_same_bytes_are_not_written_twice,
    templates::a_command_runs_only_after_its_file_has_changed,
    templates::a_changed_file_runs_its_command,
    templates::the_start_waits_for_templates_as_long_as_said,
    templates::every_lasting_change_is_written,
    reload::whatever_starts_is_of_the_plan_in_force,
    reload::a_sighup_reads_the_configuration,
    reload::the_configuration_is_read_once_at_a_time,
    reload::a_refused_configuration_changes_nothing,
    reload::a_reload_waits_for_what_it_removes,
    reload::a_reload_ends_without_delay,
    reload::the_units_are_those_of_the_plan,
    reload::without_faults_the_expected_state_is_reached,
];

/// The laws after a fault of the program itself.
pub const EMERGENCY_LAWS: &[(&str, Law)] = laws![
    order::nothing_follows_the_exit,
    children::kills_reach_the_tree,
    emergency::an_emergency_starts_nothing,
    emergency::an_emergency_sends_sigterm_to_all_children,
    emergency::an_emergency_kills_after_the_grace,
    emergency::an_emergency_deregisters_every_instance,
    emergency::an_emergency_waits_for_children_and_deregistrations,
    emergency::an_emergency_ends_in_time,
    emergency::an_emergency_ends_with_70,
    emergency::an_instance_deregistered_in_an_emergency_stays_absent,
];

/// Returns whether the law holds; if not, with the description `how`.
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
            include_str!("laws/probes.rs"),
            include_str!("laws/control.rs"),
            include_str!("laws/catalogue.rs"),
            include_str!("laws/checks.rs"),
            include_str!("laws/reactions.rs"),
            include_str!("laws/time.rs"),
            include_str!("laws/reload.rs"),
            include_str!("laws/templates.rs"),
            include_str!("laws/trees.rs"),
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
