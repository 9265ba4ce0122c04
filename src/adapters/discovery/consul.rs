//! Consul, through its agent's HTTP API (behaviour-v2.md section 4).
//!
//! A service and its TTL check are registered in one call, passing at once (SD-1); IDs, check names, notes
//! and TTL texts are the original's, because dashboards and ACLs refer to them. Only an answer that says
//! "unknown check" means that the registration is gone (SD-4); any other failure is a failed heartbeat.
//!
//! Never waits for a change without a cursor, and never trusts one that Consul has gone back behind: after a
//! restart of the server an old index would only wait out its time.

use super::tls;
use crate::cause;
use crate::ports::{Catalogue, CatalogueError, Renewal};
use async_trait::async_trait;
use domain::event::{Cursor, Instance, Listing, Query};
use domain::plan::{self, Registration, Scheme};
use domain::time::Duration;
use reqwest::header::{HeaderMap, HeaderValue};
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode, Url};
use serde::{Deserialize, Serialize};
use std::error::Error;
use std::io::ErrorKind;
use tokio::time::Instant;

/// How long a connection nobody uses is kept; longer than most polls, shorter than Consul's patience.
const IDLE: Duration = Duration::from_secs(30);
/// A connection beyond the agent's limit is cut at once; one that is cut later is cut for another reason
/// (docs/bounds.md).
const CUT: Duration = Duration::from_secs(1);
/// How much of an error's body is told.
const TOLD: usize = 200;

/// A Consul agent.
#[derive(Debug)]
pub struct Consul {
    base: Url,
    client: Client,
}

impl Consul {
    /// An agent at this address; nothing is sent yet.
    ///
    /// # Errors
    /// The address is no address, or the token cannot be sent in a header.
    pub fn new(settings: &plan::Consul) -> Result<Self, CatalogueError> {
        let mut base = base(settings).map_err(|error| {
            CatalogueError::Failed(format!(
                "'{}' is not an address of Consul: {error}",
                settings.address
            ))
        })?;
        // Fails if it is there already, which is as good.
        rustls::crypto::ring::default_provider().install_default().ok();
        let mut client = Client::builder()
            .pool_idle_timeout(IDLE)
            .default_headers(headers(settings)?);
        if let Some(socket) = settings.address.split_once("unix://").map(|(_, path)| path) {
            client = client.unix_socket(socket);
        }
        if base.host_str().is_some_and(is_loopback) {
            client = client.no_proxy();
        }
        client = match settings.scheme {
            // Without TLS no certificate of the system is needed, and there may be none.
            Scheme::Http => client.tls_certs_only([]),
            Scheme::Https => tls::secure(client, &settings.tls, &mut base)?,
        };
        let client = client.build().map_err(|error| failure(&error))?;
        Ok(Self { base, client })
    }

    fn request(&self, method: Method, path: &[&str], query: &[(&str, &str)]) -> RequestBuilder {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        self.client.request(method, url)
    }

    async fn put(
        &self,
        path: &[&str],
        query: &[(&str, &str)],
        body: String,
    ) -> Result<Response, CatalogueError> {
        send(self.request(Method::PUT, path, query).body(body)).await
    }
}

#[async_trait(?Send)]
impl Catalogue for Consul {
    async fn register(&self, registration: &Registration) -> Result<(), CatalogueError> {
        let body = serde_json::to_string(&Service::from(registration));
        let body = body.map_err(|error| failure(&error))?;
        let response = self
            .put(&["v1", "agent", "service", "register"], &[], body)
            .await?;
        succeed(response).await.map(drop)
    }

    async fn renew(&self, registration: &Registration) -> Result<Renewal, CatalogueError> {
        let path = ["v1", "agent", "check", "pass", &registration.id];
        let response = self.put(&path, &[("note", "ok")], String::new()).await?;
        match refusal(response).await {
            None => Ok(Renewal::Renewed),
            Some(refusal) if refusal.is_unknown_check() => Ok(Renewal::Unknown(refusal.to_string())),
            Some(refusal) => Err(CatalogueError::Failed(refusal.to_string())),
        }
    }

    async fn withdraw(&self, registration: &Registration) -> Result<(), CatalogueError> {
        let path = ["v1", "agent", "service", "deregister", &registration.id];
        let response = self.put(&path, &[], String::new()).await?;
        match refusal(response).await {
            Some(refusal) if refusal.status != StatusCode::NOT_FOUND => {
                Err(CatalogueError::Failed(refusal.to_string()))
            }
            _ => Ok(()),
        }
    }

