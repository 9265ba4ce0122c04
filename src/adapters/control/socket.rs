//! The file of the control socket: bound so that no other user can ever connect, and removed at the end.
//!
//! A client can connect only once the socket listens, and its permissions are set before that. A file that another shim has
//! left is replaced: no process answers there. Any other file is never touched.

use crate::adapters::http::Address;
use domain::plan::ControlSocket;
use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket};
use nix::sys::stat::{FchmodatFlags, Mode, fchmodat};
use nix::unistd::{Gid, fchownat};
use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;

/// How many connections may wait until they are accepted.
const BACKLOG: i32 = 64;

/// A listening socket and its file.
#[derive(Debug)]
pub struct BoundSocket {
    /// The socket.
    pub listener: UnixListener,
    /// Its file.
    pub file: SocketFile,
}

/// The file of a socket, which is removed when this is dropped, unless another file is in its place by then.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// The numbers of its device and of its inode.
    identity: (u64, u64),
}

impl SocketFile {
    fn at(path: &str) -> io::Result<Self> {
        let path = PathBuf::from(path);
        let metadata = fs::symlink_metadata(&path)?;
        let identity = (metadata.dev(), metadata.ino());
        Ok(Self { path, identity })
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let metadata = fs::symlink_metadata(&self.path);
        if metadata.is_ok_and(|found| (found.dev(), found.ino()) == self.identity) {
            // The folder may be read-only by now.
            fs::remove_file(&self.path).ok();
        }
    }
}

impl Address for ControlSocket {
    type Listener = BoundSocket;

    fn bind(&self) -> io::Result<BoundSocket> {
        remove_stale(&self.path)?;
        let address = UnixAddr::new(self.path.as_str())?;
        let socket = new_socket()?;
        bind(socket.as_raw_fd(), &address)?;
        let file = SocketFile::at(&self.path)?;
        permit(self)?;
        listen(&socket, Backlog::new(BACKLOG)?)?;
        let listener = UnixListener::from(socket);
        Ok(BoundSocket { listener, file })
    }

    /// Another group of the same file is set at once.
    fn becomes(&self, bound: &Self) -> io::Result<bool> {
        let is_same = self.path == bound.path;
        if is_same {
            permit(self)?;
        }
        Ok(is_same)
    }
}

fn new_socket() -> io::Result<OwnedFd> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket(AddressFamily::Unix, SockType::Stream, flags, None)?)
}

/// Lets the own user connect, and the members of the group. A symbolic link is never followed.
fn permit(ControlSocket { path, group }: &ControlSocket) -> io::Result<()> {
    let mode = match group {
        Some(group) => {
            let group = Some(Gid::from_raw(*group));
            fchownat(AT_FDCWD, path.as_str(), None, group, AtFlags::AT_SYMLINK_NOFOLLOW)?;
            Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP | Mode::S_IWGRP
        }
        None => Mode::S_IRUSR | Mode::S_IWUSR,
    };
    Ok(fchmodat(
        AT_FDCWD,
        path.as_str(),
        mode,
        FchmodatFlags::NoFollowSymlink,
    )?)
}

