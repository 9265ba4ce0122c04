//! Where services are registered: `consul` or `directory`, exactly one (behaviour-v2.md 2.1, 2.3).

use super::section::{Section, string};
use crate::config::Target;
use crate::config::json::{Kind, Node};
use crate::config::problem::Problems;
use domain::plan::{Catalogue, Consul, Scheme};

/// The message when there is none.
pub const NONE: &str = "No discovery backend defined";
const SEVERAL: &str = "More than one discovery backend defined";
const ALLOWED: &str = "one of consul, directory";

/// Reads the one catalogue of the document.
pub fn read(
    root: &Node<'_>,
    section: &mut Section<'_>,
    target: &Target<'_>,
    problems: &mut Problems,
) -> Option<Catalogue> {
    let consul = section.take("consul");
    let directory = section.take("directory");
    let etcd = section.take("etcd");
    if let Some(node) = &etcd {
        problems.add(node, "etcd is not supported yet");
    }
    match (consul, directory) {
        (Some(node), None) => self::consul(&node, target, problems),
        (None, Some(node)) => self::directory(&node, problems),
        (Some(_), Some(node)) => {
            problems.add(&node, format!("{SEVERAL}, allowed is {ALLOWED}"));
            None
        }
        (None, None) => {
            if etcd.is_none() {
                problems.add(root, format!("{NONE}, needed is {ALLOWED}"));
            }
            None
        }
    }
}

fn consul(node: &Node<'_>, target: &Target<'_>, problems: &mut Problems) -> Option<Catalogue> {
    let variable = |name| {
        target
            .variables
            .get(name)
            .filter(|value| !value.is_empty())
            .cloned()
    };
    let (address, scheme, token) = match node.kind() {
        Kind::String => (node.string()?, None, None),
        Kind::Object => consul_object(node, problems)?,
        _ => {
            problems.wrong(
                node,
                "Unexpected Consul config structure",
                "a string or an object",
            );
            return None;
        }
    };
    let (address, scheme) = with_scheme(&address, scheme);
    if address.is_empty() {
        problems.wrong(node, NONE, "the address of Consul, host:port");
        return None;
    }
    let token = variable("CONSUL_HTTP_TOKEN").or(token.filter(|token| !token.is_empty()));
    Some(Catalogue::Consul(Consul {
        address,
        scheme,
        token,
    }))
}

type ConsulObject = (String, Option<Scheme>, Option<String>);

fn consul_object(node: &Node<'_>, problems: &mut Problems) -> Option<ConsulObject> {
    let mut section = Section::open(node, "an object", problems)?;
    let mut text = |key| {
        section
            .take(key)
            .and_then(|node| Some((string(&node, problems)?, node)))
    };
    let (address, scheme, token) = (text("address"), text("scheme"), text("token"));
    let scheme = scheme.and_then(|(text, node)| scheme_named(&text, &node, problems));
    section.close(problems);
    Some((
        address.map(|(text, _)| text).unwrap_or_default(),
        scheme,
        token.map(|(text, _)| text),
    ))
}

fn scheme_named(text: &str, node: &Node<'_>, problems: &mut Problems) -> Option<Scheme> {
    match text {
        "http" => Some(Scheme::Http),
        "https" => Some(Scheme::Https),
        "" => None,
        _ => {
            problems.wrong(node, "Unknown scheme", "http or https");
            None
        }
    }
}

/// The scheme may stand before the address; facts in behaviour-v2.md 2.3.
fn with_scheme(address: &str, scheme: Option<Scheme>) -> (String, Scheme) {
    if let Some(rest) = address.strip_prefix("https://") {
        return (rest.into(), Scheme::Https);
    }
    let rest = address.strip_prefix("http://").unwrap_or(address);
    (rest.into(), scheme.unwrap_or(Scheme::Http))
}

/// A path, or an object with one.
fn directory(node: &Node<'_>, problems: &mut Problems) -> Option<Catalogue> {
    let path = match node.kind() {
        Kind::Object => {
            let mut section = Section::open(node, "an object", problems)?;
            let path = section.take("path");
            section.close(problems);
            path.and_then(|node| string(&node, problems))
        }
        _ => string(node, problems),
    };
    let path = path.filter(|path| !path.is_empty());
    if path.is_none() {
        problems.wrong(
            node,
            "Not a folder",
            "the path of a folder, or an object with a `path`",
        );
    }
    path.map(|path| Catalogue::Directory { path })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scheme_facts_of_section_2_3() {
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
            assert_eq!(with_scheme(value, None), (address.to_owned(), scheme), "{value}");
        }
    }
}
