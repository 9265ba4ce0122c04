//! Health checks without a process, against real servers, as an operator sees them.

use crate::agent::{Agent, hostname};
use crate::etcd_server::Server;
use crate::program::{Program, UNTIL_TERM};
use crate::secured::{CLIENT, secured};
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixListener;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::spawn;

/// A service with this check, in this catalogue, and a TTL that no test waits for.
fn start_in(catalogue: &str, health: &str) -> Program {
    let mut program = Program::new();
    program.configure(&config(catalogue, health));
    program.launch(&UNTIL_TERM);
    program
}

fn config(catalogue: &str, health: &str) -> String {
    format!(
        r#"{{{catalogue}, "services": [{{"name": "app", "port": 8000, "interfaces": "static:192.0.2.7",
            "poll": 1, "ttl": 3600, "health": {health}}}]}}"#
    )
}

const FOLDER: &str = r#""directory": "@/catalogue""#;

fn start(health: &str) -> Program {
    start_in(FOLDER, health)
}

/// An application that answers each request with the text that is set, or with nothing.
struct Application {
    address: SocketAddr,
    answer: Arc<Mutex<String>>,
    connections: Arc<AtomicUsize>,
    open: Arc<AtomicUsize>,
}

impl Application {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let application = Self {
            address: listener.local_addr().unwrap(),
            answer: Arc::default(),
            connections: Arc::default(),
            open: Arc::default(),
        };
        application.answers("200 OK", "fine");
        let (answer, connections) = (
            Arc::clone(&application.answer),
            Arc::clone(&application.connections),
        );
        let open = Arc::clone(&application.open);
        spawn(move || {
            for stream in listener.incoming().flatten() {
                connections.fetch_add(1, SeqCst);
                open.fetch_add(1, SeqCst);
                let (answer, open) = (Arc::clone(&answer), Arc::clone(&open));
                spawn(move || {
                    answer_requests(stream, &answer);
                    open.fetch_sub(1, SeqCst);
                });
            }
        });
        application
    }

    /// From now on requests get this.
    fn answers(&self, status: &str, body: &str) {
        let length = body.len();
        *self.answer.lock().unwrap() = format!("HTTP/1.1 {status}\r\nContent-Length: {length}\r\n\r\n{body}");
    }

    fn is_silent(&self) {
        self.answer.lock().unwrap().clear();
    }

    /// The health check of this application, with further keys.
    fn health(&self, further: &str) -> String {
        format!(r#"{{"http": "http://{}/health"{further}}}"#, self.address)
    }

    fn until_open(&self, count: usize) {
        let open = || self.open.load(SeqCst);
        until(SOON, || format!("{} connections", open()), || open() == count);
    }
}