    async fn instances(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let index = query.after.map(|Cursor(index)| index.to_string());
        let wait = format!("{}ms", query.wait.as_millis());
        let mut parameters = vec![("passing", "1")];
        parameters.extend(query.tag.as_deref().map(|tag| ("tag", tag)));
        if let Some(index) = &index {
            parameters.extend([("index", index.as_str()), ("wait", &wait)]);
        }
        let request = self.request(
            Method::GET,
            &["v1", "health", "service", &query.service],
            &parameters,
        );
        let response = succeed(send(request).await?).await?;
        let cursor = cursor(response.headers(), query.after);
        let body = response.bytes().await.map_err(|error| failure(&error))?;
        let instances = instances(&body).map_err(|error| failure(&error))?;
        Ok(Listing {
            instances,
            cursor,
            ..Listing::default()
        })
    }
}

fn base(settings: &plan::Consul) -> Result<Url, String> {
    let scheme = match settings.scheme {
        Scheme::Http => "http",
        Scheme::Https => "https",
    };
    let authority = if settings.address.contains("unix://") {
        "localhost"
    } else {
        &settings.address
    };
    let url = Url::parse(&format!("{scheme}://{authority}")).map_err(|error| error.to_string())?;
    let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
    bare.then_some(url)
        .ok_or_else(|| "nothing is allowed after host:port".into())
}

fn headers(settings: &plan::Consul) -> Result<HeaderMap, CatalogueError> {
    let mut headers = HeaderMap::new();
    if let Some(token) = &settings.token {
        let mut value = HeaderValue::from_str(&token.0).map_err(|_| {
            CatalogueError::Failed("the Consul token has characters that no header can carry".into())
        })?;
        value.set_sensitive(true);
        headers.insert("X-Consul-Token", value);
    }
    Ok(headers)
}

