//! Writes the file of a template: a temporary file beside it, synchronised, and renamed over it.
//!
//! So a reader sees the old contents or the new ones, and after a crash or on a full disk the old file stays. The file
//! keeps its permissions and its owner, unless the configuration says otherwise. A symbolic link stays, and the file
//! that it points to is replaced.

use crate::cause;
use domain::effect::Writing;
use domain::template::Written;
use nix::errno::Errno;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown};
use std::path::{Path, PathBuf};

/// The permissions of a new file.
const NEW_MODE: u32 = 0o644;

/// Writes the file, unless it has these contents already; then only its permissions and owner may be changed.
pub(super) fn write(writing: &Writing) -> Written {
    match try_to_write(writing) {
        Ok(true) => Written::Changed,
        Ok(false) => Written::Unchanged,
        Err(error) => Written::Failed(cause::in_kernel_words(&error)),
    }
}

fn try_to_write(writing: &Writing) -> io::Result<bool> {
    let path = followed(Path::new(&writing.destination))?;
    let before = existing(&path)?;
    if let Some((Some(file), metadata)) = &before
        && has_contents(file, metadata.len(), writing.contents.as_bytes())?
    {
        adjust(
            file,
            writing,
            metadata.mode() & 0o7777,
            (metadata.uid(), metadata.gid()),
        )?;
        return Ok(false);
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let folder = folder.unwrap_or(Path::new("."));
    fs::create_dir_all(folder)?;
    let metadata = before.map(|(_, metadata)| metadata);
    let draft = draft_of(&path)?;
    let written = write_draft(&draft, writing, metadata.as_ref()).and_then(|()| fs::rename(&draft, &path));
    if written.is_err() {
        // What is left is removed before the next attempt.
        fs::remove_file(&draft).ok();
    }
    written?;
    // Some file systems cannot synchronise a folder.
    File::open(folder).and_then(|folder| folder.sync_all()).ok();
    Ok(true)
}

/// The path that the file has if it is a symbolic link.
fn followed(path: &Path) -> io::Result<PathBuf> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_symlink() => fs::canonicalize(path).map_err(|error| {
            let words = cause::in_kernel_words(&error);
            io::Error::new(error.kind(), format!("the symbolic link leads nowhere: {words}"))
        }),
        Ok(_) => Ok(path.into()),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(path.into()),
        Err(error) => Err(error),
    }
}

/// The file that is there now, open if it can be read; an error if it is no regular file.
fn existing(path: &Path) -> io::Result<Option<(Option<File>, fs::Metadata)>> {
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        metadata => metadata?,
    };
    if !metadata.is_file() {
        let what = if metadata.is_dir() {
            "a directory"
        } else {
            "no regular file"
        };
        return Err(io::Error::other(format!("it is {what}")));
    }
    let flags = nix::libc::O_NONBLOCK;
    match OpenOptions::new().read(true).custom_flags(flags).open(path) {
        Ok(file) => Ok(Some((Some(file), metadata))),
        Err(error) if error.kind() == ErrorKind::PermissionDenied => Ok(Some((None, metadata))),
        Err(error) => Err(error),
    }
}

fn has_contents(file: &File, length: u64, contents: &[u8]) -> io::Result<bool> {
    if length != contents.len() as u64 {
        return Ok(false);
    }
    let mut bytes = Vec::with_capacity(contents.len());
    file.take(length + 1).read_to_end(&mut bytes)?;
    Ok(bytes == contents)
}

/// Gives a file the permissions and the owner that the configuration says; it has these now.
fn adjust(file: &File, writing: &Writing, mode: u32, owner: (u32, u32)) -> io::Result<()> {
    if let Some((user, group)) = writing.owner.filter(|wanted| *wanted != owner) {
        fchown(file, Some(user), Some(group))?;
    }
    if let Some(wanted) = writing.mode.filter(|wanted| *wanted != mode) {
        file.set_permissions(Permissions::from_mode(wanted))?;
    }
    Ok(())
}

/// The name of the temporary file. It is always the same, so that a crash leaves one at the most.
fn draft_of(path: &Path) -> io::Result<PathBuf> {
    let name = path
        .file_name()
        .ok_or_else(|| io::Error::other("it has no file name"))?;
    let mut hidden = std::ffi::OsString::from(".");
    hidden.push(name);
    hidden.push(".containerpilot");
    Ok(path.with_file_name(hidden))
}

