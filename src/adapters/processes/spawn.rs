//! Starts children with `posix_spawn`, whose cost does not depend on the memory of the shim; only a child that gets the
//! foreground of the terminal, or another user, is forked ([`super::fork`]), and one for which `posix_spawn` fails or would lose
//! signals because of the C library of a release.
//!
//! A child gets its own process group, no blocked signals, the disposition of SIGPIPE from before the Rust
//! runtime ignored it, the inherited environment byte for byte with the exported variables, and the limit on open files
//! that the shim was started with. It inherits no descriptors but the standard streams. The standard input is empty, a text of
//! the core, or that of the shim ([`Input`]). If the shim has a terminal, children that cannot use it have a session of their own.

use super::fork::{Prepared, Steps};
use super::output::Capture;
use super::terminal::{Place, Terminal};
use super::{inherited, mask};
use crate::adapters::descriptors::OpenFiles;
use crate::adapters::environment::Environment;
use domain::filled;
use domain::plan::{Input, Job, Login, Output, Word};
use domain::process::Pid;
use nix::fcntl::{FcntlArg, OFlag, SealFlag, fcntl, open};
use nix::libc;
use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, PosixSpawnFlags, posix_spawnp};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, fstat, makedev};
use nix::unistd;
use std::ffi::{CStr, CString};
use std::fs::File;
use std::io::{self, Seek as _, Write as _};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::rc::Rc;

const STDIN: i32 = 0;
const STDOUT: i32 = 1;
const STDERR: i32 = 2;
/// The device number of `/dev/null`.
const NULL: (u64, u64) = (1, 3);

/// Starts children.
#[derive(Debug)]
pub struct Spawner {
    nothing: OwnedFd,
    pub(super) variables: Variables,
    pub(super) open_files: Option<OpenFiles>,
    /// The controlling terminal of the shim.
    pub(super) terminal: Option<Rc<Terminal>>,
}

/// A child that was started.
#[derive(Clone, Copy, Debug)]
pub struct Spawned {
    pub pid: Pid,
    /// Whether it can use the terminal, which may stop it.
    pub uses_terminal: bool,
}

impl Spawner {
    /// Children get the environment that this process has now, and the limit `open_files`, if there is one.
    ///
    /// # Errors
    /// No more file descriptors are available.
    pub fn new(open_files: Option<OpenFiles>) -> io::Result<Self> {
        Ok(Self {
            nothing: nothing()?,
            variables: Variables::new(inherited::environment()),
            open_files,
            terminal: Terminal::controlling().map(Rc::new),
        })
    }

    /// Starts a process for the job's command.
    ///
    /// # Errors
    /// The program does not exist or is not executable, or the machine lacks memory or processes.
    pub fn spawn(
        &mut self,
        job: &Job,
        exports: &Environment,
        capture: Option<&Capture>,
    ) -> io::Result<Spawned> {
        self.variables.update(exports)?;
        let words = std::iter::once(&job.command.program).chain(&job.command.arguments);
        let words = words.map(in_c).collect::<io::Result<Vec<_>>>()?;
        let mut own = Vec::new();
        if let Some(login) = job.identity.as_ref().and_then(|identity| identity.login.as_ref()) {
            own.extend(login_variables(login)?);
        }
        for variable in &job.variables {
            own.push(entry(variable.name(), variable.value())?);
        }
        let environment = replaced(&self.variables.all, &own);
        let place = self.place(job.input);
        let text = job.text.as_deref().map(in_memory).transpose()?;
        let streams = self.streams(job, text.as_ref(), capture.map(Capture::writer));
        let steps = Steps {
            session: matches!(place, Place::Session),
            foreground: match place {
                Place::Foreground(terminal) => Some(terminal),
                Place::None | Place::Job | Place::Session => None,
            },
            open_files: self.open_files,
            identity: job.identity.as_ref(),
        };
        let uses_terminal = matches!(place, Place::Foreground(_) | Place::Job);
        // The limit is not lowered for a fork: it makes a pipe, and the child sets its limit itself.
        if steps.foreground.is_some() || steps.identity.is_some() || mask::spawning_loses_signals() {
            let pid = self.fork(&words, &environment, &streams, steps)?;
            return Ok(Spawned { pid, uses_terminal });
        }
        let lowered = self.open_files.and_then(OpenFiles::lower);
        let group = match place {
            Place::Session => session(),
            _ => PosixSpawnFlags::POSIX_SPAWN_SETPGROUP,
        };
        let pid = match posix_spawn(&words, &environment, &streams, group) {
            // The C library of a release makes a pipe in this call, which the lowered limit may not permit.
            Err(error) if lowered.is_some() && error.raw_os_error() == Some(libc::EMFILE) => {
                drop(lowered);
                self.fork(&words, &environment, &streams, steps)?
            }
            spawned => {
                let pid = spawned?;
                if let (Some(limit), None) = (self.open_files, lowered) {
                    // The child may run already, but only since a few microseconds.
                    inherited::limit_open_files(pid, limit);
                }
                pid
            }
        };
        Ok(Spawned { pid, uses_terminal })
    }

