//! Which states of an exploration are one: a sum of a state's text in which numbers that mean nothing are
//! left out.
//!
//! Tickets and units count by the order in which they are named, past instants not at all, future ones by
//! their order. Jitter and how many runs ended at once, which matters only to jobs with unlimited restarts, are left
//! out. Of what an observer add, all times are.
//!
//! Left out, too, is what decides only which words a notice has, or what a measurement or `/status` shows, because no
//! law reads those: whether a service was reported as unhealthy and with which causes, when a run started, the last
//! run, when a backend changed last, how many failures in a row there were, restarts and PIDs.

use domain::time::Duration;
use domain::{Instant, Shim};
use std::collections::BTreeMap;
use std::fmt::{Debug, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};

/// See the module. It keeps its buffers.
#[derive(Debug, Default)]
pub(crate) struct StateKey {
    text: String,
    alike: String,
    futures: Vec<Duration>,
    names: BTreeMap<(u8, u64), usize>,
}

/// Words after which a number means nothing beyond this.
const COUNTERS: [(&str, u64); 10] = [
    ("last_ticket: ", 0),
    ("last_unit: ", 0),
    ("Jitter(", 0),
    ("failures: ", 1),
    ("times: ", 0),
    ("restarts: ", 0),
    ("ended_at_once: ", 0),
    ("generation: ", 0),
    ("Pid(", 0),
    ("runs: ", 3),
];

/// Words after which a value decides only what is reported.
const REPORTED: [&str; 4] = ["remembered: ", "unhealthy: ", "started: ", "changed: "];

impl StateKey {
    /// Two states with the same sum are one.
    pub fn of(&mut self, shim: &Shim, due: &impl Debug, observer: &impl Debug, now: Instant) -> (u64, u64) {
        self.text.clear();
        self.alike.clear();
        self.names.clear();
        let _ = write!(self.text, "{shim:?}{due:?}");
        let border = self.text.len();
        let _ = write!(self.text, "{observer:?}");
        let text = std::mem::take(&mut self.text);
        self.find_futures(&text[..border], now);
        self.write(&text[..border], Some(now));
        self.write(&text[border..], None);
        self.text = text;
        let sum = |salt: u8| {
            let mut hasher = DefaultHasher::new();
            (salt, &self.alike).hash(&mut hasher);
            hasher.finish()
        };
        (sum(1), sum(2))
    }

    fn find_futures(&mut self, text: &str, now: Instant) {
        self.futures.clear();
        let instants = text.split("Instant(").skip(1).map(|rest| duration(rest).0);
        self.futures.extend(instants.filter(|at| *at > now.since_start()));
        self.futures.sort_unstable();
        self.futures.dedup();
    }

    /// Goes from one number that may mean nothing to the next; everything else is copied.
    fn write(&mut self, text: &str, now: Option<Instant>) {
        let bytes = text.as_bytes();
        let (mut copied, mut place) = (0, 0);
        while place < bytes.len() {
            let (opens, names) = (
                bytes[place] == b'(',
                bytes[place] == b' ' && bytes[place - 1] == b':',
            );
            place += 1;
            if !(opens || names) {
                continue;
            }
            let (head, tail) = text[copied..].split_at(place - copied);
            if let Some(left) = self.number(head, tail, now) {
                place = text.len() - left.len();
                copied = place;
            }
        }
        self.alike.push_str(&text[copied..]);
    }

    /// Writes `head` and the number that follows it, if it is one of those; what is left after it.
    fn number<'a>(&mut self, head: &str, tail: &'a str, now: Option<Instant>) -> Option<&'a str> {
        let first = tail.as_bytes().first()?;
        if (head.ends_with("last: ") || head.ends_with("newest: ")) && tail.starts_with("Some(") {
            self.alike.push_str(head);
            return Some(skip_brackets(&tail["Some".len()..]));
        }
        if REPORTED.iter().any(|name| head.ends_with(name)) {
            self.alike.push_str(head);
            return Some(skip_value(tail));
        }
        if !first.is_ascii_digit() {
            return None;
        }
        if head.ends_with("Instant(") {
            self.alike.push_str(head);
            let (at, left) = duration(tail);
            self.instant(at, now);
            return Some(left);
        }
        for (kind, name) in [(1, "Ticket("), (2, "Serial(")] {
            if head.ends_with(name) {
                let (number, left) = digits(tail);
                let next = self.names.len();
                let place = *self.names.entry((kind, number)).or_insert(next);
                let _ = write!(self.alike, "{head}{place}");
                return Some(left);
            }
        }
        if head.ends_with("took: ") {
            self.alike.push_str(head);
            return Some(duration(tail).1);
        }
        let (_, most) = COUNTERS.iter().find(|(name, _)| head.ends_with(name))?;
        let (number, left) = digits(tail);
        let _ = write!(self.alike, "{head}{}", number.min(*most));
        Some(left)
    }

    fn instant(&mut self, at: Duration, now: Option<Instant>) {
        let Some(now) = now.map(Instant::since_start) else {
            return;
        };
        match self.futures.binary_search(&at) {
            Ok(rank) => {
                let _ = write!(self.alike, "+{rank}");
            }
            Err(_) if at == now => self.alike.push('0'),
            Err(_) => self.alike.push('-'),
        }
    }
}

