//! The idle connections of a pool: they are closed after a while, also if no request comes.

use crate::adapters::tasks::spawn_local;
use crate::adapters::timers::sleep;
use domain::time::Duration;
use std::cell::Cell;
use std::rc::Rc;

/// How long a connection without requests is kept (docs/bounds.md)
pub(super) const IDLE: Duration = Duration::from_secs(30);

/// Connections that are kept for further requests.
pub(super) trait Idle {
    /// Closes those that were idle for [`IDLE`], and returns whether any are left.
    fn close_old(&self) -> bool;

    /// Whether a task looks after them.
    fn is_tended(&self) -> &Cell<bool>;
}

/// Closes connections that were idle for long, as long as there are any. There is one task for it at a time.
pub(super) fn tend(pool: &Rc<impl Idle + 'static>) {
    if pool.is_tended().replace(true) {
        return;
    }
    let pool = Rc::downgrade(pool);
    spawn_local(async move {
        loop {
            sleep(IDLE).await;
            let Some(pool) = pool.upgrade() else { return };
            if !pool.close_old() {
                pool.is_tended().set(false);
                return;
            }
        }
    });
}
