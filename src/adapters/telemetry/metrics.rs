//! All metrics, in Prometheus' text format (docs/telemetry.md lists them).
//!
//! Decides which series exist: those that the plan names, from the start, and no others, so that the
//! configuration bounds their number. A series that is still named after a reload keeps its values. This
//! module serves nothing.

mod exposition;
mod family;
mod own;
mod process;
mod summary;

use crate::adapters::clock::MachineClock;
use crate::ports::Clock as _;
use domain::filled;
use domain::measurement::Measurement;
use domain::plan::{Plan, Sensor};
use family::Family;
use own::OwnMetrics;
use std::collections::BTreeMap;

/// The shim's own metrics and those of sensors.
#[derive(Debug)]
pub struct Metrics {
    clock: MachineClock,
    own: OwnMetrics,
    sensors: BTreeMap<String, Family>,
}

impl Metrics {
    /// Metrics without values and without a plan.
    pub fn new(clock: MachineClock) -> Self {
        Self {
            clock,
            own: OwnMetrics::new(),
            sensors: BTreeMap::new(),
        }
    }

    /// From now on there is a series for each thing that this plan names, and none for others.
    pub fn expose(&mut self, plan: &Plan) {
        self.own.expose(plan);
        let mut before = std::mem::take(&mut self.sensors);
        let family = |sensor: &Sensor| {
            let kept = before.remove(&sensor.name);
            let kept = kept.filter(|family| family.kind() == sensor.kind);
            let mut family = kept.unwrap_or_else(|| Family::plain(sensor.kind, &sensor.name, &sensor.help));
            family.set_help(&sensor.help);
            (sensor.name.clone(), family)
        };
        let sensors = plan.telemetry.iter().flat_map(|telemetry| &telemetry.sensors);
        self.sensors = filled::map(sensors.map(family));
    }

    /// Records a measurement. One about a thing that the plan does not name is dropped.
    pub fn record(&mut self, measurement: &Measurement) {
        if let Measurement::Sensed { sensor, value } = measurement {
            if let Some(family) = self.sensors.get_mut(sensor) {
                family.take(self.clock.now(), &[], value.number());
            }
        } else {
            self.own.record(measurement);
        }
    }

    /// All metrics in the text format 0.0.4, sorted by name. Numbers are decimals without an exponent, which
    /// Prometheus reads as well as the original's `3e+06`.
    ///
    /// # Errors
    /// The message of the encoder.
    pub fn text(&self) -> Result<String, String> {
        let now = self.clock.now();
        let process = process::families();
        let all = self.own.families().chain(self.sensors.values()).chain(&process);
        let mut families: Vec<_> = all.filter_map(|family| family.collect(now)).collect();
        families.sort_by(|one, other| one.name().cmp(other.name()));
        exposition::text(&families)
    }
}

#[cfg(test)]
mod tests;
