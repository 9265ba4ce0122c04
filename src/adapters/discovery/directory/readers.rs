//! Which reader gets which event of the shared inotify instance. There is no input or output here.
//!
//! A reader follows watches, each with its own interest: two readers may follow the watch of the same folder for
//! different reasons. A watch that no reader follows any more is unused; the folder's thread removes it before it adds
//! the next one, so that a watch is never removed while it is being added.

use super::file::is_hidden;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::sync::Arc;
use tokio::sync::Notify;

/// The names of files that are kept for a reader until it asks for them (docs/bounds.md)
const MOST_NAMES: usize = 1000;

/// The number of a reader.
pub(super) type Reader = u64;

/// A change in a folder, as a reader gets it.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum FolderEvent {
    /// The files or folders in it that were written or removed.
    Files(BTreeSet<OsString>),
    /// Anything may have changed: start a new watch and read the whole folder.
    Everything,
}

/// What a reader wants to know of a folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Interest {
    /// The files in it that are complete or gone.
    Files,
    /// The folders in it that are there or gone.
    Folders,
    /// The next part of the path towards a folder that does not exist yet.
    Step(OsString),
}

/// What the kernel reports of a watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Happened {
    /// A file or folder was created.
    Created(OsString),
    /// A file or folder was renamed to this name.
    Arrived(OsString),
    /// A file or folder was removed, or renamed to another name.
    Gone(OsString),
    /// The folder itself was moved.
    Moved,
    /// The folder was removed, and the watch with it.
    Ended,
}

/// The readers, and the watches that they follow. `W` is the kernel's number of a watch.
#[derive(Debug)]
pub(super) struct Readers<W> {
    next: Reader,
    readers: BTreeMap<Reader, Entry<W>>,
    /// The readers of each watch, by their interest. One map of all takes less memory than one for each watch.
    followers: BTreeSet<(W, Interest, Reader)>,
    unused: BTreeSet<W>,
    /// The watches that ended or moved after the newest reader was added. It may be about to follow one of them.
    ended: BTreeSet<W>,
}

#[derive(Debug)]
struct Entry<W> {
    follows: Vec<(W, Interest)>,
    pending: FolderEvent,
    reported: Arc<Notify>,
}

impl<W: Copy + Ord> Readers<W> {
    /// No reader and no watch.
    pub const fn new() -> Self {
        Self {
            next: 0,
            readers: BTreeMap::new(),
            followers: BTreeSet::new(),
            unused: BTreeSet::new(),
            ended: BTreeSet::new(),
        }
    }

    /// Adds a reader that follows nothing yet. `reported` is notified when there is an event for it.
    pub fn add(&mut self, reported: Arc<Notify>) -> Reader {
        self.ended.clear();
        self.next += 1;
        let entry = Entry {
            follows: Vec::with_capacity(1),
            pending: FolderEvent::Files(BTreeSet::new()),
            reported,
        };
        self.readers.insert(self.next, entry);
        self.next
    }

    /// From now on the newest reader gets the events of this watch. If the watch ended in the meantime, everything may
    /// have changed.
    pub fn follow(&mut self, reader: Reader, watch: W, interest: Interest) {
        let Some(entry) = self.readers.get_mut(&reader) else {
            return;
        };
        entry.follows.push((watch, interest.clone()));
        self.followers.insert((watch, interest, reader));
        self.unused.remove(&watch);
        if self.ended.contains(&watch) {
            entry.upset();
        }
    }

    /// Removes a reader. Watches that no other reader follows are unused from now on.
    pub fn remove(&mut self, reader: Reader) {
        let Some(entry) = self.readers.remove(&reader) else {
            return;
        };
        for (watch, interest) in entry.follows {
            // It is not there any more if the watch has ended.
            let followed = self.followers.remove(&(watch, interest, reader));
            if followed && followers(&self.followers, watch).next().is_none() {
                self.unused.insert(watch);
            }
        }
    }

    /// The unused watches, which the caller removes. No reader follows one of them before that.
    pub fn take_unused(&mut self) -> BTreeSet<W> {
        std::mem::take(&mut self.unused)
    }

