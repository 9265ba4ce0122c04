//! Clocks that are far from zero, and a calendar clock that is set while the shim runs: timers neither fire nor wait
//! because of them. Only time stamps show the calendar (tests/architecture.rs checks who reads it).

use crate::program::{Program, in_namespaces};
use nix::sys::signal::Signal;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// A service, a task that runs often, and one that takes too long.
const CONFIG: &str = r#"{"directory": "@/catalogue", "stopTimeout": 1,
    "services": [{"name": "app", "port": 1, "interfaces": "static:192.0.2.7", "poll": 1, "ttl": 10,
                  "health": ["sh", "-c", "echo checked >> @/checks"]}],
    "tasks": [{"name": "often", "frequency": "100ms", "command": ["sh", "-c", "echo run >> @/runs"]},
              {"name": "long", "frequency": "1s", "timeout": "500ms", "command": ["sleep", "1000"]}]}"#;
/// How many runs of the task are awaited in each state of the clocks; two seconds of them.
const RUNS: usize = 20;
/// The period of the task.
const PERIOD: Duration = Duration::from_millis(100);

/// Checks that no timer fires early for a while, and that each of them fires.
fn timers_are_right(program: &Program) {
    let (runs, checks) = (program.lines("runs"), program.lines("checks"));
    let late = |log: &str| log.matches("task[long] timeout after 500ms").count();
    let (timeouts, begin) = (late(&program.stdout()), Instant::now());
    program.until_lines("runs", runs + RUNS);
    program.until_lines("checks", checks + 2);
    program.until("a time limit ends a task", |program| {
        late(&program.stdout()) > timeouts
    });
    let took = begin.elapsed();
    // At the begin and at the end a run may have begun that is not recorded yet.
    let most = |period: Duration| took.div_duration_f64(period) + 2.0;
    let seen = format!("in {took:?}");
    assert!((program.lines("runs") - runs) as f64 <= most(PERIOD), "{seen}");
    assert!(
        (program.lines("checks") - checks) as f64 <= most(10 * PERIOD),
        "{seen}"
    );
}

/// Stops the program; the application ignores SIGTERM, so `stopTimeout` has to end.
fn ends_after_its_stop_timeout(program: &mut Program) {
    let begin = Instant::now();
    program.signal(Signal::SIGTERM);
    assert_eq!(program.code(), 128 + 9);
    let took = begin.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(8),
        "{took:?}"
    );
}

const IGNORES_TERM: [&str; 3] = [
    "sh",
    "-c",
    "trap '' TERM; touch @/up; while :; do sleep 0.05; done",
];

#[test]
fn timers_are_right_however_far_the_clocks_of_a_time_namespace_are_shifted() {
    for (monotonic, boot) in [("315360000", "-60"), ("-60", "315360000")] {
        let mut program = Program::new();
        program.configure(CONFIG);
        let namespaces = [
            "--time",
            "--monotonic",
            monotonic,
            "--boottime",
            boot,
            "--fork",
            "--kill-child",
        ];
        program.spawn(&mut in_namespaces(
            &namespaces,
            &[],
            &program.command(&IGNORES_TERM),
        ));
        program.until_file("up");
        timers_are_right(&program);
        let shim = crate::processes::children(program.pid())[0];
        let begin = Instant::now();
        crate::sending::send(shim, Signal::SIGTERM);
        assert_eq!(program.code(), 128 + 9);
        assert!(begin.elapsed() >= Duration::from_secs(1));
    }
}

/// A library that the program is started with. It adds the seconds in a file, which is mapped, to a clock: to that of the
/// calendar, and to that which counts the time in which the machine is suspended.
const LIBRARY: &str = r#"
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <fcntl.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    #include <time.h>

    static volatile long *steps;

    __attribute__((constructor)) static void open_steps(void) {
        int file = open(getenv("STEPS"), O_RDONLY | O_CLOEXEC);
        void *map = mmap(0, 16, PROT_READ, MAP_SHARED, file, 0);
        steps = map == MAP_FAILED ? 0 : map;
    }

    int clock_gettime(clockid_t clock, struct timespec *time) {
        static int (*real)(clockid_t, struct timespec *);
        if (!real) real = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
        int result = real(clock, time);
        if (steps && clock == CLOCK_REALTIME) time->tv_sec += steps[0];
        if (steps && clock == CLOCK_BOOTTIME) time->tv_sec += steps[1];
        return result;
    }"#;

