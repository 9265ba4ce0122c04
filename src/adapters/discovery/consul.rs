//! Consul, through its agent's HTTP API (docs/development/behaviour.md, rows SD-*).
//!
//! One call registers a service together with its TTL check, with the status "passing" (SD-1). IDs, check
//! names, notes and TTL texts are those of the original, because dashboards and ACLs refer to them. Only an
//! answer with the text "unknown check" means that the registration is gone (SD-4); any other failure is a
//! failed heartbeat.
//!
//! A query without a cursor returns at once. A cursor that is larger than Consul's present index is
//! discarded: after a restart of the server, a query with the old index would wait until its time limit.

pub(in crate::adapters) mod client;
mod entries;
mod idle;
mod keys;
mod listing;
pub(in crate::adapters) mod multiplexed;
pub(in crate::adapters) mod open;
mod proxy;
#[cfg(test)]
mod tests;
pub mod token;
pub(in crate::adapters) mod wire;

use super::address::{self, HostPort};
use super::names::Purpose;
use super::tls::Secured;
use crate::ports::{Catalogue, CatalogueError, Renewal};
use async_trait::async_trait;
use client::{Answer, Client, Refusal};
use domain::catalogue::{Cursor, Dependency, Endpoint, Found, Instance, Listing, LookUp, Query, Report};
use domain::filled;
use domain::plan::{self, Registration, Scheme};
use domain::time::Duration;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName};
use hyper::{Method, StatusCode};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use proxy::Proxy;
use serde::{Deserialize, Serialize};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use token::TokenFile;
use wire::{Route, Target};

/// The characters that are escaped in a part of a path or of a query: all but those that a URL may contain as
/// they are.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// The header with the ACL token.
const TOKEN: HeaderName = HeaderName::from_static("x-consul-token");

/// The longest description of one service that is read (docs/bounds.md).
const LARGEST_SERVICE: usize = 64 * 1024;

/// A Consul agent.
#[derive(Debug)]
pub struct Consul {
    client: Rc<Client>,
    token_file: Option<TokenFile>,
    /// A warning that is logged with the first request.
    advice: RefCell<Option<String>>,
}

impl Consul {
    /// The agent at this address. Sends nothing yet. Takes proxies from the environment.
    ///
    /// # Errors
    /// The address is invalid, a file of TLS cannot be read, or the token cannot be sent in a header.
    pub fn new(settings: &plan::Consul) -> Result<Self, CatalogueError> {
        Self::with(settings, &|name| std::env::var(name).ok())
    }

