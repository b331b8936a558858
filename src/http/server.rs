//! Connections: accepting them, and closing those that cost without getting anywhere.
//!
//! axum's own `serve` sets no limits. Here a request head and a body must arrive in time, an answer must be
//! read, connections are counted, and their buffers are small: a client that never reads costs some tens of
//! KiB for 20 seconds.

mod body;
mod paced;

use std::{convert::Infallible, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::{Router, body::Body, extract::Request, response::Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    server::graceful::{GracefulShutdown, Watcher},
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tower::ServiceExt as _;

use self::{
    body::{EndingBody, StallingBody},
    paced::Paced,
};

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Connections at once; more wait in the kernel.
    pub connections: usize,
    /// For the head of a request, and between two requests of a connection.
    pub head: Duration,
    /// Without a byte of a body that is awaited.
    pub body_stall: Duration,
    /// Without a byte of an answer being taken.
    pub answer_stall: Duration,
    /// For requests under way when the server stops.
    pub finish: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections: 4_096,
            head: Duration::from_secs(10),
            body_stall: Duration::from_secs(30),
            answer_stall: Duration::from_secs(20),
            finish: Duration::from_secs(5),
        }
    }
}

/// The largest head of a request, and the most that is read ahead.
const READ_BUFFER: usize = 32 * 1024;
/// What the kernel holds of an answer that is not read; it doubles the number. With less than two segments of the
/// loopback, of 64 KiB each, an answer stops again and again for an acknowledgement that is delayed by 40 ms.
const SEND_BUFFER: usize = 64 * 1024;
/// After this long without an acknowledgement the peer is gone, in milliseconds.
#[cfg(target_os = "linux")]
const GONE: u32 = 60_000;
/// Before the next try when no connection can be accepted, as when descriptors have run out.
const BACK_OFF: Duration = Duration::from_millis(100);

/// Serves until `stop` fires: then accepts nothing more, ends streams, and waits for requests under way.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits, stop: CancellationToken) {
    let server = Server {
        app,
        limits,
        stop: stop.clone(),
        kill: CancellationToken::new(),
        tasks: TaskTracker::new(),
        free: Arc::new(Semaphore::new(limits.connections)),
    };
    let graceful = GracefulShutdown::new();
    while let Some((stream, permit)) = stop.run_until_cancelled(server.accept(&listener)).await {
        let connection = server.clone().connection(stream, permit, graceful.watcher());
        server.tasks.spawn(connection);
    }
    drop(listener);
    server.tasks.close();
    if tokio::time::timeout(limits.finish, graceful.shutdown()).await.is_err() {
        tracing::warn!("requests that were still under way were cut off");
    }
    server.kill.cancel();
    server.tasks.wait().await;
}

#[derive(Clone)]
struct Server {
    app: Router,
    limits: Limits,
    stop: CancellationToken,
    /// Ends what is left of all connections.
    kill: CancellationToken,
    tasks: TaskTracker,
    free: Arc<Semaphore>,
}

impl Server {
    /// The next connection. What goes wrong with one, or for a while with all, does not end the server.
    async fn accept(&self, listener: &TcpListener) -> (TcpStream, OwnedSemaphorePermit) {
        loop {
            let Ok(permit) = self.free.clone().acquire_owned().await else { std::future::pending().await };
            match listener.accept().await {
                Ok((stream, _)) => return (stream, permit),
                Err(error) if is_of_the_peer(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, "no connection can be accepted now");
                    tokio::time::sleep(BACK_OFF).await;
                }
            }
        }
    }

    async fn connection(self, stream: TcpStream, permit: OwnedSemaphorePermit, watcher: Watcher) {
        if let Err(error) = prepare(&stream) {
            tracing::debug!(%error, "a connection that is gone already");
            return;
        }
        let (app, stall, stop) = (self.app, self.limits.body_stall, self.stop);
        let service = service_fn(move |request| handle(app.clone(), request, stall, stop.clone()));
        let io = TokioIo::new(Paced::new(stream, self.limits.answer_stall));
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.limits.head)
            .max_buf_size(READ_BUFFER)
            .serve_connection(io, service);
        let served = self.kill.run_until_cancelled(watcher.watch(connection)).await;
        if let Some(Err(error)) = served {
            tracing::debug!(%error, "a connection was closed");
        }
        drop(permit);
    }
}

async fn handle(
    app: Router,
    request: hyper::Request<Incoming>,
    stall: Duration,
    stop: CancellationToken,
) -> Result<Response, Infallible> {
    let request: Request = request.map(|body| Body::new(StallingBody::new(body, stall)));
    let response = app.oneshot(request).await?;
    Ok(if EndingBody::applies(&response) {
        response.map(|body| Body::new(EndingBody::new(body, stop)))
    } else {
        response
    })
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    rustix::net::sockopt::set_socket_send_buffer_size(stream, SEND_BUFFER)?;
    #[cfg(target_os = "linux")]
    rustix::net::sockopt::set_tcp_user_timeout(stream, GONE)?;
    Ok(())
}

/// Whether only this one connection failed, before it was accepted.
fn is_of_the_peer(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

/// Listens. A port of 0 is any free one: the listener knows which.
pub async fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    TcpListener::bind(address).await
}