/// The program with a clock that can be set, for this program alone.
struct Stepped {
    program: Program,
}

/// A clock that can be set; the number is its place in the file.
#[derive(Clone, Copy)]
enum Clock {
    Calendar,
    SinceBoot,
}

impl Stepped {
    fn start() -> Self {
        let mut program = Program::new();
        program.configure(CONFIG);
        program.write("library.c", LIBRARY);
        fs::write(program.path("steps"), [0_u8; 16]).unwrap();
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .args([program.path("library.so"), program.path("library.c")])
            .arg("-ldl")
            .output()
            .expect("this test needs a C compiler");
        assert!(built.status.success(), "{built:?}");
        let mut command = program.command(&IGNORES_TERM);
        command
            .env("LD_PRELOAD", program.path("library.so"))
            .env("STEPS", program.path("steps"));
        program.spawn(&mut command);
        program.until_file("up");
        Self { program }
    }

    /// Sets one of the clocks this far from the machine's.
    fn set(&self, clock: Clock, seconds: i64) {
        // The program has mapped the file, so it has to stay the same file.
        let file = OpenOptions::new()
            .write(true)
            .open(self.program.path("steps"))
            .unwrap();
        file.write_all_at(&seconds.to_ne_bytes(), 8 * clock as u64)
            .unwrap();
    }
}

/// Whether the log reports a wake-up that came a minute late or more. A busy machine may wake the shim a little late.
fn seems_paused(log: &str) -> bool {
    let late = |line: &str| {
        line.split_once("Woken ")?
            .1
            .split_once('.')?
            .0
            .parse::<u64>()
            .ok()
    };
    log.lines().filter_map(late).any(|seconds| seconds >= 60)
}

/// The year in the newest line of the log.
fn year(program: &Program) -> i32 {
    let log = program.stdout();
    let newest = log.lines().next_back().unwrap_or_default();
    newest
        .split('/')
        .next()
        .and_then(|year| year.parse().ok())
        .unwrap_or_default()
}

#[test]
fn steps_of_the_calendar_clock_change_the_time_stamps_of_the_log_and_nothing_else() {
    const YEAR: i64 = 365 * 24 * 3600;
    let mut stepped = Stepped::start();
    timers_are_right(&stepped.program);
    let now = year(&stepped.program);
    for years in [10, -20, 0] {
        stepped.set(Clock::Calendar, i64::from(years) * YEAR);
        timers_are_right(&stepped.program);
        let seen = year(&stepped.program);
        assert!(
            (seen - now - years).abs() <= 1,
            "the log shows {seen}: this test needs a program linked dynamically"
        );
    }
    let log = stepped.program.stdout();
    assert!(
        !seems_paused(&log) && log.matches("Service registered: app").count() == 1,
        "{log}"
    );
    stepped.set(Clock::Calendar, -YEAR);
    ends_after_its_stop_timeout(&mut stepped.program);
}

/// The kernel stops the other clock, by which timers run, while a machine is suspended.
#[test]
fn after_the_machine_was_suspended_timers_go_on_and_an_expired_entry_is_made_again() {
    let mut stepped = Stepped::start();
    stepped.program.until_logged("Service registered: app");
    for hours in 1..=2 {
        stepped.set(Clock::SinceBoot, i64::from(hours) * 3600);
        timers_are_right(&stepped.program);
        let again = usize::try_from(hours).expect("a small number") + 1;
        stepped.program.until("it is registered again", |program| {
            program.stdout().matches("Service registered: app").count() == again
        });
    }
    let log = stepped.program.stdout();
    assert!(!seems_paused(&log) && !log.contains("does not pass"), "{log}");
    ends_after_its_stop_timeout(&mut stepped.program);
}
