//! Sets and actions of signals as the kernel has them.
//!
//! The C library of a release (musl) takes 34 as a signal of its own, which is `SIGRTMIN` of all other programs: it adds it to
//! no set, leaves it out of the masks that it returns and restores, and refuses to change its action. It sends it only when one
//! of several threads changes its user, which never happens here. So 34 is put into sets by its bit, masks are replaced by the
//! kernel's call, and where the library has unblocked it, it is blocked again ([`start_first_thread`], [`block_again`]). What comes in
//! between, while a child is started, is dropped instead of ending the shim ([`ignore_while_unblocked`]).
#![allow(unsafe_code, reason = "see above; each block has the reason why it is sound")]

use super::pending::Pending;
use domain::signal::FIRST_REAL_TIME;
use nix::libc::{self, c_ulong};
use nix::sys::signal::SigSet;
use std::io;
use std::mem::MaybeUninit;
use std::ptr;
use std::thread;

/// How many bytes of a set the kernel reads: it has 64 signals.
const SIZE: usize = 8;
/// Whether the C library takes 34 for itself.
const IS_TAKEN: bool = cfg!(target_env = "musl");
const WORD: usize = size_of::<c_ulong>();

/// All signals but 32 and 33, which belong to every C library.
pub fn all() -> SigSet {
    with_first_real_time(&SigSet::all())
}

/// These signals and 34.
pub fn with_first_real_time(set: &SigSet) -> SigSet {
    let mut set = *set.as_ref();
    add(&mut set, FIRST_REAL_TIME);
    // SAFETY: it was a valid set, and has only one signal more.
    unsafe { SigSet::from_sigset_t_unchecked(set) }
}

/// Starts a thread and waits for its end. The C library of a release unblocks 34 when the first thread is started; later
/// threads leave it as it is.
pub fn start_first_thread() {
    if IS_TAKEN {
        let first = thread::Builder::new().spawn(|| ());
        first.ok().and_then(|first| first.join().ok());
    }
}

/// Blocks 34 in this thread where the C library has unblocked it.
pub fn block_again() {
    if IS_TAKEN {
        only(FIRST_REAL_TIME).and_then(|set| change(libc::SIG_BLOCK, &set).ok());
    }
}

/// Whether 34 is pending and would be dropped by `posix_spawn`, which unblocks it. Many of them would take the kernel long.
pub fn spawning_loses_signals() -> bool {
    IS_TAKEN && Pending::now().has(FIRST_REAL_TIME)
}

/// Makes the kernel drop 34 while it is not blocked. Children get the default action.
///
/// # Errors
/// The kernel refuses the call.
pub fn ignore_while_unblocked() -> io::Result<()> {
    match IS_TAKEN {
        true => set_action(FIRST_REAL_TIME, libc::SIG_IGN),
        false => Ok(()),
    }
}

/// Sets the action of a signal to one that has no handler. Makes one system call, so that a child may call it.
///
/// # Errors
/// There is no signal with this number.
pub fn set_action(number: i32, action: libc::sighandler_t) -> io::Result<()> {
    // The kernel's structure begins with the action. It is not longer, and needs no other field.
    let action: [usize; 8] = [action, 0, 0, 0, 0, 0, 0, 0];
    let nothing = ptr::null_mut::<usize>();
    // SAFETY: the pointer is to a valid structure for the duration of the call, which writes nothing through the null
    // pointer. No handler is installed, so none is called.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigaction, number, action.as_ptr(), nothing, SIZE) };
    match done {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// The set of only this signal; `None` if the kernel has no signal with this number.
pub fn only(number: i32) -> Option<libc::sigset_t> {
    let mut set = empty();
    add(&mut set, number).then_some(set)
}

/// The set of no signals.
pub fn empty() -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: the call makes the set valid and cannot fail.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        set.assume_init()
    }
}

/// Blocks exactly these signals in this thread, and returns those that were blocked before.
///
/// # Errors
/// The kernel refuses the call.
pub fn replace(by: &SigSet) -> io::Result<SigSet> {
    let before = change(libc::SIG_SETMASK, by.as_ref())?;
    // SAFETY: it was a valid set, and the kernel has set the bits of its signals.
    Ok(unsafe { SigSet::from_sigset_t_unchecked(before) })
}

fn change(how: i32, set: &libc::sigset_t) -> io::Result<libc::sigset_t> {
    let mut before = empty();
    let set = ptr::from_ref(set);
    // SAFETY: both pointers are to valid sets, which are at least as long as the kernel's, for the duration of the call.
    let done = unsafe { libc::syscall(libc::SYS_rt_sigprocmask, how, set, &raw mut before, SIZE) };
    match done {
        0 => Ok(before),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Returns whether the kernel has a signal with this number.
fn add(set: &mut libc::sigset_t, number: i32) -> bool {
    let bits = c_ulong::BITS as usize;
    let Some(bit) = usize::try_from(number)
        .ok()
        .and_then(|number| number.checked_sub(1))
    else {
        return false;
    };
    // SAFETY: in each C library of Linux a set begins with the kernel's, which is an array of such words.
    let words = unsafe { &mut *ptr::from_mut(set).cast::<[c_ulong; SIZE / WORD]>() };
    let word = words.get_mut(bit / bits);
    word.map(|word| *word |= 1 << (bit % bits)).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn has(set: &libc::sigset_t, number: i32) -> bool {
        // SAFETY: the pointer is to a valid set for the duration of the call.
        unsafe { libc::sigismember(set, number) == 1 }
    }

    #[test]
    fn a_set_has_the_signals_that_were_added() {
        for number in [1, 9, 31, FIRST_REAL_TIME, 63, 64] {
            let only = only(number).unwrap();
            let found: Vec<i32> = (1..=64).filter(|other| has(&only, *other)).collect();
            assert_eq!(found, [number]);
        }
        assert!(
            [i32::MIN, -1, 0, 65, 128, i32::MAX]
                .iter()
                .all(|wrong| only(*wrong).is_none())
        );
    }

    #[test]
    fn a_mask_comes_back_as_it_was() {
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let before = replace(&all()).unwrap();
                let all = replace(&before).unwrap();
                let blocked: Vec<i32> = (1..=64).filter(|number| has(all.as_ref(), *number)).collect();
                let can_be: Vec<i32> = (1..=64)
                    .filter(|number| ![9, 19, 32, 33].contains(number))
                    .collect();
                assert_eq!(blocked, can_be);
            });
        });
    }
}