fn write_draft(draft: &Path, writing: &Writing, before: Option<&fs::Metadata>) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = OpenOptions::new();
    let mut file = options.write(true).create_new(true).mode(0o600).open(draft)?;
    file.write_all(writing.contents.as_bytes())?;
    let kept = before.map(|metadata| (metadata.uid(), metadata.gid()));
    match (writing.owner, kept) {
        (Some((user, group)), _) => fchown(&file, Some(user), Some(group))?,
        (None, Some((user, group))) => match fchown(&file, Some(user), Some(group)) {
            // Only root may give a file away; without it the new file is the shim's.
            Err(error) if error.raw_os_error() == Some(Errno::EPERM as i32) => {}
            done => done?,
        },
        (None, None) => {}
    }
    let kept = before.map(|metadata| metadata.mode() & 0o7777);
    let mode = writing.mode.or(kept).unwrap_or(NEW_MODE);
    file.set_permissions(Permissions::from_mode(mode))?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn writing(destination: &Path, contents: &str) -> Writing {
        Writing {
            destination: destination.to_string_lossy().into_owned(),
            contents: contents.into(),
            mode: None,
            owner: None,
        }
    }

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o7777
    }

    /// The names in a folder.
    fn listed(folder: &Path) -> Vec<String> {
        let files = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = files
            .map(|file| file.unwrap().file_name().to_string_lossy().into_owned())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_written_once_and_keeps_its_permissions() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/folder/f");
        assert_eq!(write(&writing(&path, "1")), Written::Changed);
        assert_eq!(mode(&path), 0o644);
        let before = fs::metadata(&path).unwrap();
        assert_eq!(write(&writing(&path, "1")), Written::Unchanged);
        let after = fs::metadata(&path).unwrap();
        assert_eq!(
            (before.ino(), before.modified().unwrap()),
            (after.ino(), after.modified().unwrap())
        );
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        assert_eq!(write(&writing(&path, "2")), Written::Changed);
        assert_eq!(
            (fs::read_to_string(&path).unwrap().as_str(), mode(&path)),
            ("2", 0o640)
        );
        assert_eq!(listed(path.parent().unwrap()), ["f"], "no temporary file is left");
    }

    #[test]
    fn the_configured_permissions_are_set_without_a_change_of_the_contents() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let mut asked = writing(&path, "1");
        asked.mode = Some(0o600);
        assert_eq!(write(&asked), Written::Changed);
        assert_eq!(mode(&path), 0o600);
        asked.mode = Some(0o604);
        assert_eq!(write(&asked), Written::Unchanged);
        assert_eq!(mode(&path), 0o604);
    }

    #[test]
    fn a_symbolic_link_stays_and_its_file_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("f"), folder.path().join("l"));
        fs::write(&path, "old").unwrap();
        symlink("f", &link).unwrap();
        assert_eq!(write(&writing(&link, "new")), Written::Changed);
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&path).unwrap(), "new");
        let nowhere = folder.path().join("n");
        symlink("none", &nowhere).unwrap();
        assert!(
            matches!(write(&writing(&nowhere, "x")), Written::Failed(cause) if cause.contains("leads nowhere"))
        );
    }

    #[test]
    fn what_is_no_file_is_not_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("d");
        fs::create_dir(&path).unwrap();
        assert_eq!(
            write(&writing(&path, "x")),
            Written::Failed("it is a directory".into())
        );
        let fifo = folder.path().join("p");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(
            write(&writing(&fifo, "x")),
            Written::Failed("it is no regular file".into())
        );
        assert_eq!(
            write(&writing(&path.join("f/g"), "x")),
            Written::Changed,
            "missing folders are made"
        );
        assert_eq!(listed(folder.path()), ["d", "p"]);
    }

    #[test]
    fn a_leftover_of_a_crash_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("f");
        let draft = draft_of(&path).unwrap();
        symlink("/etc/passwd", &draft).unwrap();
        assert_eq!(write(&writing(&path, "x")), Written::Changed);
        assert_eq!(listed(folder.path()), ["f"]);
    }
}
