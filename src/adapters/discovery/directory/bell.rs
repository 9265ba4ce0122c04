//! Rings when something happens in a folder: inotify, without a thread.
//!
//! A bell is hung *before* the folder is looked at, so whatever happens after the look rings. If the folder is
//! not there yet, the bell hangs at the nearest one that is, and rings when the next step towards it appears.
//! Where no bell can be hung (the limit of inotify is reached, or there is none), it rings four times a second
//! whatever happens. Never says what the files hold.

use super::file::is_hidden;
use domain::time::Duration;
use nix::errno::Errno;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent};
use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use tokio::io::unix::AsyncFd;
use tokio::time::sleep;

/// The time between two rings where no bell can be hung.
const POLL: Duration = Duration::from_millis(250);
/// How often hanging is tried again if the folder comes and goes meanwhile.
const ATTEMPTS: usize = 8;
/// How much is read from the kernel at once; a folder in turmoil shall not hold the one thread.
const MOST_READS: usize = 64;

/// A bell at a folder, or on the way to it; none if nobody tells. It is hung where the folder may be touched,
/// and listened to on the loop.
pub(super) struct Bell(Option<Hung<Notifier>>);

/// A bell that the loop listens to.
pub(super) enum AttachedBell {
    /// The kernel tells.
    Hung(Hung<AsyncFd<Notifier>>),
    /// Nobody tells.
    Missing,
}

/// What rings.
pub(super) struct Hung<N> {
    notifier: N,
    /// The next step towards the folder, if it is not there yet.
    awaited: Option<OsString>,
}

/// What happened.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ring {
    /// These files were written or removed, if any.
    Files(BTreeSet<OsString>),
    /// Anything may have: hang a new bell and look at everything.
    Everything,
}

impl Bell {
    /// A bell at this folder.
    pub fn hang(folder: &Path) -> Self {
        for _ in 0..ATTEMPTS {
            match Hung::at(folder) {
                Ok(None) => {}
                hung => return Self(hung.ok().flatten()),
            }
        }
        Self(None)
    }

    /// From now on the loop listens.
    pub fn attach(self) -> AttachedBell {
        let attach = |Hung { notifier, awaited }: Hung<Notifier>| {
            let notifier = notifier.listen().ok()?;
            Some(AttachedBell::Hung(Hung { notifier, awaited }))
        };
        self.0.and_then(attach).unwrap_or(AttachedBell::Missing)
    }
}

impl AttachedBell {
    /// Waits for something to happen. Nothing is lost if the wait is given up.
    pub async fn rings(&self) -> Ring {
        match self {
            Self::Hung(hung) => hung.rings().await,
            Self::Missing => {
                sleep(POLL).await;
                Ring::Everything
            }
        }
    }
}

impl Hung<Notifier> {
    /// Watches the folder or the nearest one above it that is there; none if that just changed.
    fn at(folder: &Path) -> io::Result<Option<Self>> {
        let notifier = Notifier::new()?;
        let mut awaited = None;
        for place in folder.ancestors() {
            match notifier.watch(place, awaited.is_none()) {
                Err(Errno::ENOENT) => awaited = Some(place.file_name().ok_or(Errno::ENOENT)?.to_owned()),
                Err(error) => return Err(error.into()),
                Ok(()) if awaited.as_ref().is_some_and(|step| place.join(step).exists()) => return Ok(None),
                Ok(()) => return Ok(Some(Self { notifier, awaited })),
            }
        }
        Err(Errno::ENOENT.into())
    }
}

impl Hung<AsyncFd<Notifier>> {
    async fn rings(&self) -> Ring {
        let mut files = BTreeSet::new();
        let Ok(mut ready) = self.notifier.readable().await else {
            return Ring::Everything;
        };
        for _ in 0..MOST_READS {
            match ready.try_io(|notifier| Ok(notifier.get_ref().0.read_events()?)) {
                Err(_nothing_more) => break,
                Ok(Err(_)) => return Ring::Everything,
                Ok(Ok(events)) if events.iter().any(|event| self.upsets(event)) => return Ring::Everything,
                Ok(Ok(events)) if self.awaited.is_none() => files.extend(visible(events)),
                Ok(Ok(_elsewhere)) => {}
            }
        }
        Ring::Files(files)
    }

    /// Whether a single file is not all that the event is about. A watch whose folder was deleted is "ignored".
    fn upsets(&self, event: &InotifyEvent) -> bool {
        let upsetting = AddWatchFlags::IN_Q_OVERFLOW
            | AddWatchFlags::IN_IGNORED
            | AddWatchFlags::IN_UNMOUNT
            | AddWatchFlags::IN_MOVE_SELF;
        let arrived = self.awaited.is_some() && event.name == self.awaited;
        arrived || event.mask.intersects(upsetting)
    }
}

fn visible(events: Vec<InotifyEvent>) -> impl Iterator<Item = OsString> {
    events
        .into_iter()
        .filter_map(|event| event.name)
        .filter(|name| !is_hidden(name))
}

/// An inotify instance as the runtime takes it.
pub(super) struct Notifier(Inotify);

impl Notifier {
    fn new() -> nix::Result<Self> {
        Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC).map(Self)
    }

    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that change their descriptor; ours owns one and keeps it"
    )]
    fn listen(self) -> io::Result<AsyncFd<Self>> {
        AsyncFd::new(self)
    }

    /// Watches the folder of a service, or one on the way to it. A draft is of no interest before it is renamed.
    fn watch(&self, place: &Path, whole: bool) -> nix::Result<()> {
        let here = if place.as_os_str().is_empty() {
            Path::new(".")
        } else {
            place
        };
        let come = AddWatchFlags::IN_MOVED_TO;
        let interest = if whole {
            come | AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_DELETE
        } else {
            come | AddWatchFlags::IN_CREATE
        };
        let end = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ONLYDIR;
        self.0.add_watch(here, interest | end).map(drop)
    }
}

impl AsRawFd for Notifier {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
