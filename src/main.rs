//! The composition root: reads the arguments, creates the adapters, runs the driver, returns the exit code.

#[path = "adapters/processes/early.rs"]
mod early;

use containerpilot::adapters::clients::Clients;
use containerpilot::adapters::clock::MachineClock;
use containerpilot::adapters::console::{self, Console};
use containerpilot::adapters::control::ControlServer;
use containerpilot::adapters::descriptors::OpenFiles;
use containerpilot::adapters::discovery::Dispatcher;
use containerpilot::adapters::environment::Environment;
use containerpilot::adapters::http::Listeners;
use containerpilot::adapters::inbox::Queue;
use containerpilot::adapters::interfaces::MachineInterfaces;
use containerpilot::adapters::probes::Prober;
use containerpilot::adapters::processes::{self, Children};
use containerpilot::adapters::settings::{self, MachineSettings, UnfinishedRead};
use containerpilot::adapters::signals::Signals;
use containerpilot::adapters::telemetry::TelemetryServer;
use containerpilot::adapters::templates::MachineTemplates;
use containerpilot::check::CheckResult;
use containerpilot::client;
use containerpilot::command_line::{CommandLine, ControlCommand, Format, Refusal, usage};
use containerpilot::config::{self, Readable, Source};
use containerpilot::driver::{self, Ports};
use containerpilot::explain;
use containerpilot::panics;
use containerpilot::ports::Console as _;
use containerpilot::version::{COMMIT, VERSION};
use domain::emergency::FAULT;
use domain::notice::lifecycle::LifecycleNotice;
use domain::plan::Plan;
use domain::process::Pid;
use domain::time::Duration;
use domain::{Notice, Shim};
use std::hash::{BuildHasher, RandomState};
use std::io::Write as _;
use std::{env, io, process};
use tokio::runtime::Builder;
use tokio::task::LocalSet;

/// The exit code after an invalid command line, as with Go's flag package.
const WRONG_FLAG: u8 = 2;
/// The exit code of a refused start.
const REFUSED: u8 = 1;
/// The exit code of a start that SIGTERM or SIGINT ended before anything ran (LC-1).
const STOPPED: u8 = 143;
/// How long the end of the program waits for a slow reader of its log. (docs/bounds.md)
const FLUSH_LIMIT: Duration = Duration::from_secs(1);

/// How many tasks run before the runtime looks at signals, sockets and timers again, and the driver can
/// handle their events. (docs/bounds.md)
const TASKS_BETWEEN_LOOKS: u32 = 1;

fn main() {
    panics::install(console::fault);
    let code = panics::caught_in(|| match CommandLine::parse(env::args_os().skip(1)) {
        Ok(line) => execute(line),
        Err(refusal) => refuse(&refusal),
    });
    end(code.unwrap_or(FAULT))
}

#[expect(
    clippy::disallowed_methods,
    reason = "only main ends the program; threads that wait for nothing hold no exit"
)]
fn end(code: u8) -> ! {
    process::exit(code.into())
}

/// Executes the command line and returns the exit code.
fn execute(line: CommandLine) -> u8 {
    if line.version {
        return print_version();
    }
    let done = match source(&line) {
        _ if line.control.is_some() && !line.check && !line.template => control(&line),
        Ok(source) if line.check => check(&source, line),
        Ok(source) if line.template => print_template(&source, line.out.as_deref()),
        Ok(source) => start(source, line),
        Err(sentence) => Err(sentence),
    };
    done.unwrap_or_else(|sentence| {
        console::fatal(&sentence);
        REFUSED
    })
}

fn refuse(refusal: &Refusal) -> u8 {
    let program = env::args().next().unwrap_or_else(|| "containerpilot".into());
    let mut stderr = io::stderr();
    // The standard error may be closed; then there is no way to report that.
    match refusal {
        Refusal::HelpRequested => writeln!(stderr, "{}", usage(&program)).map_or(0, |()| 0),
        Refusal::Wrong(sentence) => {
            writeln!(stderr, "{sentence}\n{}", usage(&program)).map_or(WRONG_FLAG, |()| WRONG_FLAG)
        }
    }
}

