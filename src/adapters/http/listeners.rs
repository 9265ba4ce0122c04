//! The listening socket of a server: bound on trial when a configuration is checked, used when that configuration is
//! in force.
//!
//! So an address that cannot be bound is refused together with its configuration (TM-10), and no other
//! process can take the address between the trial and its use. The settings adapter and the server share the
//! listeners.

use std::cell::RefCell;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;

/// An address at which a server can listen.
pub trait Address: Clone + PartialEq {
    /// The listening socket.
    type Listener;

    /// Listens at the address.
    ///
    /// # Errors
    /// The address cannot be bound.
    fn bind(&self) -> io::Result<Self::Listener>;

    /// Whether a socket that is `bound` at another address serves for this one as well; it is changed then.
    ///
    /// # Errors
    /// It cannot be changed.
    fn becomes(&self, _bound: &Self) -> io::Result<bool> {
        Ok(false)
    }
}

impl Address for SocketAddr {
    type Listener = TcpListener;

    fn bind(&self) -> io::Result<TcpListener> {
        let listener = TcpListener::bind(self)?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    }
}

/// The listening sockets of a server; clones share them.
#[derive(Clone)]
pub struct Listeners<A: Address>(Rc<RefCell<State<A>>>);

struct State<A: Address> {
    open: Option<A>,
    ready: Option<(A, A::Listener)>,
}

impl<A: Address> Default for Listeners<A> {
    fn default() -> Self {
        let (open, ready) = (None, None);
        Self(Rc::new(RefCell::new(State { open, ready })))
    }
}

impl<A: Address> Listeners<A> {
    /// Binds this address on trial, unless it is bound already. Closes the socket of an earlier trial for
    /// another address.
    ///
    /// # Errors
    /// The address cannot be bound.
    pub fn try_out(&self, address: Option<&A>) -> io::Result<()> {
        let State { open, ready } = &mut *self.0.borrow_mut();
        let Some(address) = address else {
            *ready = None;
            return Ok(());
        };
        if let Some(open) = open
            && (open == address || address.becomes(open)?)
        {
            *open = address.clone();
            *ready = None;
            return Ok(());
        }
        if let Some((ready, _)) = ready
            && (ready == address || address.becomes(ready)?)
        {
            *ready = address.clone();
            return Ok(());
        }
        *ready = Some((address.clone(), address.bind()?));
        Ok(())
    }

    /// From now on this address is served, or none.
    pub fn switch_to(&self, address: Option<&A>) -> Step<A::Listener> {
        let mut state = self.0.borrow_mut();
        if state.open.as_ref() == address {
            return Step::Stay;
        }
        state.open = address.cloned();
        match state.ready.take() {
            Some((ready, listener)) if Some(&ready) == address => Step::Open(listener),
            _ => Step::Close,
        }
    }
}

/// What happens to the open listening socket.
#[derive(Debug)]
pub enum Step<L> {
    /// It stays open.
    Stay,
    /// It is closed, and this one is used.
    Open(L),
    /// It is closed.
    Close,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::loopback::OwnAddress;
    use crate::ports::Clock as _;
    use domain::time::Duration;

    /// Whether the address can be bound within a short time. A child that another test of this process starts
    /// has a copy of the socket until it executes its program.
    fn is_free(address: SocketAddr) -> bool {
        let clock = MachineClock::start();
        while TcpListener::bind(address).is_err() {
            if clock.now().since_start() > Duration::from_secs(10) {
                return false;
            }
            std::thread::yield_now();
        }
        true
    }

    fn listeners_and_two_addresses() -> (Listeners<SocketAddr>, OwnAddress, OwnAddress) {
        (Listeners::default(), OwnAddress::reserve(), OwnAddress::reserve())
    }

    #[test]
    fn the_listener_of_the_trial_is_the_one_that_is_used() {
        let (listeners, own) = (Listeners::<SocketAddr>::default(), OwnAddress::reserve());
        let address = own.socket();
        listeners.try_out(Some(&address)).unwrap();
        assert!(TcpListener::bind(address).is_err());
        let Step::Open(listener) = listeners.switch_to(Some(&address)) else {
            panic!("the listener of the trial is used");
        };
        assert_eq!(listener.local_addr().unwrap(), address);
        listeners.try_out(Some(&address)).unwrap();
        assert!(matches!(listeners.switch_to(Some(&address)), Step::Stay));
    }

    #[test]
    fn an_address_that_is_taken_is_refused_and_nothing_changes() {
        let (listeners, own, other) = listeners_and_two_addresses();
        let (address, taken) = (own.socket(), other.socket());
        listeners.try_out(Some(&address)).unwrap();
        let _holder = TcpListener::bind(taken).unwrap();
        let error = listeners.try_out(Some(&taken)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(matches!(listeners.switch_to(Some(&address)), Step::Open(_)));
    }

    #[test]
    fn a_later_trial_closes_the_listener_of_the_earlier_one() {
        let (listeners, one, other) = listeners_and_two_addresses();
        let (first, second) = (one.socket(), other.socket());
        listeners.try_out(Some(&first)).unwrap();
        listeners.try_out(Some(&second)).unwrap();
        assert!(is_free(first));
        listeners.try_out(None).unwrap();
        assert!(is_free(second));
        assert!(matches!(listeners.switch_to(None), Step::Stay));
    }

    #[test]
    fn a_reload_back_to_the_open_address_leaves_it_open() {
        let (listeners, one, other) = listeners_and_two_addresses();
        let (first, second) = (one.socket(), other.socket());
        listeners.try_out(Some(&first)).unwrap();
        let Step::Open(_listener) = listeners.switch_to(Some(&first)) else {
            panic!("the listener of the trial is used");
        };
        listeners.try_out(Some(&second)).unwrap();
        listeners.try_out(Some(&first)).unwrap();
        assert!(is_free(second));
        assert!(matches!(listeners.switch_to(Some(&first)), Step::Stay));
        assert!(matches!(listeners.switch_to(None), Step::Close));
    }
}
