//! What stands under a key: the original's JSON, with the tags it forgot to write (behaviour-v2.md 6.2).
//!
//! Others may have written it, so nothing but what is needed is required of it, and nothing is guessed.

use domain::event::Instance;
use domain::plan::Registration;
use serde::{Deserialize, Serialize};
use std::net::IpAddr;

/// The value of an instance.
pub fn of(registration: &Registration) -> String {
    let written = Written {
        id: &registration.id,
        name: &registration.name,
        address: registration.address,
        port: registration.port,
        tags: &registration.tags,
    };
    // Texts, a number and an address can always be written.
    serde_json::to_string(&written).unwrap_or_default()
}

/// The instance a value describes, if it has the tag that is asked for.
pub fn instance(value: &[u8], tag: Option<&str>) -> Result<Option<Instance>, serde_json::Error> {
    let Entry {
        id,
        address,
        port,
        tags,
    } = serde_json::from_slice(value)?;
    let tags = tags.unwrap_or_default();
    let is_asked_for = tag.is_none_or(|tag| tags.iter().any(|has| has == tag));
    Ok(is_asked_for.then_some(Instance { id, address, port }))
}

#[derive(Serialize)]
struct Written<'a> {
    id: &'a str,
    name: &'a str,
    address: IpAddr,
    port: u16,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
}

#[derive(Deserialize)]
struct Entry {
    id: String,
    address: String,
    port: u16,
    tags: Option<Vec<String>>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::time::Duration;

    fn registration(tags: &[&str]) -> Registration {
        Registration {
            id: "app-vm".into(),
            name: "app".into(),
            address: IpAddr::from([127, 0, 0, 1]),
            port: 8000,
            tags: tags.iter().map(|tag| String::from(*tag)).collect(),
            ttl: Duration::from_secs(5),
            enable_tag_override: false,
            deregister_critical_after: None,
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
    fn values_of_all_versions_are_read_and_others_refused() {
        let written = |tags: &str| format!(r#"{{"id":"a","name":"n","address":"h","port":1{tags}}}"#);
        let expected = Instance {
            id: "a".into(),
            address: "h".into(),
            port: 1,
        };
        let read = |text: &str, tag| instance(text.as_bytes(), tag).unwrap();
        for tags in ["", r#","tags":null"#, r#","tags":["x"],"more":{}"#] {
            assert_eq!(read(&written(tags), None), Some(expected.clone()), "{tags}");
        }
        assert_eq!(read(&written(r#","tags":["x"]"#), Some("x")), Some(expected));
        assert_eq!(read(&written(""), Some("x")), None);
        for wrong in ["", "{}", "[]", r#"{"id":"a","address":"h","port":70000}"#] {
            assert!(instance(wrong.as_bytes(), None).is_err(), "{wrong}");
        }
    }
}
