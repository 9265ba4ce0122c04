//! The control socket: HTTP on a Unix socket, for the program's own flags and for tools of ContainerPilot 3
//! (docs/control.md).
//!
//! The server decides nothing about the shim: it posts requests to the core and sends its answers. Its connections have
//! the same bounds as those of the telemetry.

mod paths;
mod socket;

use crate::adapters::clients::Clients;
use crate::adapters::clock::calendar;
use crate::adapters::http::{Connections, Listeners, Step, serve_until_dropped};
use crate::adapters::inbox::InboxSender;
use crate::adapters::tasks::spawn_local;
use crate::ports::Control;
use domain::control::{ControlAnswer, RequestNumber};
use domain::plan::ControlSocket;
use paths::Paths;
use socket::{BoundSocket, SocketFile};
use std::rc::Rc;
use tokio::net::UnixListener;
use tokio::task::AbortHandle;

/// The server at the control socket. Runs on a tokio `LocalSet`. The file of the socket is removed when it is dropped.
pub struct ControlServer {
    clients: Clients,
    paths: Rc<Paths>,
    listeners: Listeners<ControlSocket>,
    connections: Connections,
    serving: Option<(AbortHandle, SocketFile)>,
}

impl ControlServer {
    /// A server that does not listen yet. It uses the socket that `listeners` bound on trial.
    pub fn new(clients: Clients, inbox_sender: InboxSender, listeners: Listeners<ControlSocket>) -> Self {
        Self {
            paths: Rc::new(Paths::new(clients.clone(), inbox_sender)),
            clients,
            listeners,
            connections: Connections::default(),
            serving: None,
        }
    }

    /// The connections stay open: the client that requested the change may still wait for its answer.
    fn close(&mut self) {
        if let Some((serving, _file)) = self.serving.take() {
            serving.abort();
        }
    }

    fn open(&mut self, BoundSocket { listener, file }: BoundSocket) {
        let (paths, connections) = (Rc::clone(&self.paths), self.connections.clone());
        let serving = spawn_local(async move {
            // The socket was bound with these settings on trial.
            if let Ok(listener) = UnixListener::from_std(listener) {
                serve_until_dropped(Box::new(listener), paths, connections).await;
            }
        });
        self.serving = Some((serving.abort_handle(), file));
    }
}

impl Control for ControlServer {
    fn listen(&mut self, socket: Option<ControlSocket>) {
        match self.listeners.switch_to(socket.as_ref()) {
            Step::Stay => {}
            Step::Close => self.close(),
            Step::Open(bound) => {
                self.close();
                self.open(bound);
            }
        }
    }

    fn answer(&mut self, number: RequestNumber, answer: ControlAnswer) {
        self.clients.answer(number, answer, || calendar().to_utc());
    }
}
