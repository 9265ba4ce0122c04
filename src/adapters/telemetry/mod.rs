//! Telemetry: counts the measurements of the core, and serves metrics and the status over HTTP.
//!
//! The server makes no decision for the shim and cannot disturb it: it posts one kind of event, a request for
//! the status, and all its resources are bounded.

pub mod metrics;
mod page;
mod pages;
pub mod status;

pub use page::for_people;

use crate::adapters::clients::Clients;
use crate::adapters::clock::MachineClock;
use crate::adapters::http::{Connections, Listeners, Step, serve_until_dropped};
use crate::adapters::inbox::InboxSender;
use crate::adapters::tasks::spawn_local;
use crate::ports::Telemetry;
use domain::Plan;
use domain::measurement::Measurement;
use metrics::Metrics;
use pages::Pages;
use std::cell::RefCell;
use std::net::{SocketAddr, TcpListener};
use std::rc::Rc;
use tokio::task::AbortHandle;

/// The telemetry server. Runs on a tokio `LocalSet`.
pub struct TelemetryServer {
    metrics: Rc<RefCell<Metrics>>,
    pages: Rc<Pages>,
    listeners: Listeners<SocketAddr>,
    connections: Connections,
    serving: Option<AbortHandle>,
}

impl TelemetryServer {
    /// A server that does not listen yet. It uses the socket that `listeners` bound on trial.
    pub fn new(
        clock: MachineClock,
        clients: Clients,
        inbox_sender: InboxSender,
        listeners: Listeners<SocketAddr>,
    ) -> Self {
        let metrics = Rc::new(RefCell::new(Metrics::new(clock)));
        let pages = Rc::new(Pages::new(Rc::clone(&metrics), clients, inbox_sender));
        Self {
            metrics,
            pages,
            listeners,
            connections: Connections::default(),
            serving: None,
        }
    }

    fn close(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
        self.connections.close();
    }

    fn open(&mut self, listener: TcpListener) {
        let (pages, connections) = (Rc::clone(&self.pages), self.connections.clone());
        let serving = spawn_local(async move {
            // The socket was bound with these settings on trial.
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                serve_until_dropped(Box::new(listener), pages, connections).await;
            }
        });
        self.serving = Some(serving.abort_handle());
    }
}

impl Telemetry for TelemetryServer {
    fn expose(&mut self, plan: &Plan) {
        self.metrics.borrow_mut().expose(plan);
        let address = plan.telemetry.as_ref().map(|telemetry| telemetry.address);
        match self.listeners.switch_to(address.as_ref()) {
            Step::Stay => {}
            Step::Close => self.close(),
            Step::Open(listener) => {
                self.close();
                self.open(listener);
            }
        }
    }

    fn record(&mut self, measurement: &Measurement) {
        self.metrics.borrow_mut().record(measurement);
    }
}
