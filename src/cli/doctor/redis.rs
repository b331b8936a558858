//! What the state of the fleet's Redis means.

use std::time::Duration;

use crate::{
    cli::config::RedisConfig,
    redis_client::{RedisFacts, RedisServer},
    store::{Finding, Level},
};

/// The oldest release with everything that is used (ranges of streams that exclude their start).
const OLDEST: (u32, u32) = (6, 2);
/// An append that takes longer is told.
const SLOW: Duration = Duration::from_millis(10);
/// Of `maxmemory`, in percent.
const NEARLY_FULL: u64 = 80;

/// Looks at every server that is named. Never fails: one that cannot be reached is a finding.
pub(super) async fn examine(config: &RedisConfig) -> Vec<Finding> {
    let mut found = vec![writing(config).await];
    if found[0].level == Level::Fail {
        return found;
    }
    for server in config.server.each() {
        match look(&server, &config.prefix).await {
            Ok(facts) => found.extend(meaning(&server.place(), &facts)),
            Err(error) => found.push(Finding::warn(
                "REDIS_ANSWERS",
                format!("{} does not say how it is: {error}", server.place()),
                "give the user of REDIS_URL the commands INFO, SCAN, DBSIZE and MEMORY",
            )),
        }
    }
    found
}

/// On a data folder there is nobody to tell.
pub(super) fn unused() -> Finding {
    Finding::ok("REDIS_UNUSED", "a Redis is named, but a data folder uses none: it is for fleets on a database")
}

async fn look(server: &RedisServer, prefix: &str) -> redis::RedisResult<RedisFacts> {
    RedisFacts::of(&mut server.connect().await?, prefix).await
}

/// As workers do: connects, appends to a stream, tells others.
async fn writing(RedisConfig { server, prefix }: &RedisConfig) -> Finding {
    let name = format!("doctor-{}", std::process::id());
    let (key, channel) = (format!("{prefix}run:{name}:events"), format!("{prefix}run:{name}:grown"));
    match server.try_write(&key, &channel).await {
        Ok(took) if took > SLOW => Finding::warn(
            "REDIS_REACHABLE",
            format!("{} takes {took:.1?} for an append", server.place()),
            "it should be near the workers, and its disk should not be busy",
        ),
        Ok(took) => Finding::ok("REDIS_REACHABLE", format!("{} answers, an append took {took:.1?}", server.place())),
        Err(error) => Finding::fail(
            "REDIS_REACHABLE",
            format!("{} cannot be used: {error}", server.place()),
            "runs go on without it, and are picked up within a second; check address, password, rights and memory of \
             the Redis in REDIS_URL",
        ),
    }
}

fn meaning(place: &str, facts: &RedisFacts) -> Vec<Finding> {
    let mut found = vec![version(place, facts)];
    if !facts.is_master {
        found.push(Finding::fail(
            "REDIS_ROLE",
            format!("{place} is a replica"),
            "name the master, or the Sentinels: redis+sentinel://host:26379/name",
        ));
    }
    found.extend([eviction(place, facts), persistence(place, facts), memory(place, facts)]);
    found
}

fn version(place: &str, facts: &RedisFacts) -> Finding {
    let what = format!("{place} is {} {}", facts.product, facts.version);
    match facts.release() {
        Some(release) if release < OLDEST => {
            Finding::fail("REDIS_VERSION", what, "use Redis 6.2 or newer, or any Valkey")
        }
        _ => Finding::ok("REDIS_VERSION", what),
    }
}

fn eviction(place: &str, facts: &RedisFacts) -> Finding {
    let policy = &facts.eviction;
    if facts.evicted > 0 && policy != "noeviction" {
        return Finding::warn(
            "REDIS_EVICTION",
            format!("{place} has removed {} keys because its memory was full ({policy})", facts.evicted),
            "give it more memory: events that go are read from the database, which is slower",
        );
    }
    if policy.starts_with("allkeys") {
        return Finding::warn(
            "REDIS_EVICTION",
            format!("{place} removes any key when its memory is full ({policy})"),
            "set `maxmemory-policy noeviction`, or `volatile-ttl`, which removes streams of ended runs first",
        );
    }
    Finding::ok("REDIS_EVICTION", format!("{place} keeps what it was given ({policy})"))
}

