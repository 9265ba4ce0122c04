//! One job's runs: when its process is started, how long it may run, whether it is started again, how it is
//! stopped.
//!
//! Every child process of the shim is one run of a job: the application, hooks, health checks, handlers,
//! tasks and coprocesses differ only in the attributes of their [`plan::Job`]. There is one run at a time.
//!
//! A run ends when its process is reaped, not when its output ends (EX-9), and nothing is killed that is not
//! known to be running (EX-14).

use crate::plan::{self, Restarts, Stop, Trigger};
use crate::state_key::{Keyed, StateKey, write_variant};
use crate::time::{Backoff, Cadence, Duration, Instant, Jitter};

/// A run that took less time than this ended "at once": pauses separate its restarts (EX-23).
const AT_ONCE: Duration = Duration::from_secs(1);
/// The first step of waiting before such a restart, and the last.
const RESTART_DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// The runs of one job.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobState {
    state: State,
    cadence: Option<Cadence>,
    paused: bool,
    time_limit: Option<Duration>,
    restarts: Restarts,
    stop: Stop,
    ended_at_once: u32,
    delays: Backoff,
}

/// What the caller does with the job's process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Action {
    /// Start one.
    Start,
    /// Send it the stop signal.
    Terminate,
    /// Send the stop signal to the processes that outlived it.
    TerminateRest,
    /// Kill its tree.
    Kill,
    /// Kill its tree, because it took too long.
    Expire,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum State {
    /// No process; the trigger starts one.
    Idle,
    Running {
        since: Instant,
        limit: Option<Instant>,
    },
    /// It got the stop signal.
    Stopping {
        kill_at: Instant,
    },
    /// It ended when it was asked to stop, and processes that it started are left. When they are killed, unless the
    /// lifecycle decides that.
    Outlived {
        kill_at: Option<Instant>,
    },
    /// Killed; `last` if nothing is to follow.
    Killed {
        last: bool,
    },
    /// No process; one is started again then.
    RestartDelayed {
        until: Instant,
    },
    /// No process, and there will be no other.
    Over,
}

impl JobState {
    /// A job that has not run yet. Its ticks, if it has any, count from `now`.
    pub fn new(now: Instant, job: &plan::Job, jitter: Jitter) -> Self {
        let cadence = match job.trigger {
            Trigger::Every(period) => Some(Cadence::new(now, period)),
            Trigger::Lifecycle | Trigger::OnDemand => None,
        };
        Self {
            state: State::Idle,
            cadence,
            paused: false,
            time_limit: job.time_limit,
            restarts: job.restarts,
            stop: job.stop,
            ended_at_once: 0,
            delays: Backoff::new(RESTART_DELAYS.0, RESTART_DELAYS.1, jitter),
        }
    }

    /// Whether a process of this job is there, or one that outlived it.
    pub fn is_running(&self) -> bool {
        matches!(
            self.state,
            State::Running { .. } | State::Stopping { .. } | State::Outlived { .. } | State::Killed { .. }
        )
    }

    /// Whether it is to stop for good and its process has not ended yet.
    pub fn is_stopping(&self) -> bool {
        matches!(
            self.state,
            State::Stopping { .. } | State::Outlived { .. } | State::Killed { last: true }
        )
    }

    /// Whether it was stopped or killed for good, whether or not its process has ended.
    pub fn is_closing(&self) -> bool {
        self.is_stopping() || self.state == State::Over
    }

    /// Whether its process was killed because it took too long.
    pub fn has_expired(&self) -> bool {
        self.state == State::Killed { last: false }
    }

    /// When it is started again, if it waits for that because it ended at once.
    pub fn restart_at(&self) -> Option<Instant> {
        match self.state {
            State::RestartDelayed { until } => Some(until),
            _ => None,
        }
    }

    /// When [`Self::on_time`] returns an action, unless something else happens first.
    pub fn deadline(&self) -> Option<Instant> {
        match self.state {
            State::Idle if self.paused => None,
            State::Idle => self.cadence.as_ref().map(Cadence::next),
            State::Running { limit, .. } => limit,
            State::Stopping { kill_at } => Some(kill_at),
            State::Outlived { kill_at } => kill_at,
            State::RestartDelayed { until } => Some(until),
            State::Killed { .. } | State::Over => None,
        }
    }

    /// Time passed.
    pub fn on_time(&mut self, now: Instant) -> Option<Action> {
        self.deadline().filter(|deadline| *deadline <= now)?;
        match self.state {
            State::Running { .. } => Some(self.kill(false, Action::Expire)),
            State::Stopping { .. } | State::Outlived { .. } => Some(self.kill(true, Action::Kill)),
            _ => self.start(now),
        }
    }

