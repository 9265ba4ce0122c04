//! Requests of clients to the shim.

use domain::control::{ControlAnswer, RequestNumber};
use domain::plan::ControlSocket;

/// Takes requests of clients, which arrive in the inbox as [`domain::Event::Requested`], and sends the answers.
#[cfg_attr(test, mockall::automock)]
pub trait Control {
    /// From now on clients send their requests to this socket, or to none. Requests that were taken before are
    /// still answered.
    fn listen(&mut self, socket: Option<ControlSocket>);

    /// Answers the client with this number, at whatever server its request came. If the client is gone, the answer is
    /// dropped.
    fn answer(&mut self, number: RequestNumber, answer: ControlAnswer);
}
