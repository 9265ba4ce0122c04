//! A tiny web application, the one that `scripts/demo` puts behind the shim:
//!
//! ```text
//! greeter serve ADDRESS:PORT   answers `GET /` with a greeting and `GET /health` with 200, until SIGTERM
//! greeter check ADDRESS:PORT   exits 0 if `GET /health` answers 200 within a second, and 1 if not
//! ```
//!
//! It does not use the shim or depend on it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "an application may have threads, print and exit; only the shim may not"
)]

use nix::sys::signal::{SigSet, Signal};
use std::error::Error;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::exit;
use std::time::Duration;
use std::{env, fs, thread};

/// How long a request, an answer or a connection may take.
const LIMIT: Duration = Duration::from_secs(1);

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let done = match words[..] {
        ["serve", address] => serve(address),
        ["check", address] => check(address),
        _ => Err("usage: greeter serve|check ADDRESS:PORT".into()),
    };
    if let Err(error) = done {
        eprintln!("greeter: {error}");
        exit(1);
    }
}

/// Answers each request in a thread, until SIGTERM; then it exits with 0.
fn serve(address: &str) -> Result<(), Box<dyn Error>> {
    // Threads inherit the signal mask, so SIGTERM stays pending until this thread waits for it.
    let stop = SigSet::from(Signal::SIGTERM);
    stop.thread_block()?;
    let listener = TcpListener::bind(address)?;
    println!("greeter: listening on {address}");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that closes its connection early is not an error.
            thread::spawn(move || answer(stream).ok());
        }
    });
    stop.wait()?;
    println!("greeter: goodbye");
    Ok(())
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    let mut lines = BufReader::new(stream.try_clone()?.take(8 * 1024)).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    // The rest of the head is read, because closing the connection with unread data would reset it.
    for header in lines {
        if header?.is_empty() {
            break;
        }
    }
    let (status, body) = match request.split(' ').nth(1) {
        Some("/") => ("200 OK", format!("Hello from {}!\n", instance())),
        Some("/health") => ("200 OK", "healthy\n".into()),
        _ => ("404 Not Found", "there is nothing here\n".into()),
    };
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: text/plain\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}

/// The name of the host; in a container, the container's own name.
fn instance() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    format!("{} (process {})", name.trim(), std::process::id())
}

fn check(address: &str) -> Result<(), Box<dyn Error>> {
    let address: SocketAddr = address.parse()?;
    let mut stream = TcpStream::connect_timeout(&address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    stream.set_write_timeout(Some(LIMIT))?;
    write!(stream, "GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
    let mut status = String::new();
    BufReader::new(stream).read_line(&mut status)?;
    match status.split(' ').nth(1) {
        Some("200") => Ok(()),
        _ => Err(format!("unhealthy: {}", status.trim()).into()),
    }
}