    /// As [`Self::new`], with the given environment variables.
    fn with(
        settings: &plan::Consul,
        variable: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Self, CatalogueError> {
        let token_file = settings.token_file.as_deref().map(TokenFile::new);
        let mut headers = headers(settings, token_file.as_ref())?;
        let (user, bare) = address::without_user(&settings.address);
        let unfit =
            |cause: String| CatalogueError::Failed(format!("'{bare}' is not an address of Consul: {cause}"));
        let mut advice = None;
        let (route, host) = match settings.address.split_once("unix://") {
            Some((_, path)) => {
                let target = Target::Socket(path.into());
                (route(settings, target, None, "localhost")?, "localhost")
            }
            None => {
                let user = user.map(address::basic).transpose().map_err(unfit)?;
                headers.extend(user.map(|user| (AUTHORIZATION, user)));
                let place = HostPort::parse(bare, default_port(settings.scheme)).map_err(unfit)?;
                let proxy = proxy::choose(settings.scheme, &place, variable);
                let proxy = proxy.unwrap_or_else(|sentence| {
                    advice = Some(sentence);
                    None
                });
                let host = place.host.clone();
                (route(settings, Target::Host(place), proxy, &host)?, bare)
            }
        };
        Ok(Self {
            client: Rc::new(Client::new(route, host, headers).map_err(unfit)?),
            token_file,
            advice: RefCell::new(advice),
        })
    }

    /// Sends a request. Returns [`CatalogueError::Busy`] if the agent accepts no more connections of this
    /// host for now: by default it closes the 201st connection of an address, up to Consul 1.8 without an
    /// answer, later with 429.
    async fn send(&self, method: Method, path: &str, body: &str) -> Result<Answer, CatalogueError> {
        if let Some(sentence) = self.advice.take() {
            tracing::warn!("{sentence}");
        }
        let mut answer = self.client.send(method.clone(), path, body).await?;
        if answer.status() == StatusCode::FORBIDDEN && self.has_another_token().await {
            answer.ignore().await;
            answer = self.client.send(method, path, body).await?;
        }
        match answer.status() {
            StatusCode::TOO_MANY_REQUESTS => Err(CatalogueError::Busy(answer.refusal().await.to_string())),
            _ => Ok(answer),
        }
    }

    /// The agent refused the token: reads its file again, if there is one. Returns whether the token is another now.
    async fn has_another_token(&self) -> bool {
        let Some(file) = &self.token_file else {
            return false;
        };
        let (client, before) = (Rc::clone(&self.client), self.client.header(TOKEN));
        file.read_again(move |token| client.set_header(TOKEN, token))
            .await
            && before != self.client.header(TOKEN)
    }

    /// Updates the TTL check of a service.
    async fn update(&self, path: &str, body: &str) -> Result<Renewal, CatalogueError> {
        match self.put(path, body).await? {
            None => Ok(Renewal::Renewed),
            Some(refusal) if is_unknown_check(&refusal) => Ok(Renewal::Unknown(refusal.to_string(), None)),
            Some(refusal) => Err(CatalogueError::Failed(refusal.to_string())),
        }
    }

    async fn put(&self, path: &str, body: &str) -> Result<Option<Refusal>, CatalogueError> {
        let answer = self.send(Method::PUT, path, body).await?;
        if answer.status() == StatusCode::OK {
            answer.ignore().await;
            return Ok(None);
        }
        Ok(Some(answer.refusal().await))
    }
}

#[async_trait(?Send)]
impl Catalogue for Consul {
    fn allow(&self, connections: Option<u32>) {
        self.client.allow(connections);
    }

    async fn register(&self, registration: &Registration) -> Result<(), CatalogueError> {
        let body = serde_json::to_string(&Service::from(registration));
        let body = body.map_err(|error| CatalogueError::Failed(error.to_string()))?;
        match self
            .put(&path(&["v1", "agent", "service", "register"], &[]), &body)
            .await?
        {
            None => Ok(()),
            Some(refusal) => Err(CatalogueError::Failed(refusal.to_string())),
        }
    }

    async fn renew(&self, registration: &Registration) -> Result<Renewal, CatalogueError> {
        let path = path(
            &["v1", "agent", "check", "pass", &registration.id],
            &[("note", "ok")],
        );
        self.update(&path, "").await
    }

    async fn report(&self, report: &Report) -> Result<Renewal, CatalogueError> {
        let path = path(&["v1", "agent", "check", "update", &report.registration.id], &[]);
        let result = CheckResult {
            status: if report.healthy { "passing" } else { "critical" },
            output: &report.output,
        };
        let body = serde_json::to_string(&result);
        let body = body.map_err(|error| CatalogueError::Failed(error.to_string()))?;
        self.update(&path, &body).await
    }

    /// The instance that this agent has under the ID of the registration. An answer 404 means that it has
    /// none.
    async fn holder(&self, registration: &Registration) -> Result<Option<Endpoint>, CatalogueError> {
        let path = path(&["v1", "agent", "service", &registration.id], &[]);
        let answer = self.send(Method::GET, &path, "").await?;
        match answer.status() {
            StatusCode::OK => endpoint(&read_service(answer).await?).map(Some),
            StatusCode::NOT_FOUND => {
                answer.ignore().await;
                Ok(None)
            }
            _ => Err(CatalogueError::Failed(answer.refusal().await.to_string())),
        }
    }

    async fn deregister(&self, registration: &Registration) -> Result<(), CatalogueError> {
        let path = path(&["v1", "agent", "service", "deregister", &registration.id], &[]);
        match self.put(&path, "").await? {
            Some(refusal) if refusal.status != StatusCode::NOT_FOUND => {
                Err(CatalogueError::Failed(refusal.to_string()))
            }
            _ => Ok(()),
        }
    }

