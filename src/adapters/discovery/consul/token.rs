//! The ACL token: a text of the configuration, or the content of a file.
//!
//! The file is read when the catalogue is opened, so that a missing file is reported at the start, and again when the agent
//! refuses the token (403): programs that issue tokens replace the file while the shim runs. It is read on a thread of its
//! own, because a file system may hang; there is one such thread at a time.

use crate::adapters::descriptors::while_opening;
use crate::adapters::tasks::spawn_local;
use crate::cause;
use crate::ports::CatalogueError;
use domain::plan;
use hyper::header::HeaderValue;
use nix::fcntl::OFlag;
use nix::sys::signal::SigSet;
use std::cell::Cell;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use tokio::sync::oneshot::{self, Receiver};

/// The longest file with a token, in bytes (docs/bounds.md)
const LONGEST_FILE: u64 = 4 * 1024;
/// The stack of the thread that reads the file, in bytes (docs/bounds.md)
const STACK: usize = 256 * 1024;

/// The file with the token.
#[derive(Clone, Debug)]
pub struct TokenFile {
    path: PathBuf,
    is_being_read: Rc<Cell<bool>>,
}

impl TokenFile {
    /// The file at this path. It is not read yet.
    pub fn new(path: &str) -> Self {
        Self {
            path: path.into(),
            is_being_read: Rc::default(),
        }
    }

    /// Reads the token here.
    ///
    /// # Errors
    /// The file cannot be read, or is not a token.
    pub fn read(&self) -> Result<HeaderValue, CatalogueError> {
        read(&self.path).map_err(CatalogueError::Failed)
    }

    /// Reads the token on a thread, and passes it to `found`, also if nothing waits for the result any more. Returns whether
    /// it was read; while it is being read for an earlier call, it is not.
    pub async fn read_again(&self, found: impl FnOnce(HeaderValue) + 'static) -> bool {
        if self.is_being_read.replace(true) {
            return false;
        }
        let (file, begun) = (self.clone(), self.begin());
        let reading = spawn_local(async move {
            let read = match begun {
                Ok(read) => read.await.unwrap_or_else(|_| Err("the thread has ended".into())),
                Err(error) => Err(cause::in_kernel_words(&error)),
            };
            file.is_being_read.set(false);
            let read = read.map(found);
            read.inspect_err(|sentence| tracing::warn!("The token could not be read again: {sentence}"))
                .is_ok()
        });
        reading.await.unwrap_or_default()
    }

    fn begin(&self) -> io::Result<Receiver<Result<HeaderValue, String>>> {
        let (sender, read_again) = oneshot::channel();
        let path = self.path.clone();
        let thread = std::thread::Builder::new().name("token".into()).stack_size(STACK);
        thread.spawn(move || {
            // The kernel delivers signals to the thread that handles them.
            SigSet::all().thread_block().ok();
            // The receiver may be gone.
            sender.send(while_opening(|| read(&path))).ok();
        })?;
        Ok(read_again)
    }
}

/// The content of the file as a header, without the white space around it.
fn read(path: &Path) -> Result<HeaderValue, String> {
    let with_path =
        |sentence: String| format!("the file of the Consul token, {}: {sentence}", path.display());
    let text = content(path).map_err(|error| with_path(cause::in_kernel_words(&error)))?;
    header(text.trim()).map_err(with_path)
}

/// A token as the value of a header.
///
/// # Errors
/// It is empty, or has characters that no header can carry.
pub fn header(token: &str) -> Result<HeaderValue, String> {
    if token.is_empty() {
        return Err("it is empty".into());
    }
    let mut value =
        HeaderValue::from_str(token).map_err(|_| "it has characters that no header can carry".to_owned())?;
    value.set_sensitive(true);
    Ok(value)
}

/// The text of a regular file. A pipe is refused without waiting for its writer.
fn content(path: &Path) -> io::Result<String> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .custom_flags(OFlag::O_NONBLOCK.bits())
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut text = String::new();
    file.take(LONGEST_FILE + 1).read_to_string(&mut text)?;
    match text.len() as u64 > LONGEST_FILE {
        true => Err(io::Error::other(format!(
            "it is longer than {LONGEST_FILE} bytes"
        ))),
        false => Ok(text),
    }
}

/// What the file contains, for a fingerprint; `None` if it cannot be read, which is reported when the catalogue is opened.
pub fn fingerprint(consul: &plan::Consul) -> Option<String> {
    content(Path::new(consul.token_file.as_ref()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::tempdir;

    #[test]
    fn a_token_is_read_from_a_small_regular_file_only() {
        let folder = tempdir().unwrap();
        let file = folder.path().join("token");
        let read = || TokenFile::new(file.to_str().unwrap()).read();
        let fault = || read().unwrap_err().to_string();
        assert!(fault().contains("no such file"), "{}", fault());
        std::fs::write(&file, " s3cr3t\n").unwrap();
        assert_eq!(read().unwrap(), "s3cr3t");
        assert!(!format!("{:?}", read().unwrap()).contains("s3cr3t"));
        for (text, sentence) in [
            (" \n".to_owned(), "it is empty"),
            ("a\nb".to_owned(), "it has characters that no header can carry"),
            ("x".repeat(4097), "it is longer than 4096 bytes"),
        ] {
            std::fs::write(&file, text).unwrap();
            assert!(fault().contains(sentence), "{}", fault());
        }
        std::fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(fault().contains("it is not a regular file"), "{}", fault());
    }
}
