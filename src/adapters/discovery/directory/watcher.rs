//! Watches a folder for changes with inotify, without a thread.
//!
//! A watch is started *before* the folder is read, so that every change after the read is reported. If the folder does
//! not exist yet, its nearest ancestor that exists is watched, and the next step towards the folder is reported. Where
//! inotify is not available or its limit is reached, a change is assumed every [`POLL`]. Contents of files are not read
//! here.

use super::file::{self, is_hidden};
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

/// The time between two reads of the folder where inotify is not available.
const POLL: Duration = Duration::from_millis(250);
/// How many times the start is tried if the folder is created and removed meanwhile.
const ATTEMPTS: usize = 8;
/// How many batches of events are read from the kernel at once, so that a busy folder does not hold up the loop.
const MOST_READS: usize = 64;

/// A watch of a folder or of its nearest ancestor; none where inotify is not available. It is started on the thread that
/// may touch the folder, and attached on the loop.
pub(super) struct FolderWatch(Option<InotifyWatch<Notifier>>);

/// The events of a folder, for the loop to wait for.
pub(super) enum FolderEvents {
    /// Reported by the kernel.
    Inotify(InotifyWatch<AsyncFd<Notifier>>),
    /// Assumed at intervals.
    Polling,
}

/// An inotify instance that watches the folder or an ancestor of it.
pub(super) struct InotifyWatch<N> {
    notifier: N,
    /// The next part of the path towards the folder, if the folder does not exist yet.
    awaited: Option<OsString>,
}

/// A change in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FolderEvent {
    /// The files that were written or removed; empty if none was.
    Files(BTreeSet<OsString>),
    /// Anything may have changed: start a new watch and read the whole folder.
    Everything,
}

impl FolderWatch {
    /// Starts to watch this folder.
    pub fn start(folder: &Path) -> Self {
        for _ in 0..ATTEMPTS {
            match InotifyWatch::at(folder) {
                Ok(None) => {}
                watch => return Self(watch.ok().flatten()),
            }
        }
        Self(None)
    }

    /// Starts to watch this folder and all folders in it; none if there are more than `most`.
    pub fn start_all(folder: &Path, most: usize) -> Self {
        let watch = Self::start(folder);
        let Some(InotifyWatch {
            notifier,
            awaited: None,
        }) = &watch.0
        else {
            return watch;
        };
        let watched = notifier.watch_folders(folder, most);
        if watched.is_err() {
            return Self(None);
        }
        watch
    }

    /// Registers the watch with the runtime.
    pub fn attach(self) -> FolderEvents {
        let attach = |InotifyWatch { notifier, awaited }: InotifyWatch<Notifier>| {
            let notifier = notifier.listen().ok()?;
            Some(FolderEvents::Inotify(InotifyWatch { notifier, awaited }))
        };
        self.0.and_then(attach).unwrap_or(FolderEvents::Polling)
    }
}

impl FolderEvents {
    /// Waits for the next event. Cancelling the wait loses no event.
    pub async fn next(&self) -> FolderEvent {
        match self {
            Self::Inotify(watch) => watch.next().await,
            Self::Polling => {
                sleep(POLL).await;
                FolderEvent::Everything
            }
        }
    }
}

impl InotifyWatch<Notifier> {
    /// Watches the folder or the nearest existing folder above it; `None` if that folder was removed
    /// meanwhile.
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

impl InotifyWatch<AsyncFd<Notifier>> {
    async fn next(&self) -> FolderEvent {
        let mut files = BTreeSet::new();
        let Ok(mut ready) = self.notifier.readable().await else {
            return FolderEvent::Everything;
        };
        for _ in 0..MOST_READS {
            match ready.try_io(|notifier| Ok(notifier.get_ref().0.read_events()?)) {
                Err(_nothing_more) => break,
                Ok(Err(_)) => return FolderEvent::Everything,
                Ok(Ok(events)) if events.iter().any(|event| self.upsets(event)) => {
                    return FolderEvent::Everything;
                }
                Ok(Ok(events)) if self.awaited.is_none() => files.extend(visible(events)),
                Ok(Ok(_elsewhere)) => {}
            }
        }
        FolderEvent::Files(files)
    }

    /// Whether the event means more than a change of one file. The kernel reports the watch of a deleted
    /// folder as "ignored".
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

/// An inotify instance in the form that the runtime requires.
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

    /// Watches a folder for new folders, and all folders that are in it.
    fn watch_folders(&self, folder: &Path, most: usize) -> io::Result<()> {
        let changes = AddWatchFlags::IN_CREATE
            | AddWatchFlags::IN_MOVED_TO
            | AddWatchFlags::IN_MOVED_FROM
            | AddWatchFlags::IN_DELETE
            | AddWatchFlags::IN_MOVE_SELF;
        self.0.add_watch(folder, changes | AddWatchFlags::IN_ONLYDIR)?;
        let names = file::names(folder)?;
        if names.len() > most {
            return Err(Errno::ENOSPC.into());
        }
        for name in names {
            match self.watch(&folder.join(name), true) {
                Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Watches the folder of a service, or a folder above it. Temporary files are ignored until they are
    /// renamed.
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
