//! The pages of the telemetry server: `/metrics` for Prometheus, `/` for people, `/status` for scripts, and `/health` for
//! what asks only whether all is well.

use super::metrics::Metrics;
use super::page;
use super::status::{self, StatusDocument};
use crate::adapters::clients::{Answered, Clients, NO_ANSWER};
use crate::adapters::http::{Answer, Answers, JSON, answer_with, health, text, with};
use crate::adapters::inbox::InboxSender;
use crate::adapters::turns::Turns;
use async_trait::async_trait;
use chrono::{DateTime, Utc};
use domain::control::{ControlAnswer, ControlRequest};
use domain::status::Status;
use domain::time::Duration;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONTENT_SECURITY_POLICY};
use hyper::{Method, Request, StatusCode};
use prometheus::TEXT_FORMAT;
use std::cell::RefCell;
use std::rc::Rc;

/// How long a request for the status waits for the core. (docs/bounds.md)
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const HTML: &str = "text/html; charset=utf-8";
/// The page has a style of its own, and needs nothing else.
const NOTHING_ELSE: &str = "default-src 'none'; style-src 'unsafe-inline'";

/// The form of a status.
#[derive(Clone, Copy)]
enum Form {
    /// One JSON document.
    Json,
    /// A page.
    Html,
    /// One word, and 200 or 503.
    Health,
}

/// Answers requests.
pub struct Pages {
    metrics: Rc<RefCell<Metrics>>,
    clients: Clients,
    turns: Turns,
}

impl Pages {
    /// Pages for these metrics, and for the status of the shim that reads this inbox.
    pub fn new(metrics: Rc<RefCell<Metrics>>, clients: Clients, inbox_sender: InboxSender) -> Self {
        Self {
            metrics,
            clients,
            turns: Turns::new(inbox_sender),
        }
    }

    fn metrics(&self) -> Answer {
        match self.metrics.borrow().text() {
            Ok(metrics) => answer_with(StatusCode::OK, TEXT_FORMAT, metrics),
            Err(cause) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{cause}\n")),
        }
    }

    async fn status(&self, form: Form) -> Answer {
        let answered = self.clients.request(ControlRequest::Status, LONGEST_WAIT).await;
        match answered {
            Some(Answered {
                answer: ControlAnswer::Status(status),
                time,
            }) => answer(form, &status, time),
            Some(_) | None => text(StatusCode::SERVICE_UNAVAILABLE, NO_ANSWER.into()),
        }
    }
}

#[async_trait(?Send)]
impl Answers for Pages {
    fn keeps_connections(&self) -> bool {
        true
    }

    /// In each round of the loop one request is answered, however many clients there are.
    /// HEAD is handled as GET; the server omits the body.
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.turns.next().await;
        match (request.uri().path(), request.method()) {
            ("/metrics", &Method::GET | &Method::HEAD) => self.metrics(),
            ("/status", &Method::GET | &Method::HEAD) => self.status(Form::Json).await,
            ("/", &Method::GET | &Method::HEAD) => self.status(Form::Html).await,
            ("/health", &Method::GET | &Method::HEAD) => self.status(Form::Health).await,
            ("/metrics" | "/status" | "/" | "/health", _) => {
                let refusal = text(StatusCode::METHOD_NOT_ALLOWED, "Only GET and HEAD here.\n".into());
                with(refusal, ALLOW, "GET, HEAD")
            }
            _ => text(
                StatusCode::NOT_FOUND,
                "There are /, /health, /metrics and /status.\n".into(),
            ),
        }
    }
}

fn answer(form: Form, status: &Status, now: DateTime<Utc>) -> Answer {
    match form {
        Form::Json => answer_with(StatusCode::OK, JSON, status::json(status, now)),
        Form::Html => {
            let html = page::html(&StatusDocument::new(status, now));
            with(
                answer_with(StatusCode::OK, HTML, html),
                CONTENT_SECURITY_POLICY,
                NOTHING_ELSE,
            )
        }
        Form::Health => health(status.is_healthy()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::adapters::inbox::Queue;
    use tokio::time::Instant;

    /// No task reads the inbox.
    #[test]
    fn a_status_that_does_not_come_is_503_after_two_seconds() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(async {
            let clock = MachineClock::start();
            let metrics = Rc::new(RefCell::new(Metrics::new(clock)));
            let inbox_sender = Queue::new(clock).sender();
            let pages = Pages::new(metrics, Clients::new(inbox_sender.clone()), inbox_sender);
            let began = Instant::now();
            let answer = pages.status(Form::Json).await;
            assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(began.elapsed().as_secs(), 2);
        });
    }
}
