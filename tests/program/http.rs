//! A small HTTP client with time limits. Each request has a connection of its own; `exchange` sends any text.

use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long connecting may take: the queue of a listener that many connect to at a time may be full for seconds.
const CONNECT: Duration = Duration::from_secs(20);
/// How long each piece of an answer may take.
const LIMIT: Duration = Duration::from_secs(5);

/// The response of a server.
#[derive(Debug)]
pub struct Answer {
    /// The status code.
    pub status: u16,
    /// The first line and the headers, in small letters.
    pub head: String,
    /// The text after the headers.
    pub body: String,
}

/// Asks `host:port`; `request` is method and path, `headers` are lines. `None` if no whole answer comes.
pub fn ask(address: &str, request: &str, headers: &str, body: &str) -> Option<Answer> {
    let mut stream = connect(address)?;
    let length = body.len();
    write!(
        stream,
        "{request} HTTP/1.0\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
    )
    .ok()?;
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).ok()?;
    parse(bytes)
}

/// Gets a page.
pub fn get(address: &str, path: &str) -> Option<Answer> {
    ask(address, &format!("GET {path}"), "", "")
}

/// Sends this, whatever it is, and reads what comes until the connection ends.
pub fn exchange(address: &str, text: &str) -> Option<Answer> {
    let mut stream = connect(address)?;
    stream.write_all(text.as_bytes()).ok()?;
    read(&mut stream)
}

/// A connection, if somebody listens.
pub fn connect(address: &str) -> Option<TcpStream> {
    let stream = TcpStream::connect_timeout(&address.to_socket_addrs().ok()?.next()?, CONNECT).ok()?;
    stream.set_read_timeout(Some(LIMIT)).ok()?;
    Some(stream)
}

/// Reads an answer to the connection's end; a server that refuses a request before it has read all of it may
/// reset the connection behind its answer.
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
