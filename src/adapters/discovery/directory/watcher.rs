//! Watches folders for changes with one inotify instance for all readers, without a thread.
//!
//! A watch is started *before* the folder is read, so that every change after the read is reported. If the folder does
//! not exist yet, its nearest ancestor that exists is watched, and the next step towards the folder is reported. Where
//! inotify is not available or its limit is reached, a change is assumed every [`POLL`], and inotify is tried again when
//! the next watch is started. Contents of files are not read here.
//!
//! Adding a watch touches the path and may hang, so only the folder's thread does it. The reader is added first, and
//! follows the watch before the thread reads the folder; so an event that arrives in between is of a change that the
//! thread sees. The loop reads the events and passes them on: of all readers that wait, one does it for all, and when it
//! no longer waits, the next one does. While no reader waits, the kernel keeps the events.

use super::file;
use super::readers::{FolderEvent, Happened, Interest, Reader, Readers};
use crate::adapters::timers::sleep;
use domain::time::Duration;
use nix::errno::Errno;
use nix::libc;
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, InotifyEvent, WatchDescriptor};
use std::ffi::OsString;
use std::future::poll_fn;
use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::path::Path;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use tokio::io::unix::AsyncFd;
use tokio::sync::{self, Notify};

/// The time between two reads of the folder where inotify is not available.
const POLL: Duration = Duration::from_millis(250);
/// The time between two reads of events, so that a busy folder wakes the loop rarely.
const GATHER: Duration = Duration::from_millis(20);
/// How many times the start is tried if the folder is created and removed meanwhile.
const ATTEMPTS: usize = 8;
/// How many batches of events are read from the kernel at once, so that a busy folder does not hold up the loop.
const MOST_READS: usize = 64;

/// The loop's end of the instance: waits for events and passes them on.
#[derive(Default)]
pub(super) struct Watches {
    shared: Arc<Watcher>,
    /// Locked by the reader that reads the events for all. It belongs to the runtime in which it was created.
    listener: sync::Mutex<Option<AsyncFd<Notifier>>>,
}

/// The thread's end of the instance: starts watches.
pub(super) struct Watcher {
    /// Created by the first watch.
    notifier: OnceLock<Notifier>,
    /// Locked only for an instant, never while a folder is touched.
    readers: Mutex<Readers<WatchDescriptor>>,
}

/// One reader's watch of a folder, or of its nearest ancestor; none where inotify is not available.
pub(super) struct FolderWatch(Option<Subscription>);

/// A reader that is removed when this is dropped.
struct Subscription {
    watcher: Arc<Watcher>,
    reader: Reader,
    reported: Arc<Notify>,
}

impl Watches {
    /// What the folder's thread needs to start watches.
    pub fn watcher(&self) -> Arc<Watcher> {
        Arc::clone(&self.shared)
    }

    /// Waits for the next event of a watch. Cancelling the wait loses no event.
    pub async fn next(&self, watch: &FolderWatch) -> FolderEvent {
        let Some(subscription) = &watch.0 else {
            sleep(POLL).await;
            return FolderEvent::Everything;
        };
        loop {
            if let Some(event) = subscription.take() {
                return event;
            }
            let (reported, read) = (pin!(subscription.reported.notified()), pin!(self.pass_on()));
            either(reported, read).await;
        }
    }

    /// Reads the events for all readers, unless another reader does.
    async fn pass_on(&self) {
        let mut listener = self.listener.lock().await;
        loop {
            if self.read(&mut listener).await.is_ok() {
                sleep(GATHER).await;
            } else {
                *listener = None;
                sleep(POLL).await;
                self.shared.readers().upset_all();
            }
        }
    }

    /// Waits for events and passes them on.
    async fn read(&self, listener: &mut Option<AsyncFd<Notifier>>) -> io::Result<()> {
        let listener = match listener {
            Some(listener) => listener,
            none => none.insert(self.shared.notifier()?.clone().listen()?),
        };
        let mut ready = listener.readable().await?;
        for _ in 0..MOST_READS {
            let Ok(events) = ready.try_io(|notifier| Ok(notifier.get_ref().0.read_events()?)) else {
                break;
            };
            let (events, mut readers) = (events?, self.shared.readers());
            for event in events {
                report(&mut readers, event);
            }
        }
        Ok(())
    }
}

impl Watcher {
    /// Starts to watch this folder.
    pub fn start(self: &Arc<Self>, folder: &Path) -> FolderWatch {
        FolderWatch(self.attempt(folder, &Interest::Files))
    }

    /// Starts to watch this folder and all folders in it; none if there are more than `most`.
    pub fn start_all(self: &Arc<Self>, folder: &Path, most: usize) -> FolderWatch {
        let subscription = self.attempt(folder, &Interest::Folders);
        FolderWatch(subscription.filter(|subscription| subscription.watch_folders(folder, most).is_ok()))
    }

    /// Removes the watches that no reader follows any more. The folder's thread calls this before each of its jobs, so
    /// that a watch is never removed while it is being added.
    pub fn remove_unused(&self) {
        let unused = self.readers().take_unused();
        for watch in unused {
            if let Some(notifier) = self.notifier.get() {
                // It may have ended already.
                notifier.0.rm_watch(watch).ok();
            }
        }
    }

    fn attempt(self: &Arc<Self>, folder: &Path, interest: &Interest) -> Option<Subscription> {
        let started = (0..ATTEMPTS).find_map(|_| self.at(folder, interest).transpose());
        started?.ok()
    }

