//! Selects the proxy for requests to Consul from environment variables.
//!
//! `HTTP_PROXY` applies to `http`, `HTTPS_PROXY` to `https`, `ALL_PROXY` to both if the first is not set;
//! names in lower case are accepted, too. `NO_PROXY` lists hosts that are reached without a proxy. This
//! machine is always reached without one. The user name and password of a proxy are never logged.

use crate::adapters::discovery::address::{self, HostPort};
use domain::plan::Scheme;
use hyper::header::HeaderValue;
use ipnet::IpNet;
use std::net::IpAddr;

/// A proxy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy {
    /// Whether the proxy is reached over TLS.
    pub scheme: Scheme,
    /// Its address.
    pub place: HostPort,
    /// The header with the user name and the password.
    pub authorization: Option<HeaderValue>,
}

/// The proxy for an address; the error is a sentence about an unusable proxy.
pub fn choose(
    scheme: Scheme,
    place: &HostPort,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Proxy>, String> {
    // A web server passes the headers of requests to CGI programs as variables, the header `Proxy` as
    // HTTP_PROXY.
    if is_local(&place.host) || variable("REQUEST_METHOD").is_some() {
        return Ok(None);
    }
    let of_scheme = match scheme {
        Scheme::Http => "HTTP_PROXY",
        Scheme::Https => "HTTPS_PROXY",
    };
    let set = |name: &'static str| either(variable, name).map(|value| (name, value));
    let Some((name, value)) = set(of_scheme).or_else(|| set("ALL_PROXY")) else {
        return Ok(None);
    };
    if either(variable, "NO_PROXY").is_some_and(|list| is_listed(&list, place)) {
        return Ok(None);
    }
    let proxy = parse(&value).map_err(|cause| format!("{name} is ignored: {cause}"));
    proxy.map(Some)
}

/// The variable with that name in upper or lower case, unless it is empty.
fn either(variable: &dyn Fn(&str) -> Option<String>, name: &str) -> Option<String> {
    let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
    given(name).or_else(|| given(&name.to_ascii_lowercase()))
}

fn is_local(host: &str) -> bool {
    host.eq_ignore_ascii_case("localhost") || ip(host).is_some_and(|address| address.is_loopback())
}

fn ip(host: &str) -> Option<IpAddr> {
    host.trim_start_matches('[').trim_end_matches(']').parse().ok()
}

fn parse(value: &str) -> Result<Proxy, String> {
    let (scheme, rest) = value.trim().split_once("://").unwrap_or(("http", value.trim()));
    let (scheme, port) = match scheme.to_ascii_lowercase().as_str() {
        "http" => (Scheme::Http, 80),
        "https" => (Scheme::Https, 443),
        other => {
            let other: String = other
                .chars()
                .take(16)
                .filter(char::is_ascii_alphanumeric)
                .collect();
            return Err(format!("its scheme is '{other}', allowed is http or https"));
        }
    };
    let rest = rest.split_once('/').map_or(rest, |(authority, _)| authority);
    let (user, authority) = address::without_user(rest);
    Ok(Proxy {
        scheme,
        place: HostPort::parse(authority, port).map_err(|cause| format!("it names no proxy: {cause}"))?,
        authorization: user.map(address::basic).transpose()?,
    })
}

/// Whether an entry of the list applies to this address: `*`, a network, an address, or a name that is the
/// host or a parent domain, each with or without a port.
fn is_listed(list: &str, place: &HostPort) -> bool {
    let entries = list.split([',', ' ']).map(str::trim);
    entries
        .filter(|entry| !entry.is_empty())
        .any(|entry| is_about(entry, place))
}

fn is_about(entry: &str, place: &HostPort) -> bool {
    if entry == "*" {
        return true;
    }
    if let (Ok(network), Some(address)) = (entry.parse::<IpNet>(), ip(&place.host)) {
        return network.contains(&address);
    }
    if let Some(address) = ip(entry) {
        return ip(&place.host) == Some(address);
    }
    let (host, port) = match entry.rsplit_once(':') {
        Some((host, port)) => (host, Some(port)),
        None => (entry, None),
    };
    if port.is_some_and(|port| port.parse() != Ok(place.port)) {
        return false;
    }
    match ip(host) {
        Some(address) => ip(&place.host) == Some(address),
        None => is_or_is_below(&place.host, host),
    }
}

fn is_or_is_below(host: &str, name: &str) -> bool {
    if ip(host).is_some() {
        return false;
    }
    let name = name.strip_prefix("*").unwrap_or(name);
    let name = name.strip_prefix('.').unwrap_or(name).to_ascii_lowercase();
    let host = host.to_ascii_lowercase();
    let above = host.strip_suffix(&name);
    !name.is_empty() && above.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chosen(address: &str, variables: &[(&str, &str)]) -> Result<Option<Proxy>, String> {
        let place = HostPort::parse(address, 80).unwrap();
        choose(Scheme::Http, &place, &|name| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    fn is_proxied(address: &str, no_proxy: &str) -> bool {
        let variables = [("HTTP_PROXY", "proxy:3128"), ("NO_PROXY", no_proxy)];
        chosen(address, &variables).unwrap().is_some()
    }

    #[test]
    fn the_proxy_variable_of_the_scheme_precedes_the_general_one() {
        let place = |proxy: Option<Proxy>| proxy.map(|proxy| proxy.place.to_string());
        let all = ("ALL_PROXY", "http://all");
        assert_eq!(place(chosen("consul", &[all]).unwrap()).unwrap(), "all:80");
        let both = [all, ("http_proxy", "https://one")];
        let found = chosen("consul", &both).unwrap().unwrap();
        assert_eq!(
            (found.scheme, found.place.to_string().as_str()),
            (Scheme::Https, "one:443")
        );
        let empty = [("HTTP_PROXY", ""), ("http_proxy", "proxy:3128/")];
        assert_eq!(place(chosen("consul", &empty).unwrap()).unwrap(), "proxy:3128");
        assert_eq!(chosen("consul", &[("HTTPS_PROXY", "proxy")]).unwrap(), None);
        assert_eq!(chosen("consul", &[all, ("REQUEST_METHOD", "GET")]).unwrap(), None);
    }

    #[test]
    fn this_machine_is_never_reached_by_a_proxy() {
        for host in ["localhost:8500", "127.0.0.2", "[::1]:8500"] {
            assert_eq!(chosen(host, &[("ALL_PROXY", "proxy")]).unwrap(), None, "{host}");
        }
    }

    #[test]
    fn a_proxy_that_cannot_be_used_is_ignored_with_a_reason_without_its_password() {
        for (value, expected) in [
            (
                "socks5://user:secret@proxy:1080",
                "ALL_PROXY is ignored: its scheme is 'socks5', allowed is http or https",
            ),
            (
                "http://user:secret@proxy:port",
                "ALL_PROXY is ignored: it names no proxy: the port is not a number up to 65535",
            ),
        ] {
            assert_eq!(chosen("consul", &[("ALL_PROXY", value)]).unwrap_err(), expected);
        }
    }

    #[test]
    fn a_name_and_a_password_are_sent_to_the_proxy_and_not_shown() {
        let proxy = chosen("consul", &[("HTTP_PROXY", "http://me:se%20cret@proxy")]);
        let proxy = proxy.unwrap().unwrap();
        assert_eq!(proxy.authorization.as_ref().unwrap(), "Basic bWU6c2UgY3JldA==");
        let shown = format!("{proxy:?} {}", proxy.place);
        assert!(!shown.contains("se cret") && !shown.contains("bWU6"), "{shown}");
    }

    #[test]
    fn no_proxy_lists_names_addresses_networks_ports_and_everything() {
        let consul = "consul.example.com:8500";
        for listed in [
            "*",
            "consul.example.com",
            "example.com",
            ".example.com",
            "*.example.com",
            "EXAMPLE.com",
            "consul.example.com:8500",
            "other, example.com",
            "other example.com",
            "com",
        ] {
            assert!(!is_proxied(consul, listed), "{listed}");
        }
        for other in [
            "",
            ",",
            "ample.com",
            "consul.example.com:80",
            "sul.example.com",
            "192.0.2.1",
            "other.com",
            ".",
            "*x",
            "example.com:port",
            "10.0.0.0/8",
        ] {
            assert!(is_proxied(consul, other), "{other}");
        }
    }

    #[test]
    fn no_proxy_lists_addresses_and_networks() {
        for listed in ["192.0.2.1", "192.0.2.0/24", "192.0.2.1:8500", "0.0.0.0/0"] {
            assert!(!is_proxied("192.0.2.1:8500", listed), "{listed}");
        }
        for other in [
            "192.0.2.2",
            "192.0.3.0/24",
            "192.0.2.1:80",
            "2001:db8::/32",
            "2.1",
        ] {
            assert!(is_proxied("192.0.2.1:8500", other), "{other}");
        }
        for listed in [
            "2001:db8::1",
            "[2001:db8::1]",
            "2001:db8::/32",
            "[2001:db8::1]:8500",
        ] {
            assert!(!is_proxied("[2001:db8::1]:8500", listed), "{listed}");
        }
        assert!(is_proxied("[2001:db8::1]:8500", "[2001:db8::1]:80"));
    }
}
