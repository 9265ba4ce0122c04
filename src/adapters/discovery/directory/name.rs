//! File names for services and instances: every text has a file name that is safe, and no two texts have the
//! same one.
//!
//! Letters, digits, `_`, `-` and inner dots stay as they are, so that operators recognise the names. Every
//! other byte becomes `%` and two hexadecimal digits. A name that is too long is cut and ends in `~` and the
//! fingerprint of the whole text. No name begins with a dot, because temporary files do. File names are never
//! decoded: the entry in the file contains the name and the ID.

use super::fingerprint::Fingerprint;
use std::fmt::Write;

/// The longest file name, in bytes. Every file system permits it together with a suffix. (docs/bounds.md)
const LONGEST: usize = 128;
/// How many bytes of a name that is too long stay before the fingerprint.
const KEPT: usize = 80;

/// The file name of an instance's entry.
pub(super) fn of_entry(id: &str) -> String {
    safe(id) + ".json"
}

/// The name of a service's folder.
pub(super) fn of_folder(service: &str) -> String {
    safe(service)
}

fn safe(text: &str) -> String {
    let mut name = String::with_capacity(text.len());
    for (index, byte) in text.bytes().enumerate() {
        let inside = index > 0 && index + 1 < text.len();
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-' => name.push(char::from(byte)),
            b'.' if inside => name.push('.'),
            _ => escape(&mut name, byte),
        }
    }
    match name.len() {
        0 => "%".into(),
        1..=LONGEST => name,
        _ => format!(
            "{}~{:032x}",
            &name[..KEPT],
            Fingerprint::of(text.as_bytes()).long()
        ),
    }
}

/// Appends `%` and two hexadecimal digits. Writing to a string cannot fail.
fn escape(name: &mut String, byte: u8) {
    let _ = write!(name, "%{byte:02X}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_names_are_not_changed() {
        for name in ["app", "my-app_2", "app-10.0.0.1", "UPPER"] {
            assert_eq!(safe(name), name);
        }
    }

    #[test]
    fn unusual_names_are_escaped() {
        let table = [
            ("", "%"),
            ("%", "%25"),
            (".", "%2E"),
            ("..", "%2E%2E"),
            (".hidden", "%2Ehidden"),
            ("a.", "a%2E"),
            ("../../etc", "%2E.%2F..%2Fetc"),
            ("a\0b", "a%00b"),
            ("é", "%C3%A9"),
        ];
        for (name, file) in table {
            assert_eq!(safe(name), file, "{name:?}");
        }
    }

    #[test]
    fn names_that_are_too_long_and_differ_at_the_end_have_different_file_names() {
        let (one, two) = ("x".repeat(5000) + "1", "x".repeat(5000) + "2");
        assert_ne!(safe(&one), safe(&two));
        assert!(safe(&one).len() <= LONGEST);
        assert_ne!(
            safe(&safe(&one)),
            safe(&one),
            "a name that looks like a cut one is another"
        );
    }

    /// Texts whose file names could be equal if the encoding had a fault.
    fn texts() -> impl Strategy<Value = String> {
        prop_oneof![any::<String>(), "[./%a2EF~]{0,6}", "[a%/]{120,140}"]
    }

    proptest! {
        #[test]
        fn every_text_becomes_a_safe_name(text in texts()) {
            let name = safe(&text);
            prop_assert!(!name.is_empty() && name.len() <= LONGEST);
            prop_assert!(!name.starts_with('.') && !name.ends_with('.'));
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-.%~".contains(&byte);
            prop_assert!(name.bytes().all(plain), "{}", name);
        }

        #[test]
        fn two_texts_never_get_the_same_name(one in texts(), two in texts()) {
            prop_assert_eq!(one == two, safe(&one) == safe(&two));
            prop_assert_eq!(one == two, of_entry(&one) == of_entry(&two));
        }

        #[test]
        fn escaping_twice_changes_exactly_the_names_that_escaping_once_changes(text in texts()) {
            let name = safe(&text);
            prop_assert_eq!(name == text, safe(&name) == name);
        }
    }
}
