//! The network interfaces of this network namespace.

use crate::ports::Interfaces;
use domain::address::InterfaceAddress;
use std::cell::OnceCell;
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

/// The addresses when they were first asked for: the kernel is queried once, or not at all if no address is needed.
pub struct ListedOnce<'a> {
    interfaces: &'a dyn Interfaces,
    listed: OnceCell<Result<Vec<InterfaceAddress>, String>>,
}

impl<'a> ListedOnce<'a> {
    /// Nothing is listed yet.
    pub fn new(interfaces: &'a dyn Interfaces) -> Self {
        let listed = OnceCell::new();
        Self { interfaces, listed }
    }
}

impl Interfaces for ListedOnce<'_> {
    fn addresses(&self) -> io::Result<Vec<InterfaceAddress>> {
        let list = || self.interfaces.addresses().map_err(|error| error.to_string());
        self.listed.get_or_init(list).clone().map_err(io::Error::other)
    }
}

/// The name without an alias: `eth0:1` is another address of `eth0`, not another interface.
fn without_alias(name: &str) -> &str {
    name.split_once(':').map_or(name, |(interface, _)| interface)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ports::MockInterfaces;
    use std::net::Ipv4Addr;

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
    fn the_kernel_is_queried_once_and_only_for_an_address() {
        let mut interfaces = MockInterfaces::new();
        let entry = InterfaceAddress {
            interface: "lo".into(),
            address: Ipv4Addr::LOCALHOST.into(),
        };
        let answer = vec![entry];
        let expected = answer.clone();
        drop(ListedOnce::new(&interfaces));
        interfaces.expect_addresses().times(1).return_once(|| Ok(answer));
        let listed = ListedOnce::new(&interfaces);
        assert_eq!(listed.addresses().unwrap(), expected);
        assert_eq!(listed.addresses().unwrap(), expected);
    }

    #[test]
    fn an_alias_belongs_to_its_interface() {
        assert_eq!(without_alias("eth0:1"), "eth0");
        assert_eq!(without_alias("br-lan.5"), "br-lan.5");
    }
}
