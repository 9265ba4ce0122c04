//! The list of a backend's instances as JSON, in the shape of Consul's `/v1/health/service`, which Consul's own watches give
//! their handlers on the standard input.
//!
//! Only the members that docs/backends.md names are there. The text is of one line, and the same list gives the same text.

use crate::catalogue::{CheckState, Details, Instance};
use alloc::string::String;
use alloc::vec::Vec;
use core::fmt::Write as _;

/// The longest text (docs/bounds.md)
pub const LONGEST_JSON: usize = 16 * 1024 * 1024;

/// The instances of a service as JSON; `None` if that is too long.
pub fn json(service: &str, instances: &[Instance]) -> Option<String> {
    let mut sorted: Vec<&Instance> = instances.iter().collect();
    sorted.sort_unstable_by(|one, other| {
        let key = |instance: &&Instance| (instance.address.clone(), instance.port, instance.id.clone());
        key(one).cmp(&key(other))
    });
    let mut text = String::from("[");
    for (index, instance) in sorted.into_iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        entry(&mut text, service, instance);
        if text.len() > LONGEST_JSON {
            return None;
        }
    }
    text.push_str("]\n");
    Some(text)
}

fn entry(text: &mut String, service: &str, instance: &Instance) {
    let nothing = Details::default();
    let details = instance.details.as_deref().unwrap_or(&nothing);
    text.push_str("{\"Node\":{\"Node\":");
    string(text, &details.node);
    text.push_str(",\"Address\":");
    string(
        text,
        if details.node_address.is_empty() {
            &instance.address
        } else {
            &details.node_address
        },
    );
    text.push_str("},\"Service\":{\"ID\":");
    string(text, &instance.id);
    text.push_str(",\"Service\":");
    string(text, service);
    text.push_str(",\"Tags\":");
    array(text, &details.tags, |text, tag| string(text, tag));
    text.push_str(",\"Address\":");
    string(text, &instance.address);
    // Writing to a string cannot fail.
    write!(text, ",\"Port\":{}", instance.port).ok();
    text.push_str(",\"Meta\":{");
    for (index, (key, value)) in details.meta.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        string(text, key);
        text.push(':');
        string(text, value);
    }
    text.push_str("}},\"Checks\":");
    array(text, &details.checks, |text, check| {
        state(text, service, instance, &details.node, check)
    });
    text.push('}');
}

fn state(text: &mut String, service: &str, instance: &Instance, node: &str, check: &CheckState) {
    let members = [
        ("{\"Node\":", node),
        (",\"CheckID\":", &check.id),
        (",\"Name\":", &check.name),
        (",\"Status\":", &check.status),
        (",\"ServiceID\":", if check.of_node { "" } else { &instance.id }),
        (",\"ServiceName\":", if check.of_node { "" } else { service }),
    ];
    for (key, value) in members {
        text.push_str(key);
        string(text, value);
    }
    text.push('}');
}

fn array<T>(text: &mut String, elements: &[T], write: impl Fn(&mut String, &T)) {
    text.push('[');
    for (index, element) in elements.iter().enumerate() {
        if index > 0 {
            text.push(',');
        }
        write(text, element);
    }
    text.push(']');
}

/// A JSON string.
fn string(text: &mut String, value: &str) {
    text.push('"');
    for character in value.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\n' => text.push_str("\\n"),
            '\r' => text.push_str("\\r"),
            '\t' => text.push_str("\\t"),
            control if u32::from(control) < 0x20 => {
                // Writing to a string cannot fail.
                write!(text, "\\u{:04x}", u32::from(control)).ok();
            }
            other => text.push(other),
        }
    }
    text.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::boxed::Box;
    use std::vec;

    fn instance(address: &str, port: u16, details: Option<Details>) -> Instance {
        Instance {
            id: "a\"1".into(),
            address: address.into(),
            port,
            details: details.map(Box::new),
        }
    }

    #[test]
    fn the_list_has_the_shape_of_consuls_health_endpoint() {
        let details = Details {
            node: "n1".into(),
            node_address: "192.0.2.1".into(),
            tags: vec!["blue".into(), "v\\2".into()],
            meta: [("zone".into(), "a\tb\u{1}".into()), ("é".into(), String::new())].into(),
            checks: vec![CheckState {
                id: "c".into(),
                name: "Check".into(),
                status: "passing".into(),
                of_node: true,
            }],
        };
        let instances = [
            instance("192.0.2.7", 81, None),
            instance("192.0.2.7", 80, Some(details)),
        ];
        let expected = concat!(
            r#"[{"Node":{"Node":"n1","Address":"192.0.2.1"},"#,
            r#""Service":{"ID":"a\"1","Service":"db","Tags":["blue","v\\2"],"Address":"192.0.2.7","Port":80,"#,
            r#""Meta":{"zone":"a\tb\u0001","é":""}},"#,
            r#""Checks":[{"Node":"n1","CheckID":"c","Name":"Check","Status":"passing","ServiceID":"","ServiceName":""}]},"#,
            r#"{"Node":{"Node":"","Address":"192.0.2.7"},"#,
            r#""Service":{"ID":"a\"1","Service":"db","Tags":[],"Address":"192.0.2.7","Port":81,"Meta":{}},"#,
            r#""Checks":[]}]"#,
            "\n"
        );
        assert_eq!(json("db", &instances).unwrap(), expected);
        assert_eq!(json("db", &[]).unwrap(), "[]\n");
    }

    #[test]
    fn a_text_that_is_too_long_is_left_out() {
        let long = "\u{1}".repeat(1024 * 1024);
        let instances = [1, 2, 3].map(|port| instance(&long, port, None));
        assert_eq!(json("db", &instances), None);
    }
}
