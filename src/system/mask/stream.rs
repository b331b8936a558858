//! Masking bytes that come in pieces, with the same result however they are cut.

use std::{collections::VecDeque, sync::Arc};

use aho_corasick::{
    Anchored,
    automaton::{Automaton, StateID},
};

use super::Search;
use crate::ports::MaskStream;

/// What stands where a secret stood.
const MASKED: &[u8] = b"***";

/// The state of one masked stream.
pub(super) struct Stream {
    search: Arc<Search>,
    state: StateID,
    /// The bytes from position `base` on, not yet given out.
    held: Vec<u8>,
    base: u64,
    /// Up to here everything belongs to a `***` that was given out already.
    masked_to: u64,
    /// Matches at or after `masked_to`, merged where they overlap, in order.
    matches: VecDeque<(u64, u64)>,
}

impl MaskStream for Stream {
    fn push(&mut self, bytes: &[u8]) -> Vec<u8> {
        let mut at = self.base + self.held.len() as u64;
        self.held.extend_from_slice(bytes);
        for byte in bytes {
            at += 1;
            self.state = self.search.nfa.next_state(Anchored::No, self.state, *byte);
            if let Some(length) = self.search.longest_match(self.state) {
                self.found(at - length as u64, at);
            }
        }
        // No later match can begin before these last bytes.
        let open = self.search.depth.get(&self.state).copied().unwrap_or(0);
        self.give_out(at - open as u64)
    }

    fn finish(&mut self) -> Vec<u8> {
        self.state = self.search.start;
        self.give_out(self.base + self.held.len() as u64)
    }
}

impl Stream {
    pub(super) fn new(search: Arc<Search>) -> Stream {
        let state = search.start;
        Stream { search, state, held: Vec::new(), base: 0, masked_to: 0, matches: VecDeque::new() }
    }

    /// How many bytes and matches wait for what comes next.
    #[cfg(test)]
    pub(super) fn held(&self) -> usize {
        self.held.len() + self.matches.len()
    }

    /// Takes in a match that ends later than all before it.
    fn found(&mut self, mut start: u64, end: u64) {
        while let Some(last) = self.matches.back().copied().filter(|last| last.1 > start) {
            start = start.min(last.0);
            self.matches.pop_back();
        }
        if start < self.masked_to {
            self.masked_to = end;
        } else {
            self.matches.push_back((start, end));
        }
    }

    /// The masked form of what is held before position `until`. Every match that begins before `until`
    /// is known; it may still grow at its end.
    fn give_out(&mut self, until: u64) -> Vec<u8> {
        let mut out = Vec::new();
        let mut at = self.base.max(self.masked_to).min(until);
        while let Some((start, end)) = self.matches.front().copied().filter(|first| first.0 < until) {
            out.extend_from_slice(self.slice(at, start));
            out.extend_from_slice(MASKED);
            self.matches.pop_front();
            self.masked_to = end;
            at = end.min(until);
        }
        out.extend_from_slice(self.slice(at, until));
        self.held.drain(..self.index(until));
        self.base = until;
        out
    }

    fn slice(&self, from: u64, to: u64) -> &[u8] {
        &self.held[self.index(from)..self.index(to)]
    }

    fn index(&self, position: u64) -> usize {
        // `held` is in memory, so a position inside it fits.
        usize::try_from(position - self.base).unwrap_or(usize::MAX)
    }
}
