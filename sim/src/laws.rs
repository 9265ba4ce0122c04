//! What must be true of every life, each law a function whose doc comment is its sentence.

use crate::world::State;

/// Checks all laws on a life that has ended.
///
/// # Errors
/// The law that was broken, and where.
pub fn check(trace: &[String], state: &State) -> Result<(), String> {
    exit_only_with_no_child_alive(state)?;
    application_is_stopped_after_every_service_left(trace)?;
    no_heartbeat_after_the_stop_began(trace)?;
    post_stop_only_after_the_application_is_gone(trace)
}

/// Exit only with no child of ours alive.
fn exit_only_with_no_child_alive(state: &State) -> Result<(), String> {
    let left: Vec<&str> = state
        .children
        .values()
        .map(|child| child.label.as_str())
        .collect();
    hold(left.is_empty(), || {
        format!("exit only with no child of ours alive, but {left:?} live")
    })
}

/// The application is told to stop only after every service was asked to leave.
fn application_is_stopped_after_every_service_left(trace: &[String]) -> Result<(), String> {
    let Some(stopped) = position(trace, "send 15 to APP") else {
        return Ok(());
    };
    let late = trace
        .iter()
        .skip(stopped)
        .find(|line| line.contains(" withdraw "));
    hold(late.is_none(), || {
        format!("the application is stopped after every service left, but {late:?}")
    })
}

/// After the stop began no heartbeat, registration, check or handler begins.
fn no_heartbeat_after_the_stop_began(trace: &[String]) -> Result<(), String> {
    let Some(began) = position(trace, "operator sends SIGTERM") else {
        return Ok(());
    };
    let begins = [" renew ", " register ", ".health", ".onChange"];
    let kills = |line: &String| line.contains(" send ");
    let late = trace
        .iter()
        .skip(began)
        .find(|line| !kills(line) && begins.iter().any(|word| line.contains(word)));
    hold(late.is_none(), || {
        format!("after the stop began no heartbeat begins, but {late:?}")
    })
}

/// The postStop hook runs only after the application is gone, so nothing is sent to it afterwards.
fn post_stop_only_after_the_application_is_gone(trace: &[String]) -> Result<(), String> {
    let Some(post_stop) = position(trace, "start postStop") else {
        return Ok(());
    };
    let late = trace.iter().skip(post_stop).find(|line| line.ends_with("to APP"));
    hold(late.is_none(), || {
        format!("postStop only after the application is gone, but {late:?}")
    })
}

fn position(trace: &[String], what: &str) -> Option<usize> {
    trace.iter().position(|line| line.ends_with(what))
}

fn hold(holds: bool, broken: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(broken()) }
}
