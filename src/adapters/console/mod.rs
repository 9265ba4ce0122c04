//! The shim's own log: notices and the output of hooks, in the original's three formats.
//!
//! Each notice is a `tracing` event ([`events`]), is formatted in [`format`] and written by a [`sink`], one
//! for each stream. The lines of children, which may be many, make no event. If a reader of the log stops
//! reading or closes its end, the shim is not affected: no function here waits, uses unbounded memory, or
//! fails. The only message that the log itself adds is the number of entries that were lost.

mod events;
mod format;
mod lines;
mod sink;
mod writer;

pub use lines::{LONGEST, Lines};

use super::clock::{self, MachineClock};
use crate::ports::{self, Clock};
use chrono::{DateTime, FixedOffset};
use domain::plan::{Level, LogFormat, LogOutput, Logging, Role};
use domain::time::Duration;
use domain::{Instant, Notice};
use events::{Events, LogRecord};
use format::{LogEntry, Stamp, render};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::write;
use sink::Sink;
use std::fmt;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How long a fatal error waits for a slow reader of its message.
const LAST_LINE_LIMIT: Duration = Duration::from_secs(1);

/// The log on the shim's standard output or standard error.
#[derive(Clone)]
pub struct Console {
    log: Arc<Mutex<Log>>,
}

impl Console {
    /// A log on the streams of this process. Until it is configured, it writes [`Level::Info`] in the default
    /// format to the standard output.
    ///
    /// # Errors
    ///
    /// No more file descriptors are available.
    pub fn open() -> io::Result<Self> {
        let stdout = io::stdout().as_fd().try_clone_to_owned()?;
        let stderr = io::stderr().as_fd().try_clone_to_owned()?;
        Ok(Self::on(stdout, stderr, clock::calendar))
    }

    /// A log whose output is discarded.
    #[cfg(test)]
    pub fn discarding() -> Self {
        let null = || std::fs::File::create("/dev/null").unwrap().into();
        Self::on(null(), null(), clock::calendar)
    }

    fn on(stdout: OwnedFd, stderr: OwnedFd, calendar: fn() -> DateTime<FixedOffset>) -> Self {
        let log = Log {
            logging: Logging::default(),
            calendar,
            stamp: Stamp::new(calendar()),
            stdout: Sink::new(stdout),
            stderr: Sink::new(stderr),
        };
        Self {
            log: Arc::new(Mutex::new(log)),
        }
    }

    /// Receives all events of the program from now on. Only the first call in a process has an effect.
    pub fn install(&self) {
        let _ = tracing::subscriber::set_global_default(Events(self.clone()));
    }

    /// Starts tasks that write stored entries when a slow reader continues to read; without them, entries are
    /// written together with the next one. Must be called inside a runtime with input and output.
    pub fn watch_readers(&self) {
        for output in [LogOutput::Stdout, LogOutput::Stderr] {
            let console = self.clone();
            let watcher = self.lock().sink(output).watcher();
            tokio::spawn(watcher.run(move || console.lock().drain(output)));
        }
    }

    /// Logs lines of a child's output. `write` passes them to its argument one by one; they are written when it
    /// returns.
    pub fn lines(&self, origin: &Origin, write: impl FnOnce(&mut dyn FnMut(&[u8]))) {
        self.lock().lines(origin, write);
    }

    /// At the end of the program, writes stored entries until readers have taken them, for `limit` at most.
    pub fn flush(&self, limit: Duration) {
        let clock = MachineClock::start();
        let until = clock.now() + limit;
        for output in [LogOutput::Stdout, LogOutput::Stderr] {
            self.lock().flush(output, &clock, until);
        }
    }

    /// The log. Only one thread uses it, and no code panics while it holds the lock.
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Console {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Console").finish_non_exhaustive()
    }
}

impl ports::Console for Console {
    /// What is below the level is not even written out: two of three notices are details of a run.
    fn log(&mut self, notice: &Notice) {
        let level = notice.level();
        if self.lock().enabled(level) {
            events::emit(level, notice.to_string().as_bytes(), &notice.fields());
        }
    }

    fn configure(&mut self, logging: Logging) {
        self.lock().logging = logging;
    }
}

impl events::Log for Console {
    fn enabled(&self, level: Level) -> bool {
        self.lock().enabled(level)
    }

    fn log(&self, level: Level, record: &LogRecord) {
        self.lock().write(level, record);
    }
}

