//! What a server says of itself, for those who check it.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use redis::RedisResult;

use super::{RedisLink, RedisServer};

/// Streams that are weighed.
const WEIGHED: usize = 50;
/// Keys that are looked at for them.
const LOOKED_AT: usize = 20_000;
/// How long the stream that is written for a try may stay if it cannot be removed, in seconds.
const TRY_KEPT: u64 = 60;

/// What one server says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RedisFacts {
    /// `redis` or `valkey`.
    pub product: &'static str,
    /// As in `7.2.4`; of Valkey the version of Redis that it stands for.
    pub version: String,
    pub is_master: bool,
    pub used_bytes: u64,
    /// 0: as much as the machine has.
    pub max_bytes: u64,
    /// Such as `noeviction`.
    pub eviction: String,
    pub has_append_only_file: bool,
    /// `appendfsync`, where the server lets it be asked.
    pub sync: Option<String>,
    /// Whether the last writes to disk succeeded.
    pub is_written: bool,
    /// Keys removed so far because memory was full.
    pub evicted: u64,
    pub weights: StreamWeights,
}

/// How many streams there are, and what they weigh.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StreamWeights {
    /// Reckoned from the keys that were looked at.
    pub count: u64,
    /// On average, of those that were weighed.
    pub bytes: u64,
}

impl RedisFacts {
    /// Asks one server. `prefix`: before the names of all keys.
    pub async fn of(link: &mut RedisLink, prefix: &str) -> RedisResult<RedisFacts> {
        let said: String = redis::cmd("INFO").query_async(link).await?;
        let facts = RedisFacts::read(&said);
        let mut ask = redis::cmd("CONFIG");
        // Managed servers have no such command.
        let sync: RedisResult<HashMap<String, String>> = ask.arg("GET").arg("appendfsync").query_async(link).await;
        let sync = sync.ok().and_then(|mut found| found.remove("appendfsync"));
        let weights = StreamWeights::of(link, prefix).await?;
        Ok(RedisFacts { sync, weights, ..facts })
    }

    /// Reads the answer to `INFO`.
    pub fn read(said: &str) -> RedisFacts {
        let fields: HashMap<&str, &str> = said.lines().filter_map(|line| line.trim_end().split_once(':')).collect();
        let text = |name: &str| fields.get(name).copied().unwrap_or_default();
        let number = |name: &str| text(name).parse().unwrap_or_default();
        RedisFacts {
            product: if fields.contains_key("valkey_version") { "valkey" } else { "redis" },
            version: text("redis_version").to_owned(),
            is_master: text("role") == "master",
            used_bytes: number("used_memory"),
            max_bytes: number("maxmemory"),
            eviction: text("maxmemory_policy").to_owned(),
            has_append_only_file: text("aof_enabled") == "1",
            sync: None,
            is_written: text("rdb_last_bgsave_status") != "err" && text("aof_last_write_status") != "err",
            evicted: number("evicted_keys"),
            weights: StreamWeights::default(),
        }
    }

    /// Major and minor version.
    pub fn release(&self) -> Option<(u32, u32)> {
        let mut parts = self.version.split('.');
        Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
    }
}

impl StreamWeights {
    async fn of(link: &mut RedisLink, prefix: &str) -> RedisResult<StreamWeights> {
        let pattern = format!("{prefix}run:*:events");
        let (mut cursor, mut looked_at, mut names) = (0_u64, 0, Vec::<String>::new());
        loop {
            let mut scan = redis::cmd("SCAN");
            scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1_000);
            let (next, found): (u64, Vec<String>) = scan.query_async(link).await?;
            (cursor, looked_at) = (next, looked_at + 1_000);
            names.extend(found);
            if cursor == 0 || looked_at >= LOOKED_AT {
                break;
            }
        }
        let keys: u64 = redis::cmd("DBSIZE").query_async(link).await?;
        let found = names.len() as u64;
        let count = if cursor == 0 { found } else { keys.saturating_mul(found) / looked_at as u64 };
        let (mut bytes, mut weighed) = (0, 0);
        for name in names.iter().take(WEIGHED) {
            let weight: Option<u64> = redis::cmd("MEMORY").arg("USAGE").arg(name).query_async(link).await?;
            bytes += weight.unwrap_or_default();
            weighed += u64::from(weight.is_some());
        }
        Ok(StreamWeights { count, bytes: bytes.checked_div(weighed).unwrap_or_default() })
    }
}

impl RedisServer {
    /// Appends to a stream of its own, removes it, and tells how long the append took.
    pub async fn try_write(&self, key: &str, channel: &str) -> RedisResult<Duration> {
        let mut link = self.connect().await?;
        let begun = Instant::now();
        let mut append = redis::cmd("XADD");
        append.arg(key).arg("*").arg("try").arg("1").query_async::<String>(&mut link).await?;
        let took = begun.elapsed();
        redis::cmd("EXPIRE").arg(key).arg(TRY_KEPT).query_async::<u64>(&mut link).await?;
        redis::cmd("PUBLISH").arg(channel).arg("try").query_async::<u64>(&mut link).await?;
        redis::cmd("UNLINK").arg(key).query_async::<u64>(&mut link).await?;
        Ok(took)
    }
}

impl RedisServer {
    /// Removes every key whose name begins with `prefix`, which is not empty: what a measurement has left.
    pub async fn forget(&self, prefix: &str) -> RedisResult<()> {
        let pattern = format!("{prefix}*");
        for server in self.each() {
            let (mut link, mut cursor) = (server.connect().await?, 0_u64);
            loop {
                let mut scan = redis::cmd("SCAN");
                scan.arg(cursor).arg("MATCH").arg(&pattern).arg("COUNT").arg(1_000);
                let (next, found): (u64, Vec<String>) = scan.query_async(&mut link).await?;
                for key in found.iter().filter(|_| !prefix.is_empty()) {
                    redis::cmd("UNLINK").arg(key).query_async::<u64>(&mut link).await?;
                }
                cursor = next;
                if cursor == 0 {
                    break;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_servers_say() {
        let facts = RedisFacts::read(
            "# Server\r\nredis_version:7.2.4\r\nvalkey_version:8.0.1\r\nrole:master\r\nused_memory:1048576\r\n\
             maxmemory:2097152\r\nmaxmemory_policy:allkeys-lru\r\naof_enabled:1\r\naof_last_write_status:err\r\n",
        );
        assert_eq!((facts.product, facts.release()), ("valkey", Some((7, 2))));
        assert_eq!((facts.used_bytes, facts.max_bytes), (1 << 20, 2 << 20));
        assert!(facts.is_master && facts.has_append_only_file && !facts.is_written);
        assert_eq!(RedisFacts::read("").release(), None);
    }
}
