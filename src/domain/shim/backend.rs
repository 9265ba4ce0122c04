//! The unit of one backend: its watch and its handler.
//!
//! Changes that come while the handler runs, or in maintenance, collapse into one more run; [`Delay`] decides how long a
//! change waits. A handler that cannot be started is tried again until it runs, so that no change is lost.

use super::id::UnitId;
use super::outbox::{Outbox, Reply};
use super::runner::JobRunner;
use super::unit::Unit;
use crate::catalogue::{Answer, Instance, Listing, Query, Request, Skipped};
use crate::causes::{Causes, shortened};
use crate::changes::{self, Changes};
use crate::delay::Delay;
use crate::event::Ticket;
use crate::failures::Failures;
use crate::health_service::json;
use crate::measurement::{Measurement, WatchedBackend};
use crate::notice::Notice;
use crate::plan::{Backend, REQUEST_LIMIT};
use crate::process::Ending;
use crate::status::BackendStatus;
use crate::time::{Backoff, Duration, Instant, Jitter, earliest};
use crate::watch::{self, NextQuery, Watch};
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// The first wait before a handler that could not be started is started again, and the longest.
const RETRY_DELAYS: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(10));

/// The most bytes that the lists of all backends take together (docs/bounds.md)
pub(super) const MOST_LISTED: usize = 32 * 1024 * 1024;

/// One backend of the plan.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct BackendUnit {
    pub backend: Backend,
    id: UnitId,
    watch: Watch,
    handler: JobRunner,
    /// The changes that wait for the handler.
    delay: Delay,
    /// Whether it was logged that they wait for more instances.
    held_back: bool,
    /// The list with all details, if the handler reads it.
    detailed: Vec<Instance>,
    /// What the handler has handled.
    changes: Changes,
    /// Whether a list was too long for a variable, which was logged.
    left_out: bool,
    /// The waits between attempts to start the handler, and when the next one is due.
    retries: Backoff,
    retry_at: Option<Instant>,
    paused: bool,
    superseded: bool,
    changed: Option<Instant>,
    failures: Failures,
    filtered: bool,
    skipped: Causes,
}

impl BackendUnit {
    pub fn new(
        now: Instant,
        id: UnitId,
        backend: &Backend,
        paused: bool,
        mut jitter: Jitter,
        out: &mut Outbox,
    ) -> Self {
        if !paused {
            out.requests().enter(id);
        }
        Self {
            backend: backend.clone(),
            id,
            watch: Watch::new(now, backend.poll, paused, jitter.split()),
            handler: JobRunner::new(now, id, &backend.on_change, jitter),
            retries: Backoff::new(RETRY_DELAYS.0, RETRY_DELAYS.1, jitter.split()),
            delay: Delay::new(backend.timing, jitter.split()),
            held_back: false,
            detailed: Vec::new(),
            changes: Changes::default(),
            left_out: false,
            retry_at: None,
            paused,
            superseded: false,
            changed: None,
            failures: Failures::default(),
            filtered: false,
            skipped: Causes::default(),
        }
    }

    /// A reload replaces the handler. One that runs is killed, and the new one runs in its place.
    pub fn supersede(&mut self, out: &mut Outbox) {
        self.superseded = true;
        if self.handler.is_running() {
            self.delay.run_again(self.watch.seen().len());
        }
        self.handler.end(out);
    }

    /// The backend has another definition in the new plan.
    pub fn adopt(&mut self, now: Instant, backend: &Backend, jitter: Jitter, out: &mut Outbox) {
        if self.backend.poll != backend.poll {
            self.watch.retime(now, backend.poll);
            out.cancel(self.id);
        }
        if self.superseded || self.backend.on_change != backend.on_change {
            self.supersede(out);
            self.superseded = false;
            if let Some(ticket) = self.handler.ticket() {
                out.detach(ticket);
            }
            self.handler = JobRunner::new(now, self.id, &backend.on_change, jitter);
            self.changes = Changes::default();
            self.retry_at = None;
        }
        self.backend = backend.clone();
        self.delay.retime(now, backend.timing, self.watch.seen().len());
        self.start_handler_if_due(now, out);
    }

    /// Another catalogue: the request to the old one is cancelled, the instances that were seen are kept.
    pub fn change_catalogue(&mut self, now: Instant, out: &mut Outbox) {
        out.cancel(self.id);
        if !self.paused {
            self.watch.resume(now);
        }
    }

    pub fn status(&self, out: &Outbox) -> BackendStatus {
        BackendStatus {
            backend: self.watched(),
            instances: self.watch.seen().to_vec(),
            changed: self.changed,
            failures: self.failures.count(),
            handler: self.handler.status(out),
        }
    }

