//! The one HTTP client for addresses that customers choose: resolve, check every address, connect to what was checked.
//!
//! Resolution *is* the connection's resolution: addresses that may not be reached are dropped from the resolver's
//! answer, so no second look-up can lead elsewhere. No redirects, no proxies, no decompression; the answer's body is
//! cut, and everything together has one time-out. HTTP/1.1 only: a request that hangs holds a connection of its own
//! and delays no other to the same host.

mod address;

use std::{
    error::Error as StdError,
    io,
    net::{IpAddr, SocketAddr},
    sync::{Arc, LazyLock},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use axum::body::Bytes;
use http::{HeaderMap, header};
use ipnet::IpNet;
use reqwest::{
    Url,
    dns::{Addrs, Name, Resolve, Resolving},
};
use tokio::sync::Semaphore;

pub use address::{URL_MAX, is_allowed, is_public};

use crate::config::Failure;
use address::Reach;

/// Finding the host, connecting and the TLS handshake together.
const CONNECT: Duration = Duration::from_secs(10);
const LOOKUP: Duration = Duration::from_secs(5);
/// Each look-up blocks a thread; slow name servers must not take them all.
const LOOKUPS_AT_ONCE: usize = 64;
/// Shorter than the 5 seconds after which Node.js hangs up: a request on a connection that is just being closed
/// would be lost.
const IDLE: Duration = Duration::from_secs(4);
const IDLE_PER_HOST: usize = 64;

/// The two clients of a server.
pub struct Net {
    /// For webhook endpoints: `BOUNCER_ALLOW_PRIVATE_WEBHOOKS`.
    pub webhooks: Client,
    /// For providers of instances: `BOUNCER_ALLOW_PRIVATE_PROVIDERS`.
    pub providers: Client,
}

/// Cheap to clone.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    allow: Vec<IpNet>,
    /// https on port 443: to public and to allowed addresses.
    anywhere: reqwest::Client,
    /// Everything else: to allowed addresses only.
    allowed_only: reqwest::Client,
}

/// How long and how much.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// From the look-up of the name to the last byte of the answer.
    pub total: Duration,
    /// Bytes of the answer's body that are read.
    pub body: usize,
}

/// An answer, whatever its status; redirects are not followed.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: HeaderMap,
    pub body: Bytes,
    /// The body was longer and has been cut.
    pub truncated: bool,
    /// Where it came from.
    pub address: Option<SocketAddr>,
    pub took: Duration,
}

/// No answer. The texts are sentences for people and name no address that a name leads to.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetError {
    /// The address may not be reached; nothing was sent.
    #[error("{0}")]
    Refused(String),
    /// Certainly nothing was sent: the name, the connection or TLS failed.
    #[error("{0}")]
    NotSent(String),
    /// Cut or timed out after sending began: the other side may have acted.
    #[error("{0}")]
    Lost(String),
}

/// Finds the addresses of a name. The system does, except in tests.
#[async_trait]
pub trait Lookup: Send + Sync {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>>;
}

struct System;

#[async_trait]
impl Lookup for System {
    async fn lookup(&self, name: &str) -> io::Result<Vec<IpAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.map(|address| address.ip()).collect())
    }
}

/// Certificates of the system and of Mozilla's list: the first for an operator's own authority, the second for
/// containers that have none.
static TLS: LazyLock<Result<rustls::ClientConfig, String>> = LazyLock::new(|| {
    let mut roots = rustls::RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
    let system = rustls_native_certs::load_native_certs();
    for error in &system.errors {
        tracing::warn!(%error, "certificates of the system cannot be read");
    }
    roots.add_parsable_certificates(system.certs);
    Ok(rustls::ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots)
        .with_no_client_auth())
});

impl Client {
    /// `allow`: networks that may be reached besides the public internet, also over http and on any port.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new(allow: Vec<IpNet>) -> Result<Self, Failure> {
        Self::with_lookup(allow, Arc::new(System))
    }

    /// As [`Client::new`], asking somebody else than the system for addresses.
    pub fn with_lookup(allow: Vec<IpNet>, lookup: Arc<dyn Lookup>) -> Result<Self, Failure> {
        let tls = TLS.as_ref().map_err(|error| Failure(format!("TLS cannot be set up: {error}")))?;
        let permits = Arc::new(Semaphore::new(LOOKUPS_AT_ONCE));
        let client = |reach| {
            reqwest::Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .dns_resolver(Checked {
                    lookup: lookup.clone(),
                    permits: permits.clone(),
                    allow: allow.clone().into(),
                    reach,
                })
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .no_proxy()
                .no_gzip()
                .no_brotli()
                .no_deflate()
                .no_zstd()
                .referer(false)
                .http1_only()
                .tcp_nodelay(true)
                .connect_timeout(CONNECT)
                .pool_idle_timeout(IDLE)
                .pool_max_idle_per_host(IDLE_PER_HOST)
                .build()
                .map_err(|error| Failure(format!("The HTTP client cannot be set up: {error}")))
        };
        let (anywhere, allowed_only) = (client(Reach::Anywhere)?, client(Reach::AllowedOnly)?);
        Ok(Self(Arc::new(Inner { allow, anywhere, allowed_only })))
    }

    /// Reads a URL as it was typed: https, or http to allowed networks; no user name or password; an address instead
    /// of a name must be one that may be reached. Where a name leads is checked with each request.
    ///
    /// # Errors
    /// A sentence for the person who typed it.
    pub fn check(&self, url: &str) -> Result<Url, String> {
        address::check(url, &self.0.allow).map(|(url, _)| url)
    }

    /// Does a URL that somebody in these networks fetches for us name a private host? Where other names lead is not
    /// ours to see.
    pub fn names_private(&self, url: &str) -> bool {
        Url::parse(url).map_or(true, |url| address::names_private(&url, &self.0.allow))
    }

    /// Sends a request with an absolute URI and reads the answer.
    ///
    /// # Errors
    /// When there is no whole answer within `limits.total`.
    pub async fn send(&self, request: http::Request<Bytes>, limits: Limits) -> Result<Answer, NetError> {
        let started = Instant::now();
        let (parts, body) = request.into_parts();
        let (url, reach) = address::check(&parts.uri.to_string(), &self.0.allow).map_err(NetError::Refused)?;
        let client = match reach {
            Reach::Anywhere => &self.0.anywhere,
            Reach::AllowedOnly => &self.0.allowed_only,
        };
        let mut request = reqwest::Request::new(parts.method, url.clone());
        *request.headers_mut() = parts.headers;
        // The URL alone says which host is meant, and the body how long it is.
        request.headers_mut().remove(header::HOST);
        request.headers_mut().remove(header::CONTENT_LENGTH);
        *request.body_mut() = Some(body.into());
        let answer = async {
            let response = client.execute(request).await.map_err(|error| explain(&error, &url, reach))?;
            read(response, limits.body).await
        };
        match tokio::time::timeout(limits.total, answer).await {
            Ok(answer) => answer.map(|answer| Answer { took: started.elapsed(), ..answer }),
            Err(_) => Err(NetError::Lost(format!("There was no whole answer within {}.", seconds(limits.total)))),
        }
    }
}

