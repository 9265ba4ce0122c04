//! Where the configuration comes from: a file, or the text itself (behaviour-v2.md 1.2).
//!
//! What is remembered is the place, not the content: a reload reads the file anew.

use crate::cause;
use std::path::PathBuf;
use std::{fmt, fs};

/// Where a configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, absolute or relative to the working directory.
    File(PathBuf),
    /// The text itself.
    Inline(String),
}

impl Source {
    /// `file://` and a path, or the text itself. Everything after the first `file://` is the path (CLI-1).
    pub fn new(value: &str) -> Self {
        match value.strip_prefix("file://") {
            Some(path) => Self::File(path.into()),
            None => Self::Inline(value.into()),
        }
    }

    /// The text as it is there now.
    ///
    /// # Errors
    /// A sentence: the file cannot be read, or is not UTF-8.
    pub fn read(&self) -> Result<String, String> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File(path) => fs::read_to_string(path).map_err(|error| {
                let cause = cause::in_kernel_words(&error);
                format!("Could not read config file: open {}: {cause}", path.display())
            }),
        }
    }
}

/// Writes a text to the file that `out` names; the flag `-out` is named if it names none (CLI-2).
///
/// # Errors
/// A sentence: `out` is no `file://` and a path, or the file cannot be written.
pub fn write(out: &str, text: &str) -> Result<(), String> {
    let Source::File(path) = Source::new(out) else {
        return Err(format!(
            "-out flag is invalid: '{out}', allowed is - or file:// and a path"
        ));
    };
    fs::write(&path, text).map_err(|error| {
        let cause = cause::in_kernel_words(&error);
        format!("Could not write config file: open {}: {cause}", path.display())
    })
}

/// How messages call it.
impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Inline(_) => f.write_str("configuration"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_after_the_first_prefix_is_the_path() {
        assert_eq!(
            Source::new("file:///etc/cp.json"),
            Source::File("/etc/cp.json".into())
        );
        assert_eq!(Source::new("file://cp.json"), Source::File("cp.json".into()));
        assert_eq!(
            Source::new("file:///a/file://b"),
            Source::File("/a/file://b".into())
        );
        assert_eq!(Source::new("FILE:///a"), Source::Inline("FILE:///a".into()));
    }

    #[test]
    fn a_wrong_out_is_named() {
        let error = write("/tmp/cp.json", "{}").unwrap_err();
        assert_eq!(
            error,
            "-out flag is invalid: '/tmp/cp.json', allowed is - or file:// and a path"
        );
        let error = write("file:///no/cp.json", "{}").unwrap_err();
        assert_eq!(
            error,
            "Could not write config file: open /no/cp.json: no such file or directory"
        );
    }

    #[test]
    fn a_missing_file_is_named() {
        let error = Source::new("file:///xxxx").read().unwrap_err();
        assert_eq!(
            error,
            "Could not read config file: open /xxxx: no such file or directory"
        );
    }
}
