//! One health check over HTTP: sends the request, and judges the answer.
//!
//! The answer has to end within the time limit, unless its body is longer than what is read of it; such a connection is
//! closed. Whether the server speaks HTTP/2 is its choice, over TLS.

use super::{MOST_BODY, Outcome, Settings, Stage};
use crate::adapters::discovery::consul::client::{Answer, Client};
use crate::ports::CatalogueError;
use domain::probe::HttpProbe;
use hyper::header::{ACCEPT, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use hyper::{Method, StatusCode};
use template::pattern::Pattern;

/// What runs one check.
#[derive(Debug)]
pub(super) struct Http {
    client: Client,
    method: Method,
    path: String,
    status: (u16, u16),
    pattern: Option<Pattern>,
}

impl Http {
    pub fn new(probe: &HttpProbe, settings: &mut Settings) -> Result<Self, String> {
        let route = settings.route(&probe.place, probe.socket.as_ref(), probe.tls.as_ref(), false)?;
        let method = Method::from_bytes(probe.method.as_bytes()).map_err(|error| error.to_string())?;
        Ok(Self {
            client: Client::new(route, &probe.host, headers(probe)?)?,
            method,
            path: probe.path.clone(),
            status: probe.status,
            pattern: probe.body.as_deref().map(Pattern::new).transpose()?,
        })
    }

    pub async fn run(&self, stage: &Stage) -> Outcome {
        let answer = self.client.send(self.method.clone(), &self.path, "").await;
        let mut answer = match answer {
            Ok(answer) => answer,
            Err(error) => return Outcome::failed(error.to_string()),
        };
        stage.0.set("the body of the answer does not end");
        let status = answer.status();
        match body(&mut answer).await {
            Ok((body, is_whole)) => {
                if is_whole {
                    answer.done();
                }
                self.judge(status, &body).with(&body)
            }
            Err(error) => Outcome::failed(format!("{}, and then {error}", shown(status))),
        }
    }

    pub fn close(&self) {
        self.client.close();
    }

    fn judge(&self, status: StatusCode, body: &[u8]) -> Outcome {
        let (low, high) = self.status;
        let detail = shown(status);
        if !(low..=high).contains(&status.as_u16()) {
            let note = if status.is_redirection() {
                ", which is not followed"
            } else {
                ""
            };
            return Outcome::failed(format!("{detail}{note}"));
        }
        let Some(pattern) = &self.pattern else {
            return Outcome::of(true, detail);
        };
        match pattern.is_found_in(&String::from_utf8_lossy(body)) {
            Some(true) => Outcome::of(true, detail),
            Some(false) => Outcome::failed(format!("{detail}, and the body does not match `body`")),
            None => Outcome::failed(format!("{detail}, and matching the body takes too long")),
        }
    }
}

/// The beginning of a body, and whether that is all of it.
async fn body(answer: &mut Answer) -> Result<(Vec<u8>, bool), CatalogueError> {
    let mut body = Vec::new();
    while let Some(piece) = answer.piece().await? {
        let room = MOST_BODY - body.len();
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if piece.len() > room {
            return Ok((body, false));
        }
    }
    Ok((body, true))
}

fn shown(status: StatusCode) -> String {
    let reason = status.canonical_reason().unwrap_or_default();
    format!("HTTP {} {reason}", status.as_u16()).trim_end().into()
}

fn headers(probe: &HttpProbe) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in &probe.headers {
        let name = HeaderName::try_from(name.as_str()).map_err(|error| error.to_string())?;
        let mut value = HeaderValue::try_from(value.0.as_str()).map_err(|error| error.to_string())?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    headers
        .entry(USER_AGENT)
        .or_insert(HeaderValue::from_static("containerpilot"));
    headers.entry(ACCEPT).or_insert(HeaderValue::from_static("*/*"));
    Ok(headers)
}
