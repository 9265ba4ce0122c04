//! Selects the address that a service advertises, by interface specifications (docs/development/behaviour.md
//! IF-1 to IF-5).
//!
//! The specifications are tried in the order in which the operator wrote them. Each one examines the
//! machine's addresses in one fixed order, so the result does not depend on the order in which the kernel
//! lists them. A list with one invalid specification is refused, even if an earlier one would match.

use alloc::borrow::ToOwned;
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt;
use core::net::{IpAddr, Ipv6Addr};
use ipnet::IpNet;

/// The specification that is used when none is given.
pub const DEFAULT_SPECIFICATION: &str = "eth0:inet";

/// One address of one network interface, as the machine reports it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceAddress {
    /// The interface's name, for instance `eth0`.
    pub interface: String,
    /// The address; IPv4-mapped IPv6 counts as IPv4.
    pub address: IpAddr,
}

impl fmt::Display for InterfaceAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.interface, self.address)
    }
}

/// A specification of an address; [`fmt::Display`] writes it as in the configuration.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Specification {
    /// `inet` or `inet6`: the first address of the family on any interface but loopback addresses.
    Any(Family),
    /// `eth0`, `eth0:inet` or `eth0:inet6`: the first address of the family on that interface.
    Interface(String, Family),
    /// `eth0[1]`: address number N, from 0, of that interface, both families counted together.
    Numbered(String, usize),
    /// `10.0.0.0/8`: the first address inside that network; loopback addresses are not excluded.
    Network(IpNet),
    /// `static:192.0.2.1`: this address, independent of the interfaces.
    Static(IpAddr),
}

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// IPv4, written `inet`.
    Inet,
    /// IPv6, written `inet6`.
    Inet6,
}

/// An invalid specification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SpecificationError {
    /// The text has none of the forms.
    Unknown(String),
    /// The text after `static:` is not an address.
    Static(String),
}

/// No specification matched. It has the specifications and the addresses that were found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoMatch {
    wanted: Vec<Specification>,
    found: Vec<InterfaceAddress>,
}

/// The first of `found`, in the fixed order, that the first matching specification of `wanted` selects.
/// `found` may be in any order.
///
/// # Errors
/// [`NoMatch`] if no specification matches.
pub fn select(wanted: &[Specification], found: &[InterfaceAddress]) -> Result<IpAddr, NoMatch> {
    let found = sorted(found);
    let matched = wanted
        .iter()
        .find_map(|specification| specification.select(&found));
    matched.ok_or_else(|| NoMatch {
        wanted: wanted.to_vec(),
        found,
    })
}

/// Sorts by interface name bytewise, then by the 16-byte form of the address.
fn sorted(found: &[InterfaceAddress]) -> Vec<InterfaceAddress> {
    let mut sorted: Vec<_> = found
        .iter()
        .map(|entry| InterfaceAddress {
            interface: entry.interface.clone(),
            address: entry.address.to_canonical(),
        })
        .collect();
    sorted.sort_by(|a, b| {
        let key = |entry: &InterfaceAddress| wide(entry.address);
        a.interface.cmp(&b.interface).then_with(|| key(a).cmp(&key(b)))
    });
    sorted
}

fn wide(address: IpAddr) -> Ipv6Addr {
    match address {
        IpAddr::V4(address) => address.to_ipv6_mapped(),
        IpAddr::V6(address) => address,
    }
}

impl Specification {
    /// Parses one specification.
    ///
    /// # Errors
    /// [`SpecificationError`] with the text that has none of the forms.
    pub fn parse(text: &str) -> Result<Self, SpecificationError> {
        let unknown = || SpecificationError::Unknown(text.to_owned());
        if let Some(family) = Family::parse(text) {
            return Ok(Self::Any(family));
        }
        if let Some(address) = text.strip_prefix("static:") {
            let address = address
                .parse()
                .map_err(|_| SpecificationError::Static(text.to_owned()))?;
            return Ok(Self::Static(address));
        }
        if text.contains('/') {
            return text.parse().map(Self::Network).map_err(|_| unknown());
        }
        Self::of_interface(text).ok_or_else(unknown)
    }

    fn of_interface(text: &str) -> Option<Self> {
        if let Some(numbered) = text.strip_suffix(']') {
            let (name, number) = numbered.split_once('[')?;
            let digits = number.bytes().all(|byte| byte.is_ascii_digit());
            let number = number.parse().ok().filter(|_| digits)?;
            return interface_name(name).map(|name| Self::Numbered(name, number));
        }
        let (name, family) = match text.split_once(':') {
            Some((name, family)) => (name, Family::parse(family)?),
            None => (text, Family::Inet),
        };
        interface_name(name).map(|name| Self::Interface(name, family))
    }

