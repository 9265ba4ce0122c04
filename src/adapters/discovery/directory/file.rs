//! The files of one folder: listing, reading and replacing them.
//!
//! A file is replaced as a whole by renaming a draft over it, so a reader sees the old one or the new one and
//! never half of one, and a full disk or a crash leaves the old one standing. Drafts begin with a dot, which
//! no entry does.
//!
//! Nothing in a folder is trusted: a pipe, a link, a huge file or somebody else's text is [`FileContent::Foreign`].
//! But what only fails for now (no file handles left, a broken disk) is an error, because an entry that
//! cannot be seen is not an entry that is gone. Never waits: a pipe is not opened for reading its end.

use super::entry::{BootTime, DirectoryEntry};
use domain::time::Duration;
use nix::fcntl::OFlag;
use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

/// No entry is longer than this. (docs/bounds.md)
const LONGEST: usize = 256 * 1024;
/// A draft this old was left behind by a crash; writing one takes microseconds.
const DRAFT_AGE: Duration = Duration::from_secs(60);
/// An entry that expired this long ago is not coming back.
const ENTRY_AGE: Duration = Duration::from_secs(3600);

/// The files in one service's folder (docs/bounds.md)
pub(super) const MOST_FILES: usize = 20_000;

/// What a file turned out to be.
#[derive(Debug)]
pub(super) enum FileContent {
    /// An entry, under its own name.
    Entry(DirectoryEntry),
    /// It is not there.
    Nothing,
    /// Not an entry of ours, and why not.
    Foreign(String),
}

/// The names of the files in a folder but for hidden ones; none if there is no folder.
///
/// The folder is listed twice: on some file systems (tmpfs, btrfs) a file that is replaced while a listing
/// goes on is missing from it, and no entry is replaced twice within a moment.
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

/// Why a folder is not read.
pub(super) fn too_many() -> io::Error {
    io::Error::other(format!("it holds more than {MOST_FILES} files"))
}

/// Whether it is a draft, or something else that cannot be an entry and is no reason to complain.
pub(super) fn is_hidden(name: &OsStr) -> bool {
    name.as_bytes().starts_with(b".")
}

/// Reads one file of a service's folder; the size of its text, too.
pub(super) fn read(folder: &Path, file: &OsStr, service: &str) -> io::Result<(FileContent, usize)> {
    let text = match text_of(&folder.join(file)) {
        Ok(text) => text,
        Err(error) => return Ok((failure(error)?, 0)),
    };
    let found = match parse(&text, file, service) {
        Ok(entry) => FileContent::Entry(entry),
        Err(reason) => FileContent::Foreign(reason),
    };
    Ok((found, text.len()))
}

/// Which failures say something about the file.
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

/// All of a regular file of bearable length; anything else is invalid data.
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

/// The entry that stands in this text, if it belongs in this file of a service's folder.
pub(super) fn parse(text: &[u8], file: &OsStr, service: &str) -> Result<DirectoryEntry, String> {
    let entry: DirectoryEntry =
        serde_json::from_slice(text).map_err(|error| format!("not an entry: {error}"))?;
    if entry.name != service || file != entry.file_name().as_str() {
        return Err(format!(
            "the entry of {:?} of service {:?} does not belong here",
            entry.id, entry.name
        ));
    }
    Ok(entry)
}

/// Puts an entry in its file, over whatever stands there, and makes the folder if there is none.
pub(super) fn write(folder: &Path, entry: &DirectoryEntry, now: &BootTime<'_>) -> io::Result<()> {
    let text = serde_json::to_vec(entry)?;
    if text.len() > LONGEST {
        return Err(io::Error::new(ErrorKind::InvalidInput, "too long for an entry"));
    }
    fs::create_dir_all(folder)?;
    replace(folder, &entry.file_name(), now, |draft| {
        io::Write::write_all(draft, &text)
    })
}

/// Replaces a file by what `fill` writes, or leaves it as it is.
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

/// A temporary file, removed again unless it was published.
struct Draft {
    path: Option<PathBuf>,
}

impl Draft {
    /// A new file under a name nobody has; process IDs are not unique among containers.
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

/// Removes a file; one that is not there counts as removed.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        removed => removed,
    }
}

/// Removes what those left behind who never came back: drafts, and entries long expired. Whatever cannot be
/// removed is left to the next.
///
/// An entry that comes back to life between the look and the removal is lost until its owner's next
/// heartbeat, which registers it again; for that it must have been dead for an hour.
pub(super) fn sweep(folder: &Path, service: &str, now: &BootTime<'_>) -> io::Result<()> {
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

/// When a draft was begun, if the file is one.
fn drafted_at(file: &OsStr) -> Option<u64> {
    let name = file.to_str()?.strip_prefix('.')?.strip_suffix(".draft")?;
    name.split('-').next()?.parse().ok()
}
