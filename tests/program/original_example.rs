//! The example configuration of the original's documentation. Only the address of Consul is changed. The shim runs as
//! process 1, with network interfaces of its own, in namespaces that end with the test.

use crate::agent::{Agent, hostname};
use crate::isolated::isolated;
use crate::program::Program;
use nix::sys::signal::Signal;
use serde_json::json;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

/// The document, unchanged.
const EXAMPLE: &str = include_str!("original_example.json");

/// The interfaces in the documentation's example, and what a folder of scripts needs.
const NAMESPACE: &str = "
    mount -t tmpfs none /opt
    mkdir /opt/containerpilot
    for n in 0 1 2; do
        ip link add eth$n type dummy 2> /dev/null || ip link add eth$n type bridge
        ip link set eth$n up
    done
    ip address add 10.2.0.1/24 dev eth0
    ip address add 192.168.1.100/24 dev eth0
    ip address add 10.0.0.100/24 dev eth1
    ip address add 10.0.0.200/24 dev eth1
    ip address add 10.1.0.200/24 dev eth2
    ip address add fdc6:238c:c4bc::1/48 dev eth2 nodad";

/// The server that the health check of `app` requests.
struct WebServer {
    ends: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl WebServer {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:80").expect("port 80 of this namespace is free");
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let thread = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ended.load(Ordering::Relaxed) {
                    return;
                }
                answer(stream).ok();
            }
        });
        let thread = Some(thread);
        Self { ends, thread }
    }
}

impl Drop for WebServer {
    fn drop(&mut self) {
        self.ends.store(true, Ordering::Relaxed);
        TcpStream::connect("127.0.0.1:80").ok();
        self.thread.take().map(JoinHandle::join);
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = [0; 4096];
    let length = stream.read(&mut request)?;
    let found = request[..length].starts_with(b"GET /app ");
    let status = if found { "200 OK" } else { "404 Not Found" };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    )
}

/// A script of the example that records its call.
fn script(program: &Program, name: &str, line: &str) {
    program.write_executable(name, &format!("#!/bin/sh\n{line}\n"));
    let installed = format!("/opt/containerpilot/{name}");
    std::fs::copy(program.path(name), installed).expect("the folder is a temporary one");
}

/// The application, with the arguments of the documentation.
const APPLICATION: [&str; 8] = [
    "sh",
    "-c",
    "trap 'echo stopped >> @/order; exit 3' TERM; echo started $* >> @/order; while :; do sleep 0.05; done",
    "myapp",
    "--args",
    "--for",
    "--my",
    "--app",
];

/// The four scripts of the example. preStop queries Consul for the service.
fn install_scripts(program: &Program, agent: &Agent, id: &str) {
    let known = format!(
        "curl -s http://{}/v1/agent/services | grep -c {id}",
        agent.address()
    );
    script(program, "onStart-script.sh", "echo onStart $1 >> @/order");
    script(
        program,
        "preStop-script.sh",
        &format!("echo preStop $({known}) >> @/order"),
    );
    script(program, "postStop-script.sh", "echo postStop >> @/order");
    script(program, "reload-app.sh", "echo reloaded >> @/reloads");
}

fn is_registered_as_the_example_says(agent: &Agent, id: &str) {
    agent.until_passing("app", 1);
    let service = agent.passing("app").remove(0)["Service"].clone();
    assert_eq!(service["ID"], id);
    assert_eq!(service["Address"], "10.2.0.1", "the first address of eth0");
    assert_eq!(service["Port"], 80);
    assert_eq!(service["Tags"], json!(["tag1"]));
}

#[test]
fn the_example_of_the_originals_documentation_works_as_written() {
    assert!(
        Path::new("/usr/bin/curl").exists(),
        "this test needs /usr/bin/curl, which the example names"
    );
    isolated(NAMESPACE, || {
        let agent = Agent::start();
        let _server = WebServer::start();
        let mut program = Program::new();
        let id = format!("app-{}", hostname());
        install_scripts(&program, &agent, &id);
        assert!(EXAMPLE.contains(r#""consul": "consul:8500""#));
        program.write("cp.json", &EXAMPLE.replace("consul:8500", &agent.address()));
        program.set("ENV_VAR_NAME", "hello");
        program.launch_as_pid_1(&APPLICATION);

        is_registered_as_the_example_says(&agent, &id);
        program.until_lines("reloads", 1);
        let before = program.lines("reloads");
        agent.register("app", "app-another", 80);
        program.until_lines("reloads", before + 1);

        program.signal(Signal::SIGTERM);
        assert_eq!(program.code(), 3);
        let order = [
            "onStart hello",
            "started --args --for --my --app",
            "preStop 0",
            "stopped",
            "postStop",
        ];
        assert_eq!(program.read("order").lines().collect::<Vec<_>>(), order);
        agent.until_known(&id, false);
        for sentence in [
            "ContainerPilot will use the onStart option as a preStart",
            "telemetry: Listening on ",
            "Service registered: app",
            "Deregistering service: app",
        ] {
            assert!(
                program.stdout().contains(sentence),
                "{sentence}: {}",
                program.stdout()
            );
        }
    });
}
