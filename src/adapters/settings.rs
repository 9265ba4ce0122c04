//! The configuration of this process: reads its source and compiles it for this machine.
//!
//! Reading and compiling happen on a separate thread, because a file system may hang and a template may take
//! long; the loop continues meanwhile. There is at most one such thread. If it exceeds its time limit, the
//! reload fails and its result is discarded; until it ends, further reloads are refused.

use crate::adapters::descriptors::while_opening;
use crate::adapters::discovery;
use crate::adapters::environment::Environment;
use crate::adapters::http::Listeners;
use crate::adapters::inbox::InboxSender;
use crate::adapters::interfaces::{ListedOnce, MachineInterfaces};
use crate::adapters::probes;
use crate::adapters::programs::MachinePrograms;
use crate::adapters::tasks::spawn_local;
use crate::adapters::users::MachineUsers;
use crate::cause;
use crate::config::{self, Checked, Compiled, Examination, Readable, Report, Source, Target};
use crate::ports::{Interfaces, Settings};
use domain::event::Loaded;
use domain::plan::{ControlSocket, Telemetry, Word};
use domain::time::Duration;
use domain::{Event, Notice, Plan, Ticket};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tokio::sync::oneshot::{self, Receiver, error::TryRecvError};
use tokio::time::timeout;

/// The time limit for reading and compiling at a reload (docs/bounds.md).
const LOAD_LIMIT: Duration = Duration::from_secs(2);

/// The stack of the thread that reads and compiles, in bytes; the deepest template needs less
/// (docs/bounds.md).
const STACK: usize = 2 * 1024 * 1024;

/// The result of compiling, or the report of all errors.
type Outcome = Result<Compiled, String>;

/// Reads and checks a configuration as the start does, and looks at more than the start. Nothing is started, and no
/// address is bound. With `has_other_interfaces` the configuration is for a machine with other interfaces.
///
/// # Errors
/// All errors, in the order of the text.
pub fn check(
    source: &Source,
    environment: &Environment,
    application: Vec<Word>,
    has_other_interfaces: bool,
) -> Result<Checked, Vec<Report>> {
    let loader = Loader {
        source: source.clone(),
        readable: Readable::FilesAndPipes,
        variables: environment.variables(),
        interfaces: MachineInterfaces,
        application,
        renders_only: false,
    };
    loader.check(Some(Examination {
        programs: &MachinePrograms,
        has_other_interfaces,
    }))
}

/// The source of this process' configuration, and what compiling it needs. Runs on a tokio `LocalSet`.
pub struct MachineSettings<I> {
    /// The source, which is read again at each reload.
    pub source: Source,
    /// The environment that templates see.
    pub environment: Environment,
    /// The port that lists the machine's addresses.
    pub interfaces: I,
    /// The application and its arguments.
    pub application: Vec<Word>,
    /// The listening socket of the telemetry, on which an address is bound on trial.
    pub listeners: Listeners<SocketAddr>,
    /// The control socket, likewise.
    pub control_listeners: Listeners<ControlSocket>,
    /// Whether the shim only writes the templates of the configuration.
    pub renders_only: bool,
    /// The inbox for the result of a reload.
    pub inbox_sender: InboxSender,
    /// The thread that exceeded its time limit, if there is one.
    pub unfinished: UnfinishedRead,
}

/// The thread that exceeded its time limit, if there is one.
#[derive(Clone, Debug, Default)]
pub struct UnfinishedRead(Rc<RefCell<Option<Receiver<Outcome>>>>);

impl UnfinishedRead {
    /// Whether that thread is still running.
    fn is_at_work(&self) -> bool {
        let mut unfinished = self.0.borrow_mut();
        let at_work = unfinished
            .as_mut()
            .is_some_and(|outcome| outcome.try_recv() == Err(TryRecvError::Empty));
        if !at_work {
            *unfinished = None;
        }
        at_work
    }
}

