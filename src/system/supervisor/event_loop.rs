//! The loop of the supervisor: requests in, answers out, deaths of children in between.

use std::{
    collections::VecDeque,
    io::{self, IoSliceMut},
    mem::MaybeUninit,
    os::fd::{AsFd as _, OwnedFd},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    io::Errno,
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendFlags},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};

use super::{
    launch::Starter,
    tag::Tags,
    trees::Trees,
    wire::{self, Answer, Request, Stage},
};
use crate::{ports::BootTime, system::BootClock};

const CHUNK: usize = 64 << 10;

/// How soon to look again at a tree that was killed and is still there.
const RETRY: Duration = Duration::from_millis(100);

pub struct EventLoop {
    socket: OwnedFd,
    signals: OwnedFd,
    /// Fires when the lease runs out. On a clock that counts suspended time as well.
    lease: OwnedFd,
    /// When that is, since boot; the last word of the worker.
    until: Option<Duration>,
    incoming: Vec<u8>,
    descriptors: VecDeque<OwnedFd>,
    outgoing: Vec<u8>,
    starter: Starter,
    trees: Trees,
    /// The worker is gone or its lease has run out.
    closing: bool,
}

impl EventLoop {
    pub fn new(socket: OwnedFd, signals: OwnedFd, tags: Tags) -> io::Result<EventLoop> {
        let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
        Ok(EventLoop {
            socket,
            signals,
            lease: rustix::time::timerfd_create(TimerfdClockId::Boottime, flags)?,
            until: None,
            incoming: Vec::new(),
            descriptors: VecDeque::new(),
            outgoing: Vec::new(),
            starter: Starter::new(tags),
            trees: Trees::new(tags)?,
            closing: false,
        })
    }

    /// Serves the worker until it is gone, and then until nothing of any tree is left.
    pub fn run(mut self) -> io::Result<()> {
        loop {
            let ready = self.wait()?;
            if ready.lease {
                self.close();
            }
            if ready.request && !self.closing {
                self.receive()?;
            }
            if ready.death {
                self.acknowledge_signals();
            }
            let mut answers = Vec::new();
            let left = self.trees.turn(Instant::now(), ready.death, &mut answers);
            for answer in answers {
                self.outgoing.extend_from_slice(&answer.encode());
            }
            if self.closing && !left {
                return Ok(());
            }
            self.flush();
        }
    }

