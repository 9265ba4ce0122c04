//! The health checks without a command: the keys `http`, `tcp` and `grpc` of an object, and those that belong to each.

use super::catalogue;
use super::error::{ProbeError, Subject};
use crate::config::keys::url::{Url, host_port, is_authority};
use crate::config::keys::{Section, integer, list, string, text};
use crate::config::problem::Problems;
use crate::config::tree::{Data, Value};
use domain::plan::Secret;
use domain::probe::{GrpcProbe, HttpProbe, Place, ProbeTarget};
use template::pattern::Pattern;

/// Which statuses of HTTP are a success if none are given: all that `curl --fail` accepts.
const STATUSES: (u16, u16) = (200, 399);
/// The possible statuses of an answer.
const POSSIBLE_STATUSES: (u16, u16) = (200, 599);
/// Headers that follow from the connection and from the body.
const OWN_HEADERS: [&str; 8] = [
    "connection",
    "content-length",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What an object has.
pub enum Found {
    /// None of the keys.
    Nothing,
    /// One of them, or several; `None` if there is an error in it.
    Probe(Option<ProbeTarget>),
}

/// Takes the keys of a probe from an object.
pub fn read(section: &mut Section<'_>, subject: Subject<'_>, problems: &mut Problems<'_>) -> Found {
    let given = ["http", "tcp", "grpc"].map(|key| section.take(key));
    let mut there = given.iter().flatten();
    let (first, second) = (there.next(), there.next());
    if let Some(second) = second {
        problems.error(*second, ProbeError::Several(subject));
        return Found::Probe(None);
    }
    if first.is_none() {
        return Found::Nothing;
    }
    Found::Probe(match given {
        [Some(url), _, _] => http(url, section, subject, problems),
        [_, Some(place), _] => self::place(place, problems).map(ProbeTarget::Tcp),
        [_, _, place] => place.and_then(|place| grpc(place, section, problems)),
    })
}

fn place(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Place> {
    let place = host_port(string(value, problems)?);
    if place.is_none() {
        problems.wrong(value, ProbeError::NoPlace, "host:port");
    }
    place.map(|(host, port)| Place { host, port })
}

fn grpc(value: &Value<'_>, section: &mut Section<'_>, problems: &mut Problems<'_>) -> Option<ProbeTarget> {
    let place = place(value, problems);
    let service = text(section, "service", problems).unwrap_or_default();
    let tls = section.take("tls").map(|value| catalogue::tls(value, problems));
    Some(ProbeTarget::Grpc(Box::new(GrpcProbe {
        place: place?,
        tls,
        service,
    })))
}

fn http(
    value: &Value<'_>,
    section: &mut Section<'_>,
    subject: Subject<'_>,
    problems: &mut Problems<'_>,
) -> Option<ProbeTarget> {
    let url = url(value, problems);
    let socket = section.take("unix").and_then(|value| socket(value, problems));
    let method = section.take("method").and_then(|value| method(value, problems));
    let headers = section
        .take("headers")
        .map(|value| headers(value, problems))
        .unwrap_or_default();
    let status = section.take("status").and_then(|value| status(value, problems));
    let body = section.take("body").and_then(|value| pattern(value, problems));
    let given = section.take("tls");
    let tls = given.map(|value| catalogue::tls(value, problems));
    let url = url?;
    if let (Some(given), false) = (given, url.is_https) {
        problems.error(given, ProbeError::NeedlessTls(subject));
    }
    let (named, headers) = headers.into_iter().partition(|(name, _)| name == "host");
    let named: Vec<(String, Secret)> = named;
    let host = named.into_iter().next_back().map(|(_, Secret(host))| host);
    Some(ProbeTarget::Http(Box::new(HttpProbe {
        host: host.unwrap_or(url.named),
        place: Place {
            host: url.host,
            port: url.port,
        },
        socket,
        tls: url.is_https.then(|| tls.unwrap_or_default()),
        path: url.path,
        method: method.unwrap_or_else(|| "GET".into()),
        headers,
        status: status.unwrap_or(STATUSES),
        body,
    })))
}

fn url(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Url> {
    match Url::parse(string(value, problems)?) {
        Ok(url) => Some(url),
        Err(fault) => {
            let allowed = "a URL such as \"http://localhost:8080/health\"";
            problems.wrong(value, ProbeError::Url(fault), allowed);
            None
        }
    }
}

/// The path of a socket.
fn socket(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let path = string(value, problems)?;
    if !path.starts_with('/') || path.contains('\0') {
        problems.wrong(value, ProbeError::NoSocket, "the absolute path of a Unix socket");
        return None;
    }
    Some(path.to_owned())
}

/// Whether a name of a method or a header may have this character.
fn is_token(character: char) -> bool {
    character.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(character)
}

fn method(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let method = string(value, problems)?;
    let is_method = !method.is_empty() && method.chars().all(is_token) && method != "CONNECT";
    if !is_method {
        problems.wrong(value, ProbeError::NoMethod, "a method such as GET, HEAD or POST");
    }
    is_method.then(|| method.to_owned())
}

fn headers(value: &Value<'_>, problems: &mut Problems<'_>) -> Vec<(String, Secret)> {
    let Data::Object(members) = &value.data else {
        problems.wrong(value, ProbeError::NoHeaders, "an object of strings");
        return Vec::new();
    };
    let mut headers = Vec::new();
    for member in members {
        let name = member.key.to_ascii_lowercase();
        let Some(text) = string(&member.value, problems) else {
            continue;
        };
        let fault = if name.is_empty() || !name.chars().all(is_token) {
            Some(ProbeError::HeaderName)
        } else if OWN_HEADERS.contains(&name.as_str()) {
            Some(ProbeError::OwnHeader)
        } else if name == "host" && !is_authority(text) {
            Some(ProbeError::NoPlace)
        } else if text
            .chars()
            .any(|character| character != '\t' && character.is_control())
        {
            Some(ProbeError::HeaderValue)
        } else {
            None
        };
        match fault {
            Some(fault) => problems.error(member, fault),
            None => headers.push((name, Secret(text.to_owned()))),
        }
    }
    headers
}

/// One status, or the lowest and the highest.
fn status(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<(u16, u16)> {
    let (least, most) = POSSIBLE_STATUSES;
    let allowed = format!("a status from {least} to {most}, or an array of the lowest and the highest");
    let numbers = match &value.data {
        Data::List(_) => list(value, &allowed, problems, |value, problems| {
            integer(value, &allowed, problems)
        }),
        _ => vec![integer(value, &allowed, problems)?; 2],
    };
    let possible = |number: i64| {
        let number = u16::try_from(number).ok();
        number.filter(|number| (least..=most).contains(number))
    };
    let range = match numbers[..] {
        [low, high] => possible(low).zip(possible(high)),
        _ => None,
    };
    let range = range.filter(|(low, high)| low <= high);
    if range.is_none() {
        problems.wrong(value, ProbeError::Status, &allowed);
    }
    range
}

fn pattern(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<String> {
    let pattern = string(value, problems)?;
    if let Err(reason) = Pattern::new(pattern) {
        problems.error(value, ProbeError::Pattern(reason));
        return None;
    }
    Some(pattern.to_owned())
}
