//! A TCP proxy that fails where a network does: it cuts, stalls, delays, and loses answers.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

use super::wire::{Requests, is_committed};

/// What the proxy does with what it is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Passes everything on.
    Open,
    /// Passes nothing on in either direction, and keeps the connections: nobody is told anything.
    Stalled,
    /// Closes connections, and new ones as soon as they are made.
    Closed,
}

/// A proxy on a free port of this machine. Dropped, it ends with all its connections.
pub struct Proxy {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _tasks: JoinSet<()>,
}

struct Shared {
    server: SocketAddr,
    mode: watch::Sender<Mode>,
    /// Rises with every cut.
    cuts: watch::Sender<u64>,
    losses: Mutex<Vec<Loss>>,
    lost: AtomicU64,
    /// Microseconds by which each piece is late.
    delay: AtomicU64,
}

/// Answers that are still to be lost.
#[derive(Debug, Clone)]
struct Loss {
    left: usize,
    /// Of a PostgreSQL statement that contains this text, once it is committed; of anything if there is none.
    of: Option<String>,
}

impl Proxy {
    pub async fn start(server: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared {
            server,
            mode: watch::Sender::new(Mode::Open),
            cuts: watch::Sender::new(0),
            losses: Mutex::default(),
            lost: AtomicU64::new(0),
            delay: AtomicU64::new(0),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, shared.clone()));
        Proxy { address, shared, _tasks: tasks }
    }

    /// A proxy before the server of a URL, and the URL by which to reach it.
    pub async fn to(url: &str) -> (Proxy, String) {
        let server = url.split(['@', '/']).find_map(|part| part.parse().ok()).unwrap();
        let proxy = Proxy::start(server).await;
        let through = proxy.before(url);
        (proxy, through)
    }

    /// The URL, with this proxy in place of the server.
    pub fn before(&self, url: &str) -> String {
        url.replace(&self.shared.server.to_string(), &self.address.to_string())
    }

    pub fn set(&self, mode: Mode) {
        self.shared.mode.send_replace(mode);
        if mode == Mode::Closed {
            self.cut();
        }
    }

    /// Closes every connection there is. New ones are accepted, unless the proxy is closed.
    pub fn cut(&self) {
        self.shared.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Of the answers that come next, so many are lost, each with its connection: the server has done what it was
    /// asked, and the client will not know.
    pub fn lose(&self, answers: usize) {
        self.shared.losses().push(Loss { left: answers, of: None });
    }

    /// The same for statements of PostgreSQL that contain `text`: each is lost after its commit.
    pub fn lose_answers_of(&self, text: &str, answers: usize) {
        self.shared.losses().push(Loss { left: answers, of: Some(text.to_owned()) });
    }

    /// How many answers were lost on the way.
    pub fn lost(&self) -> u64 {
        self.shared.lost.load(Ordering::Relaxed)
    }

    /// How many are still to be lost.
    pub fn to_lose(&self) -> usize {
        self.shared.losses().iter().map(|loss| loss.left).sum()
    }

    /// Everything is late by so much, in each direction.
    pub fn delay(&self, delay: Duration) {
        self.shared.delay.store(u64::try_from(delay.as_micros()).unwrap(), Ordering::Relaxed);
    }
}

