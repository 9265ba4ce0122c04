//! The sections `consul`, `etcd` and `directory`, of which exactly one must be given.

use super::error::{CatalogueSectionError, Warning};
use crate::config::Target;
use crate::config::keys::{Section, boolean, integer, string, strings, text};
use crate::config::problem::Problems;
use crate::config::tree::{Data, Value};
use domain::plan::{Catalogue, Consul, Etcd, Scheme, Secret, Tls};
use domain::requests::FEWEST;

const DEFAULT_PREFIX: &str = "/containerpilot";
/// The limit on requests to Consul in flight, unless `maxConnections` is given (docs/bounds.md).
const DEFAULT_CONNECTIONS: u32 = 16;
/// The largest `maxConnections`: five times as many connections as an agent accepts from one address by
/// default (docs/bounds.md).
const MOST_CONNECTIONS: u32 = 1000;

/// Reads the catalogue of the document, and the limit on requests in flight.
pub fn read(
    root: &Value<'_>,
    section: &mut Section<'_>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<(Catalogue, Option<u32>)> {
    let given = ["consul", "etcd", "directory"].map(|key| section.take(key));
    let has_etcd = target.has_etcd;
    let mut there = given.iter().flatten();
    let (first, second) = (there.next(), there.next());
    if let Some(second) = second {
        problems.error(*second, CatalogueSectionError::Several { has_etcd });
    }
    if first.is_none() {
        problems.error(root, CatalogueSectionError::None { has_etcd });
    }
    match given {
        _ if second.is_some() => None,
        [Some(value), _, _] => consul(value, target, problems),
        [_, Some(value), _] => etcd(value, target, problems).map(|etcd| (Catalogue::Etcd(etcd), None)),
        [_, _, value] => directory(value?, problems).map(|directory| (directory, None)),
    }
}

/// The keys of an object `consul`, before environment variables are applied.
#[derive(Default)]
struct Written {
    address: String,
    scheme: Option<Scheme>,
    token: Option<String>,
    token_file: Option<String>,
    tls: Tls,
    max_connections: Option<u32>,
}

fn consul(
    value: &Value<'_>,
    target: &Target<'_>,
    problems: &mut Problems<'_>,
) -> Option<(Catalogue, Option<u32>)> {
    let written = match &value.data {
        Data::String(address) => Written {
            address: address.to_string(),
            scheme: Some(Scheme::Http),
            ..Written::default()
        },
        Data::Object(_) => consul_object(value, problems)?,
        _ => {
            problems.wrong(
                value,
                CatalogueSectionError::ConsulStructure,
                "a string or an object",
            );
            return None;
        }
    };
    let environment = Environment(target);
    let otherwise = written.scheme.or(environment.scheme()).unwrap_or(Scheme::Http);
    let (address, scheme) = with_scheme(&written.address, otherwise);
    if address.is_empty() {
        problems.wrong(
            value,
            CatalogueSectionError::EmptyAddress,
            "the address of Consul, host:port",
        );
        return None;
    }
    warn_of_missing_port(value, &address, scheme, problems);
    let token = environment
        .text("CONSUL_HTTP_TOKEN")
        .or(written.token)
        .map(Secret);
    let token_file = written.token_file.filter(|_| token.is_none());
    let consul = Consul {
        address,
        scheme,
        token,
        token_file,
        tls: environment.tls(written.tls),
    };
    let max_connections = written.max_connections.unwrap_or(DEFAULT_CONNECTIONS);
    Some((Catalogue::Consul(consul), Some(max_connections)))
}

/// Warns that an address has no port; the default port of its scheme is used, as in the original.
fn warn_of_missing_port(value: &Value<'_>, address: &str, scheme: Scheme, problems: &mut Problems<'_>) {
    let host = address.rsplit('@').next().unwrap_or_default();
    let after_brackets = host.rsplit(']').next().unwrap_or_default();
    if !address.contains("unix://") && !after_brackets.contains(':') {
        let port = match scheme {
            Scheme::Http => 80,
            Scheme::Https => 443,
        };
        problems.warning(value, Warning::NoPort(port));
    }
}

