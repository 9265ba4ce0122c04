//! The commands of a service for changes of its health, and the number of failures that ends the shim.

use super::Observer;
use super::checks::OwnChecks;
use super::health::HealthFacts;
use crate::laws::bounds::HANDLER_PAUSE;
use domain::Instant;
use domain::plan::Service;
use domain::process::Ending;
use std::num::NonZeroU32;

/// What the results of a service's checks call for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ReactionFacts {
    /// Whether there is a command for unhealthy and one for healthy.
    has_command: (bool, bool),
    /// Whether the last command was that for unhealthy, or would have been.
    pub handled: bool,
    /// Whether the service is unhealthy by its latest result.
    pub latest: bool,
    /// The command could not be started; the next attempt is between these two instants.
    pub retry: Option<(Instant, Instant)>,
    /// A result came so close to the end of the start period that the trace does not show whether it counts.
    pub unsure: bool,
    /// So many failures in a row end the shim.
    pub limit: Option<u32>,
    failures: u32,
}

impl ReactionFacts {
    pub fn new(service: &Service) -> Self {
        let actions = &service.actions;
        Self {
            has_command: (actions.on_unhealthy.is_some(), actions.on_healthy.is_some()),
            handled: false,
            latest: false,
            retry: None,
            unsure: false,
            limit: actions.exit_after.map(NonZeroU32::get),
            failures: 0,
        }
    }

    /// Whether a command has to run.
    pub fn is_due(&self) -> bool {
        self.latest != self.handled
    }

    /// Whether there is a command. Without one, nothing is remembered.
    fn has_any(&self) -> bool {
        self.has_command != (false, false)
    }

    /// A change for which there is no command needs none.
    fn skip(&mut self) {
        let (on_unhealthy, on_healthy) = self.has_command;
        let has = if self.latest { on_unhealthy } else { on_healthy };
        if !has {
            self.handled = self.latest;
        }
    }

    /// A result counts that does not end the shim.
    fn add(&mut self, unhealthy: Option<bool>) {
        if self.has_any() {
            self.latest = unhealthy.unwrap_or(self.latest);
        }
    }

    /// Maintenance begins.
    fn pause(&mut self) {
        (self.latest, self.retry) = (self.handled, None);
    }

    /// Maintenance ends.
    fn resume(&mut self) {
        self.failures = 0;
    }
}

/// The labels of the commands of a service for unhealthy and for healthy.
pub(crate) fn actions_of(id: &str) -> [String; 2] {
    let name = id.trim_end_matches("-host");
    [format!("{name}.onUnhealthy"), format!("{name}.onHealthy")]
}

impl Observer {
    /// Whether a command of this service runs.
    pub(crate) fn is_reacting(&self, id: &str) -> bool {
        actions_of(id).iter().any(|owner| self.is_running(owner))
    }

    /// A check of the service ended; this comes before its result is added to the health.
    pub(super) fn result_counts(&mut self, id: &str, label: &str, passed: bool) -> bool {
        let (now, turn) = (self.now, self.turn.began);
        let ignored = self.maintenance || self.is_stopping() || self.turn.fails.is_some();
        let Some(facts) = self.services.get_mut(id).filter(|facts| !facts.closing) else {
            return false;
        };
        let own = facts.own.as_ref().and_then(|own| own.checks.get(label));
        let health = own.map(|check| &check.health).or(facts.health.as_ref());
        let starting = health.map(|health| health.is_starting(turn, now));
        let starting = starting.unwrap_or(Some(false));
        facts.reactions.unsure |= facts.reactions.has_any() && starting.is_none();
        !ignored && (passed || starting == Some(false))
    }

    /// The result of a check counts.
    pub(super) fn react(&mut self, id: &str, label: &str, passed: bool) {
        let reacting = self.is_reacting(id);
        let Some(facts) = self.services.get_mut(id) else {
            return;
        };
        let limit = facts.reactions.limit;
        let own = facts.own.as_mut();
        let failures = match own.and_then(|own| own.checks.get_mut(label)) {
            Some(check) => &mut check.failures,
            None => &mut facts.reactions.failures,
        };
        if limit.is_some() {
            *failures = if passed { 0 } else { *failures + 1 };
        }
        let failures = *failures;
        let unhealthy = match &facts.health {
            None if facts.own.is_some() => facts.own.as_ref().and_then(OwnChecks::unhealthy),
            None => Some(!passed),
            Some(health) if health.is_healthy() => Some(false),
            Some(health) if health.is_unhealthy() => Some(true),
            Some(_) => None,
        };
        let own_unsure = facts.own.as_ref().is_some_and(OwnChecks::is_unsure);
        let unsure = own_unsure || facts.health.as_ref().is_some_and(HealthFacts::is_unsure);
        facts.reactions.unsure |= facts.reactions.has_any() && unsure;
        if limit == Some(failures) {
            self.turn.fails = Some((id.to_owned(), failures));
            self.failed_check = true;
            // The core gets a failed start after all effects of the step, and the stop begins then.
            if !self.turn.has_late_failure {
                self.begin_stop(true);
            }
            return;
        }
        facts.reactions.add(unhealthy);
        if !reacting {
            facts.reactions.skip();
        }
    }

    /// A command for a change to this health starts.
    pub(super) fn reaction_starts(&mut self, id: &str, unhealthy: bool) {
        if let Some(facts) = self.services.get_mut(id) {
            (facts.reactions.handled, facts.reactions.retry) = (unhealthy, None);
        }
    }

    /// A command for a change of health ended. One that could not be started still has to run, after a pause.
    pub(super) fn reaction_ended(&mut self, id: &str, ending: &Ending) {
        let (now, turn) = (self.now, self.turn.began);
        let reacting = self.is_reacting(id);
        let Some(facts) = self.services.get_mut(id) else {
            return;
        };
        let reactions = &mut facts.reactions;
        if matches!(ending, Ending::NotStarted(_)) {
            reactions.handled = !reactions.handled;
            reactions.retry = Some((turn + HANDLER_PAUSE.0, now + HANDLER_PAUSE.1));
        } else if !reacting && !self.maintenance {
            reactions.skip();
        }
    }

    /// Maintenance begins or ends.
    pub(super) fn reactions_in_maintenance(&mut self) {
        let maintenance = self.maintenance;
        for facts in self.services.values_mut().filter(|facts| !facts.closing) {
            match maintenance {
                true => facts.reactions.pause(),
                false => facts.reactions.resume(),
            }
        }
    }
}

domain::keyed!(ReactionFacts {
    has_command,
    handled,
    latest,
    retry,
    unsure,
    limit,
    failures
});