fn print_version() -> u8 {
    let printed = writeln!(io::stdout(), "Version: {VERSION}\nGitHash: {COMMIT}");
    printed.map_or(REFUSED, |()| 0)
}

/// The source of the configuration: `-config`, otherwise the environment.
fn source(line: &CommandLine) -> Result<Source, String> {
    let given = line.config.clone().filter(|config| !config.is_empty());
    let variable = || env::var_os("CONTAINERPILOT").map(|value| value.to_string_lossy().into_owned());
    let value = given.or_else(variable).filter(|value| !value.is_empty());
    value
        .map(|value| Source::new(&value))
        .ok_or_else(|| "-config flag is required".into())
}

/// Writes the rendered configuration, byte for byte.
fn print_template(source: &Source, out: Option<&str>) -> Result<u8, String> {
    early::unblock();
    let rendered = config::render(
        source,
        Readable::FilesAndPipes,
        &Environment::default().variables(),
    )?;
    match out.unwrap_or("-") {
        "-" => io::stdout()
            .write_all(rendered.as_bytes())
            .map_err(|error| format!("Could not write config: {error}")),
        out => config::source::write(out, &rendered),
    }
    .map(|()| 0)
}

/// Checks the configuration, and prints what was found: for people the problems on the standard error and the rest on the
/// standard output, as JSON everything on the standard output.
fn check(source: &Source, line: CommandLine) -> Result<u8, String> {
    early::unblock();
    let environment = Environment::default();
    environment.export("CONTAINERPILOT_PID", &process::id().to_string());
    let checked = settings::check(source, &environment, line.application, line.interfaces_optional);
    let result = CheckResult::new(source, checked, line.explain);
    let answer = match line.format {
        Format::Json => result.json(),
        Format::Text => {
            // The standard error may be closed; the exit code still says the result.
            io::stderr().write_all(result.problems().as_bytes()).ok();
            result.summary()
        }
    };
    let written = io::stdout().write_all(answer.as_bytes());
    written.map_err(|error| format!("Could not write the result: {error}"))?;
    Ok(if result.is_valid() { 0 } else { REFUSED })
}

/// Sends a command to the running shim, and prints its answer.
fn control(line: &CommandLine) -> Result<u8, String> {
    early::unblock();
    let (command, name) = match line.control {
        Some(command @ ControlCommand::Reload) => (command, "-reload"),
        Some(command @ ControlCommand::Maintenance(_)) => (command, "-maintenance"),
        Some(command @ ControlCommand::Ping) => (command, "-ping"),
        Some(command @ ControlCommand::Status) => (command, "-status"),
        Some(command @ ControlCommand::Healthy) => (command, "-healthy"),
        None => return Ok(0),
    };
    let named = |sentence| format!("{name}: {sentence}");
    let socket = control_socket(line).map_err(named)?;
    let outcome = client::run(command, line.format, &socket).map_err(named)?;
    let written = io::stdout().write_all(outcome.printed.as_bytes());
    written.map_err(|error| format!("Could not write the answer: {error}"))?;
    match outcome.failure {
        Some(sentence) => Err(named(sentence)),
        None => Ok(outcome.code),
    }
}

/// The path of the control socket: `-socket`, otherwise that of the configuration.
fn control_socket(line: &CommandLine) -> Result<String, String> {
    if let Some(socket) = &line.socket {
        return Ok(socket.clone());
    }
    let source = source(line)?;
    let socket = config::control_socket(&source, &Environment::default().variables())?;
    socket.ok_or_else(|| format!("{source} has no `control`: the running shim has no control socket"))
}

