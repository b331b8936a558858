//! One connection, to one server or to a cluster.

use redis::{
    Cmd, Pipeline, RedisFuture, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster_async::ClusterConnection,
};

/// A connection that many tasks may use at once: what they send is pipelined. Cheap to clone.
#[derive(Clone)]
pub enum RedisLink {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl std::fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            RedisLink::One(_) => "RedisLink::One",
            RedisLink::Cluster(_) => "RedisLink::Cluster",
        })
    }
}

impl ConnectionLike for RedisLink {
    fn req_packed_command<'a>(&'a mut self, cmd: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            RedisLink::One(link) => link.req_packed_command(cmd),
            RedisLink::Cluster(link) => link.req_packed_command(cmd),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            RedisLink::One(link) => link.req_packed_commands(pipeline, offset, count),
            RedisLink::Cluster(link) => link.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            RedisLink::One(link) => link.get_db(),
            RedisLink::Cluster(link) => link.get_db(),
        }
    }
}
