//! Looking at processes: the children of this one, and all of the machine.

use std::{
    fs::File,
    io,
    os::{fd::OwnedFd, unix::fs::FileExt as _},
};

use rustix::process::{Pid, PidfdFlags, Signal};

/// The list of this process's own children.
///
/// Children of others may be missed while they come and go; ours leave the list only when we reap them and
/// join at its end, so reading it once is exact.
#[derive(Debug)]
pub struct Children {
    file: Option<File>,
    text: Vec<u8>,
}

impl Children {
    pub fn new() -> Children {
        let own = own_pid();
        // Needs CONFIG_PROC_CHILDREN; without it all of /proc is read instead.
        Children { file: File::open(format!("/proc/self/task/{own}/children")).ok(), text: vec![0; 4096] }
    }

    pub fn list(&mut self) -> Vec<i32> {
        let listed = self.file.as_ref().and_then(|file| read_whole(file, &mut self.text).ok());
        let Some(length) = listed else { return children_by_stat() };
        self.text[..length].split(|byte| *byte == b' ').filter_map(number).collect()
    }
}

/// The id of every process.
pub fn all_processes() -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    entries.filter_map(|entry| number(entry.ok()?.file_name().as_encoded_bytes())).collect()
}

/// Holds a process, so that its id cannot come to mean another one.
pub fn hold(pid: i32) -> Option<OwnedFd> {
    rustix::process::pidfd_open(Pid::from_raw(pid)?, PidfdFlags::empty()).ok()
}

/// Signals `pid` if, once it is held, `is_ours` still says so. Whether the signal was sent.
pub fn signal_if(pid: i32, signal: Signal, is_ours: impl FnOnce(i32) -> bool) -> bool {
    let Some(held) = hold(pid) else { return false };
    is_ours(pid) && rustix::process::pidfd_send_signal(held, signal).is_ok()
}

/// The process group of `pid`.
pub fn group_of(pid: i32) -> Option<i32> {
    rustix::process::getpgid(Some(Pid::from_raw(pid)?)).ok().map(|group| group.as_raw_nonzero().get())
}

/// The session of `pid`.
pub fn session_of(pid: i32) -> Option<i32> {
    rustix::process::getsid(Some(Pid::from_raw(pid)?)).ok().map(|session| session.as_raw_nonzero().get())
}

pub fn own_pid() -> i32 {
    rustix::process::getpid().as_raw_nonzero().get()
}

/// Reads a file of /proc from its start, growing the buffer as needed.
fn read_whole(file: &File, buffer: &mut Vec<u8>) -> io::Result<usize> {
    let mut length = 0;
    loop {
        if length == buffer.len() {
            buffer.resize(length * 2, 0);
        }
        match file.read_at(&mut buffer[length..], length as u64)? {
            0 => return Ok(length),
            more => length += more,
        }
    }
}

fn children_by_stat() -> Vec<i32> {
    let own = own_pid();
    all_processes().into_iter().filter(|pid| parent_of(*pid) == Some(own)).collect()
}

fn parent_of(pid: i32) -> Option<i32> {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses and may hold anything, also parentheses.
    let after_name = stat.iter().rposition(|byte| *byte == b')')? + 2;
    number(stat[after_name..].split(|byte| *byte == b' ').nth(1)?)
}

fn number(text: &[u8]) -> Option<i32> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_among_all_and_has_a_parent() {
        assert!(all_processes().contains(&own_pid()));
        assert_eq!(parent_of(own_pid()), rustix::process::getppid().map(|pid| pid.as_raw_nonzero().get()));
        assert_eq!(number(b"self"), None);
    }
}
