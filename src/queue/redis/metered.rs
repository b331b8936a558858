//! A connection that knows whether a command is under way.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use futures::FutureExt;
use redis::{Cmd, Pipeline, RedisFuture, Value, aio::ConnectionLike};

use crate::redis_client::RedisLink;

/// What one apalis worker uses; its clones count together.
#[derive(Debug, Clone)]
pub(super) struct Metered {
    link: RedisLink,
    under_way: Arc<AtomicUsize>,
}

struct Command(Arc<AtomicUsize>);

impl Drop for Command {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Metered {
    pub fn new(link: RedisLink) -> Metered {
        Metered { link, under_way: Arc::default() }
    }

    pub fn under_way(&self) -> Arc<AtomicUsize> {
        self.under_way.clone()
    }

    fn begin(&self) -> Command {
        self.under_way.fetch_add(1, Ordering::SeqCst);
        Command(self.under_way.clone())
    }
}

impl ConnectionLike for Metered {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        let command = self.begin();
        self.link.req_packed_command(cmd).inspect(|_| drop(command)).boxed()
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        let command = self.begin();
        self.link.req_packed_commands(pipeline, offset, count).inspect(|_| drop(command)).boxed()
    }

    fn get_db(&self) -> i64 {
        self.link.get_db()
    }
}