    fn watched(&self) -> WatchedBackend {
        WatchedBackend {
            name: self.backend.name.clone(),
            tag: self.backend.shown_tag(),
        }
    }

    fn query(&mut self, now: Instant, next: NextQuery, out: &mut Outbox) {
        let query = Query {
            service: self.backend.name.clone(),
            tag: self.backend.tag.clone(),
            filter: self.backend.filter.clone(),
            details: self.backend.json,
            after: next.after,
            wait: next.wait,
        };
        // Consul adds up to a sixteenth to the wait that is requested.
        let wait = next.wait.saturating_add(next.wait / 16);
        let limit = wait.saturating_add(REQUEST_LIMIT.min(self.backend.poll));
        let request = Request::Instances(query);
        out.request(now, self.id, request, limit, REQUEST_LIMIT);
    }

    /// Measures again what it has seen: telemetry may be new.
    pub fn announce(&self, out: &mut Outbox) {
        let (backend, instances) = (self.watched(), self.watch.seen().len());
        if instances > 0 {
            out.measure(Measurement::Seen { backend, instances });
        }
    }

    fn on_instances(&mut self, now: Instant, mut listing: Listing, out: &mut Outbox) {
        let instances = listing.instances.len();
        let blocked = self.watch.is_blocking();
        self.log_recovery(out);
        self.log_filtered(&listing, out);
        self.log_skipped(&listing.skipped, out);
        if listing.filtered && instances == 0 {
            out.requests().answered(self.id, blocked, false);
            return self.watch.on_hidden(now, listing.cursor);
        }
        out.measure(Measurement::Seen {
            backend: self.watched(),
            instances,
        });
        let last = self.watch.on_instances(now, &listing.instances, listing.cursor);
        if self.backend.json {
            self.detailed = core::mem::take(&mut listing.instances);
        }
        out.requests().answered(self.id, blocked, last.is_some());
        if let Some(last) = last {
            let backend = self.backend.name.clone();
            let difference = changes::difference(&last, self.watch.seen());
            out.log(Notice::Changed {
                backend,
                instances,
                difference,
            });
            self.changed = Some(now);
            self.delay.on_change(now, instances);
            self.start_handler_if_due(now, out);
        }
    }

    /// Runs the handler for the changes that wait for it, if it may run.
    fn start_handler_if_due(&mut self, now: Instant, out: &mut Outbox) {
        self.log_held_back(out);
        let due = self.retry_at.is_none_or(|at| at <= now);
        if due && self.may_start_handler() {
            self.delay.take();
            self.retry_at = None;
            self.start_handler(now, out);
        }
    }

    /// Starts the handler with the instances, and with what was added and removed.
    fn start_handler(&mut self, now: Instant, out: &mut Outbox) {
        let instances = self.watch.seen();
        let lists = self.changes.lists(instances);
        let (variables, mut left_out) = changes::variables(&self.backend.name, &lists);
        let json = self
            .backend
            .json
            .then(|| json(&self.backend.name, &self.detailed));
        if json == Some(None) {
            left_out = Some("the list on its standard input");
        }
        self.changes.start(instances);
        let was_left_out = core::mem::replace(&mut self.left_out, left_out.is_some());
        if let Some(variable) = left_out.filter(|_| !was_left_out) {
            let backend = self.backend.name.clone();
            out.log(Notice::ListLeftOut {
                backend,
                what: variable,
            });
        }
        self.handler.start_reading(now, variables, json.flatten(), out);
    }

    /// Whether changes wait for the handler, and it may run.
    fn may_start_handler(&self) -> bool {
        self.delay.is_due() && !self.paused && !self.superseded && !self.handler.is_running()
    }

    /// The handler could not be started, so the changes still wait for it.
    fn try_again_later(&mut self, now: Instant, out: &mut Outbox) {
        let delay = self.retries.delay();
        self.delay.run_again(self.watch.seen().len());
        self.retry_at = Some(now + delay);
        if self.retries.failures() == 1 && self.may_start_handler() {
            out.log(Notice::StartRetried(self.handler.job.role.clone(), delay));
        }
    }

    fn on_failure(&mut self, now: Instant, cause: String, out: &mut Outbox) {
        out.requests().failed(self.id);
        self.watch.on_failure(now);
        let failure = self.failures.add(cause);
        let backend = self.backend.name.clone();
        out.log(Notice::QueryFailed { backend, failure });
    }

    /// Reported once until there are enough instances again.
    fn log_held_back(&mut self, out: &mut Outbox) {
        let minimum = self.delay.held_back();
        let was_held_back = core::mem::replace(&mut self.held_back, minimum.is_some());
        if let Some(minimum) = minimum.filter(|_| !was_held_back) {
            let (backend, instances) = (self.backend.name.clone(), self.watch.seen().len());
            out.log(Notice::HeldBack {
                backend,
                instances,
                minimum,
            });
        }
    }

