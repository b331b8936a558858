//! A connection that is kept, and a stream of events: HTTP/1.1 with as little in between as possible.
//!
//! No task drives a connection: whoever waits for an answer drives it meanwhile, so that a workload of a
//! thousand connections is a thousand futures and nothing else.

use std::{net::SocketAddr, pin::Pin};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{
    Method, Request,
    body::Incoming,
    client::conn::http1::{self, Connection, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use serde_json::Value;
use tokio::net::TcpStream;

use super::{
    super::BenchError,
    frames::{Frames, Message},
};

type Driver = Pin<Box<Connection<TokioIo<TcpStream>, Full<Bytes>>>>;

/// Where the server listens, and what it lets in.
#[derive(Debug, Clone)]
pub(super) struct Target {
    pub address: SocketAddr,
    pub key: String,
}

pub(super) struct Client {
    target: Target,
    sender: SendRequest<Full<Bytes>>,
    driver: Option<Driver>,
}

impl Client {
    pub async fn connect(target: &Target) -> Result<Client, BenchError> {
        let stream = TcpStream::connect(target.address).await?;
        stream.set_nodelay(true)?;
        let (sender, driver) = http1::handshake(TokioIo::new(stream)).await?;
        Ok(Client { target: target.clone(), sender, driver: Some(Box::pin(driver)) })
    }

    /// The status, and the body as it is.
    pub async fn get_bytes(&mut self, path: &str) -> Result<(u16, Bytes), BenchError> {
        let request = self.target.request(Method::GET, path, Bytes::new())?;
        self.send(request).await
    }

    /// The document at `path`, which must be there.
    pub async fn get(&mut self, path: &str) -> Result<Value, BenchError> {
        let (status, body) = self.get_bytes(path).await?;
        document("GET", path, status, &body)
    }

    pub async fn post(&mut self, path: &str, body: impl Into<Bytes>) -> Result<Value, BenchError> {
        let request = self.target.request(Method::POST, path, body.into())?;
        let (status, body) = self.send(request).await?;
        document("POST", path, status, &body)
    }

    async fn send(&mut self, request: Request<Full<Bytes>>) -> Result<(u16, Bytes), BenchError> {
        let Client { sender, driver, .. } = self;
        let answer = async {
            sender.ready().await?;
            let answer = sender.send_request(request).await?;
            let status = answer.status().as_u16();
            Ok((status, answer.into_body().collect().await?.to_bytes()))
        };
        driven(driver, answer).await
    }
}

impl Target {
    fn request(&self, method: Method, path: &str, body: Bytes) -> Result<Request<Full<Bytes>>, BenchError> {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, self.address.to_string());
        if !self.key.is_empty() {
            request = request.header(header::AUTHORIZATION, format!("Bearer {}", self.key));
        }
        if !body.is_empty() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        let unreadable =
            |why: hyper::http::Error| BenchError::Unreadable { what: path.to_owned(), why: why.to_string() };
        request.body(Full::new(body)).map_err(unreadable)
    }
}

/// Waits for `work` and drives its connection meanwhile.
async fn driven<T>(
    driver: &mut Option<Driver>,
    work: impl Future<Output = Result<T, BenchError>>,
) -> Result<T, BenchError> {
    tokio::pin!(work);
    if let Some(connection) = driver {
        tokio::select! {
            biased;
            done = &mut work => return done,
            _ = connection => {}
        }
        // The connection has ended; what it brought before that can still be read.
        *driver = None;
    }
    work.await
}

fn document(method: &'static str, path: &str, status: u16, body: &[u8]) -> Result<Value, BenchError> {
    if !(200..300).contains(&status) {
        let body = String::from_utf8_lossy(body).chars().take(1_000).collect();
        return Err(BenchError::Answer { method, path: path.to_owned(), status, body });
    }
    let unreadable =
        |why: serde_json::Error| BenchError::Unreadable { what: format!("{method} {path}"), why: why.to_string() };
    serde_json::from_slice(body).map_err(unreadable)
}

/// The events of a run, or of all runs, as they come.
pub(super) struct Events {
    driver: Option<Driver>,
    body: Incoming,
    frames: Frames,
    /// Dropping it would close the connection.
    _sender: SendRequest<Full<Bytes>>,
}

impl Events {
    /// Opens a stream, after the event with the id `after`.
    pub async fn open(target: &Target, path: &str, after: Option<&str>) -> Result<Events, BenchError> {
        let Client { target, mut sender, mut driver } = Client::connect(target).await?;
        let mut request = target.request(Method::GET, path, Bytes::new())?;
        request.headers_mut().insert(header::ACCEPT, header::HeaderValue::from_static("text/event-stream"));
        if let Some(value) = after.and_then(|after| header::HeaderValue::from_str(after).ok()) {
            request.headers_mut().insert("last-event-id", value);
        }
        let answer = driven(&mut driver, async { Ok(sender.send_request(request).await?) }).await?;
        let status = answer.status().as_u16();
        let body = answer.into_body();
        if status != 200 {
            let why = driven(&mut driver, async { Ok(body.collect().await?.to_bytes()) }).await?;
            let body = String::from_utf8_lossy(&why).into_owned();
            return Err(BenchError::Answer { method: "GET", path: path.to_owned(), status, body });
        }
        Ok(Events { driver, body, frames: Frames::default(), _sender: sender })
    }

    /// Waits for more; false at the end of the stream.
    pub async fn wait(&mut self) -> Result<bool, BenchError> {
        let Events { driver, body, frames, .. } = self;
        let frame = driven(driver, async { Ok(body.frame().await.transpose()?) }).await?;
        let Some(frame) = frame else { return Ok(false) };
        if let Some(data) = frame.data_ref() {
            frames.push(data);
        }
        Ok(true)
    }

    /// The next message that has come whole.
    pub fn next(&mut self) -> Option<Message<'_>> {
        self.frames.next()
    }
}
