//! The plainest of HTTP clients: one request a connection, and whatever a test wants to send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(20);

/// An answer.
#[derive(Debug)]
pub struct Response {
    /// Its code.
    pub status: u16,
    /// Its first line and its headers.
    pub head: String,
    /// What follows them.
    pub body: String,
}

/// Gets a page.
pub fn get(address: &str, path: &str) -> Option<Response> {
    exchange(address, &request("GET", path))
}

/// A request after which the connection ends.
pub fn request(method: &str, path: &str) -> String {
    format!("{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
}

/// Sends this, and reads what comes until the connection ends; none if nobody answers.
pub fn exchange(address: &str, request: &str) -> Option<Response> {
    let mut stream = connect(address)?;
    stream.write_all(request.as_bytes()).ok()?;
    read(&mut stream)
}

/// A connection, if somebody listens.
pub fn connect(address: &str) -> Option<TcpStream> {
    let stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).ok()?;
    Some(stream)
}

/// Reads an answer to the connection's end.
pub fn read(stream: &mut TcpStream) -> Option<Response> {
    let mut bytes = Vec::new();
    // A server that refuses a request before it was read whole may reset the connection behind its answer.
    stream.read_to_end(&mut bytes).ok();
    let text = String::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Response {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_lowercase(),
        body: body.into(),
    })
}
