//! Where Redis is, and how it is connected to.

use std::{fmt, sync::Arc, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisConnectionInfo,
    RedisError, RedisResult, TlsMode,
    aio::PubSub,
    cluster::ClusterClient,
    sentinel::{SentinelClient, SentinelClientBuilder, SentinelServerType},
};

use super::{
    BadRedisUrl, RedisLink,
    url::{Kind, Login, Parts},
};

/// How long a connection may take.
const CONNECT: Duration = Duration::from_secs(5);
/// How long an answer may take. The library's own half second ends apalis workers of a server that is only slow.
const ANSWER: Duration = Duration::from_secs(10);

/// A Redis or Valkey: one server, the master behind Sentinels, or a cluster. Cheap to clone. Its `Debug` form has no
/// password.
#[derive(Clone)]
pub struct RedisServer {
    parts: Parts,
    url: Arc<str>,
}

impl fmt::Debug for RedisServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisServer").field("kind", &self.parts.kind).field("at", &self.place()).finish_non_exhaustive()
    }
}

impl RedisServer {
    /// Reads a URL in one of the forms of [`super::url`]. Certificates are read from disk now; nothing is connected.
    pub fn from_url(url: &str) -> Result<RedisServer, BadRedisUrl> {
        let parts = Parts::read(url)?;
        if parts.tls.is_some() {
            // The library asks for the process's provider. An error says that there is one already.
            let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        }
        let server = RedisServer { parts, url: url.into() };
        // Certificates are parsed here.
        server.node(0).map_err(|error| BadRedisUrl(error.category().to_owned()))?;
        Ok(server)
    }

    /// The URL as it was given, password and all: for the environment of a process of our own, and for nothing else.
    pub fn secret_url(&self) -> &str {
        &self.url
    }

    /// Hosts and ports, for messages: no user, no password.
    pub fn place(&self) -> String {
        let nodes: Vec<String> = self.parts.nodes.iter().map(|(host, port)| format!("{host}:{port}")).collect();
        nodes.join(",")
    }

    pub fn is_cluster(&self) -> bool {
        self.parts.kind == Kind::Cluster
    }

    /// The servers to look at one by one: the named nodes of a cluster, or what [`RedisServer::connect`] finds.
    pub fn each(&self) -> Vec<RedisServer> {
        if !self.is_cluster() {
            return vec![self.clone()];
        }
        let one = |node: &(String, u16)| Parts { kind: Kind::One, nodes: vec![node.clone()], ..self.parts.clone() };
        self.parts.nodes.iter().map(|node| RedisServer { parts: one(node), url: self.url.clone() }).collect()
    }

    /// A new connection.
    pub async fn connect(&self) -> RedisResult<RedisLink> {
        within(Box::pin(async {
            if self.is_cluster() {
                return Ok(RedisLink::Cluster(self.cluster()?.get_async_connection().await?));
            }
            let config =
                AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
            let client = self.client().await?;
            Ok(RedisLink::One(client.get_multiplexed_async_connection_with_config(&config).await?))
        }))
        .await
    }

    /// A new connection that listens to channels. In a cluster any node hears what is said at any other.
    pub async fn listen(&self) -> RedisResult<PubSub> {
        if !self.is_cluster() {
            return within(Box::pin(async { self.client().await?.get_async_pubsub().await })).await;
        }
        let mut last = RedisError::from((ErrorKind::ClusterConnectionNotFound, "no node"));
        for node in 0..self.parts.nodes.len() {
            match within(Box::pin(async { self.node(node)?.get_async_pubsub().await })).await {
                Ok(found) => return Ok(found),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn client(&self) -> RedisResult<Client> {
        match &self.parts.kind {
            Kind::Sentinel { service } => self.sentinel(service)?.async_get_client().await,
            Kind::One | Kind::Cluster => self.node(0),
        }
    }

    fn node(&self, index: usize) -> RedisResult<Client> {
        let info = self.info(index)?;
        match &self.parts.tls {
            Some(certificates) => Client::build_with_tls(info, certificates.clone()),
            None => Client::open(info),
        }
    }

    fn info(&self, index: usize) -> RedisResult<ConnectionInfo> {
        let login = settings(&self.parts.login).set_db(self.parts.database);
        Ok(self.address(index).into_connection_info()?.set_redis_settings(login))
    }

    fn address(&self, index: usize) -> ConnectionAddr {
        let (host, port) = self.parts.nodes[index].clone();
        match self.parts.tls {
            Some(_) => ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None },
            None => ConnectionAddr::Tcp(host, port),
        }
    }

    fn cluster(&self) -> RedisResult<ClusterClient> {
        let nodes = (0..self.parts.nodes.len()).map(|index| self.info(index)).collect::<RedisResult<Vec<_>>>()?;
        let mut builder = ClusterClient::builder(nodes).connection_timeout(CONNECT).response_timeout(ANSWER).retries(2);
        if let Some(certificates) = &self.parts.tls {
            builder = builder.tls(TlsMode::Secure).certs(certificates.clone());
        }
        builder.build()
    }

    fn sentinel(&self, service: &str) -> RedisResult<SentinelClient> {
        let nodes: Vec<ConnectionAddr> = (0..self.parts.nodes.len()).map(|index| self.address(index)).collect();
        let mut builder = SentinelClientBuilder::new(nodes, service, SentinelServerType::Master)?
            .set_client_to_redis_db(self.parts.database);
        let Parts { login, sentinel_login, tls, .. } = &self.parts;
        if let Some(user) = &login.user {
            builder = builder.set_client_to_redis_username(user);
        }
        if let Some(password) = &login.password {
            builder = builder.set_client_to_redis_password(password);
        }
        if let Some(user) = &sentinel_login.user {
            builder = builder.set_client_to_sentinel_username(user);
        }
        if let Some(password) = &sentinel_login.password {
            builder = builder.set_client_to_sentinel_password(password);
        }
        if let Some(certificates) = tls {
            builder = builder
                .set_client_to_redis_tls_mode(TlsMode::Secure)
                .set_client_to_redis_certificates(certificates.clone())
                .set_client_to_sentinel_tls_mode(TlsMode::Secure)
                .set_client_to_sentinel_certificates(certificates.clone());
        }
        builder.build()
    }
}

fn settings(login: &Login) -> RedisConnectionInfo {
    let mut settings = RedisConnectionInfo::default().set_lib_name("opsroom", env!("CARGO_PKG_VERSION"));
    if let Some(user) = &login.user {
        settings = settings.set_username(user);
    }
    if let Some(password) = &login.password {
        settings = settings.set_password(password);
    }
    settings
}

async fn within<T>(connecting: impl Future<Output = RedisResult<T>>) -> RedisResult<T> {
    let late = || RedisError::from((ErrorKind::Io, "no connection within 5 s; check the address and the network"));
    tokio::time::timeout(CONNECT, connecting).await.unwrap_or_else(|_| Err(late()))
}