/// The origin of a child's lines: its name, and the fields of its job, sorted by name (EX-12).
#[derive(Clone, Debug)]
pub struct Origin {
    name: String,
    fields: Vec<(&'static str, String)>,
    is_check: bool,
}

impl Origin {
    /// The output of jobs of this role.
    pub fn of(role: &Role) -> Self {
        let fields = role.fields().into_iter();
        Self {
            name: role.to_string(),
            fields: fields.map(|(name, value)| (name, value.to_owned())).collect(),
            is_check: matches!(role, Role::Health { .. }),
        }
    }
}

/// Writes the reason why the program does not start to the standard error, whatever the configuration
/// (CLI-5).
pub fn fatal(message: &str) {
    on_stderr(message, LAST_LINE_LIMIT);
}

/// Writes a fault of the program itself to the standard error, without waiting, because the program
/// continues.
pub fn fault(message: &str) {
    on_stderr(message, Duration::ZERO);
}

fn on_stderr(message: &str, limit: Duration) {
    match io::stderr().as_fd().try_clone_to_owned() {
        Ok(stderr) => last_line(stderr, clock::calendar(), message, limit),
        Err(_no_descriptor) => last_line_without_descriptor(message, limit),
    }
}

/// The same if no file descriptor is available: writes what a pipe or terminal accepts at once.
fn last_line_without_descriptor(message: &str, limit: Duration) {
    let stderr = io::stderr();
    let stamp = Stamp::new(clock::calendar());
    let mut entry = Vec::new();
    render(&mut entry, LogFormat::Default, &last_entry(&stamp, message));
    let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
    let mut asked = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    if poll(&mut asked, limit).is_ok_and(|ready| ready > 0) {
        write(&stderr, &entry).ok();
    }
}

fn last_entry<'a>(time: &'a Stamp, message: &'a str) -> LogEntry<'a> {
    LogEntry {
        level: Level::Fatal,
        time,
        name: "",
        message: message.as_bytes(),
        fields: &[],
    }
}

fn last_line(stderr: OwnedFd, time: DateTime<FixedOffset>, message: &str, limit: Duration) {
    let clock = MachineClock::start();
    let until = clock.now() + limit;
    let mut sink = Sink::new(stderr);
    let stamp = Stamp::new(time);
    sink.take(|line| render(line, LogFormat::Default, &last_entry(&stamp, message)));
    while !sink.drain() && sink.wait(&clock, until) {}
}

/// The settings and the two streams.
struct Log {
    logging: Logging,
    calendar: fn() -> DateTime<FixedOffset>,
    stamp: Stamp,
    stdout: Sink,
    stderr: Sink,
}

impl Log {
    fn enabled(&self, level: Level) -> bool {
        level >= self.logging.level
    }

    fn sink(&mut self, output: LogOutput) -> &mut Sink {
        match output {
            LogOutput::Stdout => &mut self.stdout,
            LogOutput::Stderr => &mut self.stderr,
        }
    }

    fn write(&mut self, level: Level, record: &LogRecord) {
        let output = self.logging.output;
        self.drain(output);
        self.stamp.update((self.calendar)());
        self.take(output, level, ("", &record.message), &record.fields);
        self.sink(output).drain();
    }

    fn lines(&mut self, origin: &Origin, write: impl FnOnce(&mut dyn FnMut(&[u8]))) {
        let level = match origin.is_check && !self.logging.checks {
            true => Level::Debug,
            false => Level::Info,
        };
        if !self.enabled(level) {
            return write(&mut |_| {});
        }
        let output = self.logging.output;
        self.drain(output);
        self.stamp.update((self.calendar)());
        write(&mut |line| self.take(output, level, (&origin.name, line), &origin.fields));
        self.sink(output).drain();
    }

