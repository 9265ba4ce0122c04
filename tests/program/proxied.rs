//! Consul behind a forward proxy that the environment names: plain requests go to the proxy, and requests
//! over TLS go through a tunnel.

use crate::agent::{Agent, HTTPS};
use crate::isolated::isolated_with_names;
use crate::loopback::OwnAddress;
use crate::secured::{CLIENT, config, secured, started};
use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// The header that the proxy requires; neither it nor the user may appear in the log or on `/status`.
const USER: &str = "me:mystery";
const AUTHORIZATION: &str = "Basic bWU6bXlzdGVyeQ==";

/// A forward proxy that records the first line of each request.
struct ForwardProxy {
    own: OwnAddress,
    seen: Arc<Mutex<Vec<String>>>,
}

impl ForwardProxy {
    /// A proxy that connects to Consul's ports at this address, whatever host the request names.
    fn to(consul: SocketAddr) -> Self {
        let own = OwnAddress::reserve();
        let listener = TcpListener::bind(own.socket()).expect("the address is the test's own");
        let seen = Arc::<Mutex<Vec<String>>>::default();
        let noted = Arc::clone(&seen);
        std::thread::spawn(move || {
            for near in listener.incoming().flatten() {
                let noted = Arc::clone(&noted);
                std::thread::spawn(move || serve(near, consul, &noted));
            }
        });
        Self { own, seen }
    }

    fn url(&self, user: &str) -> String {
        format!("http://{user}@{}", self.own.socket())
    }

    fn has_seen(&self, beginning: &str) -> bool {
        self.seen
            .lock()
            .unwrap()
            .iter()
            .any(|line| line.starts_with(beginning))
    }
}

/// Serves one request and closes the connection, or serves one tunnel.
fn serve(mut near: TcpStream, consul: SocketAddr, noted: &Mutex<Vec<String>>) -> io::Result<()> {
    let mut reader = BufReader::new(near.try_clone()?);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        match line.trim_end() {
            "" => break,
            line => head.push(line.to_owned()),
        }
    }
    let first = head.first().cloned().unwrap_or_default();
    noted.lock().unwrap().push(first.clone());
    let field = |name: &str| {
        let fields = head.iter().filter_map(|line| line.split_once(": "));
        let mut found = fields.filter(|(key, _)| key.eq_ignore_ascii_case(name));
        found.next().map_or("", |(_, value)| value)
    };
    if field("Proxy-Authorization") != AUTHORIZATION {
        let refusal =
            "HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
        return near.write_all(refusal.as_bytes());
    }
    let mut words = first.split(' ');
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (place, path) = match method {
        "CONNECT" => (target, ""),
        _ => {
            let rest = target.strip_prefix("http://").expect("a whole URL");
            rest.split_at(rest.find('/').expect("a path"))
        }
    };
    let port = place
        .rsplit_once(':')
        .expect("a port")
        .1
        .parse()
        .expect("a number");
    let mut far = TcpStream::connect((consul.ip(), port))?;
    if method == "CONNECT" {
        near.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")?;
        let (mut from, mut to) = (far.try_clone()?, near.try_clone()?);
        std::thread::spawn(move || io::copy(&mut from, &mut to));
        return io::copy(&mut reader, &mut far).map(drop);
    }
    let length = field("Content-Length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let host = field("Host");
    write!(
        far,
        "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n"
    )?;
    far.write_all(&body)?;
    io::copy(&mut far, &mut near).map(drop)
}

fn at(agent: &Agent) -> SocketAddr {
    agent.address().parse().expect("an address")
}

#[test]
fn plain_requests_go_to_the_proxy_with_its_user_which_is_shown_nowhere() {
    let agent = Agent::start();
    let proxy = ForwardProxy::to(at(&agent));
    // This name cannot be resolved, and the program need not resolve it: the proxy does.
    let consul = format!("\"consul.invalid:{}\"", at(&agent).port());
    let url = proxy.url(USER);
    let program = started(&config(&consul), &[("http_proxy", &url)]);
    agent.until_passing("app", 1);
    program.until_logged("an instance came");
    let of_consul = |path: &str| format!("PUT http://consul.invalid:{}{path}", at(&agent).port());
    assert!(proxy.has_seen(&of_consul("/v1/agent/service/register")));
    program.until("heartbeats go the same way", |_| {
        proxy.has_seen(&of_consul("/v1/agent/check/"))
    });
    for secret in ["mystery", "bWU6"] {
        assert!(!program.stdout().contains(secret), "{}", program.stdout());
    }
}

#[test]
fn what_no_proxy_lists_is_reached_without_the_proxy() {
    let agent_at = OwnAddress::reserve();
    let hosts = format!("{} consul.test", agent_at.ip());
    isolated_with_names(&hosts, "127.0.0.53", || {
        let agent = Agent::start_at(agent_at, &[], "");
        let proxy = ForwardProxy::to(at(&agent));
        let consul = format!("\"consul.test:{}\"", at(&agent).port());
        let url = proxy.url(USER);
        let variables = [("http_proxy", url.as_str()), ("no_proxy", "example.com, .test")];
        let program = started(&config(&consul), &variables);
        agent.until_passing("app", 1);
        program.until_logged("an instance came");
        assert!(!proxy.has_seen(""), "{:?}", proxy.seen.lock().unwrap());
    });
}

#[test]
fn requests_over_tls_go_through_a_tunnel() {
    let (agent, folder) = secured();
    let proxy = ForwardProxy::to(at(&agent));
    let consul = folder.expand(&format!(
        r#"{{"address": "consul.invalid:{HTTPS}", "scheme": "https",
             "tls": {{"cafile": "@/consul-agent-ca.pem", "servername": "server.dc1.consul", {CLIENT}}}}}"#
    ));
    let url = proxy.url(USER);
    let program = started(&config(&consul), &[("HTTPS_PROXY", &url)]);
    agent.until_passing("app", 1);
    program.until_logged("an instance came");
    let tunnel = format!("CONNECT consul.invalid:{HTTPS} HTTP/1.1");
    let seen = proxy.seen.lock().unwrap().clone();
    assert!(seen.iter().all(|line| *line == tunnel), "{seen:?}");
}

#[test]
fn a_refusal_of_the_proxy_is_reported_and_no_request_bypasses_it() {
    let agent = Agent::start();
    let proxy = ForwardProxy::to(at(&agent));
    let consul = format!("\"consul.invalid:{}\"", at(&agent).port());
    let url = proxy.url("me:wrong");
    let program = started(&config(&consul), &[("http_proxy", &url)]);
    program.until_logged("Service registration failed: Unexpected response code: 407");
    assert!(agent.passing("app").is_empty());
}