    /// Passes on an event of a watch.
    pub fn report(&mut self, watch: W, happened: Happened) {
        match happened {
            Happened::Created(name) => {
                self.inform(watch, &Interest::Folders, &name);
                self.inform(watch, &Interest::Step(name.clone()), &name);
            }
            Happened::Arrived(name) => {
                self.inform(watch, &Interest::Files, &name);
                self.inform(watch, &Interest::Folders, &name);
                self.inform(watch, &Interest::Step(name.clone()), &name);
            }
            Happened::Gone(name) => {
                self.inform(watch, &Interest::Files, &name);
                self.inform(watch, &Interest::Folders, &name);
            }
            Happened::Moved => {
                self.upset(watch);
            }
            Happened::Ended => {
                self.upset(watch);
                self.followers.retain(|(followed, ..)| *followed != watch);
                self.unused.remove(&watch);
            }
        }
    }

    /// Events were lost: everything may have changed for all readers.
    pub fn upset_all(&mut self) {
        self.readers.values_mut().for_each(Entry::upset);
    }

    /// The event for a reader, if there is one.
    pub fn take(&mut self, reader: Reader) -> Option<FolderEvent> {
        let none = FolderEvent::Files(BTreeSet::new());
        let pending = &mut self.readers.get_mut(&reader)?.pending;
        (*pending != none).then(|| std::mem::replace(pending, none))
    }

    fn upset(&mut self, watch: W) {
        self.ended.insert(watch);
        for reader in followers(&self.followers, watch) {
            if let Some(entry) = self.readers.get_mut(&reader) {
                entry.upset();
            }
        }
    }

    fn inform(&mut self, watch: W, interest: &Interest, name: &OsString) {
        let [first, last] = [Reader::MIN, Reader::MAX].map(|reader| (watch, interest.clone(), reader));
        for (_, _, reader) in self.followers.range(first..=last) {
            match (self.readers.get_mut(reader), interest) {
                (Some(entry), Interest::Step(_)) => entry.upset(),
                (Some(entry), _) if !is_hidden(name) => entry.add(name),
                _ => {}
            }
        }
    }
}

/// The readers of a watch.
fn followers<W: Copy + Ord>(all: &BTreeSet<(W, Interest, Reader)>, watch: W) -> impl Iterator<Item = Reader> {
    let first = (watch, Interest::Files, Reader::MIN);
    let of_watch = all
        .range(first..)
        .take_while(move |(followed, ..)| *followed == watch);
    of_watch.map(|(_, _, reader)| *reader)
}

impl<W> Entry<W> {
    fn upset(&mut self) {
        self.pending = FolderEvent::Everything;
        self.reported.notify_one();
    }