    /// Watches the folder or the nearest existing folder above it; `None` if the next step towards the folder was created
    /// meanwhile.
    fn at(self: &Arc<Self>, folder: &Path, interest: &Interest) -> nix::Result<Option<Subscription>> {
        let subscription = self.subscribe();
        let mut awaited: Option<OsString> = None;
        for place in folder.ancestors() {
            let interest = awaited.clone().map_or_else(|| interest.clone(), Interest::Step);
            match subscription.watch(place, interest) {
                Err(Errno::ENOENT) => awaited = Some(place.file_name().ok_or(Errno::ENOENT)?.to_owned()),
                Err(error) => return Err(error),
                Ok(()) if awaited.is_some_and(|step| place.join(step).exists()) => return Ok(None),
                Ok(()) => return Ok(Some(subscription)),
            }
        }
        Err(Errno::ENOENT)
    }

    fn subscribe(self: &Arc<Self>) -> Subscription {
        let reported = Arc::<Notify>::default();
        Subscription {
            reader: self.readers().add(Arc::clone(&reported)),
            watcher: Arc::clone(self),
            reported,
        }
    }

    fn notifier(&self) -> nix::Result<&Notifier> {
        if let Some(notifier) = self.notifier.get() {
            return Ok(notifier);
        }
        let notifier = Notifier::new()?;
        Ok(self.notifier.get_or_init(|| notifier))
    }

    fn readers(&self) -> MutexGuard<'_, Readers<WatchDescriptor>> {
        self.readers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Watcher {
    fn default() -> Self {
        Self {
            notifier: OnceLock::new(),
            readers: Mutex::new(Readers::new()),
        }
    }
}

impl Subscription {
    fn take(&self) -> Option<FolderEvent> {
        self.watcher.readers().take(self.reader)
    }

    /// Watches a folder. If it is watched already, the kernel returns the same number again.
    fn watch(&self, place: &Path, interest: Interest) -> nix::Result<()> {
        let watch = self.watcher.notifier()?.watch(place, &interest)?;
        self.watcher.readers().follow(self.reader, watch, interest);
        Ok(())
    }

    /// Watches all folders that are in a folder.
    fn watch_folders(&self, folder: &Path, most: usize) -> io::Result<()> {
        let names = file::names(folder)?;
        if names.len() > most {
            return Err(Errno::ENOSPC.into());
        }
        for name in names {
            match self.watch(&folder.join(name), Interest::Files) {
                Ok(()) | Err(Errno::ENOENT | Errno::ENOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.watcher.readers().remove(self.reader);
    }
}

#[cfg(test)]
impl FolderWatch {
    /// A watch where inotify is not available.
    pub const POLLED: Self = Self(None);

    /// Whether the kernel reports changes.
    pub const fn is_reported(&self) -> bool {
        self.0.is_some()
    }
}

/// Waits until one of two futures has ended.
async fn either(mut one: Pin<&mut impl Future<Output = ()>>, mut other: Pin<&mut impl Future<Output = ()>>) {
    poll_fn(|context| match one.as_mut().poll(context) {
        std::task::Poll::Ready(()) => std::task::Poll::Ready(()),
        std::task::Poll::Pending => other.as_mut().poll(context),
    })
    .await;
}

/// Passes on an event of the kernel.
fn report(readers: &mut Readers<WatchDescriptor>, event: InotifyEvent) {
    let InotifyEvent { wd, mask, name, .. } = event;
    let is = |flags| mask.intersects(flags);
    if is(AddWatchFlags::IN_Q_OVERFLOW) {
        readers.upset_all();
    } else if is(AddWatchFlags::IN_IGNORED) {
        readers.report(wd, Happened::Ended);
    } else if is(AddWatchFlags::IN_UNMOUNT | AddWatchFlags::IN_MOVE_SELF) {
        readers.report(wd, Happened::Moved);
    } else if let Some(name) = name {
        let happened = if is(AddWatchFlags::IN_CREATE) {
            Happened::Created(name)
        } else if is(AddWatchFlags::IN_MOVED_TO) {
            Happened::Arrived(name)
        } else {
            Happened::Gone(name)
        };
        readers.report(wd, happened);
    }
}

/// The inotify instance in the form that the runtime requires.
#[derive(Clone)]
struct Notifier(Arc<Inotify>);

impl Notifier {
    fn new() -> nix::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self(Arc::new(inotify)))
    }

    #[expect(
        deprecated,
        reason = "its successor is unsafe, for types that change their descriptor; ours owns one and keeps it"
    )]
    fn listen(self) -> io::Result<AsyncFd<Self>> {
        AsyncFd::new(self)
    }

    /// Watches a folder for what is of interest, in addition to what it is watched for already. Temporary files are
    /// ignored until they are renamed.
    fn watch(&self, place: &Path, interest: &Interest) -> nix::Result<WatchDescriptor> {
        let here = if place.as_os_str().is_empty() {
            Path::new(".")
        } else {
            place
        };
        let arrives = AddWatchFlags::IN_MOVED_TO;
        let leaves = AddWatchFlags::IN_MOVED_FROM | AddWatchFlags::IN_DELETE;
        let changes = match interest {
            Interest::Files => arrives | leaves,
            Interest::Folders => arrives | leaves | AddWatchFlags::IN_CREATE,
            Interest::Step(_) => arrives | AddWatchFlags::IN_CREATE,
        };
        let in_addition = AddWatchFlags::from_bits_retain(libc::IN_MASK_ADD);
        let end = AddWatchFlags::IN_MOVE_SELF | AddWatchFlags::IN_ONLYDIR;
        self.0.add_watch(here, changes | end | in_addition)
    }
}

impl AsRawFd for Notifier {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}
