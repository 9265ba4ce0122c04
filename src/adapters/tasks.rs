//! Tasks on the loop's thread.
//!
//! The runtime's code for a task exists once for each type of future. The futures of all tasks have one type here, so that
//! the program has it once for each result.

use std::pin::Pin;
use tokio::task::JoinHandle;

/// Begins a task. Must be called on a tokio `LocalSet`.
pub fn spawn_local<T: 'static>(future: impl Future<Output = T> + 'static) -> JoinHandle<T> {
    let future: Pin<Box<dyn Future<Output = T>>> = Box::pin(future);
    tokio::task::spawn_local(future)
}
