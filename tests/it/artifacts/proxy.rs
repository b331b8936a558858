//! A proxy between us and the store that goes wrong on demand.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

#[derive(Debug, Default)]
struct Mood {
    /// Connections are closed as soon as they come.
    is_away: AtomicBool,
    /// Nothing passes any more.
    is_stalled: AtomicBool,
    /// So many bytes pass to the store, over all connections; then they are cut off. 0 for no limit.
    budget: AtomicU64,
    passed: AtomicU64,
    cuts: AtomicU64,
}

pub struct Proxy {
    pub port: u16,
    mood: Arc<Mood>,
    _tasks: JoinSet<()>,
}

impl Proxy {
    pub async fn before(target: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (port, mood) = (listener.local_addr().unwrap().port(), Arc::new(Mood::default()));
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, target, mood.clone()));
        Proxy { port, mood, _tasks: tasks }
    }

    pub fn set_away(&self, is_away: bool) {
        self.mood.is_away.store(is_away, Ordering::SeqCst);
        if is_away {
            // Those that are there go as well, with the next byte.
            self.cut_after(1);
        } else {
            self.mood.budget.store(0, Ordering::SeqCst);
        }
    }

    pub fn set_stalled(&self, is_stalled: bool) {
        self.mood.is_stalled.store(is_stalled, Ordering::SeqCst);
    }

    /// From now on so many bytes reach the store.
    pub fn cut_after(&self, bytes: u64) {
        self.mood.passed.store(0, Ordering::SeqCst);
        self.mood.budget.store(bytes, Ordering::SeqCst);
    }

    pub fn cuts(&self) -> u64 {
        self.mood.cuts.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, target: u16, mood: Arc<Mood>) {
    let mut connections = JoinSet::new();
    loop {
        let Ok((client, _)) = listener.accept().await else { return };
        if mood.is_away.load(Ordering::SeqCst) {
            continue;
        }
        connections.spawn(pass(client, target, mood.clone()));
        while connections.try_join_next().is_some() {}
    }
}

async fn pass(client: TcpStream, target: u16, mood: Arc<Mood>) {
    let Ok(server) = TcpStream::connect(("127.0.0.1", target)).await else { return };
    let (mut client_in, mut client_out) = client.into_split();
    let (mut server_in, mut server_out) = server.into_split();
    let up = async {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(read @ 1..) = client_in.read(&mut buffer).await {
            while mood.is_stalled.load(Ordering::SeqCst) {
                tokio::time::sleep(std::time::Duration::from_millis(20)).await;
            }
            let budget = mood.budget.load(Ordering::SeqCst);
            let passed = mood.passed.fetch_add(read as u64, Ordering::SeqCst) + read as u64;
            if budget > 0 && passed > budget {
                mood.cuts.fetch_add(1, Ordering::SeqCst);
                return;
            }
            if server_out.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    };
    let down = tokio::io::copy(&mut server_in, &mut client_out);
    tokio::select! {
        () = up => {}
        _ = down => {}
    }
}