/// Removes the file of a socket at which no process listens.
fn remove_stale(path: &str) -> io::Result<()> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        metadata => metadata?,
    };
    if !metadata.file_type().is_socket() {
        return Err(io::Error::other("there is a file that is not a socket"));
    }
    match connect(new_socket()?.as_raw_fd(), &UnixAddr::new(path)?) {
        Err(Errno::ECONNREFUSED) => fs::remove_file(path),
        Err(Errno::ENOENT) => Ok(()),
        Err(Errno::EACCES) => Err(io::Error::other("there is a socket of another user")),
        Ok(()) | Err(_) => Err(io::Error::other("another process answers there")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::http::{Listeners, Step};
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::os::unix::net::{UnixDatagram, UnixStream};
    use std::path::Path;
    use tempfile::{TempDir, tempdir};

    fn socket_in(folder: &TempDir, name: &str) -> ControlSocket {
        let path = folder.path().join(name).display().to_string();
        ControlSocket { path, group: None }
    }

    fn mode_of(path: &str) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    fn refusal(socket: &ControlSocket) -> String {
        socket.bind().unwrap_err().to_string()
    }

    #[test]
    fn only_the_own_user_may_connect_and_the_file_is_removed_at_the_end() {
        let folder = tempdir().unwrap();
        let socket = socket_in(&folder, "s");
        let bound = socket.bind().unwrap();
        assert_eq!(mode_of(&socket.path), 0o600);
        UnixStream::connect(&socket.path).unwrap();
        drop(bound);
        assert!(!Path::new(&socket.path).exists());
    }

    #[test]
    fn a_group_may_connect_too() {
        let folder = tempdir().unwrap();
        let group = nix::unistd::getegid().as_raw();
        let socket = ControlSocket {
            group: Some(group),
            ..socket_in(&folder, "s")
        };
        let _bound = socket.bind().unwrap();
        assert_eq!(mode_of(&socket.path), 0o660);
        assert_eq!(fs::metadata(&socket.path).unwrap().gid(), group);
    }

    #[test]
    fn a_file_that_another_shim_has_left_is_replaced() {
        let folder = tempdir().unwrap();
        let socket = socket_in(&folder, "s");
        drop(UnixListener::bind(&socket.path).unwrap());
        assert!(Path::new(&socket.path).exists());
        let _bound = socket.bind().unwrap();
        UnixStream::connect(&socket.path).unwrap();
    }

    #[test]
    fn a_socket_that_answers_and_any_other_file_are_left_alone() {
        let folder = tempdir().unwrap();
        let socket = socket_in(&folder, "s");
        let _other = UnixListener::bind(&socket.path).unwrap();
        assert_eq!(refusal(&socket), "another process answers there");
        UnixStream::connect(&socket.path).unwrap();
        let datagrams = socket_in(&folder, "datagrams");
        let _other = UnixDatagram::bind(&datagrams.path).unwrap();
        assert_eq!(refusal(&datagrams), "another process answers there");
        let file = socket_in(&folder, "file");
        fs::write(&file.path, "mine").unwrap();
        assert_eq!(refusal(&file), "there is a file that is not a socket");
        assert_eq!(fs::read_to_string(&file.path).unwrap(), "mine");
        let link = socket_in(&folder, "link");
        symlink(&socket.path, &link.path).unwrap();
        assert_eq!(refusal(&link), "there is a file that is not a socket");
        let missing = socket_in(&folder, "missing/s");
        assert_eq!(socket.bind().unwrap_err().kind(), io::ErrorKind::Other);
        assert_eq!(missing.bind().unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_socket_whose_queue_is_full_answers() {
        let folder = tempdir().unwrap();
        let socket = socket_in(&folder, "s");
        let _bound = socket.bind().unwrap();
        let address = UnixAddr::new(socket.path.as_str()).unwrap();
        let mut clients = Vec::new();
        loop {
            let client = new_socket().unwrap();
            if connect(client.as_raw_fd(), &address) == Err(Errno::EAGAIN) {
                break;
            }
            clients.push(client);
        }
        assert_eq!(refusal(&socket), "another process answers there");
    }

    #[test]
    fn a_file_that_took_the_place_is_not_removed() {
        let folder = tempdir().unwrap();
        let socket = socket_in(&folder, "s");
        let bound = socket.bind().unwrap();
        fs::remove_file(&socket.path).unwrap();
        fs::write(&socket.path, "another").unwrap();
        drop(bound);
        assert!(Path::new(&socket.path).exists());
    }

    #[test]
    fn the_group_changes_without_another_socket() {
        let folder = tempdir().unwrap();
        let socket = socket_in(&folder, "s");
        let with_group = ControlSocket {
            group: Some(nix::unistd::getegid().as_raw()),
            ..socket.clone()
        };
        let listeners = Listeners::default();
        listeners.try_out(Some(&socket)).unwrap();
        listeners.try_out(Some(&with_group)).unwrap();
        assert_eq!(mode_of(&socket.path), 0o660);
        let Step::Open(_bound) = listeners.switch_to(Some(&with_group)) else {
            panic!("it is ready");
        };
        listeners.try_out(Some(&socket)).unwrap();
        assert_eq!(mode_of(&socket.path), 0o600);
        assert!(matches!(listeners.switch_to(Some(&socket)), Step::Stay));
        listeners.try_out(None).unwrap();
        assert!(matches!(listeners.switch_to(None), Step::Close));
    }
}
