//! Turns for work that must not delay the loop: logging the output of children, and rendering pages.
//!
//! There is one turn of each kind in each round of the runtime, in the order in which they were requested.
//! Before a turn begins, the runtime has looked at signals, sockets and timers, and the driver has had an
//! opportunity to handle their events. So a long work is divided into pieces, and everything else waits for
//! one piece at most. The size of a piece is decided by the code that takes the turns.

use super::inbox::InboxSender;
use std::rc::Rc;
use tokio::sync::Semaphore;
use tokio::task::yield_now;

/// The turns of one kind of work.
#[derive(Clone, Debug)]
pub struct Turns {
    one_at_a_time: Rc<Semaphore>,
    inbox_sender: InboxSender,
}

impl Turns {
    /// Turns that begin after the driver has handled the events in this inbox.
    pub fn new(inbox_sender: InboxSender) -> Self {
        Self {
            one_at_a_time: Rc::new(Semaphore::new(1)),
            inbox_sender,
        }
    }

    /// Waits for a turn, which lasts until the caller next awaits something.
    pub async fn next(&self) {
        let turn = self.one_at_a_time.acquire().await;
        yield_now().await;
        if self.inbox_sender.has_events() {
            yield_now().await;
        }
        drop(turn);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::adapters::inbox::Queue;
    use crate::ports::Inbox;
    use domain::Event;
    use domain::signal::Signal;
    use std::cell::{Cell, RefCell};
    use tokio::task::{LocalSet, spawn_local};
    use tokio::time::{Duration, timeout};

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        LocalSet::new().block_on(&runtime, future)
    }

    #[test]
    fn tasks_with_endless_work_take_turns() {
        block_on(async {
            let turns = Turns::new(Queue::new(MachineClock::start()).sender());
            let order = Rc::new(RefCell::new(Vec::new()));
            for name in 0..3 {
                let (turns, order) = (turns.clone(), Rc::clone(&order));
                spawn_local(async move {
                    loop {
                        turns.next().await;
                        order.borrow_mut().push(name);
                    }
                });
            }
            while order.borrow().len() < 30 {
                yield_now().await;
            }
            let order = order.borrow();
            assert!(
                order
                    .windows(3)
                    .all(|three| three[0] != three[1] && three[0] != three[2]),
                "{order:?}"
            );
        });
    }

    /// Waiting for a socket that is always ready does not consume the runtime's budget of a task, so an
    /// endless task never ends its turn by itself.
    #[test]
    fn endless_work_does_not_delay_a_timer_or_an_event() {
        block_on(async {
            let mut queue = Queue::new(MachineClock::start());
            let turns = Turns::new(queue.sender());
            let done = Rc::new(Cell::new(0_u64));
            let (count, inbox_sender) = (Rc::clone(&done), queue.sender());
            spawn_local(async move {
                loop {
                    turns.next().await;
                    count.set(count.get() + 1);
                    if count.get() == 10 {
                        inbox_sender.post(Event::Signal(Signal::TERM));
                    }
                }
            });
            assert_eq!(queue.next(None).await, Event::Signal(Signal::TERM));
            assert_eq!(done.get(), 10, "the event comes before the next turn");
            let never = std::future::pending::<()>();
            assert!(timeout(Duration::from_millis(20), never).await.is_err());
            assert!(done.get() > 10);
        });
    }
}
