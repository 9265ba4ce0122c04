//! Writes a state value by value, for a search that has to recognise the states that it has seen.
//!
//! Each type of the state is [`Keyed`]: it destructures itself and writes its fields to a [`StateKey`]. A field that is
//! neither written nor left out by name does not compile, so a new field cannot be missed. Instants, tickets and
//! the numbers of units are written as such, because the reader may compare their order instead of their values.
//!
//! What is left out affects no decision: it only appears in notices, measurements or the status.

use alloc::boxed::Box;
use alloc::collections::{BTreeMap, BTreeSet, VecDeque};
use alloc::string::String;
use alloc::vec::Vec;
use core::hash::{Hash, Hasher};
use core::mem::{Discriminant, discriminant};
use core::time::Duration;

/// Receives the values of a state, always in the same order.
pub trait StateKey {
    /// What hashes the values that are compared as they are.
    type Values: Hasher;

    /// Receives values that are compared as they are.
    fn values(&mut self) -> &mut Self::Values;

    /// Receives an instant, as the time since the start.
    fn instant(&mut self, since_start: Duration);

    /// Receives the number of a ticket.
    fn ticket(&mut self, number: u64);

    /// Receives the number of a unit.
    fn unit(&mut self, number: u32);
}

/// A part of a state that can be written to a [`StateKey`].
pub trait Keyed {
    /// Writes all fields that affect decisions, in a fixed order.
    fn write_key(&self, key: &mut impl StateKey);
}

/// Implements [`Keyed`] for a struct: writes the fields in the first braces, and leaves out those after `without`.
/// All fields have to be named.
///
/// ```
/// struct Wait { ended: bool, times_logged: u32 }
/// domain::keyed!(Wait { ended } without { times_logged });
/// ```
///
/// ```compile_fail
/// struct Wait { ended: bool, times_logged: u32 }
/// domain::keyed!(Wait { ended });
/// ```
#[macro_export]
macro_rules! keyed {
    ($type:ty { $($field:ident),* $(,)? } $(without { $($left_out:ident),* $(,)? })?) => {
        impl $crate::state_key::Keyed for $type {
            fn write_key(&self, key: &mut impl $crate::state_key::StateKey) {
                let Self { $($field,)* $($($left_out: _,)*)? } = self;
                $($crate::state_key::Keyed::write_key($field, key);)*
            }
        }
    };
}

/// Implements [`Keyed`] for types that are compared as they are.
#[macro_export]
macro_rules! keyed_as_is {
    ($($type:ty),* $(,)?) => {
        $(impl $crate::state_key::Keyed for $type {
            fn write_key(&self, key: &mut impl $crate::state_key::StateKey) {
                core::hash::Hash::hash(self, key.values());
            }
        })*
    };
}

/// Writes which variant of an enum a value is.
pub fn write_variant<T>(value: &T, key: &mut impl StateKey) {
    let variant: Discriminant<T> = discriminant(value);
    variant.hash(key.values());
}

keyed_as_is!(bool, u8, u16, u32, u64, usize, String, Duration);

impl<T: Keyed> Keyed for Option<T> {
    fn write_key(&self, key: &mut impl StateKey) {
        self.is_some().write_key(key);
        if let Some(value) = self {
            value.write_key(key);
        }
    }
}

impl<T: Keyed> Keyed for Box<T> {
    fn write_key(&self, key: &mut impl StateKey) {
        (**self).write_key(key);
    }
}

impl<A: Keyed, B: Keyed> Keyed for (A, B) {
    fn write_key(&self, key: &mut impl StateKey) {
        self.0.write_key(key);
        self.1.write_key(key);
    }
}

impl<T: Keyed> Keyed for Vec<T> {
    fn write_key(&self, key: &mut impl StateKey) {
        self.len().write_key(key);
        self.iter().for_each(|value| value.write_key(key));
    }
}

impl<T: Keyed> Keyed for VecDeque<T> {
    fn write_key(&self, key: &mut impl StateKey) {
        self.len().write_key(key);
        self.iter().for_each(|value| value.write_key(key));
    }
}

impl<T: Keyed> Keyed for BTreeSet<T> {
    fn write_key(&self, key: &mut impl StateKey) {
        self.len().write_key(key);
        self.iter().for_each(|value| value.write_key(key));
    }
}

impl<K: Keyed, V: Keyed> Keyed for BTreeMap<K, V> {
    fn write_key(&self, key: &mut impl StateKey) {
        self.len().write_key(key);
        for (name, value) in self {
            name.write_key(key);
            value.write_key(key);
        }
    }
}
