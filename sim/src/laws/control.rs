//! Laws of the requests of clients and their answers.

use super::observer::{ClientRequest, Observer};
use super::{Verdict, hold};
use crate::trace::{EntryKind, TraceEntry};
use domain::Effect;
use domain::control::{ControlAnswer, ControlRequest, Obstacle};

/// Every request is answered once at the most, and before the exit.
pub(super) fn every_request_is_answered_once(observer: &Observer, entry: &TraceEntry) -> Verdict {
    match &entry.kind {
        EntryKind::Effect(Effect::Answer(number, _)) => {
            hold(observer.clients.contains_key(number), || format!("{entry}"))
        }
        EntryKind::Effect(Effect::Exit(_)) => hold(observer.clients.is_empty(), || {
            format!("{:?} have no answer", observer.clients)
        }),
        _ => Ok(()),
    }
}

/// Every answer is true: a reload was judged so by a reading that began after the request, maintenance is what was
/// requested and its deregistrations are over, and a request without effect had none.
pub(super) fn every_answer_is_true(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Effect(Effect::Answer(number, answer)) = &entry.kind else {
        return Ok(());
    };
    let Some(ClientRequest { request, read, .. }) = observer.clients.get(number) else {
        return Ok(());
    };
    let is_true = match (request, answer) {
        (ControlRequest::Status, ControlAnswer::Status(_)) | (ControlRequest::Ping, ControlAnswer::Done) => {
            true
        }
        (ControlRequest::Reload, ControlAnswer::Done) => *read == Some(true),
        (ControlRequest::Reload, ControlAnswer::Refused(_)) => *read == Some(false),
        (ControlRequest::Maintenance(on), ControlAnswer::Done) => {
            *on == observer.maintenance && (!on || observer.all_deregistered())
        }
        (ControlRequest::Maintenance(on), ControlAnswer::Ineffective(Obstacle::Superseded)) => {
            *on != observer.maintenance
        }
        (_, ControlAnswer::Ineffective(Obstacle::Stopping)) => observer.is_stopping(),
        _ => false,
    };
    hold(is_true, || format!("{entry} to {request:?}"))
}

/// A request waits for its answer only as long as what it waits for is not over.
pub(super) fn answers_come_without_delay(observer: &Observer, entry: &TraceEntry) -> Verdict {
    let EntryKind::Wait(_) = &entry.kind else {
        return Ok(());
    };
    let waits = |client: &ClientRequest| match client.request {
        _ if observer.is_stopping() => false,
        ControlRequest::Status | ControlRequest::Ping => false,
        ControlRequest::Reload => client.read.is_none() && observer.loading.is_some(),
        ControlRequest::Maintenance(on) => on && observer.maintenance && !observer.all_deregistered(),
    };
    let late = observer.clients.values().find(|client| !waits(client));
    hold(late.is_none(), || format!("{late:?} has no answer"))
}
