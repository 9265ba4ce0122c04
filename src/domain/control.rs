//! Requests of clients to the running shim, and their answers.
//!
//! A request is answered exactly once, unless the shim ends before. An answer that takes time waits here: for the
//! result of a reading of the configuration, or for the deregistrations of a maintenance. The number of requests that wait is
//! limited. What a request changes is decided by the root of the core.

use crate::state_key::{Keyed, StateKey};
use crate::status::Status;
use alloc::boxed::Box;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;

/// How many requests may wait for their answers (docs/bounds.md).
const MOST_WAITING: usize = 32;

/// The number that an adapter gave to the request of a client; it comes back with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNumber(pub u64);

/// What a client requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControlRequest {
    /// The state of the shim.
    Status,
    /// An answer, which shows that the loop is alive.
    Ping,
    /// Reading the configuration again. Answered when the configuration was judged.
    Reload,
    /// Beginning or ending maintenance, unless it is so already. The beginning is answered when the deregistrations are over,
    /// successful or not.
    Maintenance(bool),
}

/// The answer to a request.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ControlAnswer {
    /// The state of the shim.
    Status(Box<Status>),
    /// It was done.
    Done,
    /// The configuration has errors, and nothing changed: the report of all of them.
    Refused(String),
    /// The request had no effect, or none that lasts.
    Ineffective(Obstacle),
}

/// Why a request has no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Obstacle {
    /// The shim stops.
    Stopping,
    /// Maintenance was ended, or begun, by another request before this one was answered.
    Superseded,
    /// Too many requests wait.
    TooMany,
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Stopping => "the shim is stopping",
            Self::Superseded => "another request has changed maintenance meanwhile",
            Self::TooMany => "too many requests wait for their answers",
        })
    }
}

/// What a request waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Awaited {
    /// The reading of the configuration in progress.
    Reading,
    /// The reading after the one in progress, because the file may have changed after it was read.
    NextReading,
    /// Maintenance, or its end.
    Maintenance(bool),
}

/// The requests that wait for their answers, in the order in which they came.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WaitingRequests(Vec<(RequestNumber, Awaited)>);

impl WaitingRequests {
    /// Whether no further request may wait.
    pub fn is_full(&self) -> bool {
        self.0.len() >= MOST_WAITING
    }

    /// Adds a request.
    pub fn add(&mut self, number: RequestNumber, awaited: Awaited) {
        self.0.push((number, awaited));
    }

    /// A reading of the configuration has ended; returns the requests that waited for it. Those that wait for the next one
    /// wait for the one that follows now.
    pub fn on_read(&mut self) -> Vec<RequestNumber> {
        let (read, others) = core::mem::take(&mut self.0)
            .into_iter()
            .partition::<Vec<_>, _>(|(_, awaited)| *awaited == Awaited::Reading);
        let follows = |(number, awaited)| match awaited {
            Awaited::NextReading => (number, Awaited::Reading),
            other => (number, other),
        };
        self.0 = others.into_iter().map(follows).collect();
        read.into_iter().map(|(number, _)| number).collect()
    }

    /// Removes the requests for which there is an answer, and returns them.
    pub fn take_answered(
        &mut self,
        answer: impl Fn(Awaited) -> Option<ControlAnswer>,
    ) -> Vec<(RequestNumber, ControlAnswer)> {
        let mut answered = Vec::new();
        self.0.retain(|(number, awaited)| match answer(*awaited) {
            Some(answer) => {
                answered.push((*number, answer));
                false
            }
            None => true,
        });
        answered
    }
}

/// Left out: the numbers, which come back as they are.
impl Keyed for WaitingRequests {
    fn write_key(&self, key: &mut impl StateKey) {
        self.0.len().write_key(key);
        for (_, awaited) in &self.0 {
            awaited.write_key(key);
        }
    }
}

crate::keyed_as_is!(Awaited, ControlRequest, RequestNumber);

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec;

    const NUMBERS: [RequestNumber; 3] = [RequestNumber(1), RequestNumber(2), RequestNumber(3)];

    #[test]
    fn a_request_during_a_reading_waits_for_the_next_one() {
        let mut waiting = WaitingRequests::default();
        waiting.add(NUMBERS[0], Awaited::Reading);
        waiting.add(NUMBERS[1], Awaited::NextReading);
        waiting.add(NUMBERS[2], Awaited::Maintenance(true));
        assert_eq!(waiting.on_read(), [NUMBERS[0]]);
        assert_eq!(waiting.on_read(), [NUMBERS[1]]);
        assert_eq!(waiting.on_read(), []);
        let answered = waiting.take_answered(|awaited| {
            assert_eq!(awaited, Awaited::Maintenance(true));
            Some(ControlAnswer::Done)
        });
        assert_eq!(answered, [(NUMBERS[2], ControlAnswer::Done)]);
        assert_eq!(waiting, WaitingRequests::default());
    }

    #[test]
    fn the_number_of_waiting_requests_is_limited() {
        let mut waiting = WaitingRequests::default();
        for _ in 0..MOST_WAITING {
            assert!(!waiting.is_full());
            waiting.add(NUMBERS[0], Awaited::Reading);
        }
        assert!(waiting.is_full());
    }

    #[test]
    fn every_obstacle_is_a_sentence() {
        let obstacles = [Obstacle::Stopping, Obstacle::Superseded, Obstacle::TooMany];
        let sentences: Vec<String> = obstacles.iter().map(|o| std::format!("{o}")).collect();
        assert_eq!(
            sentences,
            vec![
                "the shim is stopping",
                "another request has changed maintenance meanwhile",
                "too many requests wait for their answers"
            ]
        );
    }
}
