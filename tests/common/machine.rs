//! A machine with two interfaces and a few users, for tests that compile configurations.

use crate::accounts::accounts;
use containerpilot::ports::{Interfaces, Users};
use domain::address::InterfaceAddress;
use domain::identity::Accounts;
use std::io;
use std::rc::Rc;

/// The machine.
pub struct Machine;

impl Interfaces for Machine {
    fn addresses(&self) -> io::Result<Vec<InterfaceAddress>> {
        let entry = |interface: &str, address: [u8; 4]| InterfaceAddress {
            interface: interface.into(),
            address: address.into(),
        };
        Ok(vec![entry("eth0", [192, 0, 2, 1]), entry("lo", [127, 0, 0, 1])])
    }
}

impl Users for Machine {
    fn accounts(&self) -> io::Result<Rc<Accounts>> {
        Ok(Rc::new(accounts()))
    }
}
