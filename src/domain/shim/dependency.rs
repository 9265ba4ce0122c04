//! The unit of one dependency: what templates read from the catalogue under one name.
//!
//! It asks the catalogue at once and then waits there for changes, as the watch of a backend does. Several templates that
//! use the same name share one unit, which the last of them to stop using it closes.

use super::backend::MOST_LISTED;
use super::id::UnitId;
use super::outbox::{Outbox, Reply};
use super::unit::Unit;
use crate::catalogue::{Answer, Data, Dependency, Found, LookUp, Request};
use crate::event::Ticket;
use crate::failures::Failures;
use crate::notice::Notice;
use crate::notice::templates::TemplateNotice;
use crate::plan::REQUEST_LIMIT;
use crate::process::Ending;
use crate::time::{Duration, Instant, Jitter};
use crate::watch::{NextQuery, Watch};
use alloc::format;
use alloc::string::String;

/// The longest time between two requests for one dependency (docs/bounds.md).
const POLL: Duration = Duration::from_secs(10);

/// One name that templates use.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct DependencyUnit {
    pub dependency: Dependency,
    id: UnitId,
    watch: Watch,
    data: Option<Data>,
    /// Whether the data have changed since [`Self::take_change`] was last called.
    changed: bool,
    failures: Failures,
    filtered: bool,
}

impl DependencyUnit {
    pub fn new(
        now: Instant,
        id: UnitId,
        dependency: &Dependency,
        paused: bool,
        jitter: Jitter,
        out: &mut Outbox,
    ) -> Self {
        if !paused {
            out.requests().enter(id);
        }
        Self {
            dependency: dependency.clone(),
            id,
            watch: Watch::at_once(now, POLL, paused, jitter),
            data: None,
            changed: false,
            failures: Failures::default(),
            filtered: false,
        }
    }

    /// What is known.
    pub fn data(&self) -> Option<&Data> {
        self.data.as_ref()
    }

    /// Whether the data have changed since the last call.
    pub fn take_change(&mut self) -> bool {
        core::mem::take(&mut self.changed)
    }

    /// Another catalogue: the request to the old one is cancelled, the data stay until the new one has answered.
    pub fn change_catalogue(&mut self, now: Instant, paused: bool, out: &mut Outbox) {
        out.cancel(self.id);
        if !paused {
            self.watch = self.watch.restarted(now);
        }
    }

    fn ask(&mut self, now: Instant, next: NextQuery, out: &mut Outbox) {
        let look_up = LookUp {
            dependency: self.dependency.clone(),
            after: next.after,
            wait: next.wait,
        };
        // Consul adds up to a sixteenth to the wait that is requested.
        let wait = next.wait.saturating_add(next.wait / 16);
        let limit = wait.saturating_add(REQUEST_LIMIT);
        out.request(now, self.id, Request::LookUp(look_up), limit, REQUEST_LIMIT);
    }

    fn on_found(&mut self, now: Instant, found: Found, out: &mut Outbox) {
        let blocked = self.watch.is_blocking();
        if let Some(failures) = self.failures.end() {
            let dependency = self.dependency.clone();
            out.log(Notice::Template(TemplateNotice::LookUpResumed {
                dependency,
                failures,
            }));
        }
        let hidden = found.filtered && found.data.is_empty();
        if core::mem::replace(&mut self.filtered, hidden) != hidden && hidden {
            out.log(Notice::Template(TemplateNotice::Hidden(self.dependency.clone())));
        }
        let data = found.data.sorted();
        let changed = !hidden && self.data.as_ref() != Some(&data);
        self.watch.on_data(now, changed, data.size(), found.cursor);
        out.requests().answered(self.id, blocked, changed);
        if changed {
            self.data = Some(data);
            self.changed = true;
        }
    }

    fn on_failure(&mut self, now: Instant, cause: String, out: &mut Outbox) {
        out.requests().failed(self.id);
        self.watch.on_failure(now);
        let failure = self.failures.add(cause);
        let dependency = self.dependency.clone();
        out.log(Notice::Template(TemplateNotice::LookUpFailed {
            dependency,
            failure,
        }));
    }
}

impl Unit for DependencyUnit {
    fn deadline(&self) -> Option<Instant> {
        self.watch.deadline()
    }

    fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        let may_block = out.requests().may_block(self.id);
        if let Some(next) = self.watch.on_time(now, may_block) {
            self.ask(now, next, out);
        }
    }

    fn after_standstill(&mut self, _now: Instant) {}

    /// A value that is too large beside all others counts as a failure.
    fn on_reply(&mut self, now: Instant, reply: Reply, listed: usize, out: &mut Outbox) {
        self.watch.on_sent(reply.sent.unwrap_or(now));
        let others = listed - self.watch.size();
        match reply.answer {
            Answer::Found(found) if others + found.data.size() > MOST_LISTED => {
                let most = MOST_LISTED / 1024 / 1024;
                let cause = format!("the lists of all backends together would take more than {most} MiB");
                self.on_failure(now, cause, out);
            }
            Answer::Found(found) => self.on_found(now, found, out),
            Answer::Failed(cause) | Answer::Busy(cause) | Answer::Unknown(cause, _) => {
                self.on_failure(now, cause, out);
            }
            Answer::Done | Answer::Removed | Answer::Holder(_) | Answer::Instances(_) => {
                self.on_failure(now, "the catalogue gave another answer".into(), out);
            }
        }
    }

    fn let_block(&mut self, now: Instant) {
        self.watch.let_block(now);
    }

    fn stop_blocking(&mut self, out: &mut Outbox) {
        let was_sent = !out.requests().is_waiting(self.id);
        if self.watch.stop_blocking(was_sent) {
            out.cancel(self.id);
        }
    }

    fn on_ended(&mut self, _: Instant, _: Ticket, _: &Ending, _: bool, _: &mut Outbox) {}

    /// Sends no request until [`Self::resume`].
    fn pause(&mut self, _now: Instant, out: &mut Outbox) {
        self.watch.pause();
        out.cancel(self.id);
        out.requests().leave(self.id);
    }

    fn resume(&mut self, now: Instant, out: &mut Outbox) {
        self.watch = self.watch.restarted(now);
        out.requests().enter(self.id);
    }

    /// Sends no more requests.
    fn close(&mut self, now: Instant, out: &mut Outbox) {
        self.pause(now, out);
    }

    /// Templates decide when it is dropped.
    fn is_closing(&self) -> bool {
        false
    }

    fn delays_plan(&self) -> bool {
        false
    }

    fn listed(&self) -> usize {
        self.watch.size()
    }
}

crate::keyed!(DependencyUnit { dependency, id, watch, data, changed, filtered } without { failures });