    async fn instances(&self, query: &Query) -> Result<Listing, CatalogueError> {
        let waiting = waiting(query.after, query.wait);
        let filter = &query.filter;
        let mut parameters = Vec::from_iter((!filter.also_failing).then_some(("passing", "1")));
        let tags = query.tag.iter().chain(&filter.tags);
        parameters.extend(tags.map(|tag| ("tag", tag.as_str())));
        parameters.extend(filter.datacenter.as_deref().map(|name| ("dc", name)));
        parameters.extend(waiting.iter().map(|(key, value)| (*key, value.as_str())));
        let path = path(&["v1", "health", "service", &query.service], &parameters);
        let answer = self.send(Method::GET, &path, "").await?;
        if answer.status() != StatusCode::OK {
            return Err(CatalogueError::Failed(answer.refusal().await.to_string()));
        }
        list(answer, query).await
    }

    async fn look_up(&self, look_up: &LookUp) -> Result<Found, CatalogueError> {
        match (look_up.query(), &look_up.dependency) {
            (Some(query), _) => Ok(self.instances(&query).await?.found()),
            (None, Dependency::Key(path)) => self.key(path, look_up).await,
            (None, Dependency::Keys(prefix)) => self.keys(prefix, look_up).await,
            (None, _) => self.services(look_up).await,
        }
    }
}

/// Reads the agent's description of one service.
async fn read_service(mut answer: Answer) -> Result<Vec<u8>, CatalogueError> {
    let mut body = Vec::new();
    while let Some(piece) = answer.piece().await? {
        if body.len() + piece.len() > LARGEST_SERVICE {
            let limit = LARGEST_SERVICE / 1024;
            return Err(CatalogueError::Failed(format!(
                "the description of a service is longer than {limit} KiB"
            )));
        }
        body.extend_from_slice(&piece);
    }
    answer.done();
    Ok(body)
}

fn endpoint(service: &[u8]) -> Result<Endpoint, CatalogueError> {
    let found: Result<AgentService, _> = serde_json::from_slice(service);
    let AgentService { address, port } =
        found.map_err(|error| CatalogueError::Failed(format!("the answer is not a service: {error}")))?;
    Ok(Endpoint { address, port })
}

/// Reads the answer to a query for instances.
async fn list(mut answer: Answer, query: &Query) -> Result<Listing, CatalogueError> {
    let cursor = cursor(answer.headers(), query.after);
    let filtered = is_filtered(answer.headers());
    let mut reader = listing::Reader::new(query.details);
    let malformed = |malformed: listing::Malformed| CatalogueError::Failed(malformed.to_string());
    while let Some(piece) = answer.piece().await? {
        reader.take(&piece).map_err(malformed)?;
    }
    answer.done();
    let (instances, skipped) = reader.finish().map_err(malformed)?;
    Ok(Listing {
        instances,
        cursor,
        filtered,
        skipped,
    })
}

/// A path with a query, each part escaped.
fn path(parts: &[&str], query: &[(&str, &str)]) -> String {
    let mut path = String::new();
    for part in parts {
        path.push('/');
        path.extend(utf8_percent_encode(part, ESCAPED));
    }
    for (index, (key, value)) in query.iter().enumerate() {
        path.push(if index == 0 { '?' } else { '&' });
        path.push_str(key);
        path.push('=');
        path.extend(utf8_percent_encode(value, ESCAPED));
    }
    path
}

fn default_port(scheme: Scheme) -> u16 {
    match scheme {
        Scheme::Http => 80,
        Scheme::Https => 443,
    }
}

fn route(
    settings: &plan::Consul,
    target: Target,
    proxy: Option<Proxy>,
    host: &str,
) -> Result<Route, CatalogueError> {
    let secured = match settings.scheme {
        Scheme::Http => None,
        Scheme::Https => Some(Secured::offering_http2(&settings.tls, host)?),
    };
    let with_tls = |proxy: Proxy| -> Result<_, CatalogueError> {
        let secured = match proxy.scheme {
            Scheme::Http => None,
            Scheme::Https => Some(Secured::new(&plan::Tls::default(), &proxy.place.host)?),
        };
        Ok((proxy, secured))
    };
    Ok(Route {
        target,
        proxy: proxy.map(with_tls).transpose()?,
        secured,
        purpose: Purpose::Catalogue,
    })
}

fn headers(settings: &plan::Consul, file: Option<&TokenFile>) -> Result<HeaderMap, CatalogueError> {
    let mut headers = HeaderMap::new();
    let unfit = |sentence| CatalogueError::Failed(format!("the Consul token: {sentence}"));
    let token = settings
        .token
        .as_ref()
        .map(|token| token::header(&token.0).map_err(unfit));
    let token = token.or_else(|| file.map(TokenFile::read)).transpose()?;
    headers.extend(token.map(|token| (TOKEN, token)));
    Ok(headers)
}

/// The cursor for the next query. Consul's documentation requires that the index is reset when it goes back.
fn cursor(headers: &HeaderMap, before: Option<Cursor>) -> Option<Cursor> {
    let index = headers.get("X-Consul-Index")?.to_str().ok()?.parse().ok()?;
    let went_back = before.is_some_and(|Cursor(before)| index < before);
    (index > 0 && !went_back).then_some(Cursor(index))
}

/// The parameters with which Consul waits for a change after the cursor, if there is one.
fn waiting(after: Option<Cursor>, wait: Duration) -> Vec<(&'static str, String)> {
    let Some(Cursor(index)) = after else {
        return Vec::new();
    };
    let wait = format!("{}ms", wait.as_millis());
    [("index", index.to_string()), ("wait", wait)].into()
}

/// Whether Consul reports that its ACLs hid something.
fn is_filtered(headers: &HeaderMap) -> bool {
    let filtered = headers.get("X-Consul-Results-Filtered-By-ACLs");
    filtered.is_some_and(|value| value == "true")
}

/// The instances in an answer of the health endpoint. Public for the properties in `fuzz/`.
///
/// # Errors
/// The body is not a JSON list of instances.
#[doc(hidden)]
pub fn instances(body: &[u8]) -> Result<Vec<Instance>, Box<dyn std::error::Error>> {
    let mut reader = listing::Reader::new(false);
    reader.take(body)?;
    Ok(reader.finish()?.0)
}

/// Consul up to 1.10 answers with 500 and the first sentence, later versions with 404.
fn is_unknown_check(refusal: &Refusal) -> bool {
    refusal.status == StatusCode::NOT_FOUND
        || refusal.body.contains("does not have associated TTL")
        || refusal.body.contains("Unknown check")
}

/// The fields that are read of an agent's description of a service.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AgentService {
    address: String,
    port: u16,
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
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    meta: &'a BTreeMap<String, String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    weights: Option<Weights>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tagged_addresses: BTreeMap<&'static str, TaggedAddress<'a>>,
    check: Check<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Weights {
    passing: u16,
    warning: u16,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct TaggedAddress<'a> {
    address: &'a str,
    port: u16,
}

impl<'a> From<&'a Endpoint> for TaggedAddress<'a> {
    fn from(endpoint: &'a Endpoint) -> Self {
        Self {
            address: &endpoint.address,
            port: endpoint.port,
        }
    }
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

/// The result of a check, as a TTL check takes it.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct CheckResult<'a> {
    status: &'static str,
    output: &'a str,
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
        let attributes = &registration.attributes;
        let addresses = [("lan", &attributes.lan), ("wan", &attributes.wan)];
        let tagged = addresses
            .into_iter()
            .filter_map(|(name, endpoint)| Some((name, endpoint.as_ref()?.into())));
        Self {
            id: &registration.id,
            name: &registration.name,
            tags: &registration.tags,
            port: registration.port,
            address: registration.address.to_string(),
            enable_tag_override: registration.enable_tag_override,
            meta: &attributes.meta,
            weights: attributes.weights.map(|weights| Weights {
                passing: weights.passing,
                warning: weights.warning,
            }),
            tagged_addresses: filled::map(tagged),
            check,
        }
    }
}