/// Proxies of the environment are never for this machine itself.
fn is_loopback(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

/// Where to go on watching. Consul's index must be reset when it goes back.
fn cursor(headers: &HeaderMap, before: Option<Cursor>) -> Option<Cursor> {
    let index = headers.get("X-Consul-Index")?.to_str().ok()?.parse().ok()?;
    let went_back = before.is_some_and(|Cursor(before)| index < before);
    (index > 0 && !went_back).then_some(Cursor(index))
}

/// The instances that a health answer lists; public for the properties in `fuzz/`.
#[doc(hidden)]
pub fn instances(body: &[u8]) -> Result<Vec<Instance>, serde_json::Error> {
    let entries: Vec<HealthEntry> = serde_json::from_slice(body)?;
    Ok(entries.into_iter().map(Instance::from).collect())
}

/// Sends a request and waits for its answer; says [`CatalogueError::Busy`] if the agent takes no more of ours
/// for now. By default it cuts the 201st connection of an address, without a word up to 1.8, later with 429.
async fn send(request: RequestBuilder) -> Result<Response, CatalogueError> {
    let sent = Instant::now();
    match request.send().await {
        Ok(response) if response.status() == StatusCode::TOO_MANY_REQUESTS => {
            Err(CatalogueError::Busy(Refusal::of(response).await.to_string()))
        }
        Err(error) if is_cut(&error) && sent.elapsed() < CUT => {
            Err(CatalogueError::Busy(cause::in_full(&error)))
        }
        answer => answer.map_err(|error| failure(&error)),
    }
}

/// Whether the other side took a connection and closed it without an answer, or with one that came before the
/// request, as Consul's 429 may.
fn is_cut(error: &(dyn Error + 'static)) -> bool {
    const ENDS: [ErrorKind; 3] = [
        ErrorKind::ConnectionReset,
        ErrorKind::BrokenPipe,
        ErrorKind::UnexpectedEof,
    ];
    let io = error.downcast_ref::<std::io::Error>();
    let hyper = error.downcast_ref::<hyper::Error>();
    io.is_some_and(|error| ENDS.contains(&error.kind()))
        || hyper.is_some_and(|error| error.is_incomplete_message() || error.is_canceled())
        || error.source().is_some_and(is_cut)
}

async fn succeed(response: Response) -> Result<Response, CatalogueError> {
    if response.status() == StatusCode::OK {
        return Ok(response);
    }
    Err(CatalogueError::Failed(Refusal::of(response).await.to_string()))
}

async fn refusal(response: Response) -> Option<Refusal> {
    if response.status() == StatusCode::OK {
        // The body is read to its end, so that the connection can be used again.
        response.bytes().await.ok();
        return None;
    }
    Some(Refusal::of(response).await)
}

/// An answer that is not 200.
struct Refusal {
    status: StatusCode,
    body: String,
}

impl Refusal {
    async fn of(response: Response) -> Self {
        let status = response.status();
        let body = response.text().await.unwrap_or_default();
        let body = body.trim().chars().take(TOLD).collect();
        Self { status, body }
    }

    /// Consul up to 1.10 says it with 500 and the first sentence, later ones with 404.
    fn is_unknown_check(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
            || self.body.contains("does not have associated TTL")
            || self.body.contains("Unknown check")
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Unexpected response code: {} ({})",
            self.status.as_u16(),
            self.body
        )
    }
}

fn failure(error: &dyn Error) -> CatalogueError {
    CatalogueError::Failed(cause::in_full(error))
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Service<'a> {
    #[serde(rename = "ID")]
    id: &'a str,
    name: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    tags: &'a [String],
    port: u16,
    address: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    enable_tag_override: bool,
    check: Check<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Check<'a> {
    #[serde(rename = "CheckID")]
    id: &'a str,
    name: &'a str,
    notes: String,
    #[serde(rename = "TTL")]
    ttl: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    deregister_critical_service_after: Option<&'a str>,
}

impl<'a> From<&'a Registration> for Service<'a> {
    fn from(registration: &'a Registration) -> Self {
        let check = Check {
            id: &registration.id,
            name: &registration.id,
            notes: format!("TTL for {} set by containerpilot", registration.name),
            ttl: format!("{}s", registration.ttl.as_secs()),
            status: "passing",
            deregister_critical_service_after: registration.deregister_critical_after.as_deref(),
        };
        Self {
            id: &registration.id,
            name: &registration.name,
            tags: &registration.tags,
            port: registration.port,
            address: registration.address.to_string(),
            enable_tag_override: registration.enable_tag_override,
            check,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HealthEntry {
    node: Node,
    service: ServiceEntry,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Node {
    address: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ServiceEntry {
    #[serde(rename = "ID")]
    id: String,
    address: String,
    port: u16,
}

/// A service without an address of its own is reached at its node's (SD-7).
impl From<HealthEntry> for Instance {
    fn from(entry: HealthEntry) -> Self {
        let own = entry.service.address;
        Self {
            id: entry.service.id,
            address: if own.is_empty() { entry.node.address } else { own },
            port: entry.service.port,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use domain::plan::Tls;
    use std::net::{IpAddr, SocketAddr};

    fn settings(address: &str) -> plan::Consul {
        plan::Consul {
            address: address.into(),
            scheme: Scheme::Http,
            token: None,
            tls: Tls::default(),
        }
    }

    fn registration() -> Registration {
        Registration {
            id: "app-vm".into(),
            name: "app".into(),
            address: IpAddr::from([127, 0, 0, 1]),
            port: 8000,
            tags: vec!["t1".into()],
            ttl: Duration::from_secs(5),
            enable_tag_override: false,
            deregister_critical_after: None,
        }
    }

    #[test]
    fn the_registration_carries_the_original_names_and_a_passing_ttl_check() {
        let body = serde_json::to_value(Service::from(&registration())).unwrap();
        let expected = serde_json::json!({
            "ID": "app-vm", "Name": "app", "Tags": ["t1"], "Port": 8000, "Address": "127.0.0.1",
            "Check": {
                "CheckID": "app-vm", "Name": "app-vm", "Notes": "TTL for app set by containerpilot",
                "TTL": "5s", "Status": "passing"
            }
        });
        assert_eq!(body, expected);
    }

    #[test]
    fn the_options_of_2_6_are_sent_when_configured() {
        let mut registration = registration();
        registration.enable_tag_override = true;
        registration.deregister_critical_after = Some("90m".into());
        let body = serde_json::to_value(Service::from(&registration)).unwrap();
        assert_eq!(body["EnableTagOverride"], true);
        assert_eq!(body["Check"]["DeregisterCriticalServiceAfter"], "90m");
    }

    #[test]
    fn names_are_escaped_in_paths() {
        let consul = Consul::new(&settings("consul:8500")).unwrap();
        let request = consul
            .request(Method::PUT, &["v1", "a/b c"], &[("note", "ok")])
            .build()
            .unwrap();
        assert_eq!(request.url().as_str(), "http://consul:8500/v1/a%2Fb%20c?note=ok");
    }

    #[test]
    fn an_index_that_went_back_is_forgotten() {
        let headers = |index: &'static str| {
            HeaderMap::from_iter([("X-Consul-Index".parse().unwrap(), HeaderValue::from_static(index))])
        };
        assert_eq!(cursor(&headers("12"), None), Some(Cursor(12)));
        assert_eq!(cursor(&headers("12"), Some(Cursor(190))), None);
        assert_eq!(cursor(&headers("190"), Some(Cursor(190))), Some(Cursor(190)));
        assert_eq!(cursor(&headers("0"), None), None);
        assert_eq!(cursor(&HeaderMap::new(), None), None);
    }

    #[test]
    fn an_instance_without_an_address_has_its_nodes() {
        let entry = |address: &str| {
            let json = serde_json::json!({
                "Node": {"Address": "192.0.2.9"}, "Service": {"ID": "a", "Address": address, "Port": 1}
            });
            Instance::from(serde_json::from_value::<HealthEntry>(json).unwrap()).address
        };
        assert_eq!(entry(""), "192.0.2.9");
        assert_eq!(entry("192.0.2.1"), "192.0.2.1");
    }

    /// What comes of a registration at this address while a server does something.
    fn fails(address: SocketAddr, serves: impl Future<Output = ()>) -> CatalogueError {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let consul = Consul::new(&settings(&address.to_string())).unwrap();
        let registers = async { consul.register(&registration()).await.unwrap_err() };
        runtime
            .unwrap()
            .block_on(async { tokio::join!(registers, serves).0 })
    }

    /// The same of a server that takes one connection, reads so many bytes, says this and closes it after a
    /// while.
    fn fails_with(reads: usize, says: &[u8], after: Duration) -> CatalogueError {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        fails(listener.local_addr().unwrap(), async {
            let listener = tokio::net::TcpListener::from_std(listener).unwrap();
            let (connection, _) = listener.accept().await.unwrap();
            while reads > 0 && connection.try_read(&mut vec![0; reads]).is_err() {
                connection.readable().await.unwrap();
            }
            connection.writable().await.unwrap();
            connection.try_write(says).unwrap();
            tokio::time::sleep(after).await;
        })
    }

    #[test]
    fn a_connection_that_is_cut_at_once_and_a_429_mean_busy() {
        let cut = fails_with(0, b"", Duration::ZERO);
        assert!(matches!(cut, CatalogueError::Busy(_)), "{cut}");
        let answer = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 4\r\n\r\nmany";
        let words = "Unexpected response code: 429 (many)".into();
        assert_eq!(
            fails_with(10_000, answer, Duration::ZERO),
            CatalogueError::Busy(words)
        );
        let early = fails_with(0, answer, Duration::from_millis(50));
        assert!(matches!(early, CatalogueError::Busy(_)), "{early}");
    }

    #[test]
    fn a_connection_that_is_cut_later_or_refused_is_a_failure() {
        let cut = fails_with(0, b"", CUT);
        assert!(matches!(cut, CatalogueError::Failed(_)), "{cut}");
        let nobody = SocketAddr::from(([127, 255, 255, 254], 1));
        let refused = fails(nobody, async {});
        assert!(matches!(refused, CatalogueError::Failed(_)), "{refused}");
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for bad in [
            "consul:port",
            "consul:8500/path",
            "",
            "consul:99999",
            "http://consul",
        ] {
            assert!(Consul::new(&settings(bad)).is_err(), "{bad}");
        }
        for good in [
            "consul",
            "consul:8500",
            "192.0.2.1:8500",
            "[::1]:8500",
            "unix:///run/consul.sock",
        ] {
            assert!(Consul::new(&settings(good)).is_ok(), "{good}");
        }
    }

    #[test]
    fn loopback_hosts_are_known() {
        assert!(is_loopback("localhost") && is_loopback("127.0.0.2") && is_loopback("[::1]"));
        assert!(!is_loopback("consul") && !is_loopback("192.0.2.1"));
    }
}