    /// The machine was paused: time limits start again, and missed ticks collapse into one, or into none while a process
    /// exists.
    pub fn after_standstill(&mut self, now: Instant) {
        let busy = self.is_running();
        match &mut self.state {
            State::Running { limit, .. } => *limit = self.time_limit.map(|limit| now + limit),
            State::Stopping { kill_at }
            | State::Outlived {
                kill_at: Some(kill_at),
            } => {
                *kill_at = now + self.stop.grace;
            }
            State::Outlived { kill_at: None }
            | State::Idle
            | State::Killed { .. }
            | State::RestartDelayed { .. }
            | State::Over => {}
        }
        if let Some(cadence) = &mut self.cadence {
            cadence.after_standstill(now, busy);
        }
    }

    /// Starts a run, unless one is in progress or the job is over.
    pub fn start(&mut self, now: Instant) -> Option<Action> {
        if let State::Idle | State::RestartDelayed { .. } = self.state {
            let limit = self.time_limit.map(|limit| now + limit);
            self.state = State::Running { since: now, limit };
            if let Some(cadence) = &mut self.cadence {
                cadence.take(now);
            }
            return Some(Action::Start);
        }
        None
    }

    /// The process ended, or could not be started. Only one that was asked to stop is `outlived`.
    pub fn on_ended(&mut self, now: Instant, outlived: bool) -> Option<Action> {
        let took = match self.state {
            State::Running { .. } if outlived => return Some(self.outlived(None)),
            State::Stopping { kill_at } if outlived => return Some(self.outlived(Some(kill_at))),
            // They were killed with it.
            State::Killed { last: true } if outlived => return None,
            State::Running { since, .. } => now - since,
            State::Killed { last: false } => AT_ONCE,
            _ => {
                self.state = State::Over;
                return None;
            }
        };
        self.state = State::Idle;
        self.ended_at_once = if took < AT_ONCE {
            self.ended_at_once.saturating_add(1)
        } else {
            0
        };
        self.again(now)
    }

    /// Whether another run follows, or this one continues: its process or one that outlived it is there, or it waits for
    /// its restart.
    pub fn runs_on(&self) -> bool {
        self.is_running() || self.restart_at().is_some()
    }

    /// The processes that outlived it have ended.
    pub fn on_tree_ended(&mut self) {
        if let State::Outlived { .. } | State::Killed { last: true } = self.state {
            self.state = State::Over;
        }
    }

    /// The run in progress is the last one.
    pub fn end_restarts(&mut self) {
        self.restarts = Restarts::NEVER;
    }

    /// Stops the job for good, according to its [`Stop`].
    pub fn stop(&mut self, now: Instant) -> Option<Action> {
        match self.state {
            State::Running { .. } if self.stop.grace > Duration::ZERO => {
                self.state = State::Stopping {
                    kill_at: now + self.stop.grace,
                };
                Some(Action::Terminate)
            }
            State::Stopping { .. } | State::Outlived { .. } => None,
            _ => self.end(),
        }
    }

    /// Stops the job for good, and kills its process.
    pub fn end(&mut self) -> Option<Action> {
        match self.state {
            State::Running { .. } | State::Stopping { .. } | State::Outlived { .. } => {
                Some(self.kill(true, Action::Kill))
            }
            State::Killed { .. } => {
                self.state = State::Killed { last: true };
                None
            }
            State::Idle | State::RestartDelayed { .. } | State::Over => {
                self.state = State::Over;
                None
            }
        }
    }

    /// From now on ticks start no run (LC-11); a run in progress may finish.
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Ticks start runs again, from the next one on (LC-12).
    pub fn resume(&mut self, now: Instant) {
        self.paused = false;
        if let Some(cadence) = &mut self.cadence {
            cadence.take(now);
        }
    }

    fn outlived(&mut self, kill_at: Option<Instant>) -> Action {
        self.state = State::Outlived { kill_at };
        Action::TerminateRest
    }

    fn kill(&mut self, last: bool, action: Action) -> Action {
        self.state = State::Killed { last };
        action
    }

    /// After the end of a run: a tick that waited, a restart, or nothing.
    fn again(&mut self, now: Instant) -> Option<Action> {
        if self.cadence.is_some() {
            return self.on_time(now);
        }
        match self.restarts {
            Restarts::AtMost(0) => return None,
            Restarts::AtMost(left) => self.restarts = Restarts::AtMost(left - 1),
            Restarts::Unlimited => {}
        }
        if self.ended_at_once < 2 {
            self.delays.reset();
            return self.start(now);
        }
        self.state = State::RestartDelayed {
            until: now + self.delays.delay(),
        };
        None
    }
}