    fn select(&self, found: &[InterfaceAddress]) -> Option<IpAddr> {
        let first = |matches: &dyn Fn(&InterfaceAddress) -> bool| {
            found
                .iter()
                .find(|entry| matches(entry))
                .map(|entry| entry.address)
        };
        match self {
            Self::Any(family) => {
                first(&|entry| family.includes(entry.address) && !entry.address.is_loopback())
            }
            Self::Interface(name, family) => {
                first(&|entry| entry.interface == *name && family.includes(entry.address))
            }
            Self::Numbered(name, number) => {
                let mut named = found.iter().filter(|entry| entry.interface == *name);
                named.nth(*number).map(|entry| entry.address)
            }
            Self::Network(network) => first(&|entry| network.contains(&entry.address)),
            Self::Static(address) => Some(address.to_canonical()),
        }
    }
}

/// A name of ASCII letters, digits and `_ - . @` (IF-1) that is not itself an address, as `127.0.0.1` is.
fn interface_name(text: &str) -> Option<String> {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.@".contains(&byte);
    let named = !text.is_empty() && text.bytes().all(allowed) && text.parse::<IpAddr>().is_err();
    named.then(|| text.to_owned())
}

impl Family {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "inet" => Some(Self::Inet),
            "inet6" => Some(Self::Inet6),
            _ => None,
        }
    }

    fn includes(self, address: IpAddr) -> bool {
        matches!(
            (self, address),
            (Self::Inet, IpAddr::V4(_)) | (Self::Inet6, IpAddr::V6(_))
        )
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Inet => "inet",
            Self::Inet6 => "inet6",
        })
    }
}

impl fmt::Display for Specification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any(family) => write!(f, "{family}"),
            Self::Interface(name, family) => write!(f, "{name}:{family}"),
            Self::Numbered(name, number) => write!(f, "{name}[{number}]"),
            Self::Network(network) => write!(f, "{network}"),
            Self::Static(address) => write!(f, "static:{address}"),
        }
    }
}

impl fmt::Display for SpecificationError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(text) => write!(f, "Unable to parse interface spec: {text}"),
            Self::Static(text) => {
                let address = text.trim_start_matches("static:");
                write!(f, "Unable to parse static ip {address} in {text}")
            }
        }
    }
}

impl fmt::Display for NoMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("None of the interface specifications were able to match\nSpecifications: ")?;
        list(f, &self.wanted)?;
        f.write_str("\nInterfaces IPs: ")?;
        list(f, &self.found)
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T]) -> fmt::Result {
    f.write_str("[")?;
    for (index, item) in items.iter().enumerate() {
        let space = if index == 0 { "" } else { " " };
        write!(f, "{space}{item}")?;
    }
    f.write_str("]")
}

impl core::error::Error for SpecificationError {}
impl core::error::Error for NoMatch {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    /// The interfaces in the original's unit test.
    fn machine() -> Vec<InterfaceAddress> {
        interfaces(&[
            ("eth0", "10.2.0.1"),
            ("eth0", "192.168.1.100"),
            ("eth1", "10.0.0.100"),
            ("eth1", "10.0.0.200"),
            ("eth2", "10.1.0.200"),
            ("eth2", "fdc6:238c:c4bc::1"),
            ("lo", "::1"),
            ("lo", "127.0.0.1"),
        ])
    }

    fn interfaces(entries: &[(&str, &str)]) -> Vec<InterfaceAddress> {
        let entry = |(name, address): &(&str, &str)| InterfaceAddress {
            interface: (*name).to_owned(),
            address: address.parse().unwrap(),
        };
        entries.iter().map(entry).collect()
    }

    fn parsed(specs: &[&str]) -> Vec<Specification> {
        specs
            .iter()
            .map(|spec| Specification::parse(spec).unwrap())
            .collect()
    }

    fn selected(specs: &[&str], found: &[InterfaceAddress]) -> String {
        select(&parsed(specs), found).map_or_else(|_| "error".into(), |address| address.to_string())
    }

    #[test]
    fn each_specification_selects_the_address_that_the_original_selects() {
        let table: &[(&[&str], &str)] = &[
            (&["lo"], "127.0.0.1"),
            (&["lo:inet6"], "::1"),
            (&["eth0"], "10.2.0.1"),
            (&["eth0:inet"], "10.2.0.1"),
            (&["eth0:inet6"], "error"),
            (&["eth0[1]"], "192.168.1.100"),
            (&["eth0[2]"], "error"),
            (&["10.0.0.0/16"], "10.0.0.100"),
            (&["10.1.0.0/16"], "10.1.0.200"),
            (&["10.0.0.0/8"], "10.2.0.1"),
            (&["eth2:inet6"], "fdc6:238c:c4bc::1"),
            (&["inet"], "10.2.0.1"),
            (&["inet6"], "fdc6:238c:c4bc::1"),
            (
                &["eth3", "fdc6:238c:c4bc::/48", "inet", "inet6"],
                "fdc6:238c:c4bc::1",
            ),
            (
                &["eth3", "10.0.0.0/16", "inet", "inet6", "fdc6:238c:c4bc::/48"],
                "10.0.0.100",
            ),
            (&["static:192.168.1.100"], "192.168.1.100"),
            (&["static:192.168.1.100", "lo"], "192.168.1.100"),
            (&["lo", "eth0"], "127.0.0.1"),
            (&["127.0.0.0/8"], "127.0.0.1"),
        ];
        for (specs, expected) in table {
            assert_eq!(selected(specs, &machine()), *expected, "{specs:?}");
        }
    }