    fn add(&mut self, name: &OsString) {
        if let FolderEvent::Files(names) = &mut self.pending {
            names.insert(name.clone());
            if names.len() > MOST_NAMES {
                self.pending = FolderEvent::Everything;
            }
            self.reported.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCH: i32 = 1;
    const OTHER: i32 = 2;

    fn following(readers: &mut Readers<i32>, watch: i32, interest: Interest) -> Reader {
        let reader = readers.add(Arc::default());
        readers.follow(reader, watch, interest);
        reader
    }

    fn files<const N: usize>(names: [&str; N]) -> Option<FolderEvent> {
        Some(FolderEvent::Files(names.map(OsString::from).into()))
    }

    #[test]
    fn each_reader_gets_the_events_of_its_own_watch_and_interest() {
        let mut readers = Readers::new();
        let one = following(&mut readers, WATCH, Interest::Files);
        let two = following(&mut readers, WATCH, Interest::Files);
        let folders = following(&mut readers, WATCH, Interest::Folders);
        let step = following(&mut readers, WATCH, Interest::Step("c".into()));
        let elsewhere = following(&mut readers, OTHER, Interest::Files);
        let mut all = |happened| {
            readers.report(WATCH, happened);
            [one, two, folders, step, elsewhere].map(|reader| readers.take(reader))
        };
        let (a, b, c) = (files(["a"]), files(["b"]), files(["c"]));
        let everything = || Some(FolderEvent::Everything);
        assert_eq!(
            all(Happened::Arrived("a".into())),
            [a, files(["a"]), files(["a"]), None, None]
        );
        assert_eq!(
            all(Happened::Gone("b".into())),
            [b, files(["b"]), files(["b"]), None, None]
        );
        assert_eq!(
            all(Happened::Created("d".into())),
            [None, None, files(["d"]), None, None]
        );
        assert_eq!(
            all(Happened::Created("c".into())),
            [None, None, c, everything(), None]
        );
        assert_eq!(
            all(Happened::Gone("c".into())),
            [files(["c"]), files(["c"]), files(["c"]), None, None]
        );
        assert_eq!(all(Happened::Arrived(".c".into())), [const { None }; 5]);
    }

    #[test]
    fn the_end_of_a_watch_and_a_loss_of_events_upset_those_concerned() {
        let mut readers = Readers::new();
        let one = following(&mut readers, WATCH, Interest::Files);
        let step = following(&mut readers, WATCH, Interest::Step("c".into()));
        let elsewhere = following(&mut readers, OTHER, Interest::Files);
        for happened in [Happened::Moved, Happened::Ended] {
            readers.report(WATCH, happened);
            assert_eq!(readers.take(one), Some(FolderEvent::Everything));
            assert_eq!(readers.take(step), Some(FolderEvent::Everything));
            assert_eq!(readers.take(elsewhere), None);
        }
        readers.upset_all();
        assert_eq!(readers.take(elsewhere), Some(FolderEvent::Everything));
        assert_eq!(readers.take(elsewhere), None);
    }

    #[test]
    fn a_watch_is_unused_after_its_last_reader_unless_it_ended() {
        let mut readers = Readers::new();
        let one = following(&mut readers, WATCH, Interest::Files);
        let two = following(&mut readers, WATCH, Interest::Files);
        let step = following(&mut readers, WATCH, Interest::Step("c".into()));
        let ended = following(&mut readers, OTHER, Interest::Files);
        readers.report(OTHER, Happened::Ended);
        readers.report(WATCH, Happened::Moved);
        readers.remove(ended);
        readers.remove(one);
        readers.remove(two);
        assert_eq!(readers.take_unused(), [].into());
        readers.remove(step);
        assert_eq!(readers.take_unused(), [WATCH].into());
        assert_eq!(readers.take_unused(), [].into());
    }

    #[test]
    fn an_unused_watch_is_used_again_by_the_next_reader() {
        let mut readers = Readers::new();
        let one = following(&mut readers, WATCH, Interest::Files);
        // The thread adds the same folder again, and meanwhile the loop drops the last reader.
        let two = readers.add(Arc::default());
        readers.remove(one);
        readers.follow(two, WATCH, Interest::Files);
        assert_eq!(readers.take_unused(), [].into());
        readers.report(WATCH, Happened::Arrived("a".into()));
        assert_eq!(readers.take(two), files(["a"]));
        readers.remove(two);
        readers.report(WATCH, Happened::Ended);
        assert_eq!(readers.take_unused(), [].into());
    }

    /// The folder is removed after the thread has added the watch, and before the reader follows it.
    #[test]
    fn a_watch_that_ends_before_its_reader_follows_it_upsets_the_reader() {
        let mut readers = Readers::new();
        for (happened, expected) in [
            (Happened::Ended, Some(FolderEvent::Everything)),
            (Happened::Moved, Some(FolderEvent::Everything)),
            (Happened::Arrived("a".into()), None),
        ] {
            let reader = readers.add(Arc::default());
            readers.report(WATCH, happened);
            readers.follow(reader, WATCH, Interest::Files);
            assert_eq!(readers.take(reader), expected);
        }
        let reader = readers.add(Arc::default());
        readers.upset_all();
        readers.follow(reader, WATCH, Interest::Files);
        assert_eq!(readers.take(reader), Some(FolderEvent::Everything));
    }

    #[test]
    fn beyond_so_many_names_everything_may_have_changed() {
        let mut readers = Readers::new();
        let reader = following(&mut readers, WATCH, Interest::Files);
        let mut report = |count: usize| {
            for number in 0..count {
                readers.report(WATCH, Happened::Arrived(number.to_string().into()));
            }
            readers.take(reader)
        };
        let Some(FolderEvent::Files(names)) = report(MOST_NAMES) else {
            panic!("so many are kept");
        };
        assert_eq!(names.len(), MOST_NAMES);
        assert_eq!(report(MOST_NAMES + 1), Some(FolderEvent::Everything));
    }
}
