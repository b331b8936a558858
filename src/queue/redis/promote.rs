//! Making pushed tasks visible.
//!
//! Every push of apalis-redis lands in its set of scheduled tasks, and its workers move what is due in one piece,
//! which fails for good beyond some thousands. Here it is moved in pieces, and announced.

use std::sync::LazyLock;

use apalis_redis::Config;
use redis::{RedisResult, Script, aio::ConnectionLike};

/// No more tasks than this wait in a lane.
const OUTSTANDING: usize = 2_000;

/// Keys: the scheduled set, the active list, the hash of data. Arguments: the channel of the announcement, how many
/// tasks may wait, what the keys of their records begin with. What is too much is removed: so many doorbells say no
/// less. The scores of the set are times; everything we push is due at once, so all of it is taken.
static PROMOTE: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local room = tonumber(ARGV[2]) - redis.call('LLEN', KEYS[2])
        local moved = 0
        while true do
            local ids = redis.call('ZRANGE', KEYS[1], 0, 999)
            if #ids == 0 then break end
            redis.call('ZREM', KEYS[1], unpack(ids))
            local kept, surplus, records = {}, {}, {}
            for i, id in ipairs(ids) do
                if moved + #kept < room then
                    kept[#kept + 1] = id
                else
                    surplus[#surplus + 1] = id
                    records[#records + 1] = ARGV[3] .. ':' .. id
                end
            end
            if #kept > 0 then redis.call('RPUSH', KEYS[2], unpack(kept)) end
            if #surplus > 0 then
                redis.call('HDEL', KEYS[3], unpack(surplus))
                redis.call('UNLINK', unpack(records))
            end
            moved = moved + #kept
        end
        if moved > 0 then redis.call('PUBLISH', ARGV[1], moved) end
        return moved",
    )
});

/// Where promotions are announced.
pub(super) fn channel(queue: &Config) -> String {
    format!("{}:wake", queue.active_jobs_list())
}

/// Moves what was pushed; answers how many tasks.
pub(super) async fn promote(link: &mut impl ConnectionLike, queue: &Config) -> RedisResult<u64> {
    let mut call = PROMOTE.key(queue.scheduled_jobs_set());
    call.key(queue.active_jobs_list()).key(queue.job_data_hash());
    call.arg(channel(queue)).arg(OUTSTANDING).arg(queue.job_meta_hash()).invoke_async(link).await
}