    /// Starts a child that carries out these steps before it executes the program.
    fn fork(
        &self,
        words: &[CString],
        environment: &[&CStr],
        streams: &[(BorrowedFd<'_>, RawFd)],
        steps: Steps<'_>,
    ) -> io::Result<Pid> {
        let started = Prepared::new(words, environment, streams).and_then(|prepared| prepared.start(steps));
        if let (Err(_), Some(_), Some(terminal)) = (&started, steps.foreground, &self.terminal) {
            terminal.take_from_ended();
        }
        started
    }

    /// What the terminal is for a child with this input.
    fn place(&self, input: Input) -> Place<'_> {
        match (&self.terminal, input) {
            (None, _) => Place::None,
            (Some(_), Input::Nothing) => Place::Session,
            (Some(terminal), Input::Inherited) => terminal.place(),
        }
    }

    /// The standard streams of a child that it does not inherit. Only a logged output includes the standard error.
    fn streams<'a>(
        &'a self,
        job: &Job,
        text: Option<&'a OwnedFd>,
        writer: Option<BorrowedFd<'a>>,
    ) -> Vec<(BorrowedFd<'a>, RawFd)> {
        let inherits = job.input == Input::Inherited
            && self
                .terminal
                .as_ref()
                .is_none_or(|terminal| terminal.input_is_free());
        let input = (!inherits).then(|| (text.unwrap_or(&self.nothing).as_fd(), STDIN));
        let output = writer.map(|writer| (writer, STDOUT));
        let errors = writer.filter(|_| job.output == Output::Log);
        let errors = errors.map(|writer| (writer, STDERR));
        [input, output, errors].into_iter().flatten().collect()
    }
}

