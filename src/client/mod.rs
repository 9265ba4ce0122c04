//! The client of the control socket, for the flags of the program: one request, and its answer within a time limit.
//!
//! Whatever the answer is, it leads to one exit code and at most one sentence.

mod table;

use crate::adapters::http::Stream;
use crate::adapters::tasks::spawn_local;
use crate::cause;
use crate::command_line::{ControlCommand, Format};
use domain::time::Duration;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::HOST;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::io;
use tokio::net::UnixStream;
use tokio::runtime::Builder;
use tokio::task::LocalSet;
use tokio::time::{sleep, timeout};

/// How long a command waits for an answer that the shim gives at once (docs/bounds.md).
const LIMIT: Duration = Duration::from_secs(5);
/// How long a command waits for the end of a reload or of maintenance (docs/bounds.md).
const CHANGE_LIMIT: Duration = Duration::from_secs(30);
/// The longest answer that is read, in bytes (docs/bounds.md).
const LONGEST_ANSWER: usize = 64 * 1024 * 1024;
/// The pause before another attempt when the queue of the socket is full.
const PAUSE: Duration = Duration::from_millis(50);

/// What a command prints, and its exit code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// For the standard output.
    pub printed: String,
    /// Why it failed, for the standard error.
    pub failure: Option<String>,
    /// The exit code.
    pub code: u8,
}

/// The answer of the shim.
struct Reply {
    code: StatusCode,
    text: String,
}

/// Sends a command to the shim at a socket.
///
/// # Errors
/// A sentence: the socket cannot be reached, or there is no answer in time.
pub fn run(command: ControlCommand, format: Format, socket: &str) -> Result<Outcome, String> {
    let runtime = Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("the runtime cannot be started: {error}"))?;
    let reply = LocalSet::new().block_on(&runtime, ask_in_time(command, socket))?;
    Ok(outcome(command, format, reply))
}

async fn ask_in_time(command: ControlCommand, socket: &str) -> Result<Reply, String> {
    let limit = match command {
        ControlCommand::Reload | ControlCommand::Maintenance(_) => CHANGE_LIMIT,
        ControlCommand::Ping | ControlCommand::Status | ControlCommand::Healthy => LIMIT,
    };
    let reply = timeout(limit, ask(command, socket)).await;
    reply.unwrap_or_else(|_| Err(format!("the shim at {socket} did not answer within {limit:?}")))
}

async fn ask(command: ControlCommand, socket: &str) -> Result<Reply, String> {
    let (method, path) = match command {
        ControlCommand::Ping => (Method::GET, "/v3/ping"),
        ControlCommand::Status => (Method::GET, "/v3/status"),
        ControlCommand::Healthy => (Method::GET, "/v3/health"),
        ControlCommand::Reload => (Method::POST, "/v3/reload"),
        ControlCommand::Maintenance(true) => (Method::POST, "/v3/maintenance/enable"),
        ControlCommand::Maintenance(false) => (Method::POST, "/v3/maintenance/disable"),
    };
    let stream = connect(socket).await?;
    let broken = |error: &dyn std::error::Error| {
        let cause = cause::in_full(error);
        format!("the answer of the shim at {socket} cannot be read: {cause}")
    };
    let handshake = http1::handshake(TokioIo::new(Box::new(stream) as Box<dyn Stream>)).await;
    let (mut sender, connection) = handshake.map_err(|error| broken(&error))?;
    // A connection that breaks is the failure of its request.
    spawn_local(async move { connection.await.ok() });
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "control");
    let request = request
        .body(Full::<Bytes>::default())
        .map_err(|error| broken(&error))?;
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    let code = response.status();
    let body = Limited::new(response.into_body(), LONGEST_ANSWER).collect().await;
    let bytes = body.map_err(|error| broken(&*error))?.to_bytes();
    Ok(Reply {
        code,
        text: String::from_utf8_lossy(&bytes).into_owned(),
    })
}

async fn connect(socket: &str) -> Result<UnixStream, String> {
    loop {
        let error = match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(error) => error,
        };
        return Err(match error.kind() {
            // Many clients connect at the same time.
            io::ErrorKind::WouldBlock => {
                sleep(PAUSE).await;
                continue;
            }
            io::ErrorKind::NotFound => {
                format!("there is no control socket {socket}: the shim does not run here, or has another one")
            }
            io::ErrorKind::ConnectionRefused => {
                format!("no shim listens at the control socket {socket}: it has ended")
            }
            io::ErrorKind::PermissionDenied => format!(
                "permission denied for the control socket {socket}: use the user of the shim, or a member of `control.group`"
            ),
            _ => {
                let cause = cause::in_kernel_words(&error);
                format!("the control socket {socket} cannot be used: {cause}")
            }
        });
    }
}

fn outcome(command: ControlCommand, format: Format, Reply { code, text }: Reply) -> Outcome {
    let printed = match (command, code) {
        (ControlCommand::Healthy, StatusCode::OK) if text == "healthy\n" => text,
        (ControlCommand::Healthy, StatusCode::SERVICE_UNAVAILABLE) if text == "not healthy\n" => {
            return Outcome {
                printed: "unhealthy\n".into(),
                failure: None,
                code: 1,
            };
        }
        (ControlCommand::Ping, StatusCode::OK) => "ok\n".into(),
        (ControlCommand::Status, StatusCode::OK) if format == Format::Json => text + "\n",
        (ControlCommand::Status, StatusCode::OK) => match table::of(&text) {
            Some(table) => table,
            None => return failed("the answer of the shim is not a status".into()),
        },
        (ControlCommand::Reload | ControlCommand::Maintenance(_), StatusCode::OK) => String::new(),
        _ => {
            let text = table::printable(text.trim_end(), usize::MAX);
            return failed(if text.is_empty() { code.to_string() } else { text });
        }
    };
    Outcome {
        printed,
        failure: None,
        code: 0,
    }
}

