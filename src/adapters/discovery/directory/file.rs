//! The files of one folder: listing, reading and replacing them.
//!
//! A file is replaced by renaming a temporary file over it. So a reader sees the old content or the new one,
//! never a part of it, and a full disk or a crash leaves the old file in place. Names of temporary files
//! begin with a dot; names of entries do not.
//!
//! The files are not trusted: a pipe, a link, a file that is too large or a file of another program is
//! [`FileContent::Foreign`]. A temporary failure (no file descriptors left, a broken disk) is an error
//! instead, because an entry that cannot be read may still be valid. No call waits for another process: files
//! are opened without blocking, so a pipe does not hold up the reader.

use super::entry::{BootTime, DirectoryEntry};
use super::name;
use domain::time::Duration;
use nix::fcntl::OFlag;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// The longest file that is read as an entry, in bytes. (docs/bounds.md)
const LONGEST: usize = 256 * 1024;
/// A temporary file that is this old was left by a crash; writing one takes microseconds.
const DRAFT_AGE: Duration = Duration::from_secs(60);
/// An entry that expired this long ago is removed.
const ENTRY_AGE: Duration = Duration::from_secs(3600);

/// The files in one service's folder (docs/bounds.md)
pub(super) const MOST_FILES: usize = 20_000;

/// The content of a file.
#[derive(Debug)]
pub(super) enum FileContent {
    /// An entry whose ID belongs to this file name.
    Entry(DirectoryEntry),
    /// The file does not exist.
    Nothing,
    /// The file is not an entry; the text gives the reason.
    Foreign(String),
}

/// The names of the files in a folder, without hidden files; empty if the folder does not exist.
///
/// The folder is listed twice: on some file systems (tmpfs, btrfs) a file that is replaced during a listing
/// is missing from that listing. An entry is not replaced twice within such a short time.
pub(super) fn names(folder: &Path) -> io::Result<BTreeSet<OsString>> {
    let mut names = BTreeSet::new();
    for _ in 0..2 {
        let files = match fs::read_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(BTreeSet::new()),
            files => files?,
        };
        for file in files {
            let name = file?.file_name();
            if !is_hidden(&name) {
                names.insert(name);
            }
            if names.len() > MOST_FILES {
                return Err(too_many());
            }
        }
    }
    Ok(names)
}

/// The error for a folder with too many files.
pub(super) fn too_many() -> io::Error {
    io::Error::other(format!("it holds more than {MOST_FILES} files"))
}

/// Whether a file is a temporary file or another hidden file, which is skipped without a warning.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// Reads one file of a service's folder. Returns its content and the size of its text in bytes.
pub(super) fn read(folder: &Path, file: &OsStr, service: &str) -> io::Result<(FileContent, usize)> {
    read_as(folder, file, |text| parse(text, file, service))
}

/// As [`read`], of whatever service the folder is.
pub(super) fn read_any(folder: &Path, file: &OsStr) -> io::Result<(FileContent, usize)> {
    read_as(folder, file, |text| {
        let entry = entry(text)?;
        let service = entry.name.clone();
        if folder.file_name() != Some(name::of_folder(&service).as_ref()) {
            return Err(elsewhere(&entry));
        }
        checked(entry, file, &service)
    })
}

fn read_as(
    folder: &Path,
    file: &OsStr,
    parse: impl FnOnce(&[u8]) -> Result<DirectoryEntry, String>,
) -> io::Result<(FileContent, usize)> {
    let text = match text_of(&folder.join(file)) {
        Ok(text) => text,
        Err(error) => return Ok((failure(error)?, 0)),
    };
    let found = match parse(&text) {
        Ok(entry) => FileContent::Entry(entry),
        Err(reason) => FileContent::Foreign(reason),
    };
    Ok((found, text.len()))
}

/// Distinguishes failures that are a property of the file from temporary ones.
fn failure(error: io::Error) -> io::Result<FileContent> {
    const LINK: Option<i32> = Some(nix::errno::Errno::ELOOP as i32);
    const SOCKET: Option<i32> = Some(nix::errno::Errno::ENXIO as i32);
    match error.kind() {
        ErrorKind::NotFound => Ok(FileContent::Nothing),
        ErrorKind::PermissionDenied | ErrorKind::InvalidData => Ok(FileContent::Foreign(error.to_string())),
        _ if [LINK, SOCKET].contains(&error.raw_os_error()) => Ok(FileContent::Foreign(error.to_string())),
        _ => Err(error),
    }
}

