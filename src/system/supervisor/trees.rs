//! The trees of the steps: who belongs to which, who has to go, and when a tree is gone.
//!
//! A step's tree is its leader and all descendants. After the leader has died every survivor hangs below an
//! *orphan*: a child of this process that is no leader, come here because we are the subreaper. Killing an
//! orphan makes its own children orphans, so the loop of deaths comes to an end without looking any deeper.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, Instant},
};

use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus},
};

use super::{
    look::{self, Children},
    tag::Tags,
    wire::Answer,
};

pub struct Trees {
    tags: Tags,
    steps: BTreeMap<u64, Step>,
    leaders: HashMap<i32, u64>,
    children: Children,
    /// Orphans that hid their origin, with the newest step when they were first seen: they belong to it or to
    /// one before, and go with the last of those.
    strays: HashMap<i32, u64>,
    /// Steps to whose escaped members TERM is still to be sent.
    to_warn: HashSet<u64>,
    newest: u64,
    own_group: i32,
    closing: bool,
}

struct Step {
    leader: i32,
    ended: Option<Answer>,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    /// Nobody wants it ended.
    Open,
    /// TERM was sent; KILL follows at this time. What the leader leaves behind may use the grace as well.
    Grace(Instant),
    /// Everything in the tree is being killed.
    Kill,
}

impl Trees {
    pub fn new(tags: Tags) -> std::io::Result<Trees> {
        Ok(Trees {
            tags,
            steps: BTreeMap::new(),
            leaders: HashMap::new(),
            children: Children::new(),
            strays: HashMap::new(),
            to_warn: HashSet::new(),
            newest: 0,
            own_group: rustix::process::getpgid(None)?.as_raw_nonzero().get(),
            closing: false,
        })
    }

    /// Takes charge of the step whose leader just started. Steps are numbered upwards.
    pub fn add(&mut self, id: u64, leader: i32) {
        self.newest = self.newest.max(id);
        self.leaders.insert(leader, id);
        self.steps.insert(id, Step { leader, ended: None, end: End::Open });
    }

    /// TERM to the tree, KILL after `grace`; a second call can only shorten it.
    pub fn terminate(&mut self, id: u64, now: Instant, grace: Duration) {
        // A grace beyond the clock's range is one that never runs out in practice.
        let deadline = now.checked_add(grace).unwrap_or(now + Duration::from_hours(24 * 365));
        let Some(step) = self.steps.get_mut(&id) else { return };
        match step.end {
            End::Kill => {}
            End::Grace(until) => step.end = End::Grace(until.min(deadline)),
            End::Open if grace.is_zero() => step.end = End::Grace(now),
            End::Open => {
                step.end = End::Grace(deadline);
                if step.ended.is_none() {
                    signal_group(step.leader, Signal::TERM);
                    // A stopped process could not act on it.
                    signal_group(step.leader, Signal::CONT);
                    self.to_warn.insert(id);
                }
            }
        }
    }

    /// The worker is gone: every tree goes, at once and without answers.
    pub fn kill_all(&mut self) {
        self.closing = true;
        for step in self.steps.values().filter(|step| step.ended.is_none()) {
            signal_group(step.leader, Signal::KILL);
        }
    }

    /// Does what is due: reaps if `died`, kills whose grace is over, looks after orphans. Adds the ends of steps
    /// to `answers`; answers whether anything is left that has to go.
    pub fn turn(&mut self, now: Instant, died: bool, answers: &mut Vec<Answer>) -> bool {
        let alone = died && self.reap();
        if !self.to_warn.is_empty() {
            self.warn_escaped();
        }
        self.kill_overdue(now);
        if self.closing {
            return !alone && self.kill_children();
        }
        if self.steps.values().any(|step| step.ended.is_some()) {
            self.finish(alone, answers);
        }
        false
    }

    /// How long until [`Trees::turn`] has something to do even if nothing happens.
    pub fn next_turn(&self, now: Instant, retry: Duration) -> Option<Duration> {
        if self.closing {
            return Some(retry);
        }
        let due = |step: &Step| match step.end {
            End::Grace(until) => Some(until.saturating_duration_since(now)),
            End::Kill if step.ended.is_some() => Some(retry),
            End::Kill | End::Open => None,
        };
        self.steps.values().filter_map(due).min()
    }

