//! One health check over gRPC: the call `Check` of the standard protocol, `grpc.health.v1`.
//!
//! It goes over a connection of HTTP/2, without TLS by prior knowledge. The two messages of the call have one field each.

use super::{MOST_BODY, Outcome, Settings, Stage};
use crate::adapters::discovery::consul::multiplexed::{Multiplexed, Place, Pool};
use crate::adapters::discovery::consul::open::{Closing, Open};
use crate::adapters::discovery::consul::wire::Route;
use crate::cause;
use domain::probe::GrpcProbe;
use domain::time::Duration;
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE};
use hyper::{Method, Request, Response, StatusCode, Uri};
use prost::Message;
use std::cell::Cell;
use std::rc::Rc;
use tonic::Status;

/// The path of the call.
const PATH: &str = "/grpc.health.v1.Health/Check";
/// What comes before a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// The longest time limit that its header can carry, in milliseconds.
const LONGEST_LIMIT: u128 = 99_999_999;

/// The request.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckRequest {
    #[prost(string, tag = "1")]
    service: String,
}

/// The answer.
#[derive(Clone, PartialEq, Message)]
struct HealthCheckResponse {
    #[prost(enumeration = "ServingStatus", tag = "1")]
    status: i32,
}

/// The health of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, prost::Enumeration)]
#[repr(i32)]
enum ServingStatus {
    Unknown = 0,
    Serving = 1,
    NotServing = 2,
    ServiceUnknown = 3,
}

impl ServingStatus {
    /// Its name in the protocol.
    const fn name(self) -> &'static str {
        match self {
            Self::Unknown => "UNKNOWN",
            Self::Serving => "SERVING",
            Self::NotServing => "NOT_SERVING",
            Self::ServiceUnknown => "SERVICE_UNKNOWN",
        }
    }
}

/// What runs one check.
#[derive(Debug)]
pub(super) struct Grpc {
    route: Route,
    uri: Uri,
    limit: HeaderValue,
    message: Bytes,
    pool: Rc<Pool>,
    closing: Closing,
    open: Rc<Cell<usize>>,
}

impl Grpc {
    pub fn new(probe: &GrpcProbe, limit: Duration, settings: &mut Settings) -> Result<Self, String> {
        let route = settings.route(&probe.place, None, probe.tls.as_ref(), true)?;
        route.prepare();
        let scheme = if probe.tls.is_some() { "https" } else { "http" };
        let uri = format!("{scheme}://{}{PATH}", probe.place);
        let milliseconds = limit.as_millis().clamp(1, LONGEST_LIMIT);
        Ok(Self {
            route,
            uri: uri.parse().map_err(|error| format!("{}: {error}", probe.place))?,
            limit: HeaderValue::try_from(format!("{milliseconds}m")).map_err(|error| error.to_string())?,
            message: framed(&probe.service)?,
            pool: Rc::default(),
            closing: Closing::default(),
            open: Rc::default(),
        })
    }

    pub async fn run(&self, stage: &Stage) -> Outcome {
        // A connection that was kept may break at any time; the call is sent once more then.
        if let Some(mut place) = self.pool.place(false)
            && let Ok(answer) = place.send(self.request()).await
        {
            return judge(&mut place, answer, stage).await;
        }
        let mut place = match self.connect().await {
            Ok(place) => place,
            Err(cause) => return Outcome::failed(cause),
        };
        match place.send(self.request()).await {
            Ok(answer) => judge(&mut place, answer, stage).await,
            Err(error) => Outcome::failed(self.in_words(&error)),
        }
    }

    pub fn close(&self) {
        self.pool.close();
    }

