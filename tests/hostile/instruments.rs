//! Tests of the measurements themselves: without load all bounds hold, and a program that is stopped is detected.

use crate::observed::{Hostile, Observed};
use crate::slowness;
use nix::sys::signal::Signal;
use std::thread::sleep;
use std::time::Duration;

#[test]
fn without_any_load_all_bounds_hold() {
    for as_pid_1 in [false, true] {
        let observed = Observed::start(&Hostile {
            as_pid_1,
            ..Hostile::default()
        });
        observed.until_starts(4);
        assert!(observed.lateness(3) < Duration::from_millis(100) * slowness());
        let (status, took) = observed.get("/status");
        assert_eq!(status.map(|status| status.status), Some(200));
        assert!(took < Duration::from_millis(100) * slowness(), "{took:?}");
        assert!(observed.peak_memory() < 32 << 20, "{}", observed.peak_memory());
        assert!(observed.threads() <= 2, "{}", observed.threads());
        assert!(observed.descriptors() < 32, "{}", observed.descriptors());
        assert!(observed.processor_time() < Duration::from_secs(1) * slowness());
        let took = observed.terminate();
        assert!(took < Duration::from_secs(1) * slowness(), "{took:?}");
    }
}

#[test]
fn the_instruments_detect_a_program_that_is_stopped() {
    let observed = Observed::start(&Hostile::default());
    observed.until_starts(2);
    observed.program.signal(Signal::SIGSTOP);
    // This does not wait for a fact: the delay itself is what the measurement has to detect.
    sleep(Duration::from_millis(1500));
    observed.program.signal(Signal::SIGCONT);
    observed.until_starts(1);
    assert!(
        observed.lateness(2) >= Duration::from_millis(400),
        "{:?}",
        observed.lateness(2)
    );
}