    /// Reaps all dead children. Whether none is left, dead or alive.
    fn reap(&mut self) -> bool {
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.buried(pid.as_raw_nonzero().get(), status),
                Err(Errno::CHILD) => return true,
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return false,
            }
        }
    }

    fn buried(&mut self, pid: i32, status: WaitStatus) {
        self.strays.remove(&pid);
        let Some(id) = self.leaders.remove(&pid) else { return };
        let Some(step) = self.steps.get_mut(&id) else { return };
        let signal = status.terminating_signal();
        let code = status.exit_status().unwrap_or(-1);
        step.ended = Some(signal.map_or(Answer::Exited { id, code }, |signal| Answer::Killed { id, signal }));
        if step.end == End::Open {
            step.end = End::Kill;
        }
    }

    fn kill_overdue(&mut self, now: Instant) {
        for step in self.steps.values_mut() {
            if matches!(step.end, End::Grace(until) if until <= now) {
                step.end = End::Kill;
                if step.ended.is_none() {
                    signal_group(step.leader, Signal::KILL);
                }
            }
        }
    }

    /// TERM to members that left their leader's group and, their parents being alive, are no orphans.
    fn warn_escaped(&mut self) {
        let steps = std::mem::take(&mut self.to_warn);
        for pid in look::all_processes() {
            let step = self.tags.step_of(pid, self.newest).filter(|step| steps.contains(step));
            let Some((id, leader)) = step.and_then(|id| Some((id, self.steps.get(&id)?.leader))) else { continue };
            if look::group_of(pid) != Some(leader) {
                look::signal_if(pid, Signal::TERM, |pid| self.tags.step_of(pid, self.newest) == Some(id));
            }
        }
    }

    /// Answers the ended steps that have no orphan left, and kills the orphans of those that do.
    fn finish(&mut self, alone: bool, answers: &mut Vec<Answer>) {
        let mut unfinished = HashSet::new();
        let children = if alone { Vec::new() } else { self.children.list() };
        for pid in children {
            if self.leaders.contains_key(&pid) {
                continue;
            }
            let owner = self.owner(pid);
            let step = owner.and_then(|id| self.steps.get(&id));
            let kept = match step {
                Some(step) => step.ended.is_some() && (step.end != End::Kill || self.kill_orphan(pid)),
                None => self.has_no_candidate(pid) && self.kill_orphan(pid),
            };
            if kept {
                unfinished.extend(owner);
            }
        }
        self.steps.retain(|id, step| {
            let gone = step.ended.filter(|_| !unfinished.contains(id));
            answers.extend(gone);
            gone.is_none()
        });
    }

    /// The step that an orphan belongs to, if it can be known.
    fn owner(&mut self, orphan: i32) -> Option<u64> {
        if let Some(id) = self.tags.step_of(orphan, self.newest) {
            return Some(id);
        }
        let session = look::session_of(orphan);
        if let Some(id) = session.and_then(|session| self.leaders.get(&session)) {
            return Some(*id);
        }
        let before = *self.strays.entry(orphan).or_insert(self.newest);
        let mut candidates = self.steps.range(..=before).map(|(id, _)| *id);
        candidates.next().filter(|_| candidates.next().is_none())
    }

    /// Whether every step that the orphan may belong to is over.
    fn has_no_candidate(&self, orphan: i32) -> bool {
        self.strays.get(&orphan).is_none_or(|before| self.steps.range(..=*before).next().is_none())
    }

    /// Kills an orphan with its group, which catches even those that fork faster than they are listed. False:
    /// it is beyond us, as a process of another user is; waiting for it would be for ever.
    fn kill_orphan(&self, orphan: i32) -> bool {
        // Its group cannot be anybody else's: groups do not cross sessions, and a step has its own.
        if let Some(group) = look::group_of(orphan).filter(|group| *group != self.own_group) {
            signal_group(group, Signal::KILL);
        }
        // An unreaped child of ours, so the id is still its own.
        let pid = Pid::from_raw(orphan);
        pid.is_some_and(|pid| rustix::process::kill_process(pid, Signal::KILL) != Err(Errno::PERM))
    }

    /// Whether there is still a child that can be killed.
    fn kill_children(&mut self) -> bool {
        self.children.list().into_iter().filter(|child| self.kill_orphan(*child)).count() > 0
    }
}

/// Signals a whole group at once; the kernel lets no fork slip through. The group's id must be held by an
/// unreaped child.
fn signal_group(group: i32, signal: Signal) {
    if let Some(group) = Pid::from_raw(group).filter(|group| !group.is_init()) {
        // An error means that nobody is left in it.
        let _ = rustix::process::kill_process_group(group, signal);
    }
}