fn persistence(place: &str, facts: &RedisFacts) -> Finding {
    let code = "REDIS_PERSISTENCE";
    if !facts.is_written {
        return Finding::warn(
            code,
            format!("{place} could not write to its disk the last time"),
            "look into its log, and whether its disk is full",
        );
    }
    match (facts.has_append_only_file, facts.sync.as_deref()) {
        (false, _) => Finding::warn(
            code,
            format!("{place} has no append-only file: a restart loses the live events of the last day"),
            "set `appendonly yes` and `appendfsync everysec`; the database has the durable events in any case",
        ),
        (true, Some("always")) => Finding::warn(
            code,
            format!("{place} syncs its disk for every append"),
            "set `appendfsync everysec`: what a crash loses then is sent again",
        ),
        (true, Some("no")) => Finding::warn(
            code,
            format!("{place} leaves it to the kernel when appends reach the disk"),
            "set `appendfsync everysec`",
        ),
        (true, _) => Finding::ok(code, format!("{place} has an append-only file")),
    }
}

fn memory(place: &str, facts: &RedisFacts) -> Finding {
    let code = "REDIS_MEMORY";
    let (used, streams) = (facts.used_bytes, facts.weights);
    let about = format!(
        "{place} uses {}; about {} streams of {} on average, {} in all",
        size(used),
        streams.count,
        size(streams.bytes),
        size(streams.count.saturating_mul(streams.bytes)),
    );
    match facts.max_bytes {
        0 => Finding::warn(
            code,
            format!("{about}; it has no limit"),
            "set `maxmemory` below what the machine has: a Redis that the kernel ends is worse than a full one",
        ),
        max if used.saturating_mul(100) / max >= NEARLY_FULL => Finding::warn(
            code,
            format!("{about}, of {}", size(max)),
            "give it more memory: streams stay for a day after their run's end",
        ),
        max => Finding::ok(code, format!("{about}, of {}", size(max))),
    }
}

fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB"] {
        if value < 1_024.0 {
            return format!("{value:.0} {unit}");
        }
        value /= 1_024.0;
    }
    format!("{value:.1} GiB")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> RedisFacts {
        RedisFacts {
            product: "redis",
            version: "7.2.4".to_owned(),
            is_master: true,
            used_bytes: 100 << 20,
            max_bytes: 1 << 30,
            eviction: "noeviction".to_owned(),
            has_append_only_file: true,
            sync: Some("everysec".to_owned()),
            is_written: true,
            ..RedisFacts::default()
        }
    }

    fn worst(facts: &RedisFacts) -> Vec<(&'static str, Level)> {
        let found = meaning("redis:6379", facts).into_iter().filter(|finding| finding.level > Level::Ok);
        found.map(|finding| (finding.code, finding.level)).collect()
    }

    #[test]
    fn a_good_server_has_nothing_to_mend() {
        assert_eq!(worst(&good()), []);
        assert_eq!(worst(&RedisFacts { sync: None, ..good() }), [], "managed servers do not tell");
    }

    #[test]
    fn each_fault_has_its_line() {
        let (warn, fail) = (Level::Warn, Level::Fail);
        let text = str::to_owned;
        for (facts, expected) in [
            (RedisFacts { version: text("6.0.16"), ..good() }, ("REDIS_VERSION", fail)),
            (RedisFacts { is_master: false, ..good() }, ("REDIS_ROLE", fail)),
            (RedisFacts { eviction: text("allkeys-lru"), ..good() }, ("REDIS_EVICTION", warn)),
            (RedisFacts { eviction: text("volatile-ttl"), evicted: 3, ..good() }, ("REDIS_EVICTION", warn)),
            (RedisFacts { has_append_only_file: false, ..good() }, ("REDIS_PERSISTENCE", warn)),
            (RedisFacts { sync: Some(text("always")), ..good() }, ("REDIS_PERSISTENCE", warn)),
            (RedisFacts { is_written: false, ..good() }, ("REDIS_PERSISTENCE", warn)),
            (RedisFacts { max_bytes: 0, ..good() }, ("REDIS_MEMORY", warn)),
            (RedisFacts { max_bytes: 110 << 20, ..good() }, ("REDIS_MEMORY", warn)),
        ] {
            assert_eq!(worst(&facts), [expected], "{facts:?}");
        }
    }

    #[test]
    fn sizes_are_rounded() {
        assert_eq!([size(1_023), size(2_048), size(3 << 20), size(5 << 29)], ["1023 B", "2 KiB", "3 MiB", "2.5 GiB"]);
    }
}
