//! The worker's end of the socket to one supervisor.
//!
//! Sending never waits: a frame goes out at once when the socket takes it, else the writer task finishes it. So
//! a caller that is dropped half-way leaves no half frame behind, and `Drop` can send as well.

use std::{
    collections::{HashMap, VecDeque},
    io::{self, IoSlice},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
    sync::{Mutex, MutexGuard, PoisonError},
};

use rustix::{
    io::Errno,
    net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags},
};
use tokio::{
    io::Interest,
    net::UnixStream,
    sync::{Notify, oneshot},
};
use tokio_util::sync::CancellationToken;

use crate::{
    ports::{Exit, SpawnError},
    system::supervisor::{ANSWER, Answer, Stage},
};

/// What became of a spawn: the process id, or how far it came and the errno.
pub type Started = Result<i32, (Stage, i32)>;

pub struct Link {
    stream: UnixStream,
    state: Mutex<State>,
    blocked: Notify,
    abandoned: CancellationToken,
}

#[derive(Default)]
struct State {
    outbox: VecDeque<Outgoing>,
    waiting: HashMap<u64, Waiting>,
    closed: bool,
}

struct Outgoing {
    frame: Vec<u8>,
    sent: usize,
    /// They go with the first byte.
    descriptors: Option<[OwnedFd; 2]>,
}

/// Who waits for news of one process. Dropped without an answer, it means that the supervisor is lost.
struct Waiting {
    started: Option<oneshot::Sender<Started>>,
    exited: oneshot::Sender<Exit>,
}

/// The other ends of [`Waiting`].
pub struct News {
    pub started: oneshot::Receiver<Started>,
    pub exited: oneshot::Receiver<Exit>,
}

impl Link {
    pub fn new(stream: std::os::unix::net::UnixStream) -> io::Result<Link> {
        stream.set_nonblocking(true)?;
        Ok(Link {
            stream: UnixStream::from_std(stream)?,
            state: Mutex::default(),
            blocked: Notify::new(),
            abandoned: CancellationToken::new(),
        })
    }

    /// Sends a spawn and listens for what becomes of it.
    pub fn spawn(&self, id: u64, frame: Vec<u8>, descriptors: [OwnedFd; 2]) -> Result<News, SpawnError> {
        let (started_sender, started) = oneshot::channel();
        let (exited_sender, exited) = oneshot::channel();
        let mut state = self.state();
        if state.closed {
            return Err(SpawnError::SupervisorLost);
        }
        state.waiting.insert(id, Waiting { started: Some(started_sender), exited: exited_sender });
        self.push(&mut state, Outgoing { frame, sent: 0, descriptors: Some(descriptors) });
        Ok(News { started, exited })
    }

    /// Sends a request without descriptors. Nothing happens when the supervisor is gone, and the request with it.
    pub fn send(&self, frame: Vec<u8>) {
        self.push(&mut self.state(), Outgoing { frame, sent: 0, descriptors: None });
    }

    pub fn is_closed(&self) -> bool {
        self.state().closed
    }

    /// No spawn is taken from here on.
    pub fn close(&self) {
        self.state().closed = true;
        // Makes the supervisor see the end even while processes still hold this link.
        let _ = rustix::net::shutdown(&self.stream, rustix::net::Shutdown::Both);
    }

    /// Tells everyone who waits that the supervisor is lost.
    pub fn abandon(&self) {
        let waiting = {
            let mut state = self.state();
            state.closed = true;
            state.outbox.clear();
            std::mem::take(&mut state.waiting)
        };
        drop(waiting);
        self.abandoned.cancel();
    }

    /// Waits until the supervisor is gone with all of its trees.
    pub async fn until_abandoned(&self) {
        self.abandoned.cancelled().await;
    }

    /// Hands out answers until the supervisor is gone.
    pub async fn read_answers(&self) {
        let mut buffer = [0_u8; 64 * ANSWER];
        let mut filled = 0;
        loop {
            let read =
                self.stream.async_io(Interest::READABLE, || Ok(rustix::io::read(&self.stream, &mut buffer[filled..])?));
            match read.await {
                Ok(0) | Err(_) => return,
                Ok(length) => filled += length,
            }
            let (whole, _) = buffer[..filled].as_chunks::<ANSWER>();
            let used = whole.len() * ANSWER;
            for answer in whole {
                let Some(answer) = Answer::decode(answer) else { return };
                self.deliver(answer);
            }
            buffer.copy_within(used..filled, 0);
            filled -= used;
        }
    }

    /// Finishes what [`Link::send`] could not.
    pub async fn write_outbox(&self) {
        loop {
            self.blocked.notified().await;
            let written = self.stream.async_io(Interest::WRITABLE, || match self.state().flush(&self.stream) {
                Ok(true) => Ok(()),
                Ok(false) => Err(io::ErrorKind::WouldBlock.into()),
                Err(error) => Err(error.into()),
            });
            if written.await.is_err() {
                return self.close();
            }
        }
    }

    fn push(&self, state: &mut State, outgoing: Outgoing) {
        if state.closed {
            return;
        }
        let idle = state.outbox.is_empty();
        state.outbox.push_back(outgoing);
        // Behind others, the writer task is at work already.
        if idle && !matches!(state.flush(&self.stream), Ok(true)) {
            self.blocked.notify_one();
        }
    }

    fn deliver(&self, answer: Answer) {
        let mut state = self.state();
        match answer {
            Answer::Spawned { id, pid } => {
                let started = state.waiting.get_mut(&id).and_then(|waiting| waiting.started.take());
                drop(state);
                started.map(|started| started.send(Ok(pid)));
            }
            Answer::Failed { id, stage, errno } => {
                let waiting = state.waiting.remove(&id);
                drop(state);
                waiting.and_then(|waiting| waiting.started).map(|started| started.send(Err((stage, errno))));
            }
            Answer::Exited { id, code } => state.exited(id, Exit { code: Some(code), signal: None }),
            Answer::Killed { id, signal } => state.exited(id, Exit { code: None, signal: Some(signal) }),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code that can panic runs under the lock, so a poisoned state is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn exited(&mut self, id: u64, exit: Exit) {
        if let Some(waiting) = self.waiting.remove(&id) {
            // Nobody listens when the process was dropped.
            let _ = waiting.exited.send(exit);
        }
    }

    /// Sends what the socket takes; true when that was everything.
    fn flush(&mut self, stream: &UnixStream) -> Result<bool, Errno> {
        while let Some(next) = self.outbox.front_mut() {
            match next.send(stream) {
                Ok(true) => drop(self.outbox.pop_front()),
                Ok(false) | Err(Errno::INTR) => {}
                // The second: too many descriptors are under way; the supervisor is about to take them.
                Err(Errno::AGAIN | Errno::TOOMANYREFS) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        Ok(true)
    }
}

impl Outgoing {
    /// One system call. True when the frame is out.
    fn send(&mut self, stream: &UnixStream) -> Result<bool, Errno> {
        let rest = [IoSlice::new(&self.frame[self.sent..])];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = SendAncillaryBuffer::new(&mut space);
        let borrowed = self.descriptors.as_ref().map(|both| both.each_ref().map(|one| one.as_fd()));
        if let Some(both) = &borrowed {
            control.push(SendAncillaryMessage::ScmRights(both));
        }
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        self.sent += rustix::net::sendmsg(stream, &rest, &mut control, flags)?;
        self.descriptors = None;
        Ok(self.sent == self.frame.len())
    }
}
