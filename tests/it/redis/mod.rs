//! Redis: doorbells and live events between processes, over real servers.

mod bells;
mod connections;
mod doctor;
mod feed;
mod fleet;
mod memory;
mod traps;

use crate::servers::redis as servers;
