//! The names of services and instances as file names: any text in, a safe name out, and never the same name
//! for two texts.
//!
//! Letters, digits, `_`, `-` and dots inside stay as they are, so that an operator recognises them; every
//! other byte becomes `%` and two digits. What gets too long is cut, and ends in `~` and the fingerprint of
//! the whole. No name begins with a dot: those are left to temporary files. Nobody reads a name back: the
//! true one stands in the file.

use super::fingerprint::Fingerprint;
use std::fmt::Write;

/// No name is longer than this, which every file system takes with room for an ending. (docs/bounds.md)
const LONGEST: usize = 128;
/// How much of an over-long name is kept before the fingerprint.
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

/// Writing to a string cannot fail.
fn escape(name: &mut String, byte: u8) {
    let _ = write!(name, "%{byte:02X}");
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ordinary_names_are_kept() {
        for name in ["app", "my-app_2", "app-10.0.0.1", "UPPER"] {
            assert_eq!(safe(name), name);
        }
    }

    #[test]
    fn odd_names_become_safe() {
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
    fn over_long_names_differ_by_their_ends() {
        let (one, two) = ("x".repeat(5000) + "1", "x".repeat(5000) + "2");
        assert_ne!(safe(&one), safe(&two));
        assert!(safe(&one).len() <= LONGEST);
        assert_ne!(
            safe(&safe(&one)),
            safe(&one),
            "a name that looks like a cut one is another"
        );
    }

    /// Texts that are likely to get in each other's way.
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
        fn a_name_of_a_name_is_another_unless_it_was_plain(text in texts()) {
            let name = safe(&text);
            prop_assert_eq!(name == text, safe(&name) == name);
        }
    }
}
