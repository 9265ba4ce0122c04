//! The network interfaces of this network namespace.

use crate::ports::Interfaces;
use domain::address::InterfaceAddress;
use std::io;

/// The interfaces of this machine.
#[derive(Clone, Copy, Debug, Default)]
pub struct MachineInterfaces;

impl Interfaces for MachineInterfaces {
    fn addresses(&self) -> io::Result<Vec<InterfaceAddress>> {
        let address = |entry: if_addrs::Interface| InterfaceAddress {
            address: entry.ip(),
            interface: without_alias(&entry.name).to_owned(),
        };
        Ok(if_addrs::get_if_addrs()?.into_iter().map(address).collect())
    }
}

/// The addresses at one point in time; reading them again does not query the kernel.
#[derive(Clone, Debug)]
pub struct Listed(Result<Vec<InterfaceAddress>, String>);

impl Listed {
    /// The addresses that `interfaces` lists now.
    pub fn now(interfaces: &dyn Interfaces) -> Self {
        Self(interfaces.addresses().map_err(|error| error.to_string()))
    }
}

impl Interfaces for Listed {
    fn addresses(&self) -> io::Result<Vec<InterfaceAddress>> {
        self.0.clone().map_err(io::Error::other)
    }
}

/// The name without an alias: `eth0:1` is another address of `eth0`, not another interface.
fn without_alias(name: &str) -> &str {
    name.split_once(':').map_or(name, |(interface, _)| interface)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loopback_interface_is_listed() {
        let addresses = MachineInterfaces.addresses().unwrap();
        let loopback = addresses
            .iter()
            .find(|entry| entry.interface == "lo")
            .expect("every host has lo");
        assert!(loopback.address.is_loopback());
    }

    #[test]
    fn an_alias_belongs_to_its_interface() {
        assert_eq!(without_alias("eth0:1"), "eth0");
        assert_eq!(without_alias("br-lan.5"), "br-lan.5");
    }
}
