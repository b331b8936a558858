//! Processes of workers that are dead, found by what no fork sheds: the tag and the environment.

use std::collections::HashSet;

use rustix::{
    event::{PollFd, PollFlags, Timespec},
    process::Signal,
};

use crate::{
    model::WorkerId,
    system::supervisor::{self, Tags, WORKER_VARIABLE},
};

/// Rounds of looking and killing; each catches what was forked during the one before.
const ROUNDS: usize = 100;

const PATIENCE: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// Kills every process of the dead workers' steps and answers how many there were. Blocks, usually for
/// milliseconds.
///
/// For after the worker's supervisor is gone: before, its trees are the supervisor's business.
pub fn kill_leftovers(dead: &[WorkerId]) -> usize {
    let workers: Vec<Marks> = dead.iter().map(|worker| Marks::of(*worker)).collect();
    let mut killed = HashSet::new();
    let mut beyond_us = HashSet::from([supervisor::own_pid()]);
    for _ in 0..ROUNDS {
        let mut dying = Vec::new();
        for pid in supervisor::all_processes() {
            if beyond_us.contains(&pid) || !workers.iter().any(|marks| marks.are_on(pid)) {
                continue;
            }
            let Some(held) = supervisor::hold(pid).filter(|held| !has_exited(held)) else { continue };
            if supervisor::signal_if(pid, Signal::KILL, |pid| workers.iter().any(|marks| marks.are_on(pid))) {
                killed.insert(pid);
                dying.push(held);
            } else {
                beyond_us.insert(pid);
            }
        }
        if dying.is_empty() {
            break;
        }
        for process in &dying {
            wait_for_exit(process, PATIENCE);
        }
    }
    killed.len()
}

/// Kills the supervisor of a dead worker; answers whether there was one. Its trees die with it or are left to
/// [`kill_leftovers`].
pub fn kill_supervisor(dead: WorkerId) -> bool {
    let worker = dead.to_string();
    let is_supervisor = |pid: i32| {
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        let mut words = line.split(|byte| *byte == 0).skip(1);
        words.next() == Some(supervisor::ARGUMENT.as_bytes()) && words.next() == Some(worker.as_bytes())
    };
    let found = supervisor::all_processes().into_iter().filter(|pid| is_supervisor(*pid));
    found.filter(|pid| supervisor::signal_if(*pid, Signal::KILL, is_supervisor)).count() > 0
}

/// What the processes of one worker's steps carry.
struct Marks {
    tags: Tags,
    variable: Vec<u8>,
}

impl Marks {
    fn of(worker: WorkerId) -> Marks {
        Marks { tags: Tags::new(worker), variable: format!("{WORKER_VARIABLE}={worker}").into_bytes() }
    }

    fn are_on(&self, pid: i32) -> bool {
        self.tags.marks(pid) || self.are_in_environment(pid)
    }

    /// For those that lost the tag, as through a login. Not readable for processes of other users.
    fn are_in_environment(&self, pid: i32) -> bool {
        let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == self.variable)
    }
}

/// A zombie has exited; it keeps its tag until its parent reaps it.
fn has_exited(process: &std::os::fd::OwnedFd) -> bool {
    wait_for_exit(process, Timespec { tv_sec: 0, tv_nsec: 0 })
}

fn wait_for_exit(process: &std::os::fd::OwnedFd, patience: Timespec) -> bool {
    let mut polled = [PollFd::new(process, PollFlags::IN)];
    rustix::event::poll(&mut polled, Some(&patience)).is_ok_and(|ready| ready > 0)
}