/// The content of a regular file that is not too long. Anything else is the error `InvalidData`.
fn text_of(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOFOLLOW;
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    let metadata = file.metadata()?;
    if !metadata.is_file() {
        return Err(io::Error::new(ErrorKind::InvalidData, "not a regular file"));
    }
    if metadata.len() > LONGEST as u64 {
        return Err(io::Error::new(ErrorKind::InvalidData, "too long for an entry"));
    }
    let mut text = Vec::new();
    file.take(LONGEST as u64 + 1).read_to_end(&mut text)?;
    if text.len() > LONGEST {
        return Err(io::Error::new(ErrorKind::InvalidData, "too long for an entry"));
    }
    Ok(text)
}

/// Parses an entry. The error is the reason why the text is not an entry of this file in this service's
/// folder.
pub(super) fn parse(text: &[u8], file: &OsStr, service: &str) -> Result<DirectoryEntry, String> {
    checked(entry(text)?, file, service)
}

fn entry(text: &[u8]) -> Result<DirectoryEntry, String> {
    serde_json::from_slice(text).map_err(|error| format!("not an entry: {error}"))
}

fn checked(entry: DirectoryEntry, file: &OsStr, service: &str) -> Result<DirectoryEntry, String> {
    if entry.name != service || file != entry.file_name().as_str() {
        return Err(elsewhere(&entry));
    }
    Ok(entry)
}

fn elsewhere(entry: &DirectoryEntry) -> String {
    format!(
        "the entry of {:?} of service {:?} does not belong here",
        entry.id, entry.name
    )
}

/// Writes an entry to its file, replacing the file if it exists, and creates the folder if necessary.
pub(super) fn write(folder: &Path, entry: &DirectoryEntry, now: &BootTime<'_>) -> io::Result<()> {
    let text = serde_json::to_vec(entry)?;
    if text.len() > LONGEST {
        return Err(io::Error::new(ErrorKind::InvalidInput, "too long for an entry"));
    }
    let replaced = || {
        replace(folder, &entry.file_name(), now, |draft| {
            io::Write::write_all(draft, &text)
        })
    };
    match replaced() {
        Err(error) if error.kind() == ErrorKind::NotFound => {
            fs::create_dir_all(folder)?;
            replaced()
        }
        done => done,
    }
}

/// Replaces a file by what `fill` writes. If that fails, the file stays as it is.
pub(super) fn replace(
    folder: &Path,
    file: &str,
    now: &BootTime<'_>,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> io::Result<()> {
    let (draft, mut handle) = Draft::create(folder, now)?;
    fill(&mut handle)?;
    draft.publish(&folder.join(file))
}

/// A temporary file, which is removed unless it was renamed to its final name.
struct Draft {
    path: Option<PathBuf>,
}

impl Draft {
    /// Creates a file with a name that no other process uses; a process ID alone is not unique among
    /// containers.
    fn create(folder: &Path, now: &BootTime<'_>) -> io::Result<(Self, File)> {
        let mut attempt = 0;
        loop {
            let name = format!(".{}-{}-{attempt}.draft", now.milliseconds, std::process::id());
            let path = folder.join(name);
            match OpenOptions::new().write(true).create_new(true).open(&path) {
                Ok(file) => return Ok((Self { path: Some(path) }, file)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists && attempt < 1000 => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn publish(mut self, target: &Path) -> io::Result<()> {
        if let Some(path) = &self.path {
            fs::rename(path, target)?;
        }
        self.path = None;
        Ok(())
    }
}

impl Drop for Draft {
    fn drop(&mut self) {
        if let Some(path) = &self.path {
            let _ = fs::remove_file(path);
        }
    }
}

/// Removes a file. It is no error if the file does not exist.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes files of shims that have ended: old temporary files, and entries that expired long ago. A file
/// that cannot be removed stays until the next time.
///
/// If the owner of an entry renews it between the check and the removal, the entry is lost until the owner's
/// next heartbeat, which registers it again. This can happen only to an entry that was expired for an hour.
pub(super) fn remove_expired(folder: &Path, service: &str, now: &BootTime<'_>) -> io::Result<()> {
    for file in fs::read_dir(folder)?.take(MOST_FILES) {
        let file = file?.file_name();
        if is_left_behind(folder, &file, service, now) {
            let _ = fs::remove_file(folder.join(file));
        }
    }
    Ok(())
}

fn is_left_behind(folder: &Path, file: &OsStr, service: &str, now: &BootTime<'_>) -> bool {
    if let Some(written) = drafted_at(file) {
        let age = now.milliseconds.checked_sub(written);
        return age.is_none_or(|age| u128::from(age) > DRAFT_AGE.as_millis());
    }
    match read(folder, file, service) {
        Ok((FileContent::Entry(entry), _)) => entry.is_gone_since(now, ENTRY_AGE),
        _ => false,
    }
}

/// When a temporary file was created, in seconds since the Unix epoch as its name states; `None` for other
/// files.
fn drafted_at(file: &OsStr) -> Option<u64> {
    let name = file.to_str()?.strip_prefix('.')?.strip_suffix(".draft")?;
    name.split('-').next()?.parse().ok()
}
