//! How the application is stopped, and by which signals: `drain`, `stopTimeout`, `stopSignal`, `signalGroup` and
//! `stopOn`.

use super::error::{DurationKey, SignalError, Warning};
use crate::config::Target;
use crate::config::keys::{Section, boolean, duration, integer, list};
use crate::config::problem::Problems;
use crate::config::tree::Value;
use domain::plan::{SignalTarget, Stop, StopTimeout};
use domain::signal::Signal;
use domain::time::Duration;

/// How long `docker stop` and Docker Compose wait before they kill a container, if they are not asked for another time.
const DOCKER_STOP: Duration = Duration::from_secs(10);

/// The section of these keys.
pub struct Stopping {
    /// How long the application goes on without its services.
    pub drain: Duration,
    /// How long the application may take.
    pub timeout: StopTimeout,
    /// The signal for the application, and whether its tree gets it, too.
    pub application: Stop,
    /// The signals that begin the stop.
    pub on: Vec<Signal>,
}

/// Signals that a process cannot handle.
const NOT_HANDLED: [Signal; 2] = [Signal::KILL, Signal::STOP];
/// Signals that have another meaning for the shim, or that it ignores (LC-18); `stopOn` cannot name them.
const NOT_FREE: [Signal; 7] = [
    Signal::HUP,
    Signal::USR1,
    Signal::new(13),
    Signal::new(17),
    Signal::new(23),
    Signal::new(24),
    Signal::new(25),
];

/// Reads the keys. SIGTERM begins the stop in any case; without `stopOn` SIGINT does so, too.
pub fn read(section: &mut Section<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Stopping {
    let written_drain = section.take("drain");
    let drain = written_drain.and_then(|value| duration::limit(value, &DurationKey::Drain, problems));
    let drain = drain.unwrap_or(Duration::ZERO);
    let seconds = section.take("stopTimeout");
    let timeout = seconds.and_then(|value| timeout(value, problems));
    let timeout = timeout.unwrap_or_default();
    if let Some(value) = written_drain.or(seconds)
        && target.examination.is_some()
        && drain.saturating_add(timeout.grace()) >= DOCKER_STOP
    {
        let drains = drain > Duration::ZERO;
        problems.warning(value, Warning::LongStop { drains });
    }
    let stop_signal = section.take("stopSignal");
    let stop_signal = stop_signal.and_then(|value| signal(value, &NOT_HANDLED, problems));
    let group = section.take("signalGroup");
    let group = group.and_then(|value| boolean(value, problems)) == Some(true);
    let on = section.take("stopOn").map(|value| {
        let refused = [NOT_HANDLED.as_slice(), &NOT_FREE].concat();
        let signals = list(value, "an array of signals", problems, |value, problems| {
            signal(value, &refused, problems)
        });
        [vec![Signal::TERM], signals].concat()
    });
    Stopping {
        drain,
        timeout,
        application: Stop {
            signal: stop_signal.unwrap_or(Signal::TERM),
            reach: if group {
                SignalTarget::Tree
            } else {
                SignalTarget::Leader
            },
            ..Stop::AT_ONCE
        },
        on: on.unwrap_or_else(|| vec![Signal::TERM, Signal::INT]),
    }
}

/// The stop timeout in seconds. 0 is the default (CFG-11); a negative number kills at once.
fn timeout(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<StopTimeout> {
    const ALLOWED: &str = "a whole number of seconds, or -1 for SIGKILL at once";
    let seconds = integer(value, ALLOWED, problems)?;
    if seconds == 0 {
        problems.warning(value, Warning::ZeroStopTimeout);
        return None;
    }
    if seconds < 0 {
        return Some(StopTimeout::Immediately);
    }
    duration::from_seconds(value, seconds, &DurationKey::StopTimeout, ALLOWED, problems)
        .map(StopTimeout::After)
}

/// A signal by its name or number.
fn signal(value: &Value<'_>, refused: &[Signal], problems: &mut Problems<'_>) -> Option<Signal> {
    const ALLOWED: &str = "a name such as \"SIGQUIT\", or a number from 1 to 64";
    let signal = value.string().or_else(|| value.number()).and_then(Signal::named);
    let Some(signal) = signal else {
        problems.wrong(value, SignalError::Unknown, ALLOWED);
        return None;
    };
    if refused.contains(&signal) {
        let error = match NOT_HANDLED.contains(&signal) {
            true => SignalError::NotHandled(signal),
            false => SignalError::NotFree(signal),
        };
        problems.error(value, error);
        return None;
    }
    Some(signal)
}