    #[test]
    fn loopback_alone_has_no_address_for_inet_and_inet6() {
        let loopback = interfaces(&[("lo", "::1"), ("lo", "127.0.0.1")]);
        assert_eq!(selected(&["inet"], &loopback), "error");
        assert_eq!(selected(&["inet6"], &loopback), "error");
        assert_eq!(
            selected(&["lo[0]"], &loopback),
            "::1",
            "::1 sorts before 127.0.0.1"
        );
    }

    #[test]
    fn link_local_addresses_are_candidates() {
        let found = interfaces(&[("eth0", "fe80::1"), ("eth0", "fd00::2")]);
        assert_eq!(selected(&["inet6"], &found), "fd00::2");
        assert_eq!(selected(&["eth0[1]"], &found), "fe80::1");
    }

    #[test]
    fn names_sort_bytewise_and_mapped_addresses_are_ipv4() {
        let found = interfaces(&[("eth2", "192.0.2.2"), ("eth10", "::ffff:192.0.2.10")]);
        assert_eq!(selected(&["inet"], &found), "192.0.2.10");
    }

    #[test]
    fn an_invalid_specification_is_named() {
        for bad in [
            "",
            "!",
            "127.0.0.1",
            "eth0:inet5",
            "eth0[-1]",
            "eth0[+1]",
            "eth0[]",
            "eth0[1",
            "10.0.0.0/33",
            "a b",
            "::1",
        ] {
            let error = Specification::parse(bad).unwrap_err().to_string();
            assert_eq!(error, format!("Unable to parse interface spec: {bad}"));
        }
        for bad in ["abcdef", "", "123"] {
            let error = Specification::parse(&format!("static:{bad}"))
                .unwrap_err()
                .to_string();
            assert_eq!(error, format!("Unable to parse static ip {bad} in static:{bad}"));
        }
    }

    #[test]
    fn interface_names_of_bridges_and_vlans_can_be_written() {
        for name in ["br-lan", "eth0.100", "veth0@if5", "net_0", "en0"] {
            let expected = Specification::Interface(name.to_owned(), Family::Inet);
            assert_eq!(Specification::parse(name), Ok(expected));
        }
    }

    #[test]
    fn the_error_of_no_match_names_the_specifications_and_the_addresses() {
        let found = interfaces(&[("lo", "127.0.0.1"), ("lo", "::1"), ("eth0", "192.0.2.2")]);
        let error = select(&parsed(&["eth3", "eth0[5]", "fd00::/8"]), &found).unwrap_err();
        assert_eq!(
            error.to_string(),
            "None of the interface specifications were able to match\n\
             Specifications: [eth3:inet eth0[5] fd00::/8]\n\
             Interfaces IPs: [eth0:192.0.2.2 lo:::1 lo:127.0.0.1]"
        );
    }

    fn any_interfaces() -> impl Strategy<Value = Vec<InterfaceAddress>> {
        let address = prop_oneof![
            any::<u8>().prop_map(|n| format!("10.0.0.{n}")),
            any::<u8>().prop_map(|n| format!("127.0.0.{n}")),
            any::<u16>().prop_map(|n| format!("fd00::{n:x}")),
            Just("::1".to_owned()),
        ];
        let entry = (prop::sample::select(vec!["eth0", "eth1", "lo"]), address);
        let entry = entry.prop_map(|(name, address)| interfaces(&[(name, address.as_str())]).remove(0));
        prop::collection::vec(entry, 0..8)
    }

    fn any_specifications() -> impl Strategy<Value = Vec<Specification>> {
        let specs = vec![
            "eth0",
            "eth1:inet6",
            "eth0[1]",
            "lo",
            "inet",
            "inet6",
            "10.0.0.0/25",
            "fd00::/16",
            "eth9",
        ];
        prop::collection::vec(prop::sample::select(specs), 1..5).prop_map(|specs| parsed(&specs))
    }

    proptest! {
        #[test]
        fn the_result_does_not_depend_on_the_order_of_the_addresses(
            (found, shuffled) in any_interfaces().prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle())),
            wanted in any_specifications()
        ) {
            prop_assert_eq!(select(&wanted, &found), select(&wanted, &shuffled));
        }

        #[test]
        fn the_first_matching_specification_wins(found in any_interfaces(), wanted in any_specifications()) {
            let alone = wanted.iter().find_map(|one| select(core::slice::from_ref(one), &found).ok());
            prop_assert_eq!(select(&wanted, &found).ok(), alone);
        }

        #[test]
        fn loopback_is_excluded_only_for_inet_and_inet6(found in any_interfaces(), wanted in any_specifications()) {
            for one in wanted {
                let Ok(address) = select(core::slice::from_ref(&one), &found) else { continue };
                if let Specification::Any(_) = one {
                    prop_assert!(!address.is_loopback());
                }
            }
            for entry in &found {
                let one = Specification::Network(IpNet::from(entry.address.to_canonical()));
                prop_assert_eq!(select(&[one], &found).ok(), Some(entry.address.to_canonical()), "loopback or not");
            }
        }
    }
}
