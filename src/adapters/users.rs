//! The machine's users and groups: the files `/etc/passwd` and `/etc/group`, as the container engines read them.
//!
//! The name services of the C library are not used. In a program that is linked statically they load libraries of
//! the image, which may belong to another C library, and they can wait for servers.

use crate::adapters::processes::{Capabilities, capabilities};
use crate::cause;
use crate::ports::Users;
use domain::identity::{Accounts, Group, Rights, User};
use domain::plan::Word;
use nix::libc::O_NONBLOCK;
use nix::unistd;
use std::cell::OnceCell;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::ops::RangeInclusive;
use std::os::unix::fs::OpenOptionsExt as _;
use std::rc::Rc;

/// The limit on a file of users or groups, in bytes. (docs/bounds.md)
pub const LARGEST: usize = 4 * 1024 * 1024;

/// The number that means "unchanged" to the kernel, and is no user or group.
const NONE: u32 = u32::MAX;

/// The users and groups at one point in time: they are read when they are needed first.
#[derive(Debug, Default)]
pub struct MachineUsers {
    read: OnceCell<Result<Rc<Accounts>, String>>,
}

impl Users for MachineUsers {
    fn accounts(&self) -> io::Result<Rc<Accounts>> {
        let read = || accounts().map(Rc::new);
        self.read.get_or_init(read).clone().map_err(io::Error::other)
    }
}

fn accounts() -> Result<Accounts, String> {
    let users = read("/etc/passwd")?;
    let groups = read("/etc/group")?;
    let users = users.split(|byte| *byte == b'\n').filter_map(user);
    let groups = groups.split(|byte| *byte == b'\n').filter_map(group);
    let rights = rights().map_err(|error| cause::in_kernel_words(&error))?;
    Ok(Accounts::new(users, groups, rights))
}

fn rights() -> io::Result<Rights> {
    let Capabilities {
        takes_users,
        takes_groups,
        signals_users,
    } = capabilities()?;
    let groups = unistd::getgroups()?
        .into_iter()
        .map(unistd::Gid::as_raw)
        .collect();
    let denied = read("/proc/self/setgroups").is_ok_and(|text| text.starts_with(b"deny"));
    Ok(Rights {
        user: unistd::geteuid().as_raw(),
        group: unistd::getegid().as_raw(),
        groups,
        takes_users,
        takes_groups,
        sets_groups: takes_groups && !denied,
        signals_users,
        users: mapped("/proc/self/uid_map"),
        known_groups: mapped("/proc/self/gid_map"),
    })
}

/// The content of a file; empty if it does not exist.
fn read(path: &str) -> Result<Vec<u8>, String> {
    let read = || -> io::Result<Vec<u8>> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(O_NONBLOCK)
            .open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::other("it is not a regular file"));
        }
        let mut bytes = Vec::new();
        match file.take(LARGEST as u64 + 1).read_to_end(&mut bytes)? {
            ..=LARGEST => Ok(bytes),
            _ => Err(io::Error::other(format!("it is larger than {LARGEST} bytes"))),
        }
    };
    match read() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(format!("{path}: {}", cause::in_kernel_words(&error))),
        Ok(bytes) => Ok(bytes),
    }
}

/// The numbers of the user namespace in a file such as `/proc/self/uid_map`; without `/proc` any number.
fn mapped(path: &str) -> Vec<RangeInclusive<u32>> {
    match read(path) {
        Ok(text) if !text.is_empty() => ranges(&text),
        _ => vec![0..=NONE - 1],
    }
}

fn ranges(text: &[u8]) -> Vec<RangeInclusive<u32>> {
    let range = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(str::parse::<u32>);
        let (first, _outside, count) = (numbers.next()?.ok()?, numbers.next()?, numbers.next()?.ok()?);
        Some(first..=first.saturating_add(count.checked_sub(1)?))
    };
    String::from_utf8_lossy(text).lines().filter_map(range).collect()
}

/// `name:password:number:group:comment:home:shell`. Other lines do not count.
fn user(line: &[u8]) -> Option<User> {
    let [name, _, user, group, _, home, ..] = fields::<6>(line)?;
    let home = if home.is_empty() { b"/" } else { home };
    Some(User {
        name: Word(name.to_vec()),
        number: number(user)?,
        group: number(group)?,
        home: Word(home.to_vec()),
    })
}