fn start(source: Source, line: CommandLine) -> Result<u8, String> {
    processes::keep_descriptors_from_children();
    let open_files = OpenFiles::raise();
    processes::check_reserve()?;
    let runtime = Builder::new_current_thread()
        .event_interval(TASKS_BETWEEN_LOOKS)
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let code = LocalSet::new().block_on(&runtime, run(source, line, open_files));
    // A look-up of a name that is still running does not delay the end.
    runtime.shutdown_background();
    code
}

/// Opens the log, and logs what starts and the warnings about its configuration.
fn open_console(source: &Source, plan: &Plan, notices: &[Notice]) -> Result<Console, String> {
    let console = Console::open();
    let mut console = console.map_err(|error| format!("the log cannot be opened: {error}"))?;
    console.install();
    console.watch_readers();
    console.configure(plan.logging);
    console.log(&Notice::Lifecycle(LifecycleNotice::Starting {
        version: VERSION,
        pid: Pid(process::id().cast_signed()),
        configuration: source.to_string(),
        contents: explain::summary(plan),
    }));
    for notice in notices {
        console.log(notice);
    }
    Ok(console)
}

/// Creates the machine's adapters, runs the shim to its end, and ends the program. Returns only if the shim was not started.
async fn run(source: Source, line: CommandLine, open_files: Option<OpenFiles>) -> Result<u8, String> {
    let refused = |what: &'static str| move |error: io::Error| format!("{what}: {error}");
    let clock = MachineClock::start();
    let inbox = Queue::with_kernel_timer(clock);
    let mut inbox = inbox.map_err(refused("deadlines cannot be waited for"))?;
    // Pending signals are taken from here on.
    let died = Signals::install()
        .map_err(refused("signals cannot be taken"))?
        .post_to(inbox.sender());
    let environment = Environment::default();
    environment.export("CONTAINERPILOT_PID", &process::id().to_string());
    let (listeners, control_listeners) = (Listeners::default(), Listeners::default());
    let mut settings = MachineSettings {
        source,
        environment: environment.clone(),
        interfaces: MachineInterfaces,
        application: line.application,
        listeners: listeners.clone(),
        control_listeners: control_listeners.clone(),
        renders_only: line.render,
        inbox_sender: inbox.sender(),
        unfinished: UnfinishedRead::default(),
    };
    let Some(compiled) = inbox.unless_stopped(settings.compile()).await else {
        console::fatal("stopped by a signal while the configuration was being read");
        return Ok(STOPPED);
    };
    let (plan, notices) = compiled?;
    let mut console = open_console(&settings.source, &plan, &notices)?;
    if let Err(error) = processes::adopt_orphans() {
        let sentence = format!("orphans of the application will not be reaped: {error}");
        console.log(&Notice::Warning(sentence));
    }
    let mut templates = MachineTemplates::new(environment.clone(), inbox.sender());
    let children = Children::new(environment, open_files, inbox.sender(), console.clone(), died);
    let mut children = children.map_err(refused("children cannot be reaped"))?;
    let mut discovery = Dispatcher::new(inbox.sender());
    let mut probes = Prober::new(inbox.sender());
    let clients = Clients::new(inbox.sender());
    let mut control = ControlServer::new(clients.clone(), inbox.sender(), control_listeners);
    let mut telemetry = TelemetryServer::new(clock, clients, inbox.sender(), listeners);
    let broken = inbox.broken();
    let mut ports = Ports {
        clock: &clock,
        inbox: &mut inbox,
        processes: &mut children,
        probes: &mut probes,
        discovery: &mut discovery,
        settings: &mut settings,
        console: &mut console,
        control: &mut control,
        telemetry: &mut telemetry,
        templates: &mut templates,
    };
    let seed = RandomState::new().hash_one(process::id());
    let code = driver::run_to_exit(Shim::new(plan, seed), &mut ports, broken).await;
    // The result is complete: a panic now only loses the rest of the log.
    panics::caught(children.finish()).await.ok();
    panics::caught_in(|| console.flush(FLUSH_LIMIT)).ok();
    // These remove the files of control sockets. All else the kernel frees faster than destructors do.
    panics::caught_in(|| drop((control, settings))).ok();
    end(code)
}
