//! Ports for servers that tests start.

use std::net::{TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

/// Below those that the kernel gives to whoever connects or binds to any: one that is free stays free, also
/// while its server is started again.
const FIRST: u16 = 10_000;
const COUNT: u16 = 20_000;

/// A port that is free for TCP and UDP, and not given to another test of this run.
pub fn free_port() -> u16 {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    // Another run beside this one begins elsewhere.
    let offset = u16::try_from(std::process::id() * 97 % u32::from(COUNT)).expect("less than COUNT");
    loop {
        let next = GIVEN.fetch_add(1, Ordering::Relaxed) % COUNT;
        let port = FIRST + (offset + next) % COUNT;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}