impl Shared {
    fn losses(&self) -> std::sync::MutexGuard<'_, Vec<Loss>> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this piece of an answer is to be lost.
    fn loses(&self, piece: &[u8], requests: &Mutex<Requests>) -> bool {
        let mut losses = self.losses();
        let statement = || requests.lock().unwrap_or_else(PoisonError::into_inner).last.clone();
        let found = losses.iter().position(|loss| match &loss.of {
            None => true,
            Some(text) => is_committed(piece) && statement().contains(text),
        });
        let Some(index) = found else { return false };
        losses[index].left -= 1;
        losses.retain(|loss| loss.left > 0);
        self.lost.fetch_add(1, Ordering::Relaxed);
        true
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                if let Ok((client, _)) = accepted {
                    connections.spawn(connect(client, shared.clone()));
                }
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn connect(client: TcpStream, shared: Arc<Shared>) {
    let mut cuts = shared.cuts.subscribe();
    cuts.mark_unchanged();
    if *shared.mode.borrow() == Mode::Closed {
        return;
    }
    let Ok(server) = TcpStream::connect(shared.server).await else { return };
    // A client notices nothing of the proxy but its faults.
    let _ = (client.set_nodelay(true), server.set_nodelay(true));
    let (mut from_client, mut to_client) = client.into_split();
    let (mut from_server, mut to_server) = server.into_split();
    let requests = Mutex::new(Requests::default());
    let asked = pass(&mut from_client, &mut to_server, &shared, |piece| {
        requests.lock().unwrap_or_else(PoisonError::into_inner).read(piece);
        false
    });
    let answered = pass(&mut from_server, &mut to_client, &shared, |piece| shared.loses(piece, &requests));
    tokio::select! {
        _ = asked => {}
        _ = answered => {}
        _ = cuts.changed() => {}
    }
}

/// Passes on one direction until it ends, or until a piece of it `is_lost`.
async fn pass(
    from: &mut (impl AsyncReadExt + Unpin),
    to: &mut (impl AsyncWriteExt + Unpin),
    shared: &Shared,
    is_lost: impl Fn(&[u8]) -> bool,
) -> io::Result<()> {
    let mut mode = shared.mode.subscribe();
    let mut piece = vec![0; 64 << 10];
    loop {
        let length = from.read(&mut piece).await?;
        if length == 0 || is_lost(&piece[..length]) {
            return Ok(());
        }
        let delay = shared.delay.load(Ordering::Relaxed);
        if delay > 0 {
            tokio::time::sleep(Duration::from_micros(delay)).await;
        }
        // The sender lives as long as the proxy.
        let _ = mode.wait_for(|mode| *mode != Mode::Stalled).await;
        to.write_all(&piece[..length]).await?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use sqlx::{Connection, Executor, PgConnection};

    use super::*;
    use crate::servers::database;

    /// Answers what it is told.
    struct Echo {
        address: SocketAddr,
        heard: Arc<AtomicU64>,
        _tasks: JoinSet<()>,
    }

    impl Echo {
        async fn start() -> Echo {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let (address, heard, mut tasks) =
                (listener.local_addr().unwrap(), Arc::new(AtomicU64::new(0)), JoinSet::new());
            tasks.spawn(listen(listener, heard.clone()));
            Echo { address, heard, _tasks: tasks }
        }
    }

    async fn listen(listener: TcpListener, heard: Arc<AtomicU64>) {
        let mut connections = JoinSet::new();
        while let Ok((mut stream, _)) = listener.accept().await {
            let heard = heard.clone();
            connections.spawn(async move {
                let mut word = [0; 4];
                while stream.read_exact(&mut word).await.is_ok() {
                    heard.fetch_add(1, Ordering::SeqCst);
                    stream.write_all(&word).await.unwrap();
                }
            });
        }
    }

    /// What comes back within a moment; `None` for silence, an error for an end.
    async fn ask(stream: &mut TcpStream) -> Option<io::Result<usize>> {
        let mut word = [0; 4];
        let _ = stream.write_all(b"ping").await;
        tokio::time::timeout(Duration::from_millis(300), stream.read_exact(&mut word)).await.ok()
    }

    async fn connected(proxy: &Proxy) -> TcpStream {
        TcpStream::connect(proxy.address).await.unwrap()
    }

    #[tokio::test]
    async fn it_passes_on_and_delays() {
        let echo = Echo::start().await;
        let proxy = Proxy::start(echo.address).await;
        let mut stream = connected(&proxy).await;
        assert!(ask(&mut stream).await.unwrap().is_ok());
        proxy.delay(Duration::from_millis(40));
        let since = Instant::now();
        assert!(ask(&mut stream).await.unwrap().is_ok());
        assert!(since.elapsed() >= Duration::from_millis(80), "there and back: {:?}", since.elapsed());
    }

    #[tokio::test]
    async fn it_stalls_in_silence_and_forgets_nothing() {
        let echo = Echo::start().await;
        let proxy = Proxy::start(echo.address).await;
        let mut stream = connected(&proxy).await;
        assert!(ask(&mut stream).await.unwrap().is_ok());
        proxy.set(Mode::Stalled);
        assert!(ask(&mut stream).await.is_none());
        assert!(ask(&mut connected(&proxy).await).await.is_none(), "a new connection says nothing either");
        proxy.set(Mode::Open);
        let mut word = [0; 4];
        stream.read_exact(&mut word).await.unwrap();
        assert!(ask(&mut stream).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn it_cuts_and_closes() {
        let echo = Echo::start().await;
        let proxy = Proxy::start(echo.address).await;
        let mut stream = connected(&proxy).await;
        assert!(ask(&mut stream).await.unwrap().is_ok());
        proxy.cut();
        assert!(ask(&mut stream).await.unwrap().is_err());
        assert!(ask(&mut connected(&proxy).await).await.unwrap().is_ok(), "a cut is over at once");
        proxy.set(Mode::Closed);
        assert!(ask(&mut connected(&proxy).await).await.unwrap().is_err());
        proxy.set(Mode::Open);
        assert!(ask(&mut connected(&proxy).await).await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn what_is_lost_was_done() {
        let echo = Echo::start().await;
        let proxy = Proxy::start(echo.address).await;
        let mut stream = connected(&proxy).await;
        proxy.lose(1);
        assert!(ask(&mut stream).await.unwrap().is_err());
        assert_eq!((echo.heard.load(Ordering::SeqCst), proxy.lost(), proxy.to_lose()), (1, 1, 0));
        assert!(ask(&mut connected(&proxy).await).await.unwrap().is_ok());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_statement_whose_answer_is_lost_is_committed() {
        let database = database().await;
        let (proxy, url) = Proxy::to(&database.url).await;
        let mut straight = PgConnection::connect(&database.url).await.unwrap();
        straight.execute(sqlx::raw_sql("CREATE TABLE words (word text)")).await.unwrap();
        assert!(url.contains(&proxy.address.to_string()));
        proxy.lose_answers_of("INSERT INTO words", 2);
        for number in 0..4 {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            // Others are answered.
            let seen: i64 = sqlx::query_scalar("SELECT count(*) FROM words").fetch_one(&mut connection).await.unwrap();
            assert_eq!(seen, number);
            let written = sqlx::query("INSERT INTO words VALUES ($1)").bind("a").execute(&mut connection).await;
            assert_eq!(written.is_ok(), number >= 2, "{written:?}");
        }
        let kept: i64 = sqlx::query_scalar("SELECT count(*) FROM words").fetch_one(&mut straight).await.unwrap();
        assert_eq!((kept, proxy.lost()), (4, 2));
    }
}