    fn wait(&self) -> io::Result<Ready> {
        // After the worker is gone its socket would stay readable for ever.
        let mut socket = if self.closing { PollFlags::empty() } else { PollFlags::IN };
        if !self.outgoing.is_empty() {
            socket |= PollFlags::OUT;
        }
        let lease = if self.closing { PollFlags::empty() } else { PollFlags::IN };
        let mut polled = [
            PollFd::new(&self.signals, PollFlags::IN),
            PollFd::new(&self.lease, lease),
            PollFd::new(&self.socket, socket),
        ];
        let sockets = if self.closing { 2 } else { 3 };
        let timeout = self.trees.next_turn(Instant::now(), RETRY).map(|wait| Timespec {
            tv_sec: i64::try_from(wait.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(wait.subsec_nanos()),
        });
        match rustix::event::poll(&mut polled[..sockets], timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let readable = PollFlags::IN | PollFlags::HUP | PollFlags::ERR;
        let [death, lease, request] = polled.map(|fd| fd.revents().intersects(readable));
        Ok(Ready { death, lease, request })
    }

    /// One read, which brings the descriptors of at most one spawn; a burst does not keep deaths waiting.
    fn receive(&mut self) -> io::Result<()> {
        let filled = self.incoming.len();
        self.incoming.resize(filled + CHUNK, 0);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(8))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let mut into = [IoSliceMut::new(&mut self.incoming[filled..])];
        let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
        let received = rustix::net::recvmsg(&self.socket, &mut into, &mut control, flags);
        let message = match received {
            Ok(message) => message,
            Err(Errno::AGAIN | Errno::INTR) => {
                self.incoming.truncate(filled);
                return Ok(());
            }
            Err(_) => {
                self.close();
                return Ok(());
            }
        };
        for part in control.drain() {
            if let RecvAncillaryMessage::ScmRights(descriptors) = part {
                self.descriptors.extend(descriptors);
            }
        }
        if message.flags.contains(ReturnFlags::CTRUNC) {
            return Err(io::Error::other("descriptors of a spawn were lost"));
        }
        self.incoming.truncate(filled + message.bytes);
        if message.bytes == 0 {
            self.close();
            return Ok(());
        }
        self.handle_frames()
    }

    fn handle_frames(&mut self) -> io::Result<()> {
        let buffer = std::mem::take(&mut self.incoming);
        let mut rest = &buffer[..];
        while let Some((request, length)) = wire::decode_request(rest).map_err(io::Error::other)? {
            rest = &rest[length..];
            self.handle(&request)?;
        }
        let kept = buffer.len() - rest.len();
        self.incoming = buffer;
        self.incoming.drain(..kept);
        // One large spawn must not make us large for good.
        self.incoming.shrink_to(CHUNK * 2);
        Ok(())
    }

    fn handle(&mut self, request: &Request<'_>) -> io::Result<()> {
        // The timer may have fired since it was looked at, as when this process was stopped for a while.
        if self.lease_is_over() {
            self.close();
            return Ok(());
        }
        match request {
            Request::Spawn { id, cwd, argv, env } => {
                let (Some(stdout), Some(stderr)) = (self.descriptors.pop_front(), self.descriptors.pop_front()) else {
                    return Err(io::Error::other("a spawn without its descriptors"));
                };
                let started = self.starter.start(*id, cwd, argv, env, [stdout.as_fd(), stderr.as_fd()]);
                let answer = self.record(*id, started);
                self.outgoing.extend_from_slice(&answer.encode());
                // At once: the worker waits for it, and this process has the time while the step starts.
                self.flush();
            }
            Request::Terminate { id, grace } => self.trees.terminate(*id, Instant::now(), *grace),
            Request::Extend { until } => self.extend(*until)?,
        }
        Ok(())
    }

    fn record(&mut self, id: u64, started: Result<i32, (Stage, i32)>) -> Answer {
        match started {
            Ok(pid) => {
                self.trees.add(id, pid);
                Answer::Spawned { id, pid }
            }
            Err((stage, errno)) => Answer::Failed { id, stage, errno },
        }
    }

    fn lease_is_over(&self) -> bool {
        self.until.is_some_and(|until| until <= BootClock.since_boot())
    }

    fn extend(&mut self, until: Duration) -> io::Result<()> {
        self.until = Some(until);
        // A zero would switch the timer off.
        let until = until.max(Duration::from_nanos(1));
        let value = Timespec {
            tv_sec: i64::try_from(until.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(until.subsec_nanos()),
        };
        let once = Itimerspec { it_interval: Timespec { tv_sec: 0, tv_nsec: 0 }, it_value: value };
        rustix::time::timerfd_settime(&self.lease, TimerfdTimerFlags::ABSTIME, &once)?;
        Ok(())
    }

    fn close(&mut self) {
        self.closing = true;
        self.outgoing.clear();
        self.trees.kill_all();
    }

    fn acknowledge_signals(&self) {
        let mut records = [0_u8; 1024];
        while rustix::io::read(&self.signals, &mut records).is_ok_and(|length| length == records.len()) {}
    }

    /// Sends what the socket takes; never waits for a worker that does not read.
    fn flush(&mut self) {
        if self.outgoing.is_empty() || self.closing {
            return;
        }
        match rustix::net::send(&self.socket, &self.outgoing, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
            Ok(length) => {
                self.outgoing.drain(..length);
            }
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(_) => self.close(),
        }
    }
}

struct Ready {
    death: bool,
    lease: bool,
    request: bool,
}