fn digits(text: &str) -> (u64, &str) {
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    (text[..end].parse().unwrap_or(0), &text[end..])
}

/// A duration as its `Debug` writes it, and what follows.
fn duration(text: &str) -> (Duration, &str) {
    let (whole, rest) = digits(text);
    let (fraction, rest) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            (&rest[..end], &rest[end..])
        }
        None => ("", rest),
    };
    let units = [
        ("s", 1_000_000_000_u64),
        ("ms", 1_000_000),
        ("µs", 1_000),
        ("ns", 1),
    ];
    for (name, unit) in units {
        if let Some(rest) = rest.strip_prefix(name) {
            let mut nanoseconds = whole * unit;
            let mut place = unit;
            for digit in fraction.bytes() {
                place /= 10;
                nanoseconds += u64::from(digit - b'0') * place;
            }
            return (Duration::from_nanos(nanoseconds), rest);
        }
    }
    (Duration::ZERO, rest)
}

/// What follows the value that the text begins with.
fn skip_value(text: &str) -> &str {
    let word = text
        .find(|letter: char| !letter.is_alphanumeric())
        .unwrap_or(text.len());
    let rest = &text[word..];
    if rest.starts_with(['(', '[']) {
        skip_brackets(rest)
    } else {
        rest
    }
}

/// What follows the brackets that the text begins with.
fn skip_brackets(text: &str) -> &str {
    let mut open = 0;
    for (place, letter) in text.bytes().enumerate() {
        match letter {
            b'(' | b'[' => open += 1,
            b')' | b']' => open -= 1,
            _ => {}
        }
        if open == 0 {
            return &text[place + 1..];
        }
    }
    ""
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_they_are_written() {
        for nanoseconds in [0, 15, 1_500, 25_000_000, 1_500_000_000, 12_025_000_000] {
            let written = Duration::from_nanos(nanoseconds);
            assert_eq!(duration(&format!("{written:?})")), (written, ")"));
        }
    }

    #[test]
    fn numbers_of_tickets_and_distances_of_instants_mean_nothing() {
        let mut state_key = StateKey::default();
        let mut write = |text: &str| {
            let now = Instant::after_start(Duration::from_secs(5));
            (state_key.alike, state_key.names) = Default::default();
            state_key.find_futures(text, now);
            state_key.write(text, Some(now));
            state_key.alike.clone()
        };
        assert_eq!(
            write("A { ticket: Ticket(7), at: Instant(5.5s), then: Instant(9s), failures: 4 }"),
            write("A { ticket: Ticket(9), at: Instant(6s), then: Instant(70s), failures: 1 }")
        );
        assert_ne!(write("[Ticket(7), Ticket(8)]"), write("[Ticket(7), Ticket(7)]"));
        assert_ne!(write("[Instant(5s)]"), write("[Instant(4s)]"));
        assert_ne!(
            write("[Instant(6s), Instant(7s)]"),
            write("[Instant(7s), Instant(6s)]")
        );
        assert_eq!(
            write("last: Some(Run { x: Some(3) }), y"),
            write("last: Some(Run { x: None }), y")
        );
        assert_eq!(
            write("started: Instant(5s), unhealthy: true, remembered: [\"a\"], y"),
            write("started: Instant(4.5s), unhealthy: false, remembered: [], y")
        );
        assert_ne!(write("changed: None, y"), write("changed: Some(Instant(1s)), z"));
    }
}