/// `name:password:number:members`. Other lines do not count.
fn group(line: &[u8]) -> Option<Group> {
    let [name, _, group, members] = fields::<4>(line)?;
    let members = members
        .split(|byte| *byte == b',')
        .filter(|name| !name.is_empty());
    Some(Group {
        name: Word(name.to_vec()),
        number: number(group)?,
        members: members.map(|name| Word(name.to_vec())).collect(),
    })
}

/// The first fields of a line. A name is not empty, and no field has a null byte, which no environment can have.
fn fields<const N: usize>(line: &[u8]) -> Option<[&[u8]; N]> {
    let mut fields = line.split(|byte| *byte == b':');
    let mut first = [&[][..]; N];
    for place in &mut first {
        *place = fields.next()?;
    }
    let is_usable = !first[0].is_empty() && !line.contains(&0);
    is_usable.then_some(first)
}

fn number(digits: &[u8]) -> Option<u32> {
    let number = std::str::from_utf8(digits).ok()?.parse().ok();
    number.filter(|number| *number != NONE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_the_database_of_users_are_read_and_wrong_ones_do_not_count() {
        let www = user(b"www-data:x:33:34:www:/var/www:/usr/sbin/nologin").unwrap();
        assert_eq!((www.number, www.group), (33, 34));
        assert_eq!((www.name, www.home), ("www-data".into(), "/var/www".into()));
        assert_eq!(user(b"a::1:2::").unwrap().home, "/".into());
        assert_eq!(user(b"\xff:x:1:2::/\xfe:").unwrap().home, Word(b"/\xfe".to_vec()));
        for wrong in [
            &b""[..],
            b"#a:x:1",
            b"a:x:1:2:",
            b":x:1:2::/",
            b"a:x:-1:2::/",
            b"a:x:4294967295:2::/",
            b"a:x:1:4294967296::/",
            b"a:x:1:2::/\0",
            b"+::::::",
        ] {
            assert_eq!(user(wrong), None, "{}", String::from_utf8_lossy(wrong));
        }
    }

    #[test]
    fn lines_of_the_database_of_groups_are_read() {
        let audio = group(b"audio:x:29:web,,app").unwrap();
        assert_eq!((audio.name, audio.number), ("audio".into(), 29));
        assert_eq!(audio.members, ["web".into(), "app".into()]);
        assert_eq!(group(b"a::3:").unwrap().members, []);
        assert_eq!(group(b"a::3"), None);
    }

    #[test]
    fn the_maps_of_a_user_namespace_are_ranges() {
        assert_eq!(ranges(b"         0          0 4294967295\n"), [0..=NONE - 1]);
        assert_eq!(ranges(b"0 1000 1\n1 100000 65536\n"), [0..=0, 1..=65_536]);
        assert_eq!(ranges(b"7 7 0\nx\n"), []);
    }

    #[test]
    fn a_file_that_does_not_exist_is_empty_and_one_that_is_too_large_or_no_file_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        assert_eq!(read(&path("none")), Ok(vec![]));
        std::fs::File::create(path("large"))
            .unwrap()
            .set_len(LARGEST as u64 + 1)
            .unwrap();
        assert!(
            read(&path("large"))
                .unwrap_err()
                .ends_with("it is larger than 4194304 bytes")
        );
        std::fs::File::create(path("most"))
            .unwrap()
            .set_len(LARGEST as u64)
            .unwrap();
        assert_eq!(read(&path("most")).map(|text| text.len()), Ok(LARGEST));
        nix::unistd::mkfifo(path("fifo").as_str(), nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(
            read(&path("fifo"))
                .unwrap_err()
                .ends_with("it is not a regular file")
        );
    }

    #[test]
    fn the_rights_are_those_of_this_process() {
        let rights = rights().unwrap();
        assert_eq!(rights.user, unistd::geteuid().as_raw());
        assert!(rights.users.iter().any(|range| range.contains(&rights.user)));
    }
}
