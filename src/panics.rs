//! Catches panics: one line on the standard error, and a value for the caller.
//!
//! The line has the place of the panic and the fixed part of its message. The rest of the message may contain
//! data from outside, such as a token, and is left out. What follows a panic is decided elsewhere: by
//! [`crate::driver::run_to_exit`], and by each adapter for its own tasks.

use std::cell::RefCell;
use std::fmt;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, Location, PanicHookInfo, catch_unwind, set_hook};
use std::pin::pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::Poll;

/// How many characters of a panic's message are shown (docs/bounds.md).
const SHOWN: usize = 120;
/// How many panics are reported one by one; after that, only each tenth, hundredth and so on
/// (docs/bounds.md).
const REPORTED: u64 = 10;

thread_local! {
    static LAST: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// A panic that was caught: a sentence of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panicked(String);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// From now on each panic of this process, in any thread, is reported in one line.
pub fn install(report: fn(&str)) {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    set_hook(Box::new(move |panic| {
        let sentence = sentence(panic);
        LAST.set(Some(sentence.clone()));
        let count = COUNT.fetch_add(1, Ordering::Relaxed) + 1;
        if is_reported(count) {
            let number = if count > 1 {
                format!(" (fault number {count})")
            } else {
                String::new()
            };
            report(&format!("{sentence}{number}"));
        }
    }));
}

/// Runs something to its end, or to its panic. After a panic, what it worked on may be incomplete.
///
/// # Errors
/// It panicked.
pub fn caught_in<T>(work: impl FnOnce() -> T) -> Result<T, Panicked> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| last())
}

/// As [`caught_in`], for a future, which is dropped after a panic.
///
/// # Errors
/// It panicked.
pub async fn caught<F: Future>(future: F) -> Result<F::Output, Panicked> {
    let mut future = pin!(future);
    poll_fn(|context| match caught_in(|| future.as_mut().poll(context)) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(output)) => Poll::Ready(Ok(output)),
        Err(panicked) => Poll::Ready(Err(panicked)),
    })
    .await
}

/// The sentence of the last panic, if the hook is installed.
fn last() -> Panicked {
    let sentence = LAST.take();
    Panicked(sentence.unwrap_or_else(|| "a fault in the shim itself".into()))
}

/// The place of a panic, and the part of its message that may be shown.
fn sentence(panic: &PanicHookInfo<'_>) -> String {
    let payload = panic.payload();
    let message = match (payload.downcast_ref::<&str>(), payload.downcast_ref::<String>()) {
        (Some(literal), _) => literal,
        (_, Some(formatted)) => fixed_part(formatted),
        _ => "",
    };
    let place = panic
        .location()
        .map_or_else(String::new, |at| format!(" at {}", place(at)));
    format!("A fault in the shim itself{place}: {}", in_one_line(message))
}

/// The part of the message before the first value that was inserted, as far as that can be determined.
fn fixed_part(text: &str) -> &str {
    let ends = [": ", "; ", "\"", "\n", "of `"].map(|mark| text.find(mark).unwrap_or(text.len()));
    &text[..ends.into_iter().min().unwrap_or_default()]
}

fn in_one_line(text: &str) -> String {
    let shown = text.chars().take(SHOWN);
    shown
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

/// File and line; for a dependency the path inside it, independent of the machine that built it.
fn place(at: &Location<'_>) -> String {
    let file = at.file();
    let own = ["/registry/src/", "/rustc/"]
        .iter()
        .find_map(|mark| file.split_once(mark)?.1.split_once('/'));
    format!("{}:{}", own.map_or(file, |(_, path)| path), at.line())
}

fn is_reported(count: u64) -> bool {
    let power = count
        .checked_ilog10()
        .and_then(|exponent| 10_u64.checked_pow(exponent));
    count <= REPORTED || power == Some(count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::{pending, ready};
    use std::task::{Context, Waker};

    #[test]
    fn inserted_values_are_left_out_of_a_panics_message() {
        for (message, shown) in [
            (
                "called `Result::unwrap()` on an `Err` value: Token(\"s3cret\")",
                "called `Result::unwrap()` on an `Err` value",
            ),
            (
                "index out of bounds: the len is 3 but the index is 5",
                "index out of bounds",
            ),
            (
                "end byte index 2 is not a char boundary; it is inside 'é'",
                "end byte index 2 is not a char boundary",
            ),
            (
                "byte index 9 is out of bounds of `s3cret`",
                "byte index 9 is out of bounds ",
            ),
            ("attempt to add with overflow", "attempt to add with overflow"),
            ("no \"s3cret\"", "no "),
            ("", ""),
        ] {
            assert_eq!(fixed_part(message), shown);
        }
        assert_eq!(in_one_line(&"é\n".repeat(1000)).chars().count(), SHOWN);
        assert!(!in_one_line("a\nb\x1bc").contains(char::is_control));
    }

    #[test]
    fn a_future_is_caught_whenever_it_panics() {
        let poll = |future| {
            let mut future = pin!(caught(future));
            future.as_mut().poll(&mut Context::from_waker(Waker::noop()))
        };
        let boxed = |future| -> std::pin::Pin<Box<dyn Future<Output = u8>>> { future };
        assert_eq!(poll(boxed(Box::pin(ready(1)))), Poll::Ready(Ok(1)));
        assert_eq!(poll(boxed(Box::pin(pending()))), Poll::Pending);
        let panics = poll(boxed(Box::pin(async { panic!("no") })));
        assert!(matches!(panics, Poll::Ready(Err(_))));
    }

    #[test]
    fn many_panics_are_reported_at_powers_of_ten() {
        let reported: Vec<u64> = (1..=2_000).filter(|count| is_reported(*count)).collect();
        assert_eq!(reported, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 100, 1_000]);
    }
}