    fn log_filtered(&mut self, listing: &Listing, out: &mut Outbox) {
        if core::mem::replace(&mut self.filtered, listing.filtered) == listing.filtered {
            return;
        }
        let backend = self.backend.name.clone();
        out.log(if listing.filtered {
            let instances = listing.instances.len();
            Notice::Filtered { backend, instances }
        } else {
            Notice::NoLongerFiltered(backend)
        });
    }

    fn log_skipped(&mut self, skipped: &Skipped, out: &mut Outbox) {
        if skipped.count == 0 {
            return self.skipped.clear();
        }
        let (backend, count) = (self.backend.name.clone(), skipped.count);
        let content = format!("{count} {}", skipped.example);
        if self.skipped.is_new(&content) {
            let example = shortened(&skipped.example);
            out.log(Notice::Skipped {
                backend,
                count,
                example,
            });
        }
    }

    fn log_recovery(&mut self, out: &mut Outbox) {
        if let Some(failures) = self.failures.end() {
            let backend = self.backend.name.clone();
            out.log(Notice::QueryResumed { backend, failures });
        }
    }
}

impl Unit for BackendUnit {
    fn deadline(&self) -> Option<Instant> {
        let retry_at = self.retry_at.filter(|_| self.may_start_handler());
        let handler = earliest(self.handler.deadline(), self.delay.deadline());
        earliest(earliest(self.watch.deadline(), handler), retry_at)
    }

    fn on_time(&mut self, now: Instant, out: &mut Outbox) {
        let may_block = out.requests().may_block(self.id);
        if let Some(next) = self.watch.on_time(now, may_block) {
            self.query(now, next, out);
        }
        self.handler.on_time(now, out);
        self.delay.on_time(now);
        self.start_handler_if_due(now, out);
    }

    fn after_standstill(&mut self, now: Instant) {
        self.handler.after_standstill(now);
    }

    /// A list that is too large beside those of the other backends counts as a failure.
    fn on_reply(&mut self, now: Instant, reply: Reply, listed: usize, out: &mut Outbox) {
        self.watch.on_sent(reply.sent.unwrap_or(now));
        let others = listed - self.listed();
        match reply.answer {
            Answer::Instances(listing)
                if others + watch::size(&listing.instances) + watch::detailed_size(&listing.instances)
                    > MOST_LISTED =>
            {
                let most = MOST_LISTED / 1024 / 1024;
                let cause = format!("the lists of all backends together would take more than {most} MiB");
                self.on_failure(now, cause, out);
            }
            Answer::Instances(listing) => self.on_instances(now, listing, out),
            Answer::Failed(cause) | Answer::Busy(cause) | Answer::Unknown(cause, _) => {
                self.on_failure(now, cause, out)
            }
            Answer::Done | Answer::Removed | Answer::Found(_) | Answer::Holder(_) => {
                self.on_failure(now, "the catalogue gave no list".into(), out)
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

    fn on_ended(
        &mut self,
        now: Instant,
        _ticket: Ticket,
        ending: &Ending,
        _outlived: bool,
        out: &mut Outbox,
    ) {
        self.handler.on_ended(now, ending, false, out);
        self.changes.end(ending.passed());
        match ending {
            Ending::NotStarted(_) => self.try_again_later(now, out),
            Ending::Exited(_) | Ending::Probed(_) => self.retries.reset(),
        }
        self.start_handler_if_due(now, out);
    }

    /// Sends no request and starts no handler until [`Self::resume`]; a handler that runs may finish.
    fn pause(&mut self, _now: Instant, out: &mut Outbox) {
        self.paused = true;
        self.watch.pause();
        out.cancel(self.id);
        out.requests().leave(self.id);
    }

    fn resume(&mut self, now: Instant, out: &mut Outbox) {
        self.paused = false;
        self.watch.resume(now);
        out.requests().enter(self.id);
        self.start_handler_if_due(now, out);
    }

    /// Sends no more requests, and kills a handler that runs (LC-5).
    fn close(&mut self, now: Instant, out: &mut Outbox) {
        self.pause(now, out);
        self.handler.end(out);
    }

    /// Another plan closes a backend or gives it another handler, but never drops one that is closing.
    fn is_closing(&self) -> bool {
        false
    }

    fn delays_plan(&self) -> bool {
        self.superseded && self.handler.is_running()
    }

    fn listed(&self) -> usize {
        self.watch.size() + watch::detailed_size(&self.detailed)
    }
}

crate::keyed!(BackendUnit { backend, id, watch, handler, delay, detailed, changes, retries, retry_at, paused, superseded, filtered }
    without { changed, failures, skipped, held_back, left_out });
