//! Answers in the forms that the servers share.

use super::Answer;
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue};

/// The content type of JSON.
pub const JSON: &str = "application/json";

/// An answer in plain text.
pub fn text(status: StatusCode, body: String) -> Answer {
    answer_with(status, "text/plain; charset=utf-8", body)
}

/// An answer with this content type and body.
pub fn answer_with(status: StatusCode, content_type: &'static str, body: String) -> Answer {
    let mut answer = Answer::new(body.into());
    *answer.status_mut() = status;
    with(answer, CONTENT_TYPE, content_type)
}

/// The answer with a further header.
pub fn with(mut answer: Answer, name: HeaderName, value: &'static str) -> Answer {
    answer.headers_mut().insert(name, HeaderValue::from_static(value));
    answer
}

/// `healthy` with 200, or `not healthy` with 503.
pub fn health(is_healthy: bool) -> Answer {
    match is_healthy {
        true => text(StatusCode::OK, "healthy\n".into()),
        false => text(StatusCode::SERVICE_UNAVAILABLE, "not healthy\n".into()),
    }
}
