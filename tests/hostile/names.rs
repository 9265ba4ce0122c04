//! Name servers that do not answer, and hosts whose first address does not answer: every check is on time, the number of
//! threads stays small, SIGTERM takes effect, and the service is registered as soon as possible.

use crate::agent::{Agent, hostname};
use crate::etcd_server::Server;
use crate::isolated::isolated_with_names;
use crate::machine;
use crate::observed::{Hostile, Observed};
use crate::slowness;
use nix::sys::socket::{Backlog, listen};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// The address of the name server in these tests.
const NAME_SERVER: &str = "127.0.0.53";

/// A name server that reads queries without answering, until it gets an address that it answers for all names.
struct NameServer {
    address: Arc<Mutex<Option<Ipv4Addr>>>,
    questions: Arc<Mutex<usize>>,
}

impl NameServer {
    fn start() -> Self {
        let socket = UdpSocket::bind((NAME_SERVER, 53)).expect("port 53 of this namespace is free");
        let address = Arc::new(Mutex::new(None));
        let questions = Arc::new(Mutex::new(0));
        let (answer, count) = (Arc::clone(&address), Arc::clone(&questions));
        std::thread::spawn(move || {
            let mut question = [0; 512];
            while let Ok((length, from)) = socket.recv_from(&mut question) {
                *count.lock().unwrap() += 1;
                let known = *answer.lock().unwrap();
                if let Some(answer) = known.and_then(|known| answer_to(&question[..length], known)) {
                    socket.send_to(&answer, from).ok();
                }
            }
        });
        Self { address, questions }
    }

    fn answer_with(&self, address: Ipv4Addr) {
        *self.address.lock().unwrap() = Some(address);
    }
}

/// The response with this IPv4 address for a name, and with no records of other types.
fn answer_to(question: &[u8], address: Ipv4Addr) -> Option<Vec<u8>> {
    const HEAD: usize = 12;
    const ADDRESS: [u8; 2] = [0, 1];
    // Type and class follow the name, which ends with a zero.
    let end = HEAD + question.get(HEAD..)?.iter().position(|byte| *byte == 0)? + 5;
    let asked = question.get(HEAD..end)?;
    let is_for_address = asked.get(asked.len() - 4..asked.len() - 2)? == ADDRESS;
    let mut answer = question[..2].to_vec();
    answer.extend([0x81, 0x80, 0, 1, 0, u8::from(is_for_address), 0, 0, 0, 0]);
    answer.extend(asked);
    if is_for_address {
        answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
        answer.extend(address.octets());
    }
    Some(answer)
}

/// A service and ten backends of a program whose Consul has this address.
fn observed(consul: &str) -> Observed {
    let backend = |number| format!(r#"{{"name": "db{number}", "poll": 1, "onChange": "true"}}"#);
    let backends: Vec<String> = (0..10).map(backend).collect();
    let observed = Observed::start(&Hostile {
        catalogue: Some(&format!(r#""consul": "{consul}""#)),
        sections: &format!(r#", "backends": [{}]"#, backends.join(",")),
        ..Hostile::default()
    });
    observed.program.until_file("up");
    observed
}

#[test]
fn a_silent_name_server_delays_nothing_and_is_queried_again() {
    isolated_with_names("", NAME_SERVER, || {
        let (agent, names) = (Agent::start(), NameServer::start());
        let address: SocketAddr = agent.address().parse().unwrap();
        let consul = format!("consul.test:{}", address.port());
        let (patient, stopped) = (observed(&consul), observed(&consul));
        // Which limit ends first depends on how often the C library asks the name server.
        patient.program.until_logged("no answer");
        let threads = patient.threads();
        patient.until_starts(8);
        let late = patient.lateness(7);
        let (status, took) = patient.get("/status");
        assert!(late < Duration::from_millis(100) * slowness(), "{late:?}");
        assert_eq!(status.map(|status| status.status), Some(200));
        assert!(took < Duration::from_millis(100) * slowness(), "{took:?}");
        assert!(threads <= 2 && patient.threads() == threads, "{threads} threads");
        assert!(patient.descriptors() < 32, "{}", patient.descriptors());
        let took = stopped.terminate();
        assert!(took < Duration::from_millis(2_500) * slowness(), "{took:?}");
        assert!(*names.questions.lock().unwrap() > 0, "the name server was asked");

        let IpAddr::V4(ip) = address.ip() else {
            panic!("an address of IPv4");
        };
        names.answer_with(ip);
        agent.until_passing("observed", 1);
        let took = patient.terminate();
        assert!(took < Duration::from_millis(2_500) * slowness(), "{took:?}");
        agent.until_known(&format!("observed-{}", hostname()), false);
    });
}

/// A listener that accepts no connection and whose queue is full, so that the kernel takes no further connection.
struct Silent {
    _listener: TcpListener,
    _queue: Vec<TcpStream>,
}

impl Silent {
    fn at(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).expect("this address of the namespace is free");
        listen(&listener, Backlog::new(0).expect("a backlog")).expect("the backlog can be changed");
        let longest_wait = Duration::from_millis(300);
        let connect = || TcpStream::connect_timeout(&address, longest_wait).ok();
        let queue = std::iter::from_fn(connect).collect();
        Self {
            _listener: listener,
            _queue: queue,
        }
    }
}

/// The first address of `two.test`, which is silent.
const SILENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// The time from the first check's start until the service is registered in a catalogue at this address. The
/// catalogue's name has a silent address, too.
fn until_registered(live: SocketAddr, catalogue: &str) -> Duration {
    std::fs::write(
        "/etc/hosts",
        format!("{SILENT} two.test\n{} two.test\n", live.ip()),
    )
    .unwrap();
    let addresses: Vec<SocketAddr> = ("two.test", live.port()).to_socket_addrs().unwrap().collect();
    let silent = SocketAddr::from((SILENT, live.port()));
    assert_eq!(addresses, [silent, live], "the silent one is tried first");
    let _silent = Silent::at(silent);
    let observed = Observed::start(&Hostile {
        catalogue: Some(catalogue),
        ..Hostile::default()
    });
    observed.program.until_logged("Service registered: observed");
    let end = machine::since_boot();
    let begin = observed.starts()[0];
    observed.program.until_file("up");
    observed.terminate();
    (end - begin).saturating_sub(3 * machine::lateness_since(begin))
}

#[test]
fn with_consul_a_silent_first_address_costs_a_fraction_of_the_limit() {
    isolated_with_names("", NAME_SERVER, || {
        let agent = Agent::start();
        let live: SocketAddr = agent.address().parse().unwrap();
        let took = until_registered(live, &format!(r#""consul": "two.test:{}""#, live.port()));
        assert!(took < Duration::from_millis(1_000), "{took:?}");
    });
}

#[test]
fn with_etcd_a_silent_first_address_costs_a_fraction_of_the_limit() {
    isolated_with_names("", NAME_SERVER, || {
        let server = Server::start("3.5");
        let live: SocketAddr = server.url().replace("http://", "").parse().unwrap();
        let url = format!("http://two.test:{}", live.port());
        let took = until_registered(live, &format!(r#""etcd": {{"endpoints": ["{url}"]}}"#));
        assert!(took < Duration::from_millis(1_000), "{took:?}");
    });
}