impl<I: Interfaces + Clone + Send + 'static> MachineSettings<I> {
    /// Reads and compiles the configuration at the start. Returns the plan and notices for operators. There
    /// is no time limit, because a pipe may have to wait for its writer.
    ///
    /// # Errors
    /// A report for the operator.
    pub async fn compile(&self) -> Result<(Plan, Vec<Notice>), String> {
        let reading = self.reading(Readable::FilesAndPipes);
        let outcome = match reading.clone().begin() {
            Ok(outcome) => outcome.await.unwrap_or_else(|_| Err(self.aborted())),
            // If the thread cannot be started, reading happens here, and signals wait for it.
            Err(_) => reading.run(),
        };
        outcome.and_then(|compiled| self.trial().try_out(compiled))
    }

    fn trial(&self) -> Trial {
        Trial {
            source: self.source.clone(),
            listeners: self.listeners.clone(),
            control_listeners: self.control_listeners.clone(),
        }
    }

    fn reading(&self, readable: Readable) -> Loader<I> {
        Loader {
            source: self.source.clone(),
            readable,
            variables: self.environment.variables(),
            interfaces: self.interfaces.clone(),
            application: self.application.clone(),
            renders_only: self.renders_only,
        }
    }

    fn begin(&self) -> Result<Receiver<Outcome>, String> {
        if self.unfinished.is_at_work() {
            let sentence = "an earlier reload has not finished reading it";
            return Err(format!("{}: {sentence}", self.source));
        }
        let begun = self.reading(Readable::Files).begin();
        begun.map_err(|error| {
            let cause = cause::in_kernel_words(&error);
            format!(
                "{}: the thread that reads it cannot be started: {cause}",
                self.source
            )
        })
    }

    fn aborted(&self) -> String {
        format!("{}: the thread that reads it has ended", self.source)
    }
}

impl<I: Interfaces + Clone + Send + 'static> Settings for MachineSettings<I> {
    fn load(&mut self, ticket: Ticket) {
        let (inbox_sender, trial) = (self.inbox_sender.clone(), self.trial());
        let (unfinished, aborted) = (self.unfinished.clone(), self.aborted());
        let mut outcome = match self.begin() {
            Ok(outcome) => outcome,
            Err(report) => return inbox_sender.post(Event::Loaded(ticket, Loaded::Refused(report))),
        };
        spawn_local(async move {
            let loaded = match timeout(LOAD_LIMIT, &mut outcome).await {
                Ok(Ok(outcome)) => outcome.and_then(|compiled| trial.try_out(compiled)),
                Ok(Err(_)) => Err(aborted),
                Err(_) => {
                    *unfinished.0.borrow_mut() = Some(outcome);
                    Err(format!(
                        "{}: it could not be read and checked within {LOAD_LIMIT:?}",
                        trial.source
                    ))
                }
            };
            inbox_sender.post(Event::Loaded(ticket, answer(loaded)));
        });
    }
}

fn answer(loaded: Result<(Plan, Vec<Notice>), String>) -> Loaded {
    match loaded {
        Ok((plan, notices)) => Loaded::Plan {
            plan: Box::new(plan),
            notices,
        },
        Err(report) => Loaded::Refused(report),
    }
}

/// Binds the addresses of a plan on trial; one that cannot be bound is refused like any other error (TM-10).
struct Trial {
    source: Source,
    listeners: Listeners<SocketAddr>,
    control_listeners: Listeners<ControlSocket>,
}

