//! The paths of the control socket: those of ContainerPilot 3 with their answers, `/v3/status` and `/v3/health`.

use crate::adapters::clients::{Answered, Clients, NO_ANSWER};
use crate::adapters::http::{Answer, Answers, JSON, answer_with, health, text, with};
use crate::adapters::inbox::InboxSender;
use crate::adapters::telemetry::status;
use crate::adapters::turns::Turns;
use async_trait::async_trait;
use domain::control::{ControlAnswer, ControlRequest, Obstacle};
use domain::time::Duration;
use hyper::body::Incoming;
use hyper::header::{ALLOW, X_CONTENT_TYPE_OPTIONS};
use hyper::{Method, Request, StatusCode};

/// How long a client waits for an answer that the core gives at once (docs/bounds.md).
const LONGEST_WAIT: Duration = Duration::from_secs(2);
/// How long a client waits for the end of a reload, or of the deregistrations of a maintenance (docs/bounds.md).
const LONGEST_CHANGE: Duration = Duration::from_secs(25);

/// What is requested of the core.
#[derive(Clone, Copy)]
enum Page {
    Status,
    Health,
    /// An answer without contents.
    Done(ControlRequest, Duration),
}

/// Answers requests.
pub struct Paths {
    clients: Clients,
    turns: Turns,
}

impl Paths {
    pub fn new(clients: Clients, inbox_sender: InboxSender) -> Self {
        Self {
            clients,
            turns: Turns::new(inbox_sender),
        }
    }

    async fn page(&self, page: Page) -> Answer {
        let (request, limit) = match page {
            Page::Status | Page::Health => (ControlRequest::Status, LONGEST_WAIT),
            Page::Done(request, limit) => (request, limit),
        };
        match self.clients.request(request, limit).await {
            Some(answered) => answer(page, answered),
            None => error(StatusCode::SERVICE_UNAVAILABLE, NO_ANSWER.into()),
        }
    }
}

#[async_trait(?Send)]
impl Answers for Paths {
    /// As in ContainerPilot 3.
    fn keeps_connections(&self) -> bool {
        false
    }

    /// In each round of the loop one request is answered, however many clients there are. The body of a request is
    /// not read. HEAD is handled as GET; the server omits the body.
    async fn answer(&self, request: Request<Incoming>) -> Answer {
        self.turns.next().await;
        let change = |request| Page::Done(request, LONGEST_CHANGE);
        let (page, allowed) = match request.uri().path() {
            "/v3/ping" => return self.page(Page::Done(ControlRequest::Ping, LONGEST_WAIT)).await,
            "/v3/status" => (Page::Status, "GET, HEAD"),
            "/v3/health" => (Page::Health, "GET, HEAD"),
            "/v3/reload" => (change(ControlRequest::Reload), "POST"),
            "/v3/maintenance/enable" => (change(ControlRequest::Maintenance(true)), "POST"),
            "/v3/maintenance/disable" => (change(ControlRequest::Maintenance(false)), "POST"),
            _ => return error(StatusCode::NOT_FOUND, "404 page not found\n".into()),
        };
        let fits = match *request.method() {
            Method::GET | Method::HEAD => allowed != "POST",
            Method::POST => allowed == "POST",
            _ => false,
        };
        if fits {
            return self.page(page).await;
        }
        let refusal = error(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed\n".into());
        with(refusal, ALLOW, allowed)
    }
}

fn answer(page: Page, Answered { answer, time }: Answered) -> Answer {
    match answer {
        ControlAnswer::Status(status) => match page {
            Page::Health => health(status.is_healthy()),
            _ => answer_with(StatusCode::OK, JSON, status::json(&status, time)),
        },
        ControlAnswer::Done => text(StatusCode::OK, "\n".into()),
        ControlAnswer::Refused(report) => error(StatusCode::UNPROCESSABLE_ENTITY, format!("{report}\n")),
        ControlAnswer::Ineffective(obstacle) => {
            let code = match obstacle {
                Obstacle::Superseded => StatusCode::CONFLICT,
                Obstacle::Stopping | Obstacle::TooMany => StatusCode::SERVICE_UNAVAILABLE,
            };
            error(code, format!("{obstacle}\n"))
        }
    }
}

fn error(code: StatusCode, body: String) -> Answer {
    with(text(code, body), X_CONTENT_TYPE_OPTIONS, "nosniff")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::adapters::inbox::Queue;
    use tokio::time::Instant;

    /// No task reads the inbox.
    #[test]
    fn a_request_without_an_answer_is_503_in_its_time_limit() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        runtime.unwrap().block_on(async {
            let inbox_sender = Queue::new(MachineClock::start()).sender();
            let paths = Paths::new(Clients::new(inbox_sender.clone()), inbox_sender);
            let reload = Page::Done(ControlRequest::Reload, LONGEST_CHANGE);
            for (page, seconds) in [(Page::Status, 2), (Page::Health, 2), (reload, 25)] {
                let began = Instant::now();
                let answer = paths.page(page).await;
                assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
                assert_eq!(began.elapsed().as_secs(), seconds);
            }
        });
    }
}
