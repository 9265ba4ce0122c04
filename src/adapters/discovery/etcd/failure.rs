//! Classifies failures: whether another member is tried, and what is logged.
//!
//! An answer of the cluster is final. Another member is tried only after silence, or after a failure that is
//! independent of the request.

use crate::adapters::discovery::pacing::{self, UNEXPECTED};
use crate::cause;
use etcd_client::Error as EtcdError;
use std::error::Error;
use tonic::{Code, Status};

/// How many characters of an error message of etcd are logged (docs/bounds.md)
const SHOWN: usize = 400;

/// The failure of a stream that ended before its first answer.
#[derive(Clone, Copy, Debug)]
pub struct Ended;

impl From<Ended> for String {
    fn from(_: Ended) -> Self {
        "the stream ended before an answer".into()
    }
}

/// Why a request to one member failed.
#[derive(Debug)]
pub enum Failure {
    /// The member cannot be reached, or cannot serve requests at present.
    Unreachable(String),
    /// The cluster refused the request.
    Refused(String),
}

impl From<EtcdError> for Failure {
    fn from(error: EtcdError) -> Self {
        match &error {
            EtcdError::GRpcStatus(status) if is_final(status) => Self::Refused(words(status)),
            EtcdError::GRpcStatus(status) => Self::Unreachable(words(status)),
            EtcdError::TransportError(error) => Self::Unreachable(cause::in_full(error)),
            EtcdError::WatchError(reason) => Self::Unreachable(reason.clone()),
            _ => Self::Refused(cause::in_full(&error)),
        }
    }
}

/// Whether the error means that the requested thing does not exist.
pub fn is_missing(error: &EtcdError) -> bool {
    matches!(error, EtcdError::GRpcStatus(status) if status.code() == Code::NotFound)
}

/// If a new connection breaks with an HTTP/2 protocol error, the server does not speak HTTP/2. In the last
/// round of attempts every connection is new.
fn of_connection(cause: String) -> String {
    let flood = pacing::sentence(UNEXPECTED);
    if cause.contains(&flood) {
        return flood;
    }
    let of_http2 = ["http2 error", "connection error"];
    if of_http2.iter().any(|words| cause.contains(words)) {
        return foreign(&cause);
    }
    cause
}

fn foreign(cause: &str) -> String {
    format!("whoever listens there does not answer in etcd's v3 API (gRPC over HTTP/2): {cause}")
}

/// A status with a source was created by our own client; all others were sent by the server. An expired token
/// is not final, because another connection gets a new one.
fn is_final(status: &Status) -> bool {
    let elsewhere = [
        Code::Unavailable,
        Code::Unimplemented,
        Code::Cancelled,
        Code::DeadlineExceeded,
        Code::Unauthenticated,
    ];
    let is_login_old = status.message().contains("revision of auth store is old");
    status.source().is_none() && !elsewhere.contains(&status.code()) && !is_login_old
}

/// The text of an error for the log, shortened, since the server decides how long it is.
fn words(status: &Status) -> String {
    all_words(status).chars().take(SHOWN).collect()
}

fn all_words(status: &Status) -> String {
    match status.source() {
        Some(source) => of_connection(cause::in_full(source)),
        None if status.code() == Code::Unimplemented => foreign(status.message()),
        None if status.message().is_empty() => status.code().description().into(),
        None => status.message().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_a_long_refusal_is_logged() {
        let status = Status::permission_denied("no".repeat(10_000));
        let Failure::Refused(message) = Failure::from(EtcdError::GRpcStatus(status)) else {
            panic!("a refusal is final");
        };
        assert_eq!(message, "no".repeat(SHOWN / 2));
    }
}
