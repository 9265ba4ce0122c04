//! A template: when it is rendered, when its file is written, and when its command is due.
//!
//! It is rendered at once at the start, and again whenever a value changes that it uses. A value that becomes known counts
//! as a change. Once it has been rendered completely, changes are collected: the rendering waits until nothing has changed
//! for the quiet time, and at most for the maximum since the first change. What is rendered is written only if it differs
//! from what was written last. A rendering or a writing that failed is tried again, less and less often.
//!
//! A template that reads files is rendered again every [`RECHECK`], because files are not watched; the result counts only
//! if the files have changed. There is one rendering or writing at a time. What a template contains, and how a file is
//! written, is not decided here.

use crate::plan::Wait;
use crate::state_key::{Keyed, StateKey, write_variant};
use crate::time::{Backoff, Duration, Instant, Jitter};
use alloc::string::String;

/// The time after which a template that reads files is rendered again (docs/bounds.md).
pub const RECHECK: Duration = Duration::from_secs(10);
/// The first wait before a rendering or a writing that failed is tried again.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest such wait (docs/bounds.md).
const LONGEST_RETRY: Duration = Duration::from_secs(30);

/// The state of one template.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TemplateState {
    wait: Option<Wait>,
    due: Option<Due>,
    work: Work,
    /// Whether it was rendered completely at least once.
    complete: bool,
    /// What the file contains, as far as it is known.
    written: Option<String>,
    /// A number that stands for the contents of the files that the last complete rendering has read.
    files: Option<u64>,
    /// Whether a writing failed since the last that succeeded: it may have changed the file all the same.
    doubtful: bool,
    retries: Backoff,
    paused: bool,
}

/// A rendering that is to come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Due {
    at: Instant,
    reason: Reason,
}

/// Why a template is rendered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Reason {
    /// A value has changed, the first one at this time; or the template is new.
    Change(Instant),
    /// The last attempt failed.
    Retry,
    /// Files may have changed.
    Recheck,
}

/// What is being done.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Work {
    Nothing,
    Rendering(Reason),
    /// These contents are being written.
    Writing(String),
}

/// The result of a rendering.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Outcome {
    /// Everything was known: the contents of the file.
    Complete(String),
    /// Something that the template uses is not known yet.
    Incomplete,
    /// The template is wrong, or cannot be read: the cause.
    Failed(String),
}

/// The result of a writing.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Written {
    /// The file has other contents now than before.
    Changed,
    /// The file had these contents already.
    Unchanged,
    /// The file could not be written: the cause.
    Failed(String),
}

impl TemplateState {
    /// A template that is rendered at once; if `paused`, after [`Self::resume`].
    pub fn new(now: Instant, wait: Option<Wait>, paused: bool, jitter: Jitter) -> Self {
        Self {
            wait,
            due: Some(Due::at_once(now)),
            work: Work::Nothing,
            complete: false,
            written: None,
            files: None,
            doubtful: false,
            retries: Backoff::new(FIRST_RETRY, LONGEST_RETRY, jitter),
            paused,
        }
    }

    /// Whether its file has been written, or had the right contents.
    pub fn is_written(&self) -> bool {
        self.written.is_some()
    }

    /// When [`Self::take`] returns true, unless something else happens first.
    pub fn deadline(&self) -> Option<Instant> {
        let may = !self.paused && self.work == Work::Nothing;
        self.due.filter(|_| may).map(|due| due.at)
    }

    /// Whether the rendering is due; it is in progress from now on.
    pub fn take(&mut self, now: Instant) -> bool {
        let due = self.deadline().is_some_and(|deadline| deadline <= now);
        if let Some(Due { reason, .. }) = self.due.take_if(|_| due) {
            self.work = Work::Rendering(reason);
        }
        due
    }

    /// A value that it uses has changed, or has become known.
    pub fn on_change(&mut self, now: Instant) {
        let since = match self.due {
            Some(Due {
                reason: Reason::Change(since),
                ..
            }) => since,
            _ => now,
        };
        let at = match self.wait.filter(|_| self.complete) {
            Some(wait) => (now + wait.quiet).min(since + wait.most).max(now),
            None => now,
        };
        let reason = Reason::Change(since);
        self.due = Some(Due { at, reason });
    }