    async fn connect(&self) -> Result<Place, String> {
        self.closing.ended().await;
        self.pool.close();
        let connected = self.route.connect().await.map_err(|error| error.to_string())?;
        let begun = Multiplexed::begin(connected, &self.closing, Open::new(&self.open)).await;
        let connection = begun.map_err(|error| self.in_words(&error))?;
        Ok(self.pool.add(connection))
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.message.clone()));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = self.uri.clone();
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(HeaderName::from_static("grpc-timeout"), self.limit.clone());
        request
    }

    fn in_words(&self, error: &hyper::Error) -> String {
        let place = self.uri.authority().map_or("", |authority| authority.as_str());
        format!("{place}: {}", cause::in_full(error))
    }
}

/// The request for a service, with its prefix.
fn framed(service: &str) -> Result<Bytes, String> {
    let request = HealthCheckRequest {
        service: service.into(),
    };
    let length = u32::try_from(request.encoded_len()).map_err(|error| error.to_string())?;
    let mut message = vec![0];
    message.extend(length.to_be_bytes());
    message.extend(request.encode_to_vec());
    Ok(message.into())
}

/// The answer's status is in its trailers, or in its headers if there is no message.
async fn judge(place: &mut Place, answer: Response<Incoming>, stage: &Stage) -> Outcome {
    stage.0.set("the answer does not end");
    let (head, mut body) = answer.into_parts();
    if head.status != StatusCode::OK {
        return Outcome::failed(format!(
            "HTTP {}, which is no answer of gRPC",
            head.status.as_u16()
        ));
    }
    let mut status = Status::from_header_map(&head.headers);
    let mut message = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = match frame {
            Ok(frame) => frame,
            Err(error) => return Outcome::failed(cause::in_full(&error)),
        };
        match frame.into_data() {
            Ok(data) => {
                place.grow(data.len());
                message.extend_from_slice(&data);
                if message.len() > MOST_BODY {
                    return Outcome::failed(format!("the answer is longer than {} KiB", MOST_BODY / 1024));
                }
            }
            Err(frame) => status = frame.trailers_ref().and_then(status_of).or(status),
        }
    }
    match status {
        Some(status) if status.code() != tonic::Code::Ok => {
            let (code, text) = (status.code(), status.message());
            Outcome::failed(format!("gRPC {code:?}: {text}"))
        }
        None => Outcome::failed("the answer has no status of gRPC".into()),
        Some(_) => match serving(&message) {
            Some(status) => Outcome::of(
                status == ServingStatus::Serving,
                format!("gRPC {}", status.name()),
            ),
            None => Outcome::failed("the answer is no message of the health protocol".into()),
        },
    }
}

fn status_of(trailers: &HeaderMap) -> Option<Status> {
    Status::from_header_map(trailers)
}

/// The health in a message with its prefix.
fn serving(message: &[u8]) -> Option<ServingStatus> {
    let (prefix, rest) = message.split_at_checked(PREFIX)?;
    let length = u32::from_be_bytes(prefix[1..].try_into().ok()?);
    let is_whole = prefix[0] == 0 && usize::try_from(length) == Ok(rest.len());
    let response = HealthCheckResponse::decode(rest).ok().filter(|_| is_whole)?;
    ServingStatus::try_from(response.status).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_those_of_the_protocol() {
        assert_eq!(&framed("").unwrap()[..], [0, 0, 0, 0, 0]);
        assert_eq!(&framed("app").unwrap()[..], b"\0\0\0\0\x05\x0a\x03app");
        for (message, status) in [
            (&b"\0\0\0\0\x02\x08\x01"[..], Some(ServingStatus::Serving)),
            (b"\0\0\0\0\x02\x08\x02", Some(ServingStatus::NotServing)),
            (b"\0\0\0\0\0", Some(ServingStatus::Unknown)),
            (b"\0\0\0\0\x02\x08\x07", None),
            (b"\x01\0\0\0\x02\x08\x01", None),
            (b"\0\0\0\0\x03\x08\x01", None),
            (b"\0\0\0\0\x02\x08\x01\0\0\0\0\x02\x08\x01", None),
            (b"\0\0\0", None),
            (b"", None),
        ] {
            assert_eq!(serving(message), status, "{message:?}");
        }
    }
}
