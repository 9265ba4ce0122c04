//! Log messages about the start and the stop of the shim, and about the end of the application.

use super::{InUnits, rounded};
use crate::lifecycle::Phase;
use crate::plan::Level;
use crate::process::{ExitStatus, Pid};
use crate::signal::Signal;
use crate::time::Duration;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// A message about the lifecycle.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LifecycleNotice {
    /// The shim starts.
    Starting {
        /// The version of the program.
        version: &'static str,
        /// The shim's own PID.
        pid: Pid,
        /// Where the configuration was read.
        configuration: String,
        /// What it has, in a few words.
        contents: String,
    },
    /// A signal that requests the stop.
    StopRequested(Signal),
    /// The stop is complete: how long each of its phases took, and the exit code.
    StopDone(Vec<(Phase, Duration)>, u8),
    /// The application has ended.
    ApplicationEnded {
        /// How it ended.
        status: ExitStatus,
        /// How long it ran.
        ran: Duration,
        /// Whether the shim was stopping.
        requested: bool,
    },
    /// The services were deregistered, and the application goes on for this long.
    Draining(Duration),
    /// A second signal that requests the stop: the application does not go on any longer.
    DrainEnded(Signal),
}

impl LifecycleNotice {
    /// The level of the message.
    pub fn level(&self) -> Level {
        match self {
            Self::ApplicationEnded {
                status,
                requested: false,
                ..
            } if *status != ExitStatus::Code(0) => Level::Error,
            Self::Starting { .. }
            | Self::StopRequested(_)
            | Self::StopDone(..)
            | Self::Draining(_)
            | Self::DrainEnded(_)
            | Self::ApplicationEnded { .. } => Level::Info,
        }
    }
}

impl fmt::Display for LifecycleNotice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting {
                version,
                pid,
                configuration,
                contents,
            } => write!(
                f,
                "containerpilot {version} starts as PID {} with {configuration}: {contents}",
                pid.0
            ),
            Self::StopRequested(signal) => write!(f, "Stopping because of {signal}"),
            Self::Draining(drain) => {
                write!(f, "Draining: the application goes on for {}", InUnits(*drain))
            }
            Self::DrainEnded(signal) => write!(f, "{signal} came again: the stop continues without draining"),
            Self::StopDone(phases, code) => stop_done(f, phases, *code),
            Self::ApplicationEnded {
                status,
                ran,
                requested,
            } => {
                let how = if *requested { "ended" } else { "ended by itself" };
                write!(f, "The application {how} after {}: {status}", rounded(*ran))
            }
        }
    }
}

/// `Stopped in 6.2s (deregistering 12ms, terminating 6.19s), exit code 143`; phases without a time are left out.
fn stop_done(f: &mut fmt::Formatter<'_>, phases: &[(Phase, Duration)], code: u8) -> fmt::Result {
    let all = phases
        .iter()
        .fold(Duration::ZERO, |sum, (_, took)| sum.saturating_add(*took));
    write!(f, "Stopped in {}", rounded(all))?;
    let mut separator = " (";
    for (phase, took) in phases {
        if took.as_millis() > 0 {
            write!(
                f,
                "{separator}{} {}",
                phase.name().replace('_', " "),
                rounded(*took)
            )?;
            separator = ", ";
        }
    }
    let close = if separator == " (" { "" } else { ")" };
    write!(f, "{close}, exit code {code}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn the_end_of_the_stop_names_the_phases_that_took_time() {
        let done = |phases: &[(Phase, u64)]| {
            let phases = phases
                .iter()
                .map(|(phase, took)| (*phase, Duration::from_micros(*took)));
            LifecycleNotice::StopDone(phases.collect(), 143).to_string()
        };
        assert_eq!(
            done(&[(Phase::Deregistering, 999)]),
            "Stopped in 0s, exit code 143"
        );
        assert_eq!(
            done(&[
                (Phase::Deregistering, 2_345),
                (Phase::PreStopping, 0),
                (Phase::Terminating, 12_345_678)
            ]),
            "Stopped in 12.3s (deregistering 2ms, terminating 12.3s), exit code 143"
        );
    }

    #[test]
    fn an_application_that_fails_by_itself_is_an_error() {
        let ended = |code, requested| LifecycleNotice::ApplicationEnded {
            status: ExitStatus::Code(code),
            ran: Duration::from_secs(90),
            requested,
        };
        assert_eq!(ended(3, false).level(), Level::Error);
        assert_eq!(ended(0, false).level(), Level::Info);
        assert_eq!(ended(3, true).level(), Level::Info);
        let text = "The application ended by itself after 1m30s: exit status 3";
        assert_eq!(ended(3, false).to_string(), text);
    }
}
