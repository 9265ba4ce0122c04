//! Formats the causes of failures for sentences to operators.

use nix::errno::Errno;
use std::error::Error;
use std::io;
use std::ops::Range;

/// The system's message for an error, in lower case and without its number, as the original prints it.
pub fn in_kernel_words(error: &io::Error) -> String {
    let Some(code) = error.raw_os_error() else {
        return error.to_string();
    };
    let words = match Errno::from_raw(code) {
        Errno::EAGAIN => "Resource temporarily unavailable",
        other => other.desc(),
    };
    let mut characters = words.chars();
    let first = characters.next().map(|first| first.to_ascii_lowercase());
    first.into_iter().chain(characters).collect()
}

/// An error with all its causes, because the outermost alone often lacks the reason.
pub fn in_full(error: &dyn Error) -> String {
    let mut sentence = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !sentence.ends_with(&more) {
            sentence = format!("{sentence}: {more}");
        }
        cause = error.source();
    }
    sentence
}

/// The text, with `***` for the user information in URLs and in `user:password@host`.
pub fn without_user_information(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut from = 0;
    for word in text.split([' ', ',', '"', '\'', '(', ')']) {
        let begin = word.as_ptr() as usize - text.as_ptr() as usize;
        if let Some(hidden) = user_information(word) {
            shown.push_str(&text[from..begin + hidden.start]);
            shown.push_str("***");
            from = begin + hidden.end;
        }
    }
    shown + &text[from..]
}

/// Where the user information in a word is, if there is any.
pub fn user_information(word: &str) -> Option<Range<usize>> {
    let end = word.rfind('@')?;
    let slashes = ["//", "\\/\\/"].map(|slashes| word[..end].find(slashes).map(|at| at + slashes.len()));
    let scheme = slashes.into_iter().flatten().next();
    let start = scheme.unwrap_or_default();
    (start < end && (scheme.is_some() || word[..end].contains(':'))).then_some(start..end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_loses_its_user_information_and_nothing_else() {
        let table = [
            ("http://u:p@h:1/x", "http://***@h:1/x"),
            ("'u:p@h:1' is no address", "'***@h:1' is no address"),
            (
                "no answer (https://u@h) from http://h:1/x?y=z",
                "no answer (https://***@h) from http://h:1/x?y=z",
            ),
            ("http://u:p/w@a,http://u:p@b", "http://***@a,http://***@b"),
            ("a@b", "a@b"),
        ];
        for (text, shown) in table {
            assert_eq!(without_user_information(text), shown);
        }
    }

    #[test]
    fn error_messages_of_the_kernel_are_those_of_go() {
        let missing = io::Error::from_raw_os_error(Errno::ENOENT as i32);
        assert_eq!(in_kernel_words(&missing), "no such file or directory");
        let no_room = io::Error::from_raw_os_error(Errno::EAGAIN as i32);
        assert_eq!(in_kernel_words(&no_room), "resource temporarily unavailable");
        assert_eq!(in_kernel_words(&io::Error::other("odd")), "odd");
    }
}
