//! Telemetry: counts the measurements of the core, and serves metrics and the status over HTTP.
//!
//! The server makes no decision for the shim and cannot disturb it: it posts one kind of event, a request for
//! the status, and all its resources are bounded.

mod listeners;
pub mod metrics;
mod page;
mod pages;
mod server;
pub mod status;

pub use listeners::Listeners;

use crate::adapters::clock::{MachineClock, calendar};
use crate::adapters::inbox::InboxSender;
use crate::panics;
use crate::ports::Telemetry;
use domain::Plan;
use domain::event::StatusRequest;
use domain::measurement::Measurement;
use domain::status::Status;
use listeners::Step;
use metrics::Metrics;
use pages::Pages;
use std::cell::RefCell;
use std::net::TcpListener;
use std::rc::Rc;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

/// The telemetry server. Runs on a tokio `LocalSet`.
pub struct TelemetryServer {
    metrics: Rc<RefCell<Metrics>>,
    pages: Rc<Pages>,
    listeners: Listeners,
    serving: Option<AbortHandle>,
}

impl TelemetryServer {
    /// A server that does not listen yet. It posts requests for the status to the inbox, and uses the socket
    /// that `listeners` bound on trial.
    pub fn new(clock: MachineClock, inbox_sender: InboxSender, listeners: Listeners) -> Self {
        let metrics = Rc::new(RefCell::new(Metrics::new(clock)));
        let pages = Rc::new(Pages::new(Rc::clone(&metrics), inbox_sender));
        Self {
            metrics,
            pages,
            listeners,
            serving: None,
        }
    }

    fn close(&mut self) {
        if let Some(serving) = self.serving.take() {
            serving.abort();
        }
    }

    fn open(&mut self, listener: TcpListener) {
        let pages = Rc::clone(&self.pages);
        let serving = spawn_local(async move {
            // The socket was bound with these settings on trial.
            if let Ok(listener) = tokio::net::TcpListener::from_std(listener) {
                // A request that makes the server panic affects only its own connection.
                while panics::caught(server::serve(&listener, Rc::clone(&pages)))
                    .await
                    .is_err()
                {
                    sleep(server::PAUSE).await;
                }
            }
        });
        self.serving = Some(serving.abort_handle());
    }
}

impl Telemetry for TelemetryServer {
    fn expose(&mut self, plan: &Plan) {
        self.metrics.borrow_mut().expose(plan);
        let address = plan.telemetry.as_ref().map(|telemetry| telemetry.address);
        match self.listeners.switch_to(address) {
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

    fn report(&mut self, status_request: StatusRequest, status: &Status) {
        self.pages.report(status_request, status, || calendar().to_utc());
    }
}
