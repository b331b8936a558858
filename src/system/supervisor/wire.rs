//! What worker and supervisor say to each other.
//!
//! Requests are frames of varying length on a stream socket; a spawn carries its two descriptors with its
//! first byte, so they arrive in the order of the spawns. Answers are records of one size. Both ends are the
//! same binary, so there is no version.

use std::{collections::BTreeMap, ffi::CStr, time::Duration};

use crate::ports::ProcessSpec;

/// The environment variable that every process of a step starts with; its value is the worker's id.
pub const WORKER_VARIABLE: &str = "OPSROOM_WORKER";

/// The largest frame. The kernel takes at most 6 MiB of arguments and environment.
pub const MAX_FRAME: usize = 8 << 20;

/// The size of an [`Answer`] on the wire.
pub const ANSWER: usize = 17;

const HEADER: usize = 4;
const SPAWN: u8 = 1;
const TERMINATE: u8 = 2;
const EXTEND: u8 = 3;

/// A request, borrowed from the buffer it was read into.
#[derive(Debug, PartialEq, Eq)]
pub enum Request<'a> {
    Spawn {
        id: u64,
        cwd: &'a CStr,
        argv: Vec<&'a CStr>,
        /// `NAME=value` each.
        env: Vec<&'a CStr>,
    },
    Terminate {
        id: u64,
        grace: Duration,
    },
    /// The lease holds until this reading of `CLOCK_BOOTTIME`.
    Extend {
        until: Duration,
    },
}

/// How far a spawn came before it failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Making the process.
    Clone,
    /// Setting it up: session, descriptors.
    Setup,
    /// Entering the working directory.
    Cwd,
    /// Starting the program.
    Exec,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    Spawned { id: u64, pid: i32 },
    Failed { id: u64, stage: Stage, errno: i32 },
    Exited { id: u64, code: i32 },
    Killed { id: u64, signal: i32 },
}

/// The frame of a spawn, or why there cannot be one.
pub fn encode_spawn(id: u64, worker: &str, spec: &ProcessSpec) -> Result<Vec<u8>, &'static str> {
    use std::os::unix::ffi::OsStrExt as _;
    let mut frame = Frame::new(SPAWN, id);
    let own = usize::from(!spec.env.contains_key(WORKER_VARIABLE));
    frame.count(spec.argv.len())?;
    frame.count(spec.env.len() + own)?;
    frame.text(spec.cwd.as_os_str().as_bytes())?;
    for argument in &spec.argv {
        frame.text(argument.as_bytes())?;
    }
    frame.variable(WORKER_VARIABLE, worker)?;
    encode_env(&mut frame, &spec.env)?;
    frame.finish()
}

/// The frame of a termination: TERM now, KILL after `grace`; KILL at once when it is zero.
pub fn encode_terminate(id: u64, grace: Duration) -> Vec<u8> {
    let mut frame = Frame::new(TERMINATE, id);
    frame.number(u64::try_from(grace.as_millis()).unwrap_or(u64::MAX));
    frame.sealed()
}

/// The frame that extends the lease to this reading of `CLOCK_BOOTTIME`.
pub fn encode_extend(until: Duration) -> Vec<u8> {
    let mut frame = Frame::new(EXTEND, 0);
    frame.number(u64::try_from(until.as_nanos()).unwrap_or(u64::MAX));
    frame.sealed()
}

/// The first whole frame of `buffer` and its length. `Err` is a frame that no worker of ours sends.
pub fn decode_request(buffer: &[u8]) -> Result<Option<(Request<'_>, usize)>, &'static str> {
    let Some((header, rest)) = buffer.split_first_chunk::<HEADER>() else { return Ok(None) };
    let length = u32::from_le_bytes(*header) as usize;
    if length > MAX_FRAME {
        return Err("a frame over the limit");
    }
    let Some(mut body) = rest.get(..length).map(Body) else { return Ok(None) };
    let (kind, id) = (body.byte()?, body.number()?);
    let request = match kind {
        SPAWN => {
            let (argc, envc) = (body.count()?, body.count()?);
            Request::Spawn { id, cwd: body.text()?, argv: body.texts(argc)?, env: body.texts(envc)? }
        }
        TERMINATE => Request::Terminate { id, grace: Duration::from_millis(body.number()?) },
        EXTEND => Request::Extend { until: Duration::from_nanos(body.number()?) },
        _ => return Err("a frame of an unknown kind"),
    };
    Ok(Some((request, HEADER + length)))
}

impl Answer {
    pub fn encode(self) -> [u8; ANSWER] {
        let (kind, id, first, second) = match self {
            Answer::Spawned { id, pid } => (1, id, pid, 0),
            Answer::Failed { id, stage, errno } => (2, id, errno, stage as i32),
            Answer::Exited { id, code } => (3, id, code, 0),
            Answer::Killed { id, signal } => (4, id, signal, 0),
        };
        let mut bytes = [kind; ANSWER];
        bytes[1..9].copy_from_slice(&id.to_le_bytes());
        bytes[9..13].copy_from_slice(&first.to_le_bytes());
        bytes[13..17].copy_from_slice(&second.to_le_bytes());
        bytes
    }

    /// `None` is a record that no supervisor of ours sends.
    pub fn decode(bytes: &[u8; ANSWER]) -> Option<Answer> {
        let (kind, rest) = bytes.split_first()?;
        let (id, rest) = rest.split_first_chunk()?;
        let (first, rest) = rest.split_first_chunk()?;
        let (id, first) = (u64::from_le_bytes(*id), i32::from_le_bytes(*first));
        let second = i32::from_le_bytes(*rest.first_chunk()?);
        Some(match kind {
            1 => Answer::Spawned { id, pid: first },
            2 => Answer::Failed { id, errno: first, stage: Stage::from_wire(second)? },
            3 => Answer::Exited { id, code: first },
            4 => Answer::Killed { id, signal: first },
            _ => return None,
        })
    }
}

impl Stage {
    fn from_wire(number: i32) -> Option<Stage> {
        [Stage::Clone, Stage::Setup, Stage::Cwd, Stage::Exec].into_iter().find(|stage| *stage as i32 == number)
    }
}

fn encode_env(frame: &mut Frame, env: &BTreeMap<String, String>) -> Result<(), &'static str> {
    for (name, value) in env {
        if name.is_empty() || name.contains('=') {
            return Err("the name of a variable is empty or holds `=`");
        }
        if name != WORKER_VARIABLE {
            frame.variable(name, value)?;
        }
    }
    Ok(())
}

