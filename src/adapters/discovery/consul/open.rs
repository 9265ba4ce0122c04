//! Counts the open connections to the agent, and waits until closed ones have ended. Used for HTTP/1.1 and HTTP/2.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use tokio::task::{AbortHandle, yield_now};

/// The longest head of an answer (docs/bounds.md)
pub const LONGEST_HEAD: usize = 64 * 1024;

/// Tasks of connections that were dropped. A socket is closed when its task has ended, which needs its turn.
#[derive(Clone, Debug, Default)]
pub struct Closing(Rc<RefCell<Vec<AbortHandle>>>);

impl Closing {
    /// Adds a task that was aborted.
    pub fn add(&self, task: &AbortHandle) {
        self.drop_ended();
        self.0.borrow_mut().push(task.clone());
    }

    /// Waits until all of them have ended.
    pub async fn ended(&self) {
        while self.drop_ended() {
            yield_now().await;
        }
    }

    /// Whether some are left.
    fn drop_ended(&self) -> bool {
        let mut tasks = self.0.borrow_mut();
        tasks.retain(|task| !task.is_finished());
        !tasks.is_empty()
    }
}

/// A connection that is open or being opened, as long as this is held.
#[derive(Debug)]
pub struct Open(Rc<Cell<usize>>);

impl Open {
    /// One more, in this count of open connections.
    pub fn new(count: &Rc<Cell<usize>>) -> Self {
        count.set(count.get() + 1);
        Self(Rc::clone(count))
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}
