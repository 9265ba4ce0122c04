//! The IDs of units.

use crate::state_key::{Keyed, StateKey, write_variant};

/// The number of a unit; never used again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Serial(pub u32);

/// The ID of a unit, and so of the owner of a child process and the sender of a catalogue request. Of several units
/// that are due, the one with the lowest ID acts first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum UnitId {
    Service(Serial),
    Backend(Serial),
    Application,
    Hook(Hook),
    /// A task or a coprocess.
    Job(Serial),
    Sensor(Serial),
    /// What templates read from the catalogue under one name.
    Dependency(Serial),
    Template(Serial),
}

/// A hook of the lifecycle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Hook {
    PreStart,
    PreStop,
    PostStop,
}

impl Keyed for UnitId {
    fn write_key(&self, key: &mut impl StateKey) {
        write_variant(self, key);
        match self {
            Self::Service(Serial(number))
            | Self::Backend(Serial(number))
            | Self::Job(Serial(number))
            | Self::Sensor(Serial(number))
            | Self::Dependency(Serial(number))
            | Self::Template(Serial(number)) => key.unit(*number),
            Self::Application => {}
            Self::Hook(hook) => write_variant(hook, key),
        }
    }
}