struct Frame(Vec<u8>);

impl Frame {
    fn new(kind: u8, id: u64) -> Frame {
        let mut bytes = Vec::with_capacity(512);
        bytes.extend_from_slice(&[0; HEADER]);
        bytes.push(kind);
        bytes.extend_from_slice(&id.to_le_bytes());
        Frame(bytes)
    }

    fn number(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn count(&mut self, count: usize) -> Result<(), &'static str> {
        let count = u32::try_from(count).map_err(|_| "too many arguments or variables")?;
        self.0.extend_from_slice(&count.to_le_bytes());
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> Result<(), &'static str> {
        if text.contains(&0) {
            return Err("an argument, a variable or the working directory holds a NUL byte");
        }
        self.0.extend_from_slice(text);
        self.0.push(0);
        Ok(())
    }

    fn variable(&mut self, name: &str, value: &str) -> Result<(), &'static str> {
        if name.as_bytes().contains(&0) {
            return Err("the name of a variable holds a NUL byte");
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        self.text(value.as_bytes())
    }

    fn finish(self) -> Result<Vec<u8>, &'static str> {
        if self.0.len() > MAX_FRAME { Err("arguments and environment are too large") } else { Ok(self.sealed()) }
    }

    fn sealed(mut self) -> Vec<u8> {
        // Callers keep frames below MAX_FRAME, so the length fits.
        let length = u32::try_from(self.0.len() - HEADER).unwrap_or(u32::MAX);
        self.0[..HEADER].copy_from_slice(&length.to_le_bytes());
        self.0
    }
}

struct Body<'a>(&'a [u8]);

impl<'a> Body<'a> {
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (chunk, rest) = self.0.split_first_chunk().ok_or("a short frame")?;
        self.0 = rest;
        Ok(*chunk)
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        self.chunk::<1>().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        self.chunk().map(u64::from_le_bytes)
    }

    fn count(&mut self) -> Result<usize, &'static str> {
        self.chunk().map(|bytes| u32::from_le_bytes(bytes) as usize)
    }

    fn text(&mut self) -> Result<&'a CStr, &'static str> {
        let text = CStr::from_bytes_until_nul(self.0).map_err(|_| "a text without its end")?;
        self.0 = &self.0[text.to_bytes_with_nul().len()..];
        Ok(text)
    }

    fn texts(&mut self, count: usize) -> Result<Vec<&'a CStr>, &'static str> {
        (0..count).map(|_| self.text()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec() -> ProcessSpec {
        ProcessSpec {
            argv: vec!["sh".into(), "-c".into(), String::new()],
            env: [("A".into(), "1".into()), (WORKER_VARIABLE.into(), "forged".into())].into(),
            cwd: "/tmp".into(),
        }
    }

    #[test]
    fn a_spawn_comes_back_as_it_was_sent_and_the_worker_cannot_be_forged() {
        let frame = encode_spawn(7, "w", &spec()).unwrap();
        let (request, length) = decode_request(&frame).unwrap().unwrap();
        assert_eq!(length, frame.len());
        let argv = vec![c"sh", c"-c", c""];
        let env = vec![c"OPSROOM_WORKER=w", c"A=1"];
        assert_eq!(request, Request::Spawn { id: 7, cwd: c"/tmp", argv, env });
    }

    #[test]
    fn every_prefix_of_a_frame_waits_for_the_rest() {
        let frame = encode_spawn(7, "w", &spec()).unwrap();
        for length in 0..frame.len() {
            assert!(decode_request(&frame[..length]).unwrap().is_none());
        }
    }

    #[test]
    fn nul_bytes_and_odd_names_are_refused() {
        for (name, value) in [("A", "1\u{0}"), ("A\u{0}", "1"), ("A=B", "1"), ("", "1")] {
            let spec = ProcessSpec { env: [(name.into(), value.into())].into(), ..spec() };
            assert!(encode_spawn(1, "w", &spec).is_err(), "{name:?}={value:?}");
        }
    }

    #[test]
    fn answers_come_back_as_they_were_sent() {
        for answer in [
            Answer::Spawned { id: u64::MAX, pid: 12 },
            Answer::Failed { id: 1, stage: Stage::Cwd, errno: 2 },
            Answer::Exited { id: 2, code: 255 },
            Answer::Killed { id: 3, signal: 9 },
        ] {
            assert_eq!(Answer::decode(&answer.encode()), Some(answer));
        }
    }
}
