//! A small HTTP client with time limits. Each request has a connection of its own; `exchange` sends any text.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// The time limit of connecting: the queue of a listener with many clients may be full for seconds.
const CONNECT: Duration = Duration::from_secs(20);
/// The time limit of each piece of an answer.
const LIMIT: Duration = Duration::from_secs(5);

/// The response of a server.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The first line and the headers, in lower case.
    pub head: String,
    /// The text after the headers.
    pub body: String,
}

/// Sends a request to `host:port`; `request` is method and path, `headers` are lines. `None` if there is no
/// complete answer.
pub fn ask(address: &str, request: &str, headers: &str, body: impl AsRef<[u8]>) -> Option<Answer> {
    let mut stream = connect(address)?;
    let body = body.as_ref();
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.0\r\n{headers}Content-Length: {length}\r\n\r\n"
    )
    .ok()?;
    stream.write_all(body).ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    parse(bytes)
}

/// Gets a page.
pub fn get(address: &str, path: &str) -> Option<Answer> {
    ask(address, &format!("GET {path}"), "", "")
}

/// Sends a text, valid or not, and reads until the connection ends.
pub fn exchange(address: &str, text: &str) -> Option<Answer> {
    let mut stream = connect(address)?;
    stream.write_all(text.as_bytes()).ok()?;
    read(&mut stream)
}

/// A connection; `None` if no server listens.
pub fn connect(address: &str) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address.to_socket_addrs().ok()?.next()?, CONNECT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    Some(stream)
}

/// Reads an answer up to the end of the connection. A server that refuses a request before it has read all of
/// it may reset the connection after its answer.
pub fn read(stream: &mut TcpStream) -> Option<Answer> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok();
    parse(bytes)
}

fn parse(bytes: Vec<u8>) -> Option<Answer> {
    let text = String::from_utf8(bytes).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some(Answer {
        status: head.split(' ').nth(1)?.parse().ok()?,
        head: head.to_lowercase(),
        body: body.into(),
    })
}
