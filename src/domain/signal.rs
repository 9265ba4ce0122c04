//! The signals of Linux: by number, with constants for those that the core uses.
//!
//! Other modules decide which signals are passed on, and how they are received and sent.

use core::fmt;

/// The first real-time signal that programs use.
pub const FIRST_REAL_TIME: i32 = 34;
/// The last one.
const LAST_REAL_TIME: i32 = 64;

/// A signal. The real-time signals have numbers from 32 on and no names.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// SIGHUP: the shim reads its configuration again.
    pub const HUP: Self = Self(1);
    /// SIGINT: the shim stops, as for [`Self::TERM`] (LC-18).
    pub const INT: Self = Self(2);
    /// SIGKILL: the kernel ends the process at once.
    pub const KILL: Self = Self(9);
    /// SIGUSR1: the shim enters maintenance, or leaves it.
    pub const USR1: Self = Self(10);
    /// SIGSTOP: the kernel stops the process until SIGCONT.
    pub const STOP: Self = Self(19);
    /// SIGCONT: the kernel lets a stopped process continue.
    pub const CONT: Self = Self(18);
    /// SIGTERM: requests the end of a process; the shim stops everything in order.
    pub const TERM: Self = Self(15);

    /// The signal with this number. The number is not checked; the kernel refuses an invalid one.
    pub const fn new(number: i32) -> Self {
        Self(number)
    }

    /// The signal's number.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The signal of this name, such as `SIGQUIT` or `QUIT`, or of this number, in any case. A real-time signal is named
    /// by its number, or from the first or the last one, as in `SIGRTMIN+3` and `SIGRTMAX-1`.
    pub fn named(name: &str) -> Option<Self> {
        let name = name.to_ascii_uppercase();
        let number = name
            .parse()
            .ok()
            .filter(|number| (1..=LAST_REAL_TIME).contains(number));
        if let Some(number) = number {
            return Some(Self(number));
        }
        let short = name.strip_prefix("SIG").unwrap_or(&name);
        let real_time = |first: i32, distance: &str| {
            let distance: i32 = match distance {
                "" => 0,
                distance => distance.parse().ok()?,
            };
            let number = first.checked_add(distance)?;
            (FIRST_REAL_TIME..=LAST_REAL_TIME)
                .contains(&number)
                .then_some(Self(number))
        };
        if let Some(distance) = short.strip_prefix("RTMIN") {
            return real_time(FIRST_REAL_TIME, distance);
        }
        if let Some(distance) = short.strip_prefix("RTMAX") {
            return real_time(LAST_REAL_TIME, distance);
        }
        let mut named = (1..FIRST_REAL_TIME).map(Self);
        named.find(|signal| signal.name().is_some_and(|name| &name["SIG".len()..] == short))
    }

    /// The signal's name as in `kill -l`, with the prefix SIG; `None` if it has no name.
    const fn name(self) -> Option<&'static str> {
        let names = [
            "SIGHUP",
            "SIGINT",
            "SIGQUIT",
            "SIGILL",
            "SIGTRAP",
            "SIGABRT",
            "SIGBUS",
            "SIGFPE",
            "SIGKILL",
            "SIGUSR1",
            "SIGSEGV",
            "SIGUSR2",
            "SIGPIPE",
            "SIGALRM",
            "SIGTERM",
            "SIGSTKFLT",
            "SIGCHLD",
            "SIGCONT",
            "SIGSTOP",
            "SIGTSTP",
            "SIGTTIN",
            "SIGTTOU",
            "SIGURG",
            "SIGXCPU",
            "SIGXFSZ",
            "SIGVTALRM",
            "SIGPROF",
            "SIGWINCH",
            "SIGIO",
            "SIGPWR",
            "SIGSYS",
        ];
        match self.0 {
            number @ 1..=31 => Some(names[number as usize - 1]),
            _ => None,
        }
    }

    /// The end of a process by this signal, in the words of the original.
    pub(crate) fn as_end(self) -> impl fmt::Display {
        AsEnd(self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

struct AsEnd(Signal);

impl fmt::Display for AsEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words = [
            "hangup",
            "interrupt",
            "quit",
            "illegal instruction",
            "trace/breakpoint trap",
            "aborted",
            "bus error",
            "floating point exception",
            "killed",
            "user defined signal 1",
            "segmentation fault",
            "user defined signal 2",
            "broken pipe",
            "alarm clock",
            "terminated",
        ];
        match self.0.0 {
            number @ 1..=15 => f.write_str(words[number as usize - 1]),
            other => write!(f, "signal {other}"),
        }
    }
}

crate::keyed_as_is!(Signal);

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::string::ToString as _;

    #[test]
    fn signals_have_names_and_real_time_signals_numbers() {
        let named = [
            (Signal::HUP, "SIGHUP"),
            (Signal::INT, "SIGINT"),
            (Signal::KILL, "SIGKILL"),
            (Signal::USR1, "SIGUSR1"),
            (Signal::TERM, "SIGTERM"),
            (Signal::new(28), "SIGWINCH"),
            (Signal::new(31), "SIGSYS"),
            (Signal::new(34), "signal 34"),
            (Signal::new(0), "signal 0"),
            (Signal::new(-1), "signal -1"),
        ];
        for (signal, name) in named {
            assert_eq!(signal.to_string(), name);
        }
    }

    #[test]
    fn a_process_that_a_signal_ended_is_reported_in_the_originals_words() {
        let words = [
            (1, "hangup"),
            (9, "killed"),
            (15, "terminated"),
            (16, "signal 16"),
            (64, "signal 64"),
        ];
        for (number, words) in words {
            assert_eq!(Signal::new(number).as_end().to_string(), words);
        }
    }

    #[test]
    fn signals_are_found_by_name_and_number() {
        let found = [
            ("SIGQUIT", 3),
            ("quit", 3),
            ("15", 15),
            ("SigWinch", 28),
            ("SIGRTMIN", 34),
            ("RTMIN+3", 37),
            ("SIGRTMAX-1", 63),
            ("64", 64),
        ];
        for (name, number) in found {
            assert_eq!(Signal::named(name), Some(Signal::new(number)), "{name}");
        }
        let wrong = [
            "", "0", "65", "-1", "SIG", "SIGFOO", "RTMIN+31", "RTMIN-1", "RTMAX+1", "RTMIN+x", "SIG15",
        ];
        for name in wrong {
            assert_eq!(Signal::named(name), None, "{name}");
        }
    }
}
