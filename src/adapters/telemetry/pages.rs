//! The pages of the telemetry server: `/metrics` for Prometheus, `/status` for people and scripts.

use super::metrics::Metrics;
use crate::adapters::inbox::InboxSender;
use crate::adapters::turns::Turns;
use domain::Event;
use domain::event::StatusRequest;
use domain::time::Duration;
use http_body_util::Full;
use hyper::body::Bytes;
use hyper::header::{ALLOW, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Method, Response, StatusCode};
use prometheus::TEXT_FORMAT;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// How long a request for the status waits for the core. (docs/bounds.md)
const LONGEST_WAIT: Duration = Duration::from_secs(2);
const PLAIN: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

type Page = Response<Full<Bytes>>;

/// Answers the requests for `/metrics` and `/status`.
pub struct Pages {
    metrics: Rc<RefCell<Metrics>>,
    inbox_sender: InboxSender,
    turns: Turns,
    last: Cell<u64>,
    waiting: RefCell<BTreeMap<StatusRequest, oneshot::Sender<String>>>,
}

impl Pages {
    /// Pages for these metrics, and for the status of the shim that reads this inbox.
    pub fn new(metrics: Rc<RefCell<Metrics>>, inbox_sender: InboxSender) -> Self {
        Self {
            metrics,
            turns: Turns::new(inbox_sender.clone()),
            inbox_sender,
            last: Cell::new(0),
            waiting: RefCell::default(),
        }
    }

    /// Answers a request. In each round of the loop one request is answered, however many clients there are.
    /// HEAD is handled as GET; the server omits the body.
    pub async fn answer(&self, method: &Method, path: &str) -> Page {
        self.turns.next().await;
        match (path, method) {
            ("/metrics", &Method::GET | &Method::HEAD) => self.metrics(),
            ("/status", &Method::GET | &Method::HEAD) => self.status().await,
            ("/metrics" | "/status", _) => {
                let refusal = page(
                    StatusCode::METHOD_NOT_ALLOWED,
                    PLAIN,
                    "Only GET and HEAD here.\n".into(),
                );
                with(refusal, ALLOW, "GET, HEAD")
            }
            _ => page(
                StatusCode::NOT_FOUND,
                PLAIN,
                "There are /metrics and /status.\n".into(),
            ),
        }
    }

    /// Sends the status to the client with this request number.
    pub fn report(&self, status_request: StatusRequest, status: impl FnOnce() -> String) {
        if let Some(waiting) = self.waiting.borrow_mut().remove(&status_request) {
            // The client may be gone.
            waiting.send(status()).ok();
        }
    }

    fn metrics(&self) -> Page {
        match self.metrics.borrow().text() {
            Ok(text) => page(StatusCode::OK, TEXT_FORMAT, text),
            Err(cause) => page(StatusCode::INTERNAL_SERVER_ERROR, PLAIN, format!("{cause}\n")),
        }
    }

    async fn status(&self) -> Page {
        let status_request = StatusRequest(self.last.get() + 1);
        self.last.set(status_request.0);
        let (sender, status) = oneshot::channel();
        self.waiting.borrow_mut().insert(status_request, sender);
        self.inbox_sender.post(Event::StatusRequested(status_request));
        match timeout(LONGEST_WAIT, status).await {
            Ok(Ok(status)) => page(StatusCode::OK, JSON, status),
            Ok(Err(_)) | Err(_) => {
                let sentence = "The shim did not answer in time.\n";
                page(StatusCode::SERVICE_UNAVAILABLE, PLAIN, sentence.into())
            }
        }
    }
}

fn page(status: StatusCode, content_type: &'static str, body: String) -> Page {
    let mut page = Response::new(Full::from(body));
    *page.status_mut() = status;
    with(page, CONTENT_TYPE, content_type)
}

fn with(mut page: Page, name: HeaderName, value: &'static str) -> Page {
    page.headers_mut().insert(name, HeaderValue::from_static(value));
    page
}
