//! The requests of clients (docs/control.md): what they change, and when they are answered.
//!
//! A reload and maintenance are those of SIGHUP and SIGUSR1; here they have an answer.

use super::Shim;
use super::service::ServiceUnit;
use super::unit::Unit;
use crate::control::{Awaited, ControlAnswer, ControlRequest, Obstacle, RequestNumber};
use crate::effect::Effect;
use crate::event::Loaded;
use crate::notice::{Notice, Server};
use crate::plan::ControlSocket;
use crate::time::Instant;
use alloc::boxed::Box;

impl Shim {
    pub(super) fn on_request(&mut self, now: Instant, number: RequestNumber, request: ControlRequest) {
        match request {
            ControlRequest::Status => {
                let status = Box::new(self.status(now));
                self.answer(number, ControlAnswer::Status(status));
            }
            ControlRequest::Ping => self.answer(number, ControlAnswer::Done),
            _ if !self.lifecycle.takes_configuration() => {
                self.answer(number, ControlAnswer::Ineffective(Obstacle::Stopping));
            }
            _ if self.waiting.is_full() => {
                self.answer(number, ControlAnswer::Ineffective(Obstacle::TooMany));
            }
            ControlRequest::Reload => {
                let awaited = match self.out.is_loading() {
                    true => Awaited::NextReading,
                    false => Awaited::Reading,
                };
                self.waiting.add(number, awaited);
                self.out.load();
            }
            ControlRequest::Maintenance(on) => {
                if on != self.maintenance {
                    self.toggle_maintenance(now);
                }
                self.waiting.add(number, Awaited::Maintenance(on));
            }
        }
    }

    /// The configuration was read: answers the requests that waited for it.
    pub(super) fn answer_reloads(&mut self, loaded: &Loaded) {
        for number in self.waiting.on_read() {
            let answer = match loaded {
                Loaded::Plan { .. } => ControlAnswer::Done,
                Loaded::Refused(report) => ControlAnswer::Refused(report.clone()),
            };
            self.answer(number, answer);
        }
    }

    /// Answers the requests whose wait is over. Called at the end of each step.
    pub(super) fn answer_waiting(&mut self) {
        let (stops, maintenance) = (!self.lifecycle.takes_configuration(), self.maintenance);
        let units = &self.units;
        let answer = |awaited| match awaited {
            _ if stops => Some(ControlAnswer::Ineffective(Obstacle::Stopping)),
            Awaited::Maintenance(on) if on != maintenance => {
                Some(ControlAnswer::Ineffective(Obstacle::Superseded))
            }
            Awaited::Maintenance(on) => {
                let is_done = !on || units.services().all(ServiceUnit::has_deregistered);
                is_done.then_some(ControlAnswer::Done)
            }
            Awaited::Reading | Awaited::NextReading => None,
        };
        for (number, answer) in self.waiting.take_answered(answer) {
            self.answer(number, answer);
        }
    }

    /// The socket of the plan in force takes requests from now on. `before` is the one that did until now.
    pub(super) fn listen(&mut self, before: Option<&ControlSocket>) {
        let socket = self.plan.control.clone();
        if socket.as_ref() == before {
            return;
        }
        self.out.push(Effect::Listen(socket.clone()));
        if let Some(ControlSocket { path, .. }) = socket {
            self.out.log(Notice::Listening(Server::Control(path)));
        }
    }

    fn answer(&mut self, number: RequestNumber, answer: ControlAnswer) {
        self.out.push(Effect::Answer(number, answer));
    }
}