async fn read(mut response: reqwest::Response, most: usize) -> Result<Answer, NetError> {
    let (status, address) = (response.status().as_u16(), response.remote_addr());
    let headers = std::mem::take(response.headers_mut());
    let mut body = Vec::new();
    let mut truncated = false;
    while let Some(chunk) = response
        .chunk()
        .await
        .map_err(|_| NetError::Lost(format!("The connection broke within the answer, whose status was {status}.")))?
    {
        let room = most - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if chunk.len() > room {
            truncated = true;
            // Dropping the response closes the connection: the rest is never read.
            break;
        }
    }
    Ok(Answer { status, headers, body: body.into(), truncated, address, took: Duration::ZERO })
}

fn seconds(time: Duration) -> String {
    domain::time::duration_ms(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

/// The resolver of one client: what may not be reached does not exist.
struct Checked {
    lookup: Arc<dyn Lookup>,
    permits: Arc<Semaphore>,
    allow: Arc<[IpNet]>,
    reach: Reach,
}

/// All addresses of a name are refused.
#[derive(Debug, thiserror::Error)]
#[error("no address that may be reached")]
struct Disallowed;

/// The name has no addresses.
#[derive(Debug, thiserror::Error)]
#[error("no such host")]
struct NoHost;

impl Resolve for Checked {
    fn resolve(&self, name: Name) -> Resolving {
        let (lookup, permits, allow, reach) =
            (self.lookup.clone(), self.permits.clone(), self.allow.clone(), self.reach);
        Box::pin(async move {
            let found = tokio::time::timeout(LOOKUP, async {
                let _permit = permits.acquire().await;
                lookup.lookup(name.as_str()).await
            });
            let all = match found.await {
                Ok(Ok(all)) if !all.is_empty() => all,
                _ => return Err(NoHost.into()),
            };
            let good: Vec<_> = all
                .into_iter()
                .filter(|ip| address::judge(*ip, reach, &allow).is_ok())
                // Port 0 stands for the URL's.
                .map(|ip| SocketAddr::new(ip, 0))
                .collect();
            if good.is_empty() { Err(Disallowed.into()) } else { Ok(Box::new(good.into_iter()) as Addrs) }
        })
    }
}

/// What a failed request means.
fn explain(error: &reqwest::Error, url: &Url, reach: Reach) -> NetError {
    let host = url.host_str().unwrap_or_default();
    if find::<Disallowed>(error).is_some() {
        return NetError::Refused(address::refusal(url, reach));
    }
    if !error.is_connect() {
        return NetError::Lost(match find::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::ConnectionReset) => "The connection was reset before an answer came.".into(),
            _ => "The connection broke, or something that is not HTTP was answered.".into(),
        });
    }
    if find::<NoHost>(error).is_some() {
        return NetError::NotSent(format!("The host {host} cannot be found."));
    }
    if let Some(error) = find::<rustls::Error>(error) {
        return NetError::NotSent(match error {
            rustls::Error::InvalidCertificate(why) => format!("The certificate of {host} is not valid: {why}."),
            other => format!("TLS with {host} failed: {other}."),
        });
    }
    NetError::NotSent(match find::<io::Error>(error).map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => format!("{host} refused the connection."),
        Some(io::ErrorKind::ConnectionReset | io::ErrorKind::UnexpectedEof) => {
            format!("{host} closed the connection before it stood.")
        }
        _ if error.is_timeout() => format!("{host} could not be connected to within {}.", seconds(CONNECT)),
        _ => format!("{host} could not be connected to."),
    })
}

/// The first cause of a type; looks into what an [`io::Error`] wraps, which `source` skips.
fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    if let Some(found) = error.downcast_ref::<T>() {
        return Some(found);
    }
    if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref)
        && let Some(found) = find::<T>(inner)
    {
        return Some(found);
    }
    find::<T>(error.source()?)
}