    /// It was rendered; `files` stands for the contents of the files that it read. Returns the contents to write.
    pub fn on_rendered(&mut self, now: Instant, files: Option<u64>, outcome: Outcome) -> Option<String> {
        let Work::Rendering(reason) = self.work else {
            return None;
        };
        self.work = Work::Nothing;
        match outcome {
            Outcome::Incomplete => None,
            Outcome::Failed(_) => {
                self.retry(now);
                None
            }
            Outcome::Complete(contents) => {
                let same_files = core::mem::replace(&mut self.files, files) == files;
                self.complete = true;
                let at = now + RECHECK;
                let recheck = files.map(|_| Due {
                    at,
                    reason: Reason::Recheck,
                });
                self.due = self.due.or(recheck);
                if self.paused {
                    // It is rendered again after the pause.
                    return None;
                }
                let is_new = self.written.as_ref() != Some(&contents);
                if !is_new || (reason == Reason::Recheck && same_files && self.is_written()) {
                    self.retries.reset();
                    return None;
                }
                self.work = Work::Writing(contents.clone());
                Some(contents)
            }
        }
    }

    /// The writing has ended. Returns whether the command is due.
    pub fn on_written(&mut self, now: Instant, written: &Written) -> bool {
        if !matches!(self.work, Work::Writing(_)) {
            return false;
        }
        let Work::Writing(contents) = core::mem::replace(&mut self.work, Work::Nothing) else {
            return false;
        };
        if let Written::Failed(_) = written {
            self.doubtful = true;
            self.retry(now);
            return false;
        }
        self.retries.reset();
        self.written = Some(contents);
        core::mem::take(&mut self.doubtful) || *written == Written::Changed
    }

    /// The configuration was read again: the template is rendered, and the file is compared with the result.
    pub fn refresh(&mut self, now: Instant) {
        self.written = None;
        self.due = Some(Due::at_once(now));
    }

    /// Begins no rendering until [`Self::resume`].
    pub fn pause(&mut self) {
        self.paused = true;
    }

    /// Renders again: values may have changed meanwhile.
    pub fn resume(&mut self, now: Instant) {
        self.paused = false;
        self.due = Some(Due::at_once(now));
    }

    fn retry(&mut self, now: Instant) {
        let at = now + self.retries.delay();
        let reason = Reason::Retry;
        if !matches!(
            self.due,
            Some(Due {
                reason: Reason::Change(_),
                ..
            })
        ) {
            self.due = Some(Due { at, reason });
        }
    }
}

impl Due {
    const fn at_once(now: Instant) -> Self {
        Self {
            at: now,
            reason: Reason::Change(now),
        }
    }
}

crate::keyed!(TemplateState {
    wait,
    due,
    work,
    complete,
    written,
    files,
    doubtful,
    retries,
    paused
});
crate::keyed!(Due { at, reason });
crate::keyed_as_is!(Outcome, Written);

impl Keyed for Reason {
    fn write_key(&self, key: &mut impl StateKey) {
        write_variant(self, key);
        if let Self::Change(since) = self {
            since.write_key(key);
        }
    }
}

