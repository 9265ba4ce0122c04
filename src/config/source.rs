//! The source of the configuration: a file, or the text itself (docs/development/behaviour.md: CLI-1,
//! CFG-24).
//!
//! A source stores the path, not the content: a reload reads the file again.

use crate::cause;
use nix::libc::O_NONBLOCK;
use std::fs::{File, FileType, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::{fmt, fs};

/// The limit on a configuration, before and after its template is rendered, in bytes (docs/bounds.md).
pub const LARGEST: usize = 4 * 1024 * 1024;
const _: () = assert!(
    LARGEST == template::LONGEST_TEXT,
    "a template renders to what may be read"
);

/// The kinds of files that may be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Readable {
    /// Regular files. They can be read again, and reading never waits for a writer.
    Files,
    /// Regular files and pipes. Reading a pipe may wait for its writer.
    FilesAndPipes,
}

/// A source.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A file, absolute or relative to the working directory.
    File(PathBuf),
    /// The text itself.
    Inline(String),
}

/// Why a source cannot be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadError {
    /// The system's error message.
    Refused(String),
    /// It is of this kind, which is not a file.
    NoFile(&'static str),
    /// It is larger than [`LARGEST`].
    TooLarge,
    /// It is encoded in UTF-16, as some editors do.
    Utf16,
    /// It is not UTF-8: the line and the character in that line, from 1, where the first invalid byte is.
    NotUtf8(usize, usize),
}

impl fmt::Display for ReadError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused(words) => f.write_str(words),
            Self::NoFile(what) => write!(f, "{what}; a regular file is needed"),
            Self::TooLarge => write!(f, "it is larger than {LARGEST} bytes"),
            Self::Utf16 => f.write_str("stream did not contain valid UTF-8: it is UTF-16; save it as UTF-8"),
            Self::NotUtf8(line, column) => {
                write!(
                    f,
                    "stream did not contain valid UTF-8 at line {line}, column {column}"
                )
            }
        }
    }
}

impl From<io::Error> for ReadError {
    fn from(error: io::Error) -> Self {
        Self::Refused(cause::in_kernel_words(&error))
    }
}

impl Source {
    /// The source for the value of `-config`: `file://` and a path, or the text itself. Everything after the
    /// first `file://` is the path (CLI-1).
    pub fn new(value: &str) -> Self {
        match value.strip_prefix("file://") {
            Some(path) => Self::File(path.into()),
            None => Self::Inline(value.into()),
        }
    }

    /// Reads the present text.
    ///
    /// # Errors
    /// A sentence: the file cannot be read, is larger than [`LARGEST`], is not UTF-8, or is of a kind that
    /// `readable` excludes.
    pub fn read(&self, readable: Readable) -> Result<String, String> {
        match self {
            Self::Inline(text) => Ok(text.clone()),
            Self::File(path) => read_file(path, readable)
                .map_err(|cause| format!("Could not read config file: open {}: {cause}", path.display())),
        }
    }
}

fn read_file(path: &Path, readable: Readable) -> Result<String, ReadError> {
    // Opening a device can have side effects, so the kind is checked before.
    refuse(fs::metadata(path)?.file_type(), readable)?;
    let mut options = OpenOptions::new();
    options.read(true);
    if readable == Readable::Files {
        // A pipe that replaced the file since that check is opened without waiting, and refused.
        options.custom_flags(O_NONBLOCK);
    }
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    refuse(metadata.file_type(), readable)?;
    if metadata.len() > LARGEST as u64 {
        return Err(ReadError::TooLarge);
    }
    decode(read_all(file)?)
}

fn read_all(file: File) -> Result<Vec<u8>, ReadError> {
    let mut bytes = Vec::new();
    match file.take(LARGEST as u64 + 1).read_to_end(&mut bytes)? {
        ..=LARGEST => Ok(bytes),
        _ => Err(ReadError::TooLarge),
    }
}

fn decode(bytes: Vec<u8>) -> Result<String, ReadError> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(ReadError::Utf16);
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let valid = String::from_utf8_lossy(valid);
        let last_line = valid.rsplit('\n').next().unwrap_or_default();
        ReadError::NotUtf8(valid.matches('\n').count() + 1, last_line.chars().count() + 1)
    })
}

/// Refuses a kind of file that is not to be read.
fn refuse(kind: FileType, readable: Readable) -> Result<(), ReadError> {
    Err(ReadError::NoFile(match kind {
        _ if kind.is_file() => return Ok(()),
        _ if kind.is_fifo() && readable == Readable::FilesAndPipes => return Ok(()),
        _ if kind.is_fifo() => "is a pipe, which can be read at the start only",
        _ if kind.is_dir() => "is a directory",
        _ if kind.is_socket() => "is a socket",
        _ => "is a device",
    }))
}

/// Writes a text to the file that `out` names; the error names the flag `-out` if there is none (CLI-2).
///
/// # Errors
/// A sentence: `out` is not `file://` and a path, or the file cannot be written.
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

/// The name of the source in messages.
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
    fn an_invalid_out_flag_is_named() {
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
        let error = Source::new("file:///xxxx").read(Readable::Files).unwrap_err();
        assert_eq!(
            error,
            "Could not read config file: open /xxxx: no such file or directory"
        );
    }

    #[test]
    fn a_file_that_is_not_utf_8_is_refused_with_the_position() {
        assert_eq!(decode("{\"é\"}".into()), Ok("{\"é\"}".into()));
        assert_eq!(
            decode(b"{\n\"\xc3\xa9\xff\"}".to_vec()),
            Err(ReadError::NotUtf8(2, 3))
        );
        for utf_16 in [b"\xff\xfe{\0}\0", b"\xfe\xff\0{\0}"] {
            assert_eq!(decode(utf_16.to_vec()), Err(ReadError::Utf16));
        }
    }

    fn refused(path: &Path, readable: Readable) -> String {
        Source::File(path.into()).read(readable).unwrap_err()
    }

    #[test]
    fn a_path_that_is_not_a_file_is_refused_without_waiting() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        for (path, what) in [
            (Path::new("/dev/zero"), "is a device"),
            (folder.path(), "is a directory"),
            (&fifo, "is a pipe, which can be read at the start only"),
        ] {
            let refused = refused(path, Readable::Files);
            assert!(
                refused.ends_with(&format!("{what}; a regular file is needed")),
                "{refused}"
            );
        }
        assert!(refused(Path::new("/dev/zero"), Readable::FilesAndPipes).contains("a device"));
    }

    #[test]
    #[expect(clippy::disallowed_methods, reason = "another thread writes to the pipe")]
    fn a_pipe_is_read_at_the_start() {
        let folder = tempfile::tempdir().unwrap();
        let fifo = folder.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let writer = std::thread::spawn({
            let fifo = fifo.clone();
            move || fs::write(fifo, "{}")
        });
        assert_eq!(Source::File(fifo).read(Readable::FilesAndPipes), Ok("{}".into()));
        writer.join().unwrap().unwrap();
    }

    #[test]
    fn a_file_that_is_too_large_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("sparse");
        File::create(&path).unwrap().set_len(2 << 30).unwrap();
        assert!(refused(&path, Readable::Files).ends_with("it is larger than 4194304 bytes"));
        File::create(&path).unwrap().set_len(LARGEST as u64).unwrap();
        let read = Source::File(path).read(Readable::Files);
        assert_eq!(read.map(|text| text.len()), Ok(LARGEST));
    }

    #[test]
    fn a_stream_without_end_is_read_up_to_the_bound() {
        let endless = File::open("/dev/zero").unwrap();
        assert_eq!(read_all(endless), Err(ReadError::TooLarge));
    }
}
