//! Which users and groups a child may get, and how it gets them.
#![allow(unsafe_code, reason = "each block has the reason why it is sound")]

use domain::plan::Identity;
use nix::errno::Errno;
use nix::libc::{self, c_long};
use std::io;

/// The version of the structures of `capget` that has 64 capabilities.
const VERSION: u32 = 0x2008_0522;
const CAP_KILL: u32 = 5;
const CAP_SETGID: u32 = 6;
const CAP_SETUID: u32 = 7;

/// Rights of this process that depend on its effective capabilities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Whether it may take any user.
    pub takes_users: bool,
    /// Whether it may take any group.
    pub takes_groups: bool,
    /// Whether it may send signals to processes of any user.
    pub signals_users: bool,
}

/// The effective capabilities of this process.
///
/// # Errors
/// The kernel does not report them.
pub fn capabilities() -> io::Result<Capabilities> {
    let mut header = [VERSION, 0];
    let mut data = [[0_u32; 3]; 2];
    // SAFETY: both arrays have the sizes and the alignments of the structures of this version, and live longer than the
    // call.
    let done = unsafe { libc::syscall(libc::SYS_capget, header.as_mut_ptr(), data.as_mut_ptr()) };
    if done != 0 {
        return Err(io::Error::last_os_error());
    }
    let [[effective, ..], _] = data;
    let has = |capability: u32| effective & (1 << capability) != 0;
    Ok(Capabilities {
        takes_users: has(CAP_SETUID),
        takes_groups: has(CAP_SETGID),
        signals_users: has(CAP_KILL),
    })
}

#[cfg(target_pointer_width = "64")]
const SET: [c_long; 3] = [libc::SYS_setgroups, libc::SYS_setresgid, libc::SYS_setresuid];
/// Those without this number take users and groups of 16 bits.
#[cfg(not(target_pointer_width = "64"))]
const SET: [c_long; 3] = [
    libc::SYS_setgroups32,
    libc::SYS_setresgid32,
    libc::SYS_setresuid32,
];

/// Sets the groups and the user of this process. Only a child before its exec calls it: it makes system calls only. The
/// functions of the C library would look for other threads, which a child does not have.
///
/// # Errors
/// The kernel does not permit it.
pub fn take(identity: &Identity) -> Result<(), Errno> {
    let [set_groups, set_group, set_user] = SET;
    let (user, group) = (identity.user, identity.group);
    if let Some(groups) = &identity.groups {
        // SAFETY: the pointer is to as many numbers as the call is given, and they live longer than the call.
        Errno::result(unsafe { libc::syscall(set_groups, groups.len(), groups.as_ptr()) })?;
    }
    // SAFETY: neither call takes a pointer. The user is set last, because the permission to set groups is lost with it.
    unsafe {
        Errno::result(libc::syscall(set_group, group, group, group))?;
        Errno::result(libc::syscall(set_user, user, user, user))?;
    }
    Ok(())
}
