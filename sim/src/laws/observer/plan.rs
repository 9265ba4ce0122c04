//! A plan in the form that the observer stores: cheap to clone and short to print.

use domain::plan::{Backend, Job, Plan, Sensor};
use domain::state_key::{Keyed, StateKey};
use domain::time::Duration;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::ops::Deref;
use std::rc::Rc;

/// A plan that its copies share.
#[derive(Clone)]
pub(crate) struct SharedPlan(Rc<Plan>);

impl SharedPlan {
    pub fn new(plan: Plan) -> Self {
        Self(Rc::new(plan))
    }
}

impl Deref for SharedPlan {
    type Target = Plan;
    fn deref(&self) -> &Plan {
        &self.0
    }
}

impl PartialEq for SharedPlan {
    fn eq(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0) || self.0 == other.0
    }
}

impl Eq for SharedPlan {}

impl Hash for SharedPlan {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}

impl fmt::Debug for SharedPlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", crate::trace::PrintedPlan(&self.0))
    }
}

/// The key of a backend in a trace: name and tag.
pub(crate) fn backend_key(name: &str, tag: Option<&str>) -> String {
    format!("{name}/{}", tag.unwrap_or("-"))
}

/// The key of a backend of the plan.
pub(crate) fn key_of(backend: &Backend) -> String {
    backend_key(&backend.name, backend.tag.as_deref())
}

/// The backends of the plan with this key.
pub(super) fn alike<'a>(plan: &'a Plan, key: &str) -> impl Iterator<Item = &'a Backend> {
    plan.backends.iter().filter(move |backend| key_of(backend) == key)
}

/// The longest poll of the backends with the same key.
pub(super) fn longest_poll(plan: &Plan, key: &str) -> Duration {
    alike(plan, key)
        .map(|backend| backend.poll)
        .max()
        .unwrap_or_default()
}

/// The sensors of the plan.
pub(super) fn sensors(plan: &Plan) -> impl Iterator<Item = &Sensor> {
    plan.telemetry.iter().flat_map(|telemetry| &telemetry.sensors)
}

/// The jobs of the sensors of the plan.
pub(crate) fn sensor_jobs(plan: &Plan) -> impl Iterator<Item = &Job> {
    sensors(plan).map(|sensor| &sensor.job)
}

impl Keyed for SharedPlan {
    fn write_key(&self, key: &mut impl StateKey) {
        self.0.write_key(key);
    }
}