/// The environment variables of Consul's own tools, which have priority over the file.
struct Environment<'t>(&'t Target<'t>);

impl Environment<'_> {
    fn text(&self, name: &str) -> Option<String> {
        self.0
            .variables
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    }

    fn boolean(&self, name: &str) -> Option<bool> {
        match self.text(name)?.to_ascii_lowercase().as_str() {
            "1" | "t" | "true" => Some(true),
            "0" | "f" | "false" => Some(false),
            _ => None,
        }
    }

    fn scheme(&self) -> Option<Scheme> {
        self.boolean("CONSUL_HTTP_SSL")
            .map(|ssl| if ssl { Scheme::Https } else { Scheme::Http })
    }

    fn tls(&self, written: Tls) -> Tls {
        let client = self
            .text("CONSUL_CLIENT_CERT")
            .zip(self.text("CONSUL_CLIENT_KEY"));
        Tls {
            ca_file: self.text("CONSUL_CACERT").or(written.ca_file),
            ca_path: self.text("CONSUL_CAPATH").or(written.ca_path),
            client: client.or(written.client),
            server_name: self.text("CONSUL_TLS_SERVER_NAME").or(written.server_name),
            verify: self.boolean("CONSUL_HTTP_SSL_VERIFY").unwrap_or(written.verify),
            contents: 0,
        }
    }
}