fn failed(sentence: String) -> Outcome {
    Outcome {
        printed: String::new(),
        failure: Some(sentence),
        code: 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::{UnixListener, UnixStream};
    use std::thread;
    use tempfile::tempdir;

    fn reply(command: ControlCommand, code: u16, text: &str) -> Outcome {
        let code = StatusCode::from_u16(code).unwrap();
        let text = text.to_owned();
        outcome(command, Format::Text, Reply { code, text })
    }

    fn prints(text: &str, code: u8) -> Outcome {
        Outcome {
            printed: text.into(),
            failure: None,
            code,
        }
    }

    #[test]
    fn each_answer_leads_to_an_exit_code() {
        assert_eq!(reply(ControlCommand::Ping, 200, "\n"), prints("ok\n", 0));
        assert_eq!(
            reply(ControlCommand::Healthy, 200, "healthy\n"),
            prints("healthy\n", 0)
        );
        assert_eq!(
            reply(ControlCommand::Healthy, 503, "not healthy\n"),
            prints("unhealthy\n", 1)
        );
        assert_eq!(reply(ControlCommand::Reload, 200, "\n"), prints("", 0));
        let refused = reply(ControlCommand::Reload, 422, "a.json:1:2: wrong\n    1 | x\n");
        assert_eq!(refused, failed("a.json:1:2: wrong\n    1 | x".into()));
        let late = reply(ControlCommand::Healthy, 503, "The shim did not answer in time.\n");
        assert_eq!(late, failed("The shim did not answer in time.".into()));
        assert_eq!(
            reply(ControlCommand::Maintenance(true), 418, ""),
            failed("418 I'm a teapot".into())
        );
        assert_eq!(reply(ControlCommand::Status, 200, "what?").code, 1);
    }

    #[test]
    fn characters_that_a_terminal_obeys_are_not_printed() {
        let refused = reply(ControlCommand::Reload, 422, "a\u{1b}[2Jb\tc\n");
        assert_eq!(refused, failed("a\u{fffd}[2Jb\u{fffd}c".into()));
    }

    #[test]
    fn what_prevents_an_answer_is_one_sentence() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("s").display().to_string();
        let ping = || run(ControlCommand::Ping, Format::Text, &path).unwrap_err();
        assert_eq!(
            ping(),
            format!("there is no control socket {path}: the shim does not run here, or has another one")
        );
        drop(UnixListener::bind(&path).unwrap());
        assert_eq!(
            ping(),
            format!("no shim listens at the control socket {path}: it has ended")
        );
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(ping().contains(&path), "{}", ping());
    }

    /// Runs a command at a server that reads the request and does `serve`. Returns the results of both.
    fn at_a_server<T: Send + 'static>(
        command: ControlCommand,
        serve: impl FnOnce(UnixStream) -> T + Send + 'static,
    ) -> (Result<Outcome, String>, T) {
        let folder = tempdir().unwrap();
        let path = folder.path().join("s").display().to_string();
        let listener = UnixListener::bind(&path).unwrap();
        let server = thread::Builder::new().spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1000];
            let _ = stream.read(&mut request).unwrap();
            serve(stream)
        });
        let outcome = run(command, Format::Text, &path);
        (outcome, server.unwrap().join().unwrap())
    }

    /// What a client is answered by a server that sends this text.
    fn answered_with(text: &'static str) -> Result<Outcome, String> {
        let serve = |mut stream: UnixStream| stream.write_all(text.as_bytes()).unwrap();
        at_a_server(ControlCommand::Ping, serve).0
    }

    #[test]
    fn an_answer_that_is_no_http_or_incomplete_is_one_sentence() {
        for text in [
            "",
            "hello\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nab",
        ] {
            let sentence = answered_with(text).unwrap_err();
            assert!(sentence.contains("cannot be read: "), "{sentence}");
            assert!(!sentence.contains('\n'), "{sentence}");
        }
        assert_eq!(
            answered_with("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n\n"),
            Ok(prints("ok\n", 0))
        );
    }

    #[test]
    fn the_wait_for_an_answer_is_limited() {
        let folder = tempdir().unwrap();
        let path = folder.path().join("s").display().to_string();
        // Nothing accepts its connections.
        let _listener = UnixListener::bind(&path).unwrap();
        let runtime = Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build();
        LocalSet::new().block_on(&runtime.unwrap(), async {
            for (command, seconds) in [
                (ControlCommand::Ping, 5),
                (ControlCommand::Status, 5),
                (ControlCommand::Healthy, 5),
                (ControlCommand::Reload, 30),
                (ControlCommand::Maintenance(true), 30),
            ] {
                let late = ask_in_time(command, &path).await.err();
                let sentence = format!("the shim at {path} did not answer within {seconds}s");
                assert_eq!(late, Some(sentence));
            }
        });
    }

    #[test]
    fn an_answer_without_end_is_read_up_to_a_limit() {
        let (outcome, sent) = at_a_server(ControlCommand::Status, |mut stream| {
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            let mut sent = 0_usize;
            while stream.write_all(&[b'x'; 65_536]).is_ok() {
                sent += 65_536;
            }
            sent
        });
        let sentence = outcome.unwrap_err();
        assert!(sentence.contains("cannot be read: "), "{sentence}");
        assert!(
            (LONGEST_ANSWER..LONGEST_ANSWER + (4 << 20)).contains(&sent),
            "{sent}"
        );
    }
}
