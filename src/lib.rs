//! opsroom: a job-queue worker fleet driven by declarative runbooks.
//!
//! The map, from the bottom up; a module imports only from lower floors, and a test enforces it.
//!
//! | floor | module | what it is |
//! |---|---|---|
//! | 0 | [`model`] | ids, time, status words, outcomes, the V2 event |
//! | 1 | [`runbook`] | the language: YAML with positions, schema, expressions, compiler, plan |
//! | 2 | [`engine`] | what may happen to a run: pure |
//! | 2 | [`api`] | the documents of the HTTP interface, generated from `schemas/openapi.yaml` |
//! | 3 | [`ports`] | traits of everything outside |
//! | 3 | [`redis_client`] | connections to Redis, for the adapters that use it |
//! | 4 | [`store`], [`queue`], [`feed`], [`actions`], [`system`], [`control`] | adapters of the ports, and the loops over them |
//! | 5 | [`worker`], [`http`], [`client`] | lanes as apalis workers; the HTTP interface; a client of it |
//! | 6 | [`cli`] | one file a command |

pub mod actions;
pub mod api;
pub mod cli;
pub mod client;
pub mod control;
pub mod engine;
pub mod feed;
pub mod http;
pub mod model;
pub mod ports;
pub mod queue;
pub mod redis_client;
pub mod runbook;
pub mod store;
pub mod system;
pub mod worker;
