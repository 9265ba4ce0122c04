//! The address of a server: host and port. User information before the host is never logged.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hyper::header::HeaderValue;
use hyper::http::uri::Authority;
use percent_encoding::percent_decode_str;
use std::fmt;

/// A host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostPort {
    /// A name or an IP address; an IPv6 address is in brackets.
    pub host: String,
    /// The port.
    pub port: u16,
}

impl HostPort {
    /// Reads `host` or `host:port`.
    ///
    /// # Errors
    /// The fault, as a part of a sentence.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, String> {
        if text.contains(['/', '?', '#']) {
            return Err("nothing is allowed after host:port".into());
        }
        let authority: Authority = text.parse().map_err(|_| "it is not host:port".to_owned())?;
        let host = authority.host();
        let port = match &text[host.len()..] {
            "" => default_port,
            port => port
                .strip_prefix(':')
                .and_then(|port| port.parse().ok())
                .ok_or("the port is not a number up to 65535")?,
        };
        let is_ip = !host.starts_with('[')
            || host
                .trim_matches(['[', ']'])
                .parse::<std::net::Ipv6Addr>()
                .is_ok();
        if host.is_empty() || !is_ip {
            return Err("it names no host".into());
        }
        Ok(Self {
            host: host.into(),
            port,
        })
    }
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// The user and the password before `@`, and the rest.
pub fn without_user(text: &str) -> (Option<&str>, &str) {
    match text.rsplit_once('@') {
        Some((user, rest)) => (Some(user), rest),
        None => (None, text),
    }
}

/// The header that carries `user:password`, each with `%` escapes.
///
/// # Errors
/// The text contains characters that a header cannot carry.
pub fn basic(user: &str) -> Result<HeaderValue, String> {
    let (user, password) = user.split_once(':').unwrap_or((user, ""));
    let mut bytes: Vec<u8> = percent_decode_str(user).collect();
    bytes.push(b':');
    bytes.extend(percent_decode_str(password));
    let value = format!("Basic {}", BASE64_STANDARD.encode(bytes));
    let mut value = HeaderValue::try_from(value).map_err(|_| "no header can carry its user".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_host_with_or_without_a_port() {
        for (text, expected) in [
            ("consul", "consul:80"),
            ("consul:8500", "consul:8500"),
            ("192.0.2.1:8500", "192.0.2.1:8500"),
            ("[::1]:8500", "[::1]:8500"),
            ("[::1]", "[::1]:80"),
        ] {
            assert_eq!(HostPort::parse(text, 80).unwrap().to_string(), expected);
        }
        for bad in [
            "", ":8500", "a:b", "a:99999", "a:-1", "a/b", "a b", "::1", "[::1", "[x]:1", "a:", "a?b", "a#b",
        ] {
            assert!(HostPort::parse(bad, 80).is_err(), "{bad}");
        }
    }

    #[test]
    fn user_information_is_the_text_before_the_last_at_sign() {
        assert_eq!(
            without_user("me:p@ss@consul:8500"),
            (Some("me:p@ss"), "consul:8500")
        );
        assert_eq!(without_user("consul:8500"), (None, "consul:8500"));
        assert_eq!(basic("me").unwrap(), "Basic bWU6");
    }
}
