//! The value of a key: the original's JSON, and the tags, which the original did not write.
//!
//! Other programs may have written a value, so only the necessary fields are required, and no field is
//! guessed.

use domain::catalogue::{Details, Endpoint, Instance, Query};
use domain::plan::Registration;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use std::collections::BTreeMap;

/// How many characters of an invalid port are logged.
const LONGEST_PORT: usize = 20;

/// The value of an instance.
pub fn of(registration: &Registration) -> String {
    let written = WrittenEtcdEntry {
        id: &registration.id,
        name: &registration.name,
        address: registration.address.to_string(),
        port: registration.port,
        tags: &registration.tags,
        meta: &registration.attributes.meta,
    };
    // Serialising strings, a number and an address cannot fail.
    serde_json::to_string(&written).unwrap_or_default()
}

/// The instance that a value describes; `None` if the query does not select it by its tags.
///
/// # Errors
/// The fault of the value, as the end of a sentence that begins with "the value".
pub fn instance(value: &[u8], query: &Query) -> Result<Option<Instance>, String> {
    let text = std::str::from_utf8(value).map_err(|_| "is not UTF-8")?;
    let entry: Result<EtcdEntry, _> = serde_json::from_str(text);
    let EtcdEntry {
        id,
        address,
        port,
        tags,
        meta,
    } = entry.map_err(|error| format!("is not an instance: {error}"))?;
    let port = self::port(port.get())?;
    let tags = tags.unwrap_or_default();
    if !query.selects(&tags) {
        return Ok(None);
    }
    let meta = meta.unwrap_or_default();
    let details = query.details.then(|| {
        Box::new(Details {
            tags,
            meta,
            ..Details::default()
        })
    });
    Ok(Some(Instance {
        id,
        address,
        port,
        details,
    }))
}

/// The name and the tags of the service whose instance a value describes; `None` if it describes none.
pub fn service(value: &[u8]) -> Option<(String, Vec<String>)> {
    instance(value, &Query::default()).ok()?;
    let Named { name, tags } = serde_json::from_slice(value).ok()?;
    Some((name, tags.unwrap_or_default()))
}

/// The address and port that a value describes.
///
/// # Errors
/// As for [`instance`].
pub fn endpoint(value: &[u8]) -> Result<Endpoint, String> {
    let instance = instance(value, &Query::default())?;
    instance
        .map(|Instance { address, port, .. }| Endpoint { address, port })
        .ok_or_else(|| "is not an instance".into())
}

fn port(written: &str) -> Result<u16, String> {
    let shown = || written.chars().take(LONGEST_PORT).collect::<String>();
    written
        .parse()
        .map_err(|_| format!("has the port {}, allowed is 0 to 65535", shown()))
}

#[derive(Serialize)]
struct WrittenEtcdEntry<'a> {
    id: &'a str,
    name: &'a str,
    address: String,
    port: u16,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    meta: &'a BTreeMap<String, String>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct EtcdEntry<'v> {
    id: String,
    address: String,
    #[serde(borrow)]
    port: &'v RawValue,
    tags: Option<Vec<String>>,
    meta: Option<BTreeMap<String, String>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::time::Duration;

    fn registration(tags: &[&str]) -> Registration {
        Registration {
            id: "app-vm".into(),
            name: "app".into(),
            address: [127, 0, 0, 1].into(),
            port: 8000,
            tags: tags.iter().map(|tag| String::from(*tag)).collect(),
            ttl: Duration::from_secs(5),
            enable_tag_override: false,
            deregister_critical_after: None,
            attributes: Box::default(),
        }
    }

    #[test]
    fn the_value_is_the_originals_with_tags_if_there_are_any() {
        let plain = r#"{"id":"app-vm","name":"app","address":"127.0.0.1","port":8000}"#;
        let tagged = r#"{"id":"app-vm","name":"app","address":"127.0.0.1","port":8000,"tags":["a","b"]}"#;
        assert_eq!(of(&registration(&[])), plain);
        assert_eq!(of(&registration(&["a", "b"])), tagged);
    }

    #[test]
    fn values_of_all_versions_are_read_and_invalid_ones_refused() {
        let written = |tags: &str| format!(r#"{{"id":"a","name":"n","address":"h","port":1{tags}}}"#);
        let expected = Instance {
            id: "a".into(),
            address: "h".into(),
            port: 1,
            details: None,
        };
        let read = |text: &str, tag: Option<&str>| {
            let query = Query {
                tag: tag.map(str::to_owned),
                ..Query::default()
            };
            instance(text.as_bytes(), &query).unwrap()
        };
        for tags in ["", r#","tags":null"#, r#","tags":["x"],"more":{}"#] {
            assert_eq!(read(&written(tags), None), Some(expected.clone()), "{tags}");
        }
        assert_eq!(read(&written(r#","tags":["x"]"#), Some("x")), Some(expected));
        assert_eq!(read(&written(""), Some("x")), None);
        for wrong in ["", "{}", "[]", r#"{"id":"a","address":"h","port":70000}"#] {
            assert!(instance(wrong.as_bytes(), &Query::default()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn pairs_and_a_host_name_are_written_and_read_again() {
        let mut registration = registration(&["a"]);
        registration.address = "app.example".into();
        registration.attributes.meta = BTreeMap::from([("version".into(), "2".into())]);
        let written = of(&registration);
        let expected = r#"{"id":"app-vm","name":"app","address":"app.example","port":8000,"tags":["a"],"meta":{"version":"2"}}"#;
        assert_eq!(written, expected);
        let query = Query {
            details: true,
            ..Query::default()
        };
        let read = instance(written.as_bytes(), &query).unwrap().unwrap();
        let details = read.details.unwrap();
        assert_eq!(read.address, "app.example");
        assert_eq!(
            (details.tags, details.meta),
            (registration.tags, registration.attributes.meta)
        );
    }

    #[test]
    fn the_fault_of_a_value_is_named() {
        let with_port = |port: &str| format!(r#"{{"id":"a","address":"h","port":{port}}}"#);
        let fault = |value: &[u8]| instance(value, &Query::default()).unwrap_err();
        for port in ["70000", "-1", "1.5", "\"80\""] {
            let expected = format!("has the port {port}, allowed is 0 to 65535");
            assert_eq!(fault(with_port(port).as_bytes()), expected);
        }
        assert_eq!(fault(b"\xff"), "is not UTF-8");
        assert!(fault(b"{").starts_with("is not an instance: "), "{}", fault(b"{"));
    }
}
