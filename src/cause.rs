//! How the causes of failures read in sentences for operators.

use nix::errno::Errno;
use std::error::Error;
use std::io;

/// The kernel's words for an error, without a capital letter or a number, as the original prints them.
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

/// An error with all its causes: the outermost alone often says little.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_gos() {
        let missing = io::Error::from_raw_os_error(Errno::ENOENT as i32);
        assert_eq!(in_kernel_words(&missing), "no such file or directory");
        let no_room = io::Error::from_raw_os_error(Errno::EAGAIN as i32);
        assert_eq!(in_kernel_words(&no_room), "resource temporarily unavailable");
        assert_eq!(in_kernel_words(&io::Error::other("odd")), "odd");
    }
}