impl Trial {
    fn try_out(&self, compiled: Compiled) -> Result<(Plan, Vec<Notice>), String> {
        let Compiled {
            plan,
            warnings,
            shown,
        } = compiled;
        let source = &self.source;
        let address = plan.telemetry.as_ref().map(|Telemetry { address, .. }| *address);
        self.listeners.try_out(address.as_ref()).map_err(|error| {
            let address = address.map(|address| address.to_string()).unwrap_or_default();
            let cause = cause::in_kernel_words(&error);
            format!("{source}: Error serving telemetry on {address}: {cause}")
        })?;
        // The last one: it may change the group of the socket in use.
        let socket = plan.control.as_ref();
        self.control_listeners.try_out(socket).map_err(|error| {
            let path = socket.map(|socket| socket.path.as_str()).unwrap_or_default();
            let cause = cause::in_kernel_words(&error);
            format!("{source}: Error serving the control socket {path}: {cause}")
        })?;
        let notices = warnings
            .into_iter()
            .map(Notice::Warning)
            .chain([Notice::LoadedConfiguration(shown)]);
        Ok((plan, notices.collect()))
    }
}

/// All that the thread needs; it shares nothing with the loop.
#[derive(Clone)]
struct Loader<I> {
    source: Source,
    readable: Readable,
    variables: BTreeMap<String, String>,
    interfaces: I,
    application: Vec<Word>,
    renders_only: bool,
}

