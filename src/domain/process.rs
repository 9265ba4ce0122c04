//! The vocabulary of processes: process IDs, and how processes end.
//!
//! Nothing here starts, signals or waits for a process.

use crate::probe::{ProbeEnd, Verdict};
use crate::signal::Signal;
use alloc::string::String;
use core::fmt;

/// A process ID.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pid(pub i32);

impl fmt::Display for Pid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ExitStatus {
    /// It exited with this code.
    Code(u8),
    /// This signal killed it.
    Signal(Signal),
}

impl fmt::Display for ExitStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit status {code}"),
            Self::Signal(signal) => write!(f, "signal: {}", signal.as_end()),
        }
    }
}

/// Why a process could not be started.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StartFailure {
    /// Whether the program does not exist.
    pub not_found: bool,
    /// The cause as a sentence.
    pub cause: String,
}

/// How the run of a job, or of a probe, ended.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Ending {
    /// Its process ended.
    Exited(ExitStatus),
    /// There was no process, because it could not be started.
    NotStarted(StartFailure),
    /// It was a probe, which has no process.
    Probed(ProbeEnd),
}

impl Ending {
    /// Whether the exit code is 0, or the answer to a probe is a success.
    pub fn passed(&self) -> bool {
        match self {
            Self::Exited(status) => *status == ExitStatus::Code(0),
            Self::NotStarted(_) => false,
            Self::Probed(end) => end.verdict == Verdict::Passed,
        }
    }

    /// The exit code for this end: that of the process, 128 + the signal that killed it (EX-2),
    /// 127 for a program that was not found and 126 for one that could not be executed (EX-7). A probe that failed has 1.
    pub fn code(&self) -> u8 {
        match self {
            Self::Exited(ExitStatus::Code(code)) => *code,
            Self::Exited(ExitStatus::Signal(signal)) => {
                u8::try_from(signal.number().saturating_add(128)).unwrap_or(u8::MAX)
            }
            Self::NotStarted(failure) if failure.not_found => 127,
            Self::NotStarted(_) => 126,
            Self::Probed(_) => u8::from(!self.passed()),
        }
    }
}

impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited(status) => write!(f, "{status}"),
            Self::NotStarted(failure) => f.write_str(&failure.cause),
            Self::Probed(end) => f.write_str(&end.detail),
        }
    }
}

crate::keyed_as_is!(Ending);

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn exit_codes_are_those_of_a_shell() {
        let failure = |not_found| {
            Ending::NotStarted(StartFailure {
                not_found,
                cause: String::new(),
            })
        };
        assert_eq!(Ending::Exited(ExitStatus::Code(7)).code(), 7);
        assert_eq!(Ending::Exited(ExitStatus::Signal(Signal::KILL)).code(), 137);
        assert_eq!(Ending::Exited(ExitStatus::Signal(Signal::TERM)).code(), 143);
        assert_eq!(failure(true).code(), 127);
        assert_eq!(failure(false).code(), 126);
    }

    #[test]
    fn only_exit_code_zero_passes() {
        assert!(Ending::Exited(ExitStatus::Code(0)).passed());
        assert!(!Ending::Exited(ExitStatus::Code(1)).passed());
        assert!(!Ending::Exited(ExitStatus::Signal(Signal::KILL)).passed());
    }

    #[test]
    fn endings_are_described_as_in_the_original() {
        assert_eq!(ExitStatus::Code(3).to_string(), "exit status 3");
        assert_eq!(ExitStatus::Signal(Signal::TERM).to_string(), "signal: terminated");
        assert_eq!(
            ExitStatus::Signal(Signal::new(64)).to_string(),
            "signal: signal 64"
        );
    }
}
