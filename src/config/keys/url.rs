//! URLs of HTTP servers, and addresses of the form `host:port`. No name is looked up.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// A URL of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// Whether its scheme is `https`.
    pub is_https: bool,
    /// Its host: a name or an IP address; an IPv6 address is in brackets.
    pub host: String,
    /// Its port, or that of its scheme.
    pub port: u16,
    /// Host and port as they are written.
    pub named: String,
    /// The path and the query.
    pub path: String,
}

/// What is wrong with a URL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UrlFault {
    /// It begins with neither `http://` nor `https://`.
    Scheme,
    /// It has a user.
    User,
    /// Its host or port is invalid.
    Place,
    /// It has a part behind `#`, which is never sent.
    Fragment,
    /// It has a character that has to be escaped.
    Character(char),
}

impl fmt::Display for UrlFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scheme => f.write_str("the URL does not begin with http:// or https://"),
            Self::User => f.write_str("the URL contains a user, which belongs into `headers`"),
            Self::Place => f.write_str("the URL has no valid host and port"),
            Self::Fragment => f.write_str("the URL has a part behind `#`"),
            Self::Character(character) => {
                write!(
                    f,
                    "the URL contains {character:?}, which has to be escaped with %"
                )
            }
        }
    }
}

impl Url {
    /// Reads a URL.
    pub fn parse(text: &str) -> Result<Self, UrlFault> {
        let (is_https, rest) = match (text.strip_prefix("http://"), text.strip_prefix("https://")) {
            (Some(rest), _) => (false, rest),
            (_, Some(rest)) => (true, rest),
            (None, None) => return Err(UrlFault::Scheme),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (named, path) = rest.split_at(end);
        if named.contains('@') {
            return Err(UrlFault::User);
        }
        let default_port = if is_https { 443 } else { 80 };
        let place = match host_port(named) {
            None => is_host(named).then(|| (named.to_owned(), default_port)),
            place => place,
        };
        let (host, port) = place.ok_or(UrlFault::Place)?;
        if path.contains('#') {
            return Err(UrlFault::Fragment);
        }
        let allowed = |character: &char| {
            character.is_ascii_alphanumeric() || "-._~!$&'()*+,;=:@/?%".contains(*character)
        };
        if let Some(character) = path.chars().find(|character| !allowed(character)) {
            return Err(UrlFault::Character(character));
        }
        let slash = if path.starts_with('/') { "" } else { "/" };
        Ok(Self {
            is_https,
            host,
            port,
            named: named.into(),
            path: format!("{slash}{path}"),
        })
    }
}

/// Reads `host:port`. `None` if it is not that.
pub fn host_port(text: &str) -> Option<(String, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let digits = port.bytes().all(|byte| byte.is_ascii_digit());
    let port = port.parse().ok().filter(|port| digits && *port > 0)?;
    is_host(host).then(|| (host.to_owned(), port))
}

/// Whether a text is a host, with or without a port.
pub fn is_authority(text: &str) -> bool {
    is_host(text) || host_port(text).is_some()
}

/// Whether a text is an IP address, an IPv6 one in brackets, or a host name.
fn is_host(text: &str) -> bool {
    if let Some(address) = text.strip_prefix('[') {
        let address = address.strip_suffix(']');
        return address.is_some_and(|address| address.parse::<Ipv6Addr>().is_ok());
    }
    let is_number = text
        .chars()
        .all(|letter| letter.is_ascii_digit() || letter == '.');
    if is_number {
        return text.parse::<Ipv4Addr>().is_ok();
    }
    let may = |letter: char| letter.is_ascii_alphanumeric() || "-._".contains(letter);
    !text.is_empty() && text.len() <= 253 && text.chars().all(may)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_has_a_scheme_a_place_and_a_path() {
        for (text, host, port, path) in [
            ("http://localhost:8080/health", "localhost", 8080, "/health"),
            ("http://app_1", "app_1", 80, "/"),
            ("https://app?deep=1&x=%20", "app", 443, "/?deep=1&x=%20"),
            ("http://[::1]:81/", "[::1]", 81, "/"),
            ("https://[::1]", "[::1]", 443, "/"),
            ("http://127.0.0.1:1/a//b", "127.0.0.1", 1, "/a//b"),
        ] {
            let url = Url::parse(text).unwrap();
            assert_eq!((&*url.host, url.port, &*url.path), (host, port, path), "{text}");
            assert_eq!(url.is_https, text.starts_with("https"));
        }
        let url = Url::parse("http://localhost:8080/health").unwrap();
        assert_eq!(url.named, "localhost:8080");
    }

    #[test]
    fn a_url_that_cannot_be_requested_is_refused() {
        for (text, fault) in [
            ("localhost:8080/health", UrlFault::Scheme),
            ("ftp://localhost/", UrlFault::Scheme),
            ("HTTP://localhost/", UrlFault::Scheme),
            ("http://", UrlFault::Place),
            ("http:///health", UrlFault::Place),
            ("http://localhost:", UrlFault::Place),
            ("http://localhost:0/", UrlFault::Place),
            ("http://localhost:65536/", UrlFault::Place),
            ("http://localhost:+80/", UrlFault::Place),
            ("http://::1/", UrlFault::Place),
            ("http://[::1/", UrlFault::Place),
            ("http://300.0.0.1/", UrlFault::Place),
            ("http://a b/", UrlFault::Place),
            ("http://me:secret@app/", UrlFault::User),
            ("http://app/a#b", UrlFault::Fragment),
            ("http://app/a b", UrlFault::Character(' ')),
            ("http://app/\u{e9}", UrlFault::Character('\u{e9}')),
        ] {
            assert_eq!(Url::parse(text), Err(fault), "{text}");
        }
    }
}