impl Keyed for Work {
    fn write_key(&self, key: &mut impl StateKey) {
        write_variant(self, key);
        match self {
            Self::Nothing => {}
            Self::Rendering(reason) => reason.write_key(key),
            Self::Writing(contents) => contents.write_key(key),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> Instant {
        Instant::after_start(Duration::from_millis(milliseconds))
    }

    fn fresh(wait: Option<(u64, u64)>) -> TemplateState {
        let wait = wait.map(|(quiet, most)| Wait {
            quiet: Duration::from_secs(quiet),
            most: Duration::from_secs(most),
        });
        TemplateState::new(at(0), wait, false, Jitter::new(1))
    }

    fn complete(contents: &str) -> Outcome {
        Outcome::Complete(contents.into())
    }

    /// A template that was written at the start.
    fn written(wait: Option<(u64, u64)>) -> TemplateState {
        let mut state = fresh(wait);
        assert!(state.take(at(0)));
        assert_eq!(
            state.on_rendered(at(0), None, complete("a")).as_deref(),
            Some("a")
        );
        assert!(state.on_written(at(0), &Written::Changed));
        state
    }

    #[test]
    fn it_is_rendered_at_once_and_again_when_a_value_becomes_known() {
        let mut state = fresh(Some((2, 10)));
        assert!(state.take(at(0)) && !state.take(at(0)));
        assert_eq!(state.on_rendered(at(5), None, Outcome::Incomplete), None);
        assert_eq!(state.deadline(), None);
        state.on_change(at(100));
        assert_eq!(
            state.deadline(),
            Some(at(100)),
            "the first rendering does not wait"
        );
        assert!(state.take(at(100)) && !state.is_written());
    }

    #[test]
    fn the_same_contents_are_not_written_again() {
        let mut state = written(None);
        assert!(state.is_written());
        state.on_change(at(10));
        assert!(state.take(at(10)));
        assert_eq!(state.on_rendered(at(10), None, complete("a")), None);
        state.on_change(at(20));
        assert!(state.take(at(20)));
        assert_eq!(
            state.on_rendered(at(20), None, complete("b")).as_deref(),
            Some("b")
        );
        assert!(!state.on_written(at(20), &Written::Unchanged), "no command");
    }

    #[test]
    fn changes_wait_for_the_quiet_time_and_at_most_for_the_maximum() {
        let mut state = written(Some((2, 5)));
        for (change, due) in [(0, 2), (1, 3), (3, 5), (4, 5)] {
            state.on_change(at(10_000 + change * 1_000));
            assert_eq!(state.deadline(), Some(at(10_000 + due * 1_000)), "{change}");
        }
        assert!(!state.take(at(14_999)) && state.take(at(15_000)));
        state.on_change(at(15_001));
        assert_eq!(state.deadline(), None, "one rendering at a time");
        state.on_rendered(at(15_002), None, complete("a"));
        assert_eq!(state.deadline(), Some(at(17_001)));
    }

    #[test]
    fn failures_are_tried_again_and_a_change_does_not_wait_for_that() {
        let mut state = written(None);
        state.on_change(at(0));
        let mut now = at(0);
        for _ in 0..10 {
            assert!(state.take(now));
            state.on_rendered(now, None, Outcome::Failed("no".into()));
            let next = state.deadline().unwrap();
            assert!(next > now && next - now <= LONGEST_RETRY);
            now = next;
        }
        state.on_change(at(1));
        assert_eq!(
            state.deadline(),
            Some(at(1)),
            "a change does not wait for the retry"
        );
        assert!(state.take(now));
        assert!(state.on_rendered(now, None, complete("b")).is_some());
        assert!(!state.on_written(now, &Written::Failed("full".into())));
        assert!(state.take(state.deadline().unwrap()));
        assert!(
            state.on_rendered(now, None, complete("b")).is_some(),
            "it is not written yet"
        );
        assert!(
            state.on_written(now, &Written::Unchanged),
            "the writing that failed may have changed it"
        );
    }

    #[test]
    fn files_are_read_again_and_count_only_if_they_changed() {
        let mut state = fresh(None);
        state.take(at(0));
        state.on_rendered(at(0), Some(7), complete("a"));
        state.on_written(at(0), &Written::Changed);
        for (files, contents, writes) in [(7, "time passed", false), (8, "b", true)] {
            let next = state.deadline().unwrap();
            assert!(state.take(next));
            assert_eq!(
                state.on_rendered(next, Some(files), complete(contents)).is_some(),
                writes
            );
        }
    }

    #[test]
    fn in_a_pause_nothing_is_rendered_or_written() {
        let mut state = written(None);
        state.on_change(at(10));
        assert!(state.take(at(10)));
        state.pause();
        assert_eq!(state.on_rendered(at(20), None, complete("b")), None);
        assert_eq!(state.deadline(), None);
        state.resume(at(30));
        assert!(state.take(at(30)));
        assert!(state.on_rendered(at(30), None, complete("b")).is_some());
    }

    #[test]
    fn late_results_change_nothing() {
        let mut state = written(None);
        assert_eq!(state.on_rendered(at(1), None, complete("z")), None);
        assert!(!state.on_written(at(1), &Written::Changed));
    }
}
