//! The examples app and nginx: nginx in front of two applications, whose list a template writes. One application is
//! stopped under load: with `drain` no request fails, and without it some do.

use crate::agent::Agent;
use crate::etcd_server::Server;
use crate::loopback::OwnAddress;
use crate::program::Program;
use crate::waiting::{SOON, until};
use nix::sys::signal::Signal;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

/// How long one request may take.
const LIMIT: Duration = Duration::from_secs(10);
/// So many answers in a row show that nginx uses the new list only.
const IN_A_ROW: usize = 500;
/// How many clients send requests at a time.
const CLIENTS: usize = 4;

fn server(name: &str) -> PathBuf {
    let program = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("target/servers")
        .join(name)
        .join("bin")
        .join(name);
    let missing = format!("{name} is not here: run scripts/servers {name}");
    assert!(program.exists(), "{missing}");
    program
}

fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

/// A shim on one of the example's configurations, with these variables, that runs an application.
fn started(configuration: &str, variables: &[(&str, &str)], application: &[&str]) -> Program {
    let mut program = Program::new();
    program.write("cp.json", &fs::read_to_string(example(configuration)).unwrap());
    let mut command = program.command(application);
    command.envs(variables.iter().copied());
    program.spawn(&mut command);
    program
}

/// An application behind the shim: BusyBox serves a page and `/health`.
fn application(catalogue: &str, id: &str, drain: &str) -> (Program, SocketAddr) {
    let own = OwnAddress::reserve();
    let address = own.socket();
    let pages = tempfile::tempdir().unwrap().keep();
    for page in ["health", "index.html"] {
        fs::write(pages.join(page), id).unwrap();
    }
    let (interfaces, port) = (format!("static:{}", address.ip()), address.port().to_string());
    let socket = address.to_string();
    let variables = [
        ("CATALOGUE", catalogue),
        ("ID", id),
        ("DRAIN", drain),
        ("INTERFACES", &interfaces),
        ("PORT", &port),
        ("ADDRESS", &socket),
    ];
    let busybox = server("busybox");
    let words = [
        busybox.to_str().unwrap(),
        "httpd",
        "-f",
        "-p",
        &socket,
        "-h",
        pages.to_str().unwrap(),
    ];
    (started("app/app.json", &variables, &words), address)
}

/// nginx behind the shim.
fn proxy(catalogue: &str) -> (Program, SocketAddr) {
    let own = OwnAddress::reserve();
    let listen = own.socket().to_string();
    let folder = tempfile::tempdir().unwrap().keep();
    let folder = folder.to_str().unwrap();
    let nginx = server("nginx");
    let path = format!(
        "{}:{}",
        nginx.parent().unwrap().display(),
        std::env::var("PATH").unwrap()
    );
    let template = example("nginx/nginx.conf.template");
    let variables = [
        ("CATALOGUE", catalogue),
        ("FOLDER", folder),
        ("LISTEN", &listen),
        ("TEMPLATE", template.to_str().unwrap()),
        ("PATH", &path),
    ];
    let file = format!("{folder}/nginx.conf");
    let program = started(
        "nginx/proxy.json",
        &variables,
        &["nginx", "-c", &file, "-g", "daemon off;"],
    );
    (program, own.socket())
}

/// The page that a request is answered with, if the status is 200.
fn answer(address: SocketAddr) -> Option<String> {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.write_all(b"GET / HTTP/1.1\r\nHost: app\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    answer().ok().filter(|answer| answer.starts_with("HTTP/1.1 200"))
}

/// Stops one of two applications under load. Returns how many requests were sent, how many
/// failed, and the log of the proxy.
fn rolling_stop(catalogue: &str, drain: &str) -> (usize, usize, String) {
    let (mut first, _) = application(catalogue, "one", drain);
    let (mut second, _) = application(catalogue, "two", drain);
    let (mut proxy, address) = proxy(catalogue);
    let logs = || format!("{}{}{}", first.stdout(), proxy.stdout(), proxy.stderr());
    until(SOON, logs, || both_answer(address, ["one", "two"]));
    // After a reload of nginx its former workers, with the former list, still take some connections.
    until(SOON, logs, || (0..IN_A_ROW).all(|_| answer(address).is_some()));
    let (sent, failed, over) = (AtomicUsize::new(0), AtomicUsize::new(0), AtomicBool::new(false));
    thread::scope(|scope| {
        for _ in 0..CLIENTS {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    sent.fetch_add(1, Ordering::Relaxed);
                    if answer(address).is_none() {
                        failed.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        let further = |number: usize| {
            let goal = sent.load(Ordering::Relaxed) + number;
            until(
                SOON,
                || "requests are sent".into(),
                || sent.load(Ordering::Relaxed) >= goal,
            );
        };
        further(100);
        first.signal(Signal::SIGTERM);
        first.code();
        further(100);
        over.store(true, Ordering::Relaxed);
    });
    for program in [&mut second, &mut proxy] {
        program.signal(Signal::SIGTERM);
        program.code();
    }
    (
        sent.into_inner(),
        failed.into_inner(),
        format!("{}{}", first.stdout(), proxy.stdout()),
    )
}

/// Whether both instances answer, one after the other.
fn both_answer(address: SocketAddr, pages: [&str; 2]) -> bool {
    pages
        .iter()
        .all(|page| (0..4).any(|_| answer(address).is_some_and(|answer| answer.ends_with(page))))
}

#[test]
#[expect(clippy::disallowed_macros, reason = "the numbers are a result")]
fn nginx_in_front_of_two_applications_loses_requests_only_without_a_drain() {
    let agent = Agent::start();
    let server = Server::start("3.5");
    let folder = tempfile::tempdir().unwrap();
    let catalogues = [
        format!(r#""consul": "{}""#, agent.address()),
        format!(r#""etcd": {{"endpoints": ["{}"]}}"#, server.url()),
        format!(r#""directory": "{}""#, folder.path().display()),
    ];
    let built_in = |catalogue: &String| cfg!(feature = "etcd") || !catalogue.contains("etcd");
    for catalogue in catalogues.into_iter().filter(built_in) {
        let (sent, failed, log) = rolling_stop(&catalogue, "3s");
        println!("{catalogue}: with a drain {failed} of {sent} requests failed");
        assert_eq!(failed, 0, "{catalogue}: of {sent}\n{log}");
        let (sent, failed, log) = rolling_stop(&catalogue, "0s");
        println!("{catalogue}: without a drain {failed} of {sent} requests failed");
        assert!(failed > 0, "{catalogue}: of {sent}\n{log}");
    }
}
