//! Removing tasks: those that are done, which apalis-redis keeps for ever (its own vacuum blocks Redis), and those that
//! a worker failed with.

use std::{sync::LazyLock, time::Duration};

use apalis_redis::Config;
use redis::{RedisResult, Script, aio::ConnectionLike};
use tokio_util::sync::CancellationToken;

use super::RedisQueueConfig;
use crate::redis_client::Pause;

const EVERY: Duration = Duration::from_secs(1);

/// Keys: a set of ids, the hash of data. Arguments: how many at once, what the keys of their records begin with.
static COLLECT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local ids = redis.call('SPOP', KEYS[1], ARGV[1])
        if #ids == 0 then return 0 end
        redis.call('HDEL', KEYS[2], unpack(ids))
        for i, id in ipairs(ids) do ids[i] = ARGV[2] .. ':' .. id end
        redis.call('UNLINK', unpack(ids))
        return #ids",
    )
});

/// So many at once.
const CHUNK: usize = 500;

/// Removes what is done in all lanes, every second, until `stop` fires.
pub(super) async fn collect(config: RedisQueueConfig, stop: CancellationToken) {
    let mut pause = Pause::default();
    let collecting = async {
        loop {
            // The workers say what is wrong.
            if let Err(error) = collect_until_error(&config, &mut pause).await {
                tracing::debug!(%error, "tasks that are done cannot be removed; trying again");
            }
            pause.wait().await;
        }
    };
    stop.run_until_cancelled(collecting).await;
}

async fn collect_until_error(config: &RedisQueueConfig, pause: &mut Pause) -> RedisResult<()> {
    let mut link = config.server.connect().await?;
    loop {
        for lane in &config.lanes {
            collect_all(&mut link, &config.queue(*lane)).await?;
        }
        pause.reset();
        tokio::time::sleep(EVERY).await;
    }
}

async fn collect_all(link: &mut impl ConnectionLike, queue: &Config) -> RedisResult<()> {
    for set in [queue.done_jobs_set(), queue.dead_jobs_set()] {
        collect_set(link, queue, &set).await?;
    }
    Ok(())
}

/// Removes what a worker that has failed had in its hands. It may be what it failed of: a task that cannot be read, or
/// whose record is gone, would end every worker that takes it, for ever. A ring that is lost costs a second.
pub(super) async fn collect_from(link: &mut impl ConnectionLike, queue: &Config, worker: &str) -> RedisResult<()> {
    collect_set(link, queue, &format!("{}:{worker}", queue.inflight_jobs_set())).await
}

async fn collect_set(link: &mut impl ConnectionLike, queue: &Config, set: &str) -> RedisResult<()> {
    let mut call = COLLECT.key(set);
    call.key(queue.job_data_hash()).arg(CHUNK).arg(queue.job_meta_hash());
    while call.invoke_async::<usize>(link).await? == CHUNK {}
    Ok(())
}
