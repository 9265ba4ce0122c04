//! The room of one sensor: the runs of its command, and what their output says.

use super::outbox::{Outbox, Parent, RoomId};
use super::worker::Worker;
use crate::event::Ending;
use crate::failures::Failures;
use crate::measurement::{Measurement, RunResult};
use crate::notice::Notice;
use crate::plan::Sensor;
use crate::sensor;
use crate::status::{JobStatus, Run};
use crate::time::{Chance, Instant};
use alloc::string::{String, ToString};

/// See the module.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SensorRoom {
    pub sensor: Sensor,
    worker: Worker,
    failures: Failures,
    closing: bool,
}

impl SensorRoom {
    pub fn new(now: Instant, id: RoomId, sensor: &Sensor, paused: bool, chance: Chance) -> Self {
        let mut worker = Worker::new(now, Parent::Sensor(id), &sensor.job, chance);
        if paused {
            worker.pause();
        }
        Self {
            sensor: sensor.clone(),
            worker,
            failures: Failures::default(),
            closing: false,
        }
    }

    pub fn deadline(&self) -> Option<Instant> {
        self.worker.deadline()
    }

    /// Whether the room is closed for good.
    pub fn is_closing(&self) -> bool {
        self.closing
    }

    pub fn is_empty(&self) -> bool {
        !self.worker.is_running()
    }

    pub fn status(&self, out: &Outbox) -> JobStatus {
        self.worker.status(out)
    }

    pub fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        self.worker.on_time(now, out);
    }

    pub fn after_standstill(&mut self, now: Instant) {
        self.worker.after_standstill(now);
    }

    pub fn on_printed(&mut self, text: String) {
        self.worker.on_printed(text);
    }

    /// A run that passed gives a value, if what it printed is one that the metric takes.
    pub fn on_ended(&mut self, now: Instant, ending: &Ending, out: &mut Outbox) {
        self.worker.on_ended(now, ending, out);
        let value = match self.worker.last() {
            Some(Run {
                result: RunResult::Passed,
                output,
                ..
            }) => sensor::read(self.sensor.kind, output),
            Some(Run {
                result: RunResult::Stopped,
                ..
            })
            | None => return,
            Some(_) => Err(ending.to_string()),
        };
        match value {
            Ok(value) => {
                self.tell_recovery(out);
                let sensor = self.sensor.name.clone();
                out.measure(Measurement::Sensed { sensor, value });
            }
            Err(cause) => self.tell_failure(cause, out),
        }
    }

    pub fn pause(&mut self) {
        self.worker.pause();
    }

    pub fn resume(&mut self, now: Instant) {
        self.worker.resume(now);
    }

    /// Runs no more; a run that is under way is killed, and gives no value.
    pub fn close(&mut self, out: &mut Outbox) {
        self.closing = true;
        self.worker.end(out);
    }

    fn tell_failure(&mut self, cause: String, out: &mut Outbox) {
        let failure = self.failures.add(cause);
        let sensor = self.sensor.name.clone();
        out.tell(Notice::SensorFailed { sensor, failure });
    }

    fn tell_recovery(&mut self, out: &mut Outbox) {
        if let Some(failures) = self.failures.end() {
            let sensor = self.sensor.name.clone();
            out.tell(Notice::SensorResumed { sensor, failures });
        }
    }
}
