//! Redis: doorbells and live events between processes, over real servers of Redis and of Valkey.

mod bells;
mod connections;
mod doctor;
mod feed;
mod fleet;
mod memory;
mod traps;
mod valkey;

use crate::servers::redis as servers;