impl<I: Interfaces + Send + 'static> Loader<I> {
    fn begin(self) -> io::Result<Receiver<Outcome>> {
        let (sender, outcome) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name("configuration".into())
            .stack_size(STACK);
        thread.spawn(move || {
            // This thread blocks all signals, so that the kernel delivers them to the thread that handles
            // them.
            nix::sys::signal::SigSet::all().thread_block().ok();
            // The receiver may be gone.
            sender.send(while_opening(|| self.run())).ok();
        })?;
        Ok(outcome)
    }

    fn run(self) -> Outcome {
        let checked = self.check(None).map_err(|errors| config::text(&errors))?;
        Ok(checked.into())
    }

    fn check(self, examination: Option<Examination<'_>>) -> Result<Checked, Vec<Report>> {
        let hostname = nix::unistd::gethostname().ok();
        // The addresses are listed once for all services, and only if one needs them.
        let interfaces = ListedOnce::new(&self.interfaces);
        let target = Target {
            variables: self.variables,
            hostname: hostname.and_then(|name| name.into_string().ok()),
            interfaces: &interfaces,
            users: &MachineUsers::default(),
            application: &self.application,
            has_etcd: discovery::HAS_ETCD,
            examination,
        };
        let mut checked = config::check(&self.source, self.readable, &target)?;
        if self.renders_only {
            checked.plan = checked.plan.only_templates();
        }
        discovery::note_contents(&mut checked.plan.catalogue);
        // A catalogue whose description is invalid is refused before anything starts.
        let opened = discovery::open(&checked.plan.catalogue).map(drop);
        opened.map_err(|error| {
            let cause = cause::without_user_information(&error.to_string());
            let name = self.source.to_string();
            vec![Report::sentence(name.as_str(), format!("{name}: {cause}"))]
        })?;
        let prepared = probes::prepare(&mut checked.plan);
        prepared.map_err(|cause| {
            let name = self.source.to_string();
            vec![Report::sentence(name.as_str(), format!("{name}: {cause}"))]
        })?;
        Ok(checked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::adapters::clock::MachineClock;
    use crate::adapters::inbox::Queue;
    use crate::ports::Inbox as _;
    use domain::address::InterfaceAddress;
    use domain::signal::Signal;
    use std::sync::{Arc, Barrier};
    use tokio::task::LocalSet;

    /// Interfaces that are not listed until both sides have reached the barrier.
    #[derive(Clone)]
    struct BlockingInterfaces(Arc<Barrier>);

    impl Interfaces for BlockingInterfaces {
        fn addresses(&self) -> io::Result<Vec<InterfaceAddress>> {
            self.0.wait();
            Ok(vec![InterfaceAddress {
                interface: "lo".into(),
                address: std::net::Ipv4Addr::LOCALHOST.into(),
            }])
        }
    }

    fn block_on<F: Future>(future: F) -> F::Output {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        LocalSet::new().block_on(&runtime.unwrap(), future)
    }

    fn settings(inbox: &Queue, text: &str, barrier: usize) -> MachineSettings<BlockingInterfaces> {
        MachineSettings {
            source: Source::Inline(text.into()),
            environment: Environment::default(),
            interfaces: BlockingInterfaces(Arc::new(Barrier::new(barrier))),
            application: vec![],
            listeners: Listeners::default(),
            control_listeners: Listeners::default(),
            renders_only: false,
            inbox_sender: inbox.sender(),
            unfinished: UnfinishedRead::default(),
        }
    }

    /// The result of a reload.
    async fn loaded(inbox: &mut Queue, settings: &mut MachineSettings<BlockingInterfaces>) -> Loaded {
        settings.load(Ticket(7));
        match inbox.next(None).await {
            Event::Loaded(Ticket(7), loaded) => loaded,
            other => panic!("{other:?}"),
        }
    }

    fn report(loaded: Loaded) -> String {
        match loaded {
            Loaded::Refused(report) => report,
            Loaded::Plan { .. } => panic!("it is refused"),
        }
    }

    /// The address of its service is that of an interface.
    const GOOD: &str = r#"{"directory": "/run/containerpilot",
        "services": [{"name": "app", "port": 80, "poll": 1, "ttl": 3, "interfaces": "lo"}]}"#;

    #[test]
    fn the_result_of_a_reload_is_posted_under_its_ticket() {
        block_on(async {
            let mut inbox = Queue::new(MachineClock::start());
            let mut good = settings(&inbox, GOOD, 1);
            assert!(matches!(loaded(&mut inbox, &mut good).await, Loaded::Plan { .. }));
            let mut wrong = settings(&inbox, "{}", 1);
            let report = report(loaded(&mut inbox, &mut wrong).await);
            assert!(report.contains("No discovery backend defined"), "{report}");
        });
    }

    #[test]
    fn a_reload_that_hangs_is_refused_in_time_and_further_ones_until_it_has_ended() {
        block_on(async {
            tokio::time::pause();
            let mut inbox = Queue::new(MachineClock::start());
            let mut settings = settings(&inbox, GOOD, 2);
            let began = tokio::time::Instant::now();
            let late = report(loaded(&mut inbox, &mut settings).await);
            assert_eq!(late, "configuration: it could not be read and checked within 2s");
            assert_eq!(began.elapsed().as_secs(), 2);
            for _ in 0..3 {
                let busy = report(loaded(&mut inbox, &mut settings).await);
                assert_eq!(
                    busy,
                    "configuration: an earlier reload has not finished reading it"
                );
            }
            assert_eq!(began.elapsed().as_secs(), 2, "the second one did not wait");
            tokio::time::resume();
            settings.interfaces.0.wait();
            while settings.unfinished.is_at_work() {
                tokio::task::yield_now().await;
            }
            settings.interfaces = BlockingInterfaces(Arc::new(Barrier::new(1)));
            assert!(matches!(
                loaded(&mut inbox, &mut settings).await,
                Loaded::Plan { .. }
            ));
        });
    }

    #[test]
    fn sigterm_ends_the_start_and_other_signals_wait() {
        block_on(async {
            let mut inbox = Queue::new(MachineClock::start());
            let hanging = settings(&inbox, GOOD, 2);
            let others = [Signal::HUP, Signal::USR1].map(Event::Signal);
            for event in others.clone() {
                inbox.sender().post(event);
            }
            inbox.sender().post(Event::Signal(Signal::TERM));
            assert!(inbox.unless_stopped(hanging.compile()).await.is_none());
            hanging.interfaces.0.wait();
            let good = settings(&inbox, GOOD, 1);
            assert!(inbox.unless_stopped(good.compile()).await.unwrap().is_ok());
            for event in others {
                assert_eq!(inbox.next(None).await, event);
            }
        });
    }
}
