//! The unit of one sensor: the runs of its command, and the values that they print.

use super::id::UnitId;
use super::outbox::Outbox;
use super::runner::JobRunner;
use super::unit::Unit;
use crate::event::Ticket;
use crate::failures::Failures;
use crate::measurement::{Measurement, RunResult};
use crate::notice::Notice;
use crate::plan::Sensor;
use crate::process::Ending;
use crate::sensor;
use crate::status::{JobStatus, Run};
use crate::time::{Instant, Jitter};
use alloc::string::{String, ToString};

/// One sensor of the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SensorUnit {
    pub sensor: Sensor,
    runner: JobRunner,
    failures: Failures,
    closing: bool,
}

impl SensorUnit {
    pub fn new(now: Instant, id: UnitId, sensor: &Sensor, paused: bool, jitter: Jitter) -> Self {
        let mut runner = JobRunner::new(now, id, &sensor.job, jitter);
        if paused {
            runner.pause();
        }
        Self {
            sensor: sensor.clone(),
            runner,
            failures: Failures::default(),
            closing: false,
        }
    }

    pub fn status(&self, out: &Outbox) -> JobStatus {
        self.runner.status(out)
    }

    fn log_failure(&mut self, cause: String, out: &mut Outbox) {
        let failure = self.failures.add(cause);
        let sensor = self.sensor.name.clone();
        out.log(Notice::SensorFailed { sensor, failure });
    }

    fn log_recovery(&mut self, out: &mut Outbox) {
        if let Some(failures) = self.failures.end() {
            let sensor = self.sensor.name.clone();
            out.log(Notice::SensorResumed { sensor, failures });
        }
    }
}

impl Unit for SensorUnit {
    fn deadline(&self) -> Option<Instant> {
        self.runner.deadline()
    }

    fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        self.runner.on_time(now, out);
    }

    fn after_standstill(&mut self, now: Instant) {
        self.runner.after_standstill(now);
    }

    fn on_printed(&mut self, _ticket: Ticket, text: String) {
        self.runner.keep_output(text);
    }

    /// A run that passed gives a value, if what it printed is one that the metric takes.
    fn on_ended(
        &mut self,
        now: Instant,
        _ticket: Ticket,
        ending: &Ending,
        _outlived: bool,
        out: &mut Outbox,
    ) {
        self.runner.on_ended(now, ending, false, out);
        let value = match self.runner.last() {
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
                self.log_recovery(out);
                let sensor = self.sensor.name.clone();
                out.measure(Measurement::Sensed { sensor, value });
            }
            Err(cause) => self.log_failure(cause, out),
        }
    }

    fn pause(&mut self, _now: Instant, _out: &mut Outbox) {
        self.runner.pause();
    }

    fn resume(&mut self, now: Instant, _out: &mut Outbox) {
        self.runner.resume(now);
    }

    /// Ends its runs; one in progress is killed and gives no value.
    fn close(&mut self, _now: Instant, out: &mut Outbox) {
        self.closing = true;
        self.runner.end(out);
    }

    fn is_closing(&self) -> bool {
        self.closing
    }

    fn delays_plan(&self) -> bool {
        self.closing && self.runner.is_running()
    }
}

crate::keyed!(SensorUnit { sensor, runner, closing } without { failures });
