//! Telemetry: what is measured, and where it is served.

pub mod metrics;
pub mod status;

use crate::ports::Telemetry;
use domain::Plan;
use domain::event::Inquiry;
use domain::measurement::Measurement;
use domain::status::Status;

/// Telemetry that is not served yet.
#[derive(Debug)]
pub struct Unserved;

impl Telemetry for Unserved {
    fn expose(&mut self, _: &Plan) {}

    fn record(&mut self, _: &Measurement) {}

    fn report(&mut self, _: Inquiry, _: &Status) {}
}
