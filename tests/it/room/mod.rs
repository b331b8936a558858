//! A real `opsroom up` in a folder of its own, driven over HTTP. Every answer is held against
//! `schemas/openapi.yaml` before a test sees it.

mod access;
mod artifacts;
mod client;
mod clients;
mod conformance;
mod contract;
mod disk;
mod document;
mod events;
mod launch;
mod limits;
mod programs;
mod runbooks;
mod runs;
mod schema;
mod sessions;
mod stopping;
mod workers;

pub use launch::{Answer, Room};