fn answer_requests(mut stream: TcpStream, answer: &Mutex<String>) {
    let mut request = vec![0; 64 * 1024];
    while matches!(stream.read(&mut request), Ok(1..)) {
        let answer = answer.lock().unwrap().clone();
        if stream.write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

#[test]
fn consul_shows_the_answer_of_an_application_that_fails_and_no_process_is_started() {
    let (agent, application) = (Agent::start(), Application::start());
    let consul = format!(
        r#""logging": {{"level": "debug"}}, "consul": "{}""#,
        agent.address()
    );
    let program = start_in(&consul, &application.health(r#", "failures": 2"#));
    agent.until_passing("app", 1);
    let id = format!("app-{}", hostname());
    agent.until_output(&id, "HTTP 200 OK: fine");
    application.answers("503 Service Unavailable", "no database");
    agent.until_critical(&id);
    assert_eq!(agent.output(&id), "HTTP 503 Service Unavailable: no database");
    program.until_logged("Health check of app failed, 1 of 2 times in a row: HTTP 503 Service Unavailable");
    program.until_logged("Health check of app does not pass any more: HTTP 503 Service Unavailable");
    program.until_logged("no database");
    application.answers("200 OK", "fine");
    agent.until_passing("app", 1);
    program.until_logged("Health check of app passes again");
    assert_eq!(
        application.connections.load(SeqCst),
        1,
        "one connection for all checks"
    );
    assert!(
        !program.stdout().contains("app.health runs"),
        "{}",
        program.stdout()
    );
}

#[test]
fn a_silent_application_fails_after_its_time_limit_and_delays_no_stop() {
    let application = Application::start();
    let mut program = start(&application.health(r#", "timeout": "300ms", "failures": 1"#));
    program.until_logged("Service registered: app");
    application.is_silent();
    program.until_logged("Health check of app does not pass any more: no answer within 300ms");
    program.until("the entry is gone", |program| {
        let files = std::fs::read_dir(program.path("catalogue/app"));
        let mut files = files.into_iter().flatten().flatten();
        !files.any(|file| file.path().extension().is_some_and(|end| end == "json"))
    });
    assert_eq!(program.stop(), 0);
}

#[test]
fn maintenance_a_reload_and_the_stop_close_the_connection() {
    let application = Application::start();
    let mut program = start(&application.health(""));
    program.until_logged("Service registered: app");
    application.until_open(1);
    program.signal(Signal::SIGUSR1);
    application.until_open(0);
    program.signal(Signal::SIGUSR1);
    application.until_open(1);
    let other = Application::start();
    program.configure(&config(FOLDER, &other.health("")));
    program.signal(Signal::SIGHUP);
    application.until_open(0);
    other.until_open(1);
    assert_eq!(program.stop(), 0);
    other.until_open(0);
}

#[test]
fn the_connection_is_closed_between_checks_that_are_far_apart() {
    let application = Application::start();
    let mut program = Program::new();
    let text = config(FOLDER, &application.health(""));
    program.configure(&text.replace("\"poll\": 1,", "\"poll\": 30,"));
    program.launch(&UNTIL_TERM);
    until(
        SOON * 3,
        || "the check runs".into(),
        || application.connections.load(SeqCst) == 1,
    );
    program.until_logged("Service registered: app");
    application.until_open(0);
}

#[test]
fn an_application_is_checked_over_its_unix_socket() {
    let folder = Program::new();
    let listener = UnixListener::bind(folder.path("app.socket")).unwrap();
    spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = vec![0; 64 * 1024];
            while matches!(stream.read(&mut request), Ok(1..)) {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nUP";
                stream.write_all(answer).unwrap();
            }
        }
    });
    let health = folder.expand(r#"{"http": "http://localhost/", "unix": "@/app.socket", "body": "^UP$"}"#);
    let program = start(&health);
    program.until_logged("Service registered: app");
}

#[test]
fn a_server_with_tls_that_demands_a_certificate_is_checked() {
    let (agent, folder) = secured();
    let tls = folder.expand(&format!(r#"{{"cafile": "@/consul-agent-ca.pem", {CLIENT}}}"#));
    let address = agent.secure_address();
    let path = "/v1/status/leader";
    let health = |tls: &str| format!(r#"{{"http": "https://{address}{path}", "body": ":", "tls": {tls}}}"#);
    let program = start(&health(&tls));
    program.until_logged("Service registered: app");
    let other = folder.expand(&format!(r#"{{"cafile": "@/other-agent-ca.pem", {CLIENT}}}"#));
    let refused = start(&health(&other));
    refused.until_logged("Health check of app does not pass yet");
    refused.until_logged("certificate");
    assert!(!refused.stdout().contains("Service registered"));
}

#[test]
fn etcd_is_checked_by_the_health_protocol_of_grpc_and_over_tcp() {
    let mut server = Server::start("3.5");
    let place = server.url().replace("http://", "");
    let program = start(&format!(r#"{{"grpc": "{place}"}}"#));
    program.until_logged("Service registered: app");
    let unknown = start(&format!(r#"{{"grpc": "{place}", "service": "no.Such"}}"#));
    unknown.until_logged("Health check of app does not pass yet: gRPC NotFound: unknown service");
    let tcp = start(&format!(r#"{{"tcp": "{place}"}}"#));
    tcp.until_logged("Service registered: app");
    server.stop();
    program.until_logged("Health check of app does not pass any more");
    tcp.until_logged("connection refused");
}

#[test]
fn a_certificate_that_cannot_be_read_is_an_error_of_the_configuration() {
    let health = r#"{"grpc": "localhost:1", "tls": {"cafile": "/nowhere/ca.pem"}}"#;
    let (code, program) = Program::run(&config(FOLDER, health), &UNTIL_TERM);
    assert_eq!(code, 1);
    let sentence = "the health check of app: /nowhere/ca.pem cannot be read: no such file or directory";
    assert!(program.stderr().contains(sentence), "{}", program.stderr());
}
