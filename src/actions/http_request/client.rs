//! The HTTP client: connects only to addresses that the guard lets pass, and names its failures.

use std::{error::Error, fmt, io, net::SocketAddr, sync::Arc, time::Duration};

use async_trait::async_trait;
use reqwest::{
    Client, Proxy,
    dns::{Addrs, Name, Resolve, Resolving},
    redirect::Policy,
};

use super::guard::{Forbidden, Guard, Network};
use crate::{
    actions::attempt::shortened,
    model::{Failure, FailureReason},
    ports::Mask,
};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How `http.request` reaches the world.
#[derive(Clone)]
pub struct HttpConfig {
    pub(super) guard: Guard,
    /// Behind a proxy only literal addresses can be checked: it resolves the names.
    pub(super) proxy: Option<String>,
    pub(super) lookup: Arc<dyn Lookup>,
    pub(super) tls: fn() -> rustls::ClientConfig,
}

impl HttpConfig {
    /// Metadata services are out of reach, private networks are not, and no proxy is used. `tls` is
    /// called once, when the first request is made.
    pub fn new(tls: fn() -> rustls::ClientConfig) -> HttpConfig {
        HttpConfig { guard: Guard::new(&[], &[]), proxy: None, lookup: Arc::new(SystemLookup), tls }
    }

    /// Refuses more networks, except where `allowed` says otherwise; `allowed` holds against the
    /// networks that are refused by default too.
    #[must_use]
    pub fn networks(self, refused: &[Network], allowed: &[Network]) -> HttpConfig {
        HttpConfig { guard: Guard::new(refused, allowed), ..self }
    }

    /// Sends every request through a proxy, `http://host:port`.
    #[must_use]
    pub fn proxy(self, url: Option<String>) -> HttpConfig {
        HttpConfig { proxy: url, ..self }
    }
}

impl fmt::Debug for HttpConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A proxy's URL may hold a password.
        f.debug_struct("HttpConfig").field("guard", &self.guard).finish_non_exhaustive()
    }
}

/// Finds the addresses of a name.
#[async_trait]
pub(super) trait Lookup: Send + Sync {
    async fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>>;
}

struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn lookup(&self, name: &str) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((name, 0)).await?.collect())
    }
}

/// Resolves names to addresses that may be reached. The client connects to these very addresses, so a
/// name cannot change its mind between the check and the connection.
struct GuardedResolver {
    guard: Guard,
    lookup: Arc<dyn Lookup>,
}

impl Resolve for GuardedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let (guard, lookup) = (self.guard.clone(), self.lookup.clone());
        Box::pin(async move {
            let found = lookup.lookup(name.as_str()).await?;
            let (mut good, mut refused) = (Vec::new(), None);
            for address in found {
                match guard.check(name.as_str(), address.ip()) {
                    Ok(()) => good.push(address),
                    Err(error) => refused = Some(error),
                }
            }
            match refused {
                Some(error) if good.is_empty() => Err(error.into()),
                _ => Ok(Box::new(good.into_iter()) as Addrs),
            }
        })
    }
}

/// Makes the client; an error says what is wrong with the configuration.
pub(super) fn client(config: &HttpConfig) -> Result<Client, String> {
    let resolver = GuardedResolver { guard: config.guard.clone(), lookup: config.lookup.clone() };
    let mut builder = Client::builder()
        .tls_backend_preconfigured((config.tls)())
        .dns_resolver(Arc::new(resolver))
        .redirect(Policy::none())
        .referer(false)
        .no_proxy()
        .connect_timeout(CONNECT_TIMEOUT)
        .user_agent(concat!("opsroom/", env!("CARGO_PKG_VERSION")));
    if let Some(proxy) = &config.proxy {
        // The error would show the proxy's URL, which may hold a password.
        builder = builder.proxy(Proxy::all(proxy).map_err(|_| "the proxy's URL is not valid".to_owned())?);
    }
    builder.build().map_err(|error| deepest(&error))
}

/// A request that the guard has stopped.
pub(super) fn forbidden(error: &Forbidden, mask: &dyn Mask) -> Failure {
    Failure::permanent("HTTP_FORBIDDEN_ADDRESS", mask.text(&error.to_string()))
}

/// A request that got no answer, or an answer that broke off.
pub(super) fn failure(error: reqwest::Error, shown: &str, mask: &dyn Mask) -> Failure {
    let error = error.without_url();
    if let Some(error) = find::<Forbidden>(&error) {
        return forbidden(error, mask);
    }
    let message = shortened(&mask.text(&format!("{shown}: {}", deepest(&error))), 500);
    if error.is_timeout() {
        return Failure::error("HTTP_TIMEOUT", message).because(FailureReason::Timeout);
    }
    match find::<rustls::Error>(&error) {
        // Neither the certificate nor our trust in it changes between two attempts.
        Some(rustls::Error::InvalidCertificate(_)) => Failure::permanent("HTTP_TLS", message),
        Some(_) => Failure::error("HTTP_TLS", message),
        None if error.is_connect() => Failure::error("HTTP_CONNECT", message),
        None => Failure::error("HTTP_FAILED", message),
    }
}

/// The errors from the outermost to the first cause. An I/O error hides the one it was made from.
fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(Some(error), |error| cause(*error))
}

fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(inner) => Some(inner),
        None => error.source(),
    }
}

fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    causes(error).find_map(|cause| cause.downcast_ref::<E>())
}

fn deepest(error: &(dyn Error + 'static)) -> String {
    causes(error).last().map(ToString::to_string).unwrap_or_default()
}