crate::keyed!(JobState { state, cadence, paused, time_limit, restarts, stop, delays } without { ended_at_once });

impl Keyed for State {
    fn write_key(&self, key: &mut impl StateKey) {
        write_variant(self, key);
        match self {
            Self::Idle | Self::Over => {}
            Self::Running { since, limit } => {
                since.write_key(key);
                limit.write_key(key);
            }
            Self::Stopping { kill_at } => kill_at.write_key(key),
            Self::Outlived { kill_at } => kill_at.write_key(key),
            Self::Killed { last } => last.write_key(key),
            Self::RestartDelayed { until } => until.write_key(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Command, Job, Output, Role, SignalTarget};

    const fn at(milliseconds: u64) -> Instant {
        Instant::after_start(Duration::from_millis(milliseconds))
    }

    fn job(trigger: Trigger) -> Job {
        let stop = Stop {
            reach: SignalTarget::Tree,
            grace: Duration::from_secs(5),
            ..Stop::AT_ONCE
        };
        let command = Command::new("true", []);
        Job {
            stop,
            ..Job::new(Role::Application, command, trigger, Output::Inherit)
        }
    }

    fn runs(job: &Job) -> JobState {
        JobState::new(at(0), job, Jitter::new(1))
    }

    #[test]
    fn a_job_that_is_asked_for_runs_once_each_time() {
        let mut runs = runs(&job(Trigger::OnDemand));
        assert_eq!(runs.deadline(), None);
        assert_eq!(runs.start(at(0)), Some(Action::Start));
        assert_eq!(runs.start(at(1)), None, "one run at a time");
        assert_eq!(runs.on_ended(at(2), false), None);
        assert_eq!(runs.start(at(3)), Some(Action::Start));
    }

    #[test]
    fn a_task_runs_ten_times_in_1050_milliseconds_at_a_frequency_of_100() {
        let mut runs = runs(&job(Trigger::Every(Duration::from_millis(100))));
        let mut started = 0;
        for now in 0..=1050 {
            if runs.on_time(at(now)) == Some(Action::Start) {
                started += 1;
                runs.on_ended(at(now), false);
            }
        }
        assert_eq!(started, 10);
    }

    #[test]
    fn an_overrun_is_followed_by_one_run_at_once() {
        let mut runs = runs(&job(Trigger::Every(Duration::from_millis(100))));
        assert_eq!(runs.on_time(at(100)), Some(Action::Start));
        assert_eq!(runs.on_time(at(550)), None);
        assert_eq!(
            runs.on_ended(at(550), false),
            Some(Action::Start),
            "one tick waited"
        );
        assert_eq!(runs.on_ended(at(560), false), None, "the others were dropped");
        assert_eq!(runs.deadline(), Some(at(600)));
    }

    #[test]
    fn a_run_that_takes_too_long_is_killed_and_the_job_goes_on() {
        let mut limited = job(Trigger::Every(Duration::from_millis(1000)));
        limited.time_limit = Some(Duration::from_millis(200));
        let mut runs = runs(&limited);
        assert_eq!(runs.on_time(at(1000)), Some(Action::Start));
        assert_eq!(runs.on_time(at(1199)), None);
        assert_eq!(runs.on_time(at(1200)), Some(Action::Expire));
        assert_eq!(runs.deadline(), None, "it waits for the end");
        assert_eq!(runs.on_ended(at(1201), false), None);
        assert_eq!(runs.on_time(at(2000)), Some(Action::Start));
    }

    #[test]
    fn a_limit_of_a_run_that_ended_does_not_touch_the_next() {
        let mut limited = job(Trigger::OnDemand);
        limited.time_limit = Some(Duration::from_millis(100));
        let mut runs = runs(&limited);
        runs.start(at(0));
        runs.on_ended(at(10), false);
        runs.start(at(90));
        assert_eq!(runs.on_time(at(150)), None, "EX-19");
        assert_eq!(runs.on_time(at(190)), Some(Action::Expire));
    }

    #[test]
    fn after_a_pause_time_limits_start_again() {
        let mut limited = job(Trigger::OnDemand);
        limited.time_limit = Some(Duration::from_millis(100));
        let mut limited = runs(&limited);
        limited.start(at(0));
        limited.after_standstill(at(9_000));
        assert_eq!(limited.on_time(at(9_099)), None);
        assert_eq!(limited.on_time(at(9_100)), Some(Action::Expire));
        let mut stopping = runs(&job(Trigger::Lifecycle));
        stopping.start(at(0));
        stopping.stop(at(100));
        stopping.after_standstill(at(60_000));
        assert_eq!(stopping.on_time(at(64_999)), None);
        assert_eq!(stopping.on_time(at(65_000)), Some(Action::Kill));
    }

    #[test]
    fn restarts_are_counted() {
        for (restarts, expected) in [
            (Restarts::AtMost(3), 4),
            (Restarts::AtMost(1), 2),
            (Restarts::NEVER, 1),
        ] {
            let mut limited = job(Trigger::Lifecycle);
            limited.restarts = restarts;
            let mut runs = runs(&limited);
            let mut started = 0;
            let mut action = runs.start(at(0));
            for second in 1..20 {
                started += u32::from(action == Some(Action::Start));
                action = runs.on_ended(at(second * 2000), false);
            }
            assert_eq!(started, expected, "{restarts:?}");
        }
    }

    #[test]
    fn the_first_restart_is_immediate_and_those_that_end_at_once_are_spaced_out() {
        let mut unlimited = job(Trigger::Lifecycle);
        unlimited.restarts = Restarts::Unlimited;
        let mut runs = runs(&unlimited);
        runs.start(at(0));
        assert_eq!(runs.on_ended(at(1), false), Some(Action::Start));
        let mut now = at(2);
        let mut delays = Vec::new();
        for _ in 0..8 {
            assert_eq!(runs.on_ended(now, false), None);
            let until = runs.restart_at().unwrap();
            delays.push(until - now);
            now = until;
            assert_eq!(runs.on_time(now), Some(Action::Start));
        }
        assert!(delays[0] <= Duration::from_millis(500) && delays[0] >= Duration::from_millis(250));
        assert!(delays[7] >= Duration::from_secs(5) && delays[7] <= Duration::from_secs(10));
        assert_eq!(
            runs.on_ended(now + AT_ONCE, false),
            Some(Action::Start),
            "it lived long enough"
        );
    }

    #[test]
    fn stopping_sends_sigterm_and_kills_after_the_grace() {
        let mut runs = runs(&job(Trigger::Lifecycle));
        runs.start(at(0));
        assert_eq!(runs.stop(at(100)), Some(Action::Terminate));
        assert_eq!(runs.stop(at(200)), None, "once");
        assert_eq!(runs.on_time(at(5099)), None);
        assert_eq!(runs.on_time(at(5100)), Some(Action::Kill));
        assert!(runs.is_running(), "until it is reaped");
        assert_eq!(runs.on_ended(at(5101), false), None);
        assert!(!runs.is_running());
    }

    #[test]
    fn a_grace_of_zero_kills_at_once() {
        let mut job = job(Trigger::Lifecycle);
        job.stop = Stop::AT_ONCE;
        let mut runs = runs(&job);
        runs.start(at(0));
        assert_eq!(runs.stop(at(1)), Some(Action::Kill));
    }

    #[test]
    fn a_stopped_job_is_not_started_again() {
        let mut unlimited = job(Trigger::Lifecycle);
        unlimited.restarts = Restarts::Unlimited;
        for stop_first in [true, false] {
            let mut runs = runs(&unlimited);
            runs.start(at(0));
            let action = if stop_first { runs.stop(at(1)) } else { runs.end() };
            assert!(action.is_some());
            assert_eq!(runs.on_ended(at(2), false), None);
            assert_eq!(runs.start(at(3)), None);
            assert_eq!(runs.deadline(), None);
        }
        let mut resting = runs(&unlimited);
        resting.start(at(0));
        resting.on_ended(at(1), false);
        resting.on_ended(at(2), false);
        assert!(resting.restart_at().is_some());
        assert_eq!(resting.stop(at(3)), None, "there is nothing to stop");
        assert_eq!(resting.on_time(at(60_000)), None);
    }

    #[test]
    fn a_paused_task_drops_its_ticks() {
        let mut runs = runs(&job(Trigger::Every(Duration::from_millis(100))));
        runs.pause();
        assert_eq!(runs.on_time(at(350)), None);
        assert_eq!(runs.deadline(), None);
        runs.resume(at(350));
        assert_eq!(runs.on_time(at(399)), None, "ticks of the pause are gone");
        assert_eq!(runs.on_time(at(400)), Some(Action::Start));
    }
}