fn posix_spawn(
    words: &[CString],
    environment: &[&CStr],
    streams: &[(BorrowedFd<'_>, RawFd)],
    group: PosixSpawnFlags,
) -> io::Result<Pid> {
    let mut actions = PosixSpawnFileActions::init()?;
    for (from, to) in streams {
        actions.add_dup2(from.as_raw_fd(), *to)?;
    }
    let started = posix_spawnp(&words[0], &actions, &attributes(group)?, words, environment);
    mask::block_again();
    Ok(Pid(started?.as_raw()))
}

/// The flag for a session, and so a process group, of its own.
fn session() -> PosixSpawnFlags {
    PosixSpawnFlags::from_bits_retain(libc::POSIX_SPAWN_SETSID.into())
}

fn attributes(group: PosixSpawnFlags) -> nix::Result<PosixSpawnAttr> {
    let mut attributes = PosixSpawnAttr::init()?;
    attributes.set_flags(
        group | PosixSpawnFlags::POSIX_SPAWN_SETSIGDEF | PosixSpawnFlags::POSIX_SPAWN_SETSIGMASK,
    )?;
    attributes.set_pgroup(unistd::Pid::from_raw(0))?;
    attributes.set_sigmask(&SigSet::empty())?;
    attributes.set_sigdefault(&mask::with_first_real_time(&SigSet::from(Signal::SIGPIPE)))?;
    Ok(attributes)
}

fn in_c(word: &Word) -> io::Result<CString> {
    Ok(CString::new(word.0.as_slice())?)
}

/// `/dev/null`; if it is missing or replaced by something else, the end of a pipe without a writer.
fn nothing() -> io::Result<OwnedFd> {
    null().or_else(|error| {
        let cause = crate::cause::in_kernel_words(&error);
        tracing::warn!("/dev/null cannot be used ({cause}): the standard input of children is an empty pipe");
        Ok(io::pipe()?.0.into())
    })
}

/// Opens `/dev/null`, without waiting if another kind of file has its name.
fn null() -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC;
    let null = open("/dev/null", flags | OFlag::O_NONBLOCK, Mode::empty())?;
    if fstat(&null)?.st_rdev != makedev(NULL.0, NULL.1) {
        return Err(io::Error::other("it is not the null device"));
    }
    fcntl(null.as_fd(), FcntlArg::F_SETFL(flags))?;
    Ok(null)
}

/// A text as a file in memory that nothing can change, to be read from its beginning. Writing it never waits for a reader.
fn in_memory(text: &str) -> io::Result<OwnedFd> {
    let flags = MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING;
    // Older kernels lack this flag, which newer ones may require.
    let not_executable = flags | MFdFlags::from_bits_retain(libc::MFD_NOEXEC_SEAL);
    let name = c"containerpilot-stdin";
    let mut file = File::from(memfd_create(name, not_executable).or_else(|_| memfd_create(name, flags))?);
    file.write_all(text.as_bytes())?;
    file.rewind()?;
    let seals =
        SealFlag::F_SEAL_SEAL | SealFlag::F_SEAL_SHRINK | SealFlag::F_SEAL_GROW | SealFlag::F_SEAL_WRITE;
    fcntl(&file, FcntlArg::F_ADD_SEALS(seals))?;
    Ok(file.into())
}

/// The environment of children, which is made again only after an exported variable has changed: there may be thousands.
#[derive(Debug)]
pub(super) struct Variables {
    inherited: Vec<CString>,
    /// The inherited entries and the exported ones.
    all: Vec<CString>,
    /// [`Environment::changes`] of the exported ones.
    changes: u64,
}

impl Variables {
    /// The inherited entries, before anything is exported.
    pub(super) fn new(inherited: Vec<CString>) -> Self {
        Self {
            all: inherited.clone(),
            inherited,
            changes: Environment::default().changes(),
        }
    }

    fn update(&mut self, environment: &Environment) -> io::Result<()> {
        let changes = environment.changes();
        if self.changes != changes {
            let exports = environment.exports();
            let exported = exports.iter().map(|(name, value)| entry(name, value));
            let exported = exported.collect::<io::Result<Vec<_>>>()?;
            let all = replaced(&self.inherited, &exported);
            self.all = all.into_iter().map(CStr::to_owned).collect();
            self.changes = changes;
        }
        Ok(())
    }
}

fn entry(name: &str, value: &str) -> io::Result<CString> {
    Ok(CString::new(format!("{name}={value}"))?)
}

/// What a login sets, as entries of an environment.
fn login_variables(login: &Login) -> io::Result<Vec<CString>> {
    let variables = [
        ("HOME", &login.home),
        ("USER", &login.name),
        ("LOGNAME", &login.name),
    ];
    let entry = |(name, value): (&str, &Word)| {
        let entry = [name.as_bytes(), b"=", &value.0].concat();
        Ok(CString::new(entry)?)
    };
    variables.into_iter().map(entry).collect()
}

/// The entries except those with a name that is also in `by`, followed by those of `by`.
fn replaced<'a>(entries: &'a [CString], by: &'a [CString]) -> Vec<&'a CStr> {
    if by.is_empty() {
        return entries.iter().map(CString::as_c_str).collect();
    }
    let names = filled::set(by.iter().map(|entry| name(entry)));
    let kept = entries.iter().filter(|entry| !names.contains(name(entry)));
    let mut replaced = Vec::with_capacity(entries.len() + by.len());
    replaced.extend(kept.chain(by).map(CString::as_c_str));
    replaced
}

/// The name in an entry: the part before `=`; the whole entry if it has none.
fn name(entry: &CStr) -> &[u8] {
    let bytes = entry.to_bytes();
    let end = bytes.iter().position(|byte| *byte == b'=');
    end.map_or(bytes, |end| &bytes[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(texts: &[&str]) -> Vec<CString> {
        texts.iter().map(|text| CString::new(*text).unwrap()).collect()
    }

    fn merged(inherited: &[&str], exports: &[&str]) -> Vec<String> {
        let (inherited, exported) = (entries(inherited), entries(exports));
        let merged = replaced(&inherited, &exported);
        merged
            .iter()
            .map(|entry| entry.to_str().unwrap().into())
            .collect()
    }

    #[test]
    fn inherited_variables_are_unchanged_except_exported_names() {
        let odd = ["A=1", "NOTHING", "A=2", "=", "", "=x=y", "B="];
        assert_eq!(merged(&odd, &[]), odd);
        let exports = ["A=3", "NEW=4"];
        assert_eq!(
            merged(&odd, &exports),
            ["NOTHING", "=", "", "=x=y", "B=", "A=3", "NEW=4"]
        );
    }

    #[test]
    fn a_word_with_a_null_byte_is_refused() {
        assert!(in_c(&Word(b"a\0b".to_vec())).is_err());
    }
}