fn consul_object(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Written> {
    let mut section = Section::open(value, "an object", problems)?;
    let scheme = section
        .take("scheme")
        .and_then(|value| scheme_named(value, problems));
    let written = Written {
        address: text(&mut section, "address", problems).unwrap_or_default(),
        scheme,
        token: text(&mut section, "token", problems),
        token_file: text(&mut section, "tokenFile", problems),
        tls: section
            .take("tls")
            .map(|value| tls(value, problems))
            .unwrap_or_default(),
        max_connections: section
            .take("maxConnections")
            .and_then(|value| max_connections(value, problems)),
    };
    section.close(problems);
    if written.token.is_some() && written.token_file.is_some() {
        problems.error(value, CatalogueSectionError::OnlyOne("token", "tokenFile"));
    }
    Some(written)
}

fn max_connections(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<u32> {
    let allowed = format!("a whole number from {FEWEST} to {MOST_CONNECTIONS}");
    let number = integer(value, &allowed, problems)?;
    let number = u32::try_from(number).ok();
    let number = number.filter(|number| (FEWEST..=MOST_CONNECTIONS).contains(number));
    if number.is_none() {
        problems.wrong(value, CatalogueSectionError::OutOfRange, &allowed);
    }
    number
}

fn scheme_named(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Scheme> {
    match string(value, problems)? {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        "" => None,
        _ => {
            problems.wrong(value, CatalogueSectionError::UnknownScheme, "http or https");
            None
        }
    }
}

/// The keys of ContainerPilot 3; certificates are verified unless `verify` is false.
pub fn tls(value: &Value<'_>, problems: &mut Problems<'_>) -> Tls {
    let Some(mut section) = Section::open(value, "an object", problems) else {
        return Tls::default();
    };
    let keys = ["cafile", "capath", "clientcert", "clientkey", "servername"];
    let [ca_file, ca_path, certificate, key, server_name] = keys.map(|key| text(&mut section, key, problems));
    let verify = section.take("verify").and_then(|value| boolean(value, problems));
    section.close(problems);
    if certificate.is_some() != key.is_some() {
        problems.error(
            value,
            CatalogueSectionError::NeededTogether("clientcert", "clientkey"),
        );
    }
    Tls {
        ca_file,
        ca_path,
        client: certificate.zip(key),
        server_name,
        verify: verify.unwrap_or(true),
        // The compiler does not read files.
        contents: 0,
    }
}

/// The scheme and the rest of an address. The address may begin with a scheme, as in the original.
fn with_scheme(address: &str, otherwise: Scheme) -> (String, Scheme) {
    if let Some(rest) = address.strip_prefix("https://") {
        return (rest.into(), Scheme::Https);
    }
    let rest = address.strip_prefix("http://").unwrap_or(address);
    (rest.into(), otherwise)
}

/// `endpoints` and `prefix` as in the original, and a login and TLS, which the original lacks.
fn etcd(value: &Value<'_>, target: &Target<'_>, problems: &mut Problems<'_>) -> Option<Etcd> {
    if !target.has_etcd {
        problems.error(value, CatalogueSectionError::BuiltWithoutEtcd);
    }
    let mut section = Section::open(value, "an object with `endpoints`", problems)?;
    let endpoints = section.take("endpoints").map(|value| endpoints(value, problems));
    let prefix = text(&mut section, "prefix", problems);
    let user = text(&mut section, "username", problems);
    let password = text(&mut section, "password", problems).map(Secret);
    let tls = section
        .take("tls")
        .map(|value| tls(value, problems))
        .unwrap_or_default();
    section.close(problems);
    if user.is_some() != password.is_some() {
        problems.error(
            value,
            CatalogueSectionError::NeededTogether("username", "password"),
        );
    }
    let endpoints = endpoints.unwrap_or_default();
    if endpoints.is_empty() {
        problems.error(value, CatalogueSectionError::NoEndpoints);
    }
    let prefix = normal(prefix.as_deref().unwrap_or(DEFAULT_PREFIX));
    Some(Etcd {
        endpoints,
        prefix,
        login: user.zip(password),
        tls,
    })
}

fn endpoints(value: &Value<'_>, problems: &mut Problems<'_>) -> Vec<String> {
    let written = strings(value, problems);
    for (place, text) in &written {
        if !text.starts_with("http://") && !text.starts_with("https://") {
            problems.wrong(
                place,
                CatalogueSectionError::EndpointWithoutScheme,
                "a URL such as http://etcd:2379",
            );
        }
    }
    written.into_iter().map(|(_, text)| text.to_owned()).collect()
}

/// The prefix with a leading slash and without empty parts.
fn normal(prefix: &str) -> String {
    let parts = prefix.split('/').filter(|part| !part.is_empty());
    parts.map(|part| format!("/{part}")).collect()
}

/// A path, or an object with a path.
fn directory(value: &Value<'_>, problems: &mut Problems<'_>) -> Option<Catalogue> {
    let path = match &value.data {
        Data::Object(_) => {
            let mut section = Section::open(value, "an object", problems)?;
            let path = text(&mut section, "path", problems);
            section.close(problems);
            path
        }
        _ => string(value, problems)
            .filter(|path| !path.is_empty())
            .map(str::to_owned),
    };
    if path.is_none() {
        problems.wrong(
            value,
            CatalogueSectionError::NotAFolder,
            "the path of a folder, or an object with a `path`",
        );
    }
    path.map(|path| Catalogue::Directory { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_of_consul_is_that_of_the_original() {
        let table = [
            ("https://consul:8500", "consul:8500", Scheme::Https),
            ("http://consul:8500", "consul:8500", Scheme::Http),
            ("consul:8500", "consul:8500", Scheme::Http),
            (
                "httpshttps://consul:8500",
                "httpshttps://consul:8500",
                Scheme::Http,
            ),
            (
                "https://https://consul:8500",
                "https://consul:8500",
                Scheme::Https,
            ),
            ("http://https://consul:8500", "https://consul:8500", Scheme::Http),
            ("consul:8500https://", "consul:8500https://", Scheme::Http),
            ("", "", Scheme::Http),
        ];
        for (value, address, scheme) in table {
            assert_eq!(
                with_scheme(value, Scheme::Http),
                (address.to_owned(), scheme),
                "{value}"
            );
        }
    }

    #[test]
    fn a_prefix_has_a_leading_slash_and_no_empty_parts() {
        assert_eq!(normal("containerpilot"), "/containerpilot");
        assert_eq!(normal("//a//b/"), "/a/b");
        assert_eq!(normal("/"), "");
    }
}
