//! Appending to a stream.

use std::sync::{Arc, LazyLock};

use redis::{RedisResult, Script};

use super::{
    RedisFeedConfig,
    entry::{FIELDS, values},
    outbox::Batch,
};
use crate::{model::StreamId, redis_client::RedisLink};

/// About how many events a stream keeps.
const MAX_LENGTH: usize = 10_000;
/// How long a stream is kept after the run's end, in seconds.
const KEPT: u64 = 86_400;
/// How long it is kept after its last event while the run is under way: the end of a run may never be told here (its
/// owner died, Redis was away), and no stream may stay for ever.
const KEPT_UNENDED: u64 = 7 * KEPT;

/// What became of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Appended {
    /// The stream now ends there.
    Upto(StreamId),
    /// A newer owner has written: nothing was appended.
    Fenced,
    /// The stream ends before what it is known to have had: nothing was appended.
    Behind(StreamId),
}

/// Key: the stream. Arguments: the epoch of the writer, the id that the stream had reached, the greatest length,
/// seconds to live from now, the channel, how many fields, whether the run has ended with the last event (1 or 0);
/// for each event its id and its fields.
///
/// The last entry says which epoch has written last. What is not newer than the stream is passed over, so a batch
/// whose answer was lost can be sent again.
static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local function parts(id)
            local ms, sequence = string.match(id, '^(%d+)-(%d+)$')
            return tonumber(ms), tonumber(sequence)
        end
        local function is_newer(a, b)
            local ams, as = parts(a)
            local bms, bs = parts(b)
            return ams > bms or (ams == bms and as > bs)
        end
        local head, epoch = '0-0', 0
        local last = redis.call('XREVRANGE', KEYS[1], '+', '-', 'COUNT', 1)[1]
        if last then
            head = last[1]
            for i = 1, #last[2], 2 do
                if last[2][i] == 'epoch' then epoch = tonumber(last[2][i + 1]) break end
            end
        end
        if epoch > tonumber(ARGV[1]) then return {'fenced', head} end
        if is_newer(ARGV[2], head) then return {'behind', head} end
        local width, grown = tonumber(ARGV[6]), false
        for i = 8, #ARGV, width + 1 do
            if is_newer(ARGV[i], head) then
                head = ARGV[i]
                redis.call('XADD', KEYS[1], 'MAXLEN', '~', ARGV[3], head, 'epoch', ARGV[1], unpack(ARGV, i + 1, i + width))
                grown = true
            end
        end
        if grown or ARGV[7] == '1' then redis.call('EXPIRE', KEYS[1], ARGV[4]) end
        if grown then redis.call('PUBLISH', ARGV[5], head) end
        return {'ok', head}",
    )
});

pub(super) async fn append(config: &RedisFeedConfig, mut link: RedisLink, batch: &Batch) -> RedisResult<Appended> {
    let mut call = APPEND.key(config.stream(batch.run));
    let call = call.arg(batch.epoch.0).arg(batch.after.to_string()).arg(MAX_LENGTH);
    call.arg(if batch.is_last { KEPT } else { KEPT_UNENDED }).arg(config.run_channel(batch.run));
    call.arg(FIELDS.len() * 2).arg(u8::from(batch.is_last));
    for event in &batch.events {
        call.arg(event.id().to_string());
        for (name, value) in FIELDS.iter().zip(values(event)) {
            call.arg(name).arg(value);
        }
    }
    let (word, head): (String, String) = call.invoke_async(&mut link).await?;
    let head = head.parse().unwrap_or(StreamId { millis: 0, sequence: 0 });
    Ok(match word.as_str() {
        "fenced" => Appended::Fenced,
        "behind" => Appended::Behind(head),
        _ => Appended::Upto(head),
    })
}

/// Those of the events that a stream which ends at `head` does not have.
pub(super) fn newer<'a>(
    events: impl Iterator<Item = &'a Arc<crate::model::Event>> + 'a,
    head: StreamId,
) -> impl Iterator<Item = &'a Arc<crate::model::Event>> + 'a {
    events.filter(move |event| event.id() > head)
}