    /// Passes an entry to its stream, in the configured format: the name of a child, if it is of one, and the message.
    fn take(
        &mut self,
        output: LogOutput,
        level: Level,
        (name, message): (&str, &[u8]),
        fields: &[(&'static str, String)],
    ) {
        let sink = match output {
            LogOutput::Stdout => &mut self.stdout,
            LogOutput::Stderr => &mut self.stderr,
        };
        let entry = LogEntry {
            level,
            time: &self.stamp,
            name,
            message,
            fields,
        };
        sink.take(|line| render(line, self.logging.format, &entry));
    }

    /// Writes stored entries, and the number of lost ones. Returns whether all are written.
    fn drain(&mut self, output: LogOutput) -> bool {
        self.sink(output).drain();
        if let Some(count) = self.sink(output).take_lost() {
            self.log_lost(output, count);
        }
        self.sink(output).drain()
    }

    fn log_lost(&mut self, output: LogOutput, count: u64) {
        let message = format!("{count} log entries were dropped because nobody read them");
        if self.enabled(Level::Warning) {
            self.stamp.update((self.calendar)());
            self.take(output, Level::Warning, ("", message.as_bytes()), &[]);
        }
    }

    fn flush(&mut self, output: LogOutput, clock: &impl Clock, until: Instant) {
        while !self.drain(output) && self.sink(output).wait(clock, until) {}
    }
}

#[cfg(test)]
mod tests {
    mod notices;

    use super::*;
    use crate::ports::Console as _;
    use domain::notice::{Failure, Named};
    use nix::unistd::{pipe, read};

    /// A console on two pipes, and their reading ends.
    struct Read {
        console: Console,
        stdout: OwnedFd,
        stderr: OwnedFd,
    }

    impl Read {
        fn new(level: Level, format: LogFormat) -> Self {
            let (stdout, stdout_writer) = pipe().unwrap();
            let (stderr, stderr_writer) = pipe().unwrap();
            let mut console = Console::on(stdout_writer, stderr_writer, noon);
            console.configure(Logging {
                level,
                format,
                output: LogOutput::Stdout,
                checks: false,
            });
            Self {
                console,
                stdout,
                stderr,
            }
        }

        fn run(&self, log: impl FnOnce(&mut Console)) {
            let mut console = self.console.clone();
            tracing::subscriber::with_default(Events(self.console.clone()), || log(&mut console));
        }

        /// What the standard output contains after `log`, escaped.
        fn after(&self, log: impl FnOnce(&mut Console)) -> String {
            shown(&self.bytes_after(log))
        }

        /// What the standard output contains after `log`.
        fn after_unescaped(&self, log: impl FnOnce(&mut Console)) -> String {
            String::from_utf8(self.bytes_after(log)).unwrap()
        }

        fn bytes_after(&self, log: impl FnOnce(&mut Console)) -> Vec<u8> {
            self.run(log);
            self.console.flush(Duration::from_secs(5));
            bytes(&self.stdout)
        }

        /// Logs ten entries; the pipe accepts one, and the console stores some of the others. Reads nothing.
        fn overrun(&self) {
            (0..10).for_each(|_| output(&self.console, &Role::PreStart, &[b'x'; LONG]));
        }
    }

    const LONG: usize = 60_000;

    /// Logs a line of a child with this role.
    fn output(console: &Console, role: &Role, line: &[u8]) {
        console.lines(&Origin::of(role), |emit| emit(line));
    }

    fn noon() -> DateTime<FixedOffset> {
        DateTime::parse_from_rfc3339("2026-11-22T12:00:00Z").unwrap()
    }

    /// The content of the pipe, escaped; empty if there is none.
    fn taken(reader: &OwnedFd) -> String {
        shown(&bytes(reader))
    }

    fn shown(bytes: &[u8]) -> String {
        bytes.escape_ascii().to_string().replace("\\\"", "\"")
    }

    fn bytes(reader: &OwnedFd) -> Vec<u8> {
        let mut ready = [PollFd::new(reader.as_fd(), PollFlags::POLLIN)];
        if poll(&mut ready, 0_u8).unwrap() == 0 {
            return Vec::new();
        }
        let mut buffer = vec![0; 1 << 20];
        let length = read(reader, &mut buffer).unwrap();
        buffer.truncate(length);
        buffer
    }

    fn failed(times: u32) -> Notice {
        let named = Named {
            service: "app".into(),
            id: "app-host".into(),
            check: None,
        };
        let cause = "a < b".into();
        Notice::RegistrationFailed(
            named,
            Failure {
                cause,
                times,
                at_full_level: times != 2,
            },
        )
    }

    #[test]
    fn a_notice_is_formatted_in_all_three_formats() {
        let rendered = |format| Read::new(Level::Info, format).after(|console| console.log(&failed(1)));
        assert_eq!(
            rendered(LogFormat::Default),
            r"2026/11/22 12:00:00 Service registration failed: a < b (service app)\n"
        );
        assert_eq!(
            rendered(LogFormat::Text),
            r#"time="2026-11-22T12:00:00Z" level=warning msg="Service registration failed: a < b (service app)" "#
                .to_owned()
                + r"serviceID=app-host serviceName=app \n"
        );
        assert_eq!(
            rendered(LogFormat::Json),
            r#"{"level":"warning","msg":"Service registration failed: a \\u003c b (service app)","serviceID":"app-host","#
                .to_owned()
                + r#""serviceName":"app","time":"2026-11-22T12:00:00Z"}\n"#
        );
    }

    #[test]
    fn the_default_format_names_the_subject_of_a_notice() {
        let log = Read::new(Level::Debug, LogFormat::Default);
        for notice in notices::every() {
            let line = log.after(|console| console.log(&notice));
            let fields = notice.fields();
            let subjects = fields
                .iter()
                .filter(|(key, _)| !["process", "serviceID"].contains(key));
            for (key, subject) in subjects {
                let mut words = line.split(|letter: char| !letter.is_alphanumeric());
                assert!(words.any(|word| word == *subject), "{line} has no {key}");
            }
        }
    }

    #[test]
    fn what_a_hook_prints_is_an_entry_with_the_fields_of_its_job() {
        let task = Role::Task { name: "t1".into() };
        let text = Read::new(Level::Info, LogFormat::Text);
        assert_eq!(
            text.after(|console| output(console, &task, b"\xff")),
            r#"time="2026-11-22T12:00:00Z" level=info msg="\\xff" process=task task=t1 \n"#
        );
        let jobs = [
            (Role::PreStop, "process=PreStop"),
            (
                Role::OnChange { backend: "db".into() },
                "backend=db process=onChange",
            ),
            (
                Role::Coprocess { name: "c".into() },
                "coprocess=c process=coprocess",
            ),
        ];
        for (role, fields) in jobs {
            let line = format!(r#"time="2026-11-22T12:00:00Z" level=info {fields} \n"#);
            assert_eq!(text.after(|console| output(console, &role, b"")), line);
        }
        let plain = Read::new(Level::Info, LogFormat::Default);
        assert_eq!(
            plain.after(|console| output(console, &task, b"\xff")),
            r"2026/11/22 12:00:00 task[t1]: \xff\n"
        );
        let plain = Read::new(Level::Info, LogFormat::Plain);
        assert_eq!(
            plain.after(|console| output(console, &task, b"\xff")),
            r"2026-11-22T12:00:00Z INFO task[t1]: \xff\n"
        );
    }

    #[test]
    fn what_a_health_check_prints_is_logged_at_debug_level_unless_the_configuration_says_otherwise() {
        let check = Role::Health {
            service: "app".into(),
            check: None,
            id: "app-host".into(),
        };
        let log = |level, checks| {
            Read::new(level, LogFormat::Default).after(|console| {
                console.configure(Logging {
                    level,
                    checks,
                    ..Logging::default()
                });
                output(console, &check, b"fine");
            })
        };
        assert_eq!(log(Level::Info, false), "");
        let line = r"2026/11/22 12:00:00 app.health: fine\n";
        assert_eq!(log(Level::Debug, false), line);
        assert_eq!(log(Level::Info, true), line);
        assert_eq!(log(Level::Warning, true), "");
    }

    #[test]
    fn the_plain_format_has_zone_level_and_name_on_every_line() {
        let log = Read::new(Level::Info, LogFormat::Plain);
        assert_eq!(
            log.after(|console| console.log(&Notice::ReloadRefused("a\nb".into()))),
            r"2026-11-22T12:00:00Z ERROR containerpilot: Error initializing config: a\n".to_owned()
                + r"2026-11-22T12:00:00Z ERROR containerpilot: b\n"
        );
    }

    #[test]
    fn entries_below_the_configured_level_are_not_written() {
        let loud = |level| {
            Read::new(level, LogFormat::Default).after(|console| {
                console.log(&failed(2));
                console.log(&Notice::Reloading);
                console.log(&failed(1));
                console.log(&Notice::ReloadRefused("e".into()));
            })
        };
        let entries = |level| loud(level).matches(r"\n").count();
        assert_eq!(entries(Level::Debug), 4);
        assert_eq!(entries(Level::Info), 3);
        assert_eq!(entries(Level::Warning), 2);
        assert_eq!(entries(Level::Error), 1);
        assert_eq!(entries(Level::Fatal), 0);
        assert_eq!(entries(Level::Panic), 0);
    }

    #[test]
    fn a_new_log_configuration_applies_from_the_next_entry_on() {
        let read = Read::new(Level::Info, LogFormat::Default);
        let stdout = read.after(|console| {
            for level in [Level::Info, Level::Warning, Level::Info] {
                console.configure(Logging {
                    level,
                    format: LogFormat::Default,
                    output: LogOutput::Stdout,
                    checks: false,
                });
                output(console, &Role::PreStart, b"here");
            }
            console.configure(Logging {
                level: Level::Info,
                format: LogFormat::Text,
                output: LogOutput::Stderr,
                checks: false,
            });
            output(console, &Role::PreStart, b"there");
        });
        assert_eq!(stdout, r"2026/11/22 12:00:00 preStart: here\n".repeat(2));
        assert_eq!(
            taken(&read.stderr),
            r#"time="2026-11-22T12:00:00Z" level=info msg=there process=PreStart \n"#
        );
    }

    #[test]
    fn events_of_adapters_are_logged_and_events_of_dependencies_are_not() {
        let read = Read::new(Level::Debug, LogFormat::Text);
        let written = read.after(|_| {
            tracing::debug!(zone = 3, count = %4, "telemetry: {}", "up");
            tracing::trace!("too much");
            tracing::error!(target: "hyper::client", "not ours");
            tracing::error!(target: "containerpilots", "not ours");
            tracing::info_span!("a span").in_scope(|| {});
        });
        assert_eq!(
            written,
            r#"time="2026-11-22T12:00:00Z" level=debug msg="telemetry: up" count=4 zone=3 \n"#
        );
    }

    #[test]
    fn lost_entries_are_reported_once_in_the_place_of_the_gap() {
        let read = Read::new(Level::Info, LogFormat::Default);
        read.overrun();
        let mut all = String::new();
        let console = read.console.clone();
        while !console.lock().drain(LogOutput::Stdout) {
            all += &taken(&read.stdout);
        }
        all += &read.after(|console| output(console, &Role::PreStart, b"after"));
        let entries: Vec<_> = all.split_terminator(r"\n").map(|entry| &entry[20..]).collect();
        let [kept @ .., lost, after] = entries.as_slice() else {
            panic!("too few entries");
        };
        let length = "preStart: ".len() + LONG;
        assert!(kept.iter().all(|entry| entry.len() == length));
        assert_eq!(
            *lost,
            format!(
                "{} log entries were dropped because nobody read them",
                10 - kept.len()
            )
        );
        assert_eq!(*after, "preStart: after");
    }

    #[test]
    fn lost_entries_are_reported_with_the_next_entry() {
        let read = Read::new(Level::Info, LogFormat::Default);
        read.overrun();
        let mut all = String::new();
        for _ in 0..10 {
            all += &taken(&read.stdout);
            read.run(|console| output(console, &Role::PreStart, b"after"));
        }
        let (_, rest) = all.split_once("nobody read them").unwrap();
        assert!(rest.starts_with(r"\n2026/11/22 12:00:00 preStart: after\n"));
    }

    #[test]
    fn at_the_end_of_the_program_a_slow_reader_gets_the_stored_entries() {
        let read = Read::new(Level::Info, LogFormat::Default);
        read.overrun();
        let clock = MachineClock::start();
        let in_time = || clock.now() < Instant::after_start(Duration::from_secs(20));
        let all = std::thread::scope(|scope| {
            let reader = scope.spawn(|| {
                let mut all = String::new();
                while !all.ends_with(r"nobody read them\n") && in_time() {
                    all += &taken(&read.stdout);
                }
                all
            });
            read.console.flush(Duration::from_secs(10));
            reader.join().unwrap()
        });
        assert!(all.ends_with(r"nobody read them\n"));
    }

    #[test]
    fn at_the_end_a_reader_that_has_stopped_is_not_waited_for_longer_than_allowed() {
        let read = Read::new(Level::Info, LogFormat::Default);
        read.overrun();
        let clock = MachineClock::start();
        read.console.flush(Duration::from_millis(50));
        assert!(clock.now() < Instant::after_start(Duration::from_secs(5)));
    }

    #[test]
    fn a_reader_that_continues_gets_the_stored_entries_without_a_further_entry() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let read = Read::new(Level::Info, LogFormat::Default);
        runtime.block_on(async {
            read.console.watch_readers();
            read.overrun();
            let reported = async {
                let mut all = String::new();
                while !all.ends_with(r"nobody read them\n") {
                    all += &taken(&read.stdout);
                    tokio::task::yield_now().await;
                }
            };
            tokio::time::timeout(Duration::from_secs(10), reported)
                .await
                .unwrap();
        });
    }

    #[test]
    fn the_last_line_is_in_the_default_form() {
        let (reader, writer) = pipe().unwrap();
        last_line(writer, noon(), "no such file\nat all", LAST_LINE_LIMIT);
        assert_eq!(taken(&reader), r"2026/11/22 12:00:00 no such file\nat all\n");
    }
}
