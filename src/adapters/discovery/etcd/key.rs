//! The key of an instance in etcd: `<prefix>/<name>/<id>/service`, as in ContainerPilot 2.
//!
//! The name and the ID are one part of the path each, so that no name can reach into the keys of another
//! service. Ordinary names stay as they are, because templates of other programs read these keys; a byte that
//! has a meaning in paths is percent-encoded. Keys are never decoded: the value has the name and the ID.

use domain::plan::Registration;
use std::fmt::Write;

/// The last part of every key.
const SERVICE: &str = "service";

/// What all keys of a service begin with.
pub fn of_service(prefix: &str, name: &str) -> String {
    format!("{prefix}/{}/", part(name))
}

/// The first key after all those that begin with `prefix`, which ends in a slash.
pub fn end_of(prefix: &str) -> Vec<u8> {
    let before = prefix.strip_suffix('/').unwrap_or(prefix);
    [before.as_bytes(), &[b'/' + 1]].concat()
}

/// What all keys of an instance begin with.
pub fn of_folder(prefix: &str, registration: &Registration) -> String {
    of_service(prefix, &registration.name) + &part(&registration.id) + "/"
}

/// The one key of an instance.
pub fn of_instance(prefix: &str, registration: &Registration) -> String {
    of_folder(prefix, registration) + SERVICE
}

/// Whether a key below a service's prefix is the key of an instance.
pub fn is_instance(service: &str, key: &[u8]) -> bool {
    let rest = key.strip_prefix(service.as_bytes()).unwrap_or_default();
    let mut parts = rest.split(|byte| *byte == b'/');
    let (_id, last, more) = (parts.next(), parts.next(), parts.next());
    last == Some(SERVICE.as_bytes()) && more.is_none()
}

/// A name as one part of a path, percent-encoded where necessary.
fn part(name: &str) -> String {
    let is_path = name == "." || name == "..";
    let mut part = String::with_capacity(name.len());
    for character in name.chars() {
        if character == '/' || character == '%' || character.is_ascii_control() || is_path {
            // Writing to a string cannot fail.
            let _ = write!(part, "%{:02X}", u32::from(character));
        } else {
            part.push(character);
        }
    }
    part
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ordinary_names_are_not_changed_and_unusual_ones_are_one_part_of_the_key() {
        assert_eq!(of_service("/containerpilot", "app"), "/containerpilot/app/");
        assert_eq!(of_service("", "my app.v2_é"), "/my app.v2_é/");
        for (name, expected) in [
            ("a/b", "a%2Fb"),
            ("a%2Fb", "a%252Fb"),
            ("..", "%2E%2E"),
            (".", "%2E"),
            ("a\0\n", "a%00%0A"),
        ] {
            assert_eq!(part(name), expected);
        }
    }

    #[test]
    fn all_keys_of_a_service_lie_before_its_end() {
        let end = end_of("/p/app/");
        assert!(b"/p/app/\xff\xff/service"[..] < end[..]);
        assert!(b"/p/app0"[..] >= end[..]);
        assert_eq!(end_of("//"), b"/0");
    }

    #[test]
    fn the_key_of_an_instance_is_one_part_and_the_word_service() {
        for (key, expected) in [
            ("/p/app/app-vm/service", true),
            ("/p/app//service", true),
            ("/p/app/app-vm/other", false),
            ("/p/app/app-vm/service/", false),
            ("/p/app/a/b/service", false),
            ("/p/app/service", false),
            ("/p/app/", false),
            ("/p/app2/app-vm/service", false),
        ] {
            assert_eq!(is_instance("/p/app/", key.as_bytes()), expected, "{key}");
        }
    }
}
