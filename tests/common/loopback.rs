//! Reserves an address of the loopback interface for one test. All of 127.0.0.0/8 is local on Linux, so a test can use
//! fixed ports on an address of its own and need not search for a free port.
//!
//! Addresses are taken from 127.64.0.0/10, beginning at one that depends on the process, and each is reserved as
//! long as its value lives, against other tests of the same process and against other processes: by an abstract
//! Unix socket, which the kernel removes when its holder ends, however it ends.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddress, UnixListener};
use std::sync::atomic::{AtomicU32, Ordering};

/// How many addresses there are.
const COUNT: u32 = 1 << 22;
/// The first of them.
const FIRST: Ipv4Addr = Ipv4Addr::new(127, 64, 0, 0);
/// The port of a test's only server. It is below the kernel's range of ephemeral ports, and
/// unusual, because a server that listens on all addresses would occupy it.
pub const PORT: u16 = 21_080;

/// An address that only its owner uses. Nothing listens there unless the owner starts a server.
#[derive(Debug)]
pub struct OwnAddress {
    ip: Ipv4Addr,
    _reservation: UnixListener,
}

impl OwnAddress {
    /// Reserves an address that no other test has reserved.
    pub fn reserve() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let begin = std::process::id().wrapping_mul(0x9E37_79B1);
        loop {
            let number = begin.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % COUNT;
            let ip = Ipv4Addr::from_bits(FIRST.to_bits() + number);
            match reservation(ip) {
                Ok(reservation) => {
                    return Self {
                        ip,
                        _reservation: reservation,
                    };
                }
                Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
                Err(error) => panic!("{ip} cannot be reserved: {error}"),
            }
        }
    }

    /// The address.
    pub fn ip(&self) -> Ipv4Addr {
        self.ip
    }

    /// The address with a port.
    pub fn at(&self, port: u16) -> SocketAddr {
        SocketAddr::from((self.ip, port))
    }

    /// The address with the port of a test's only server.
    pub fn socket(&self) -> SocketAddr {
        self.at(PORT)
    }
}

fn reservation(ip: Ipv4Addr) -> io::Result<UnixListener> {
    let name = format!("containerpilot-test/{ip}");
    UnixListener::bind_addr(&UnixAddress::from_abstract_name(name)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_reserved_while_its_value_lives_and_servers_can_be_there() {
        let (one, other) = (OwnAddress::reserve(), OwnAddress::reserve());
        assert_ne!(one.ip(), other.ip());
        std::net::TcpListener::bind(one.socket()).expect("it is an address of this host");
        let refusal = reservation(one.ip()).expect_err("it is reserved");
        assert_eq!(refusal.kind(), io::ErrorKind::AddrInUse);
        let ip = one.ip();
        drop(one);
        reservation(ip).expect("it is free again");
    }
}
